//! A server with one database, and connections to it.

use standin::{Options, Standin};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

pub(crate) type Connection = Client<Compat<TcpStream>>;

/// The table that the tests change.
pub(crate) const TABLE: &str = "CREATE TABLE dbo.solicitud (
    id int NOT NULL PRIMARY KEY, servicio varchar(20) NOT NULL, estado tinyint NOT NULL, nota nvarchar(max) NULL);
    CREATE INDEX por_servicio ON dbo.solicitud (servicio)";

/// Enables the database and the table, without a gating role.
pub(crate) const ENABLE: &str = "EXEC sys.sp_cdc_enable_db;
    EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'solicitud', @role_name = NULL";

pub(crate) fn options() -> Options {
    let mut options = Options::default();
    // Captured by hand, so that nothing has to be waited for.
    options.agent = false;
    options
}

/// A server with the database `app` and the table.
pub(crate) fn started(options: Options) -> Standin {
    let server = Standin::start(options).unwrap();
    server.sql("master", "CREATE DATABASE app").unwrap();
    server.sql("app", TABLE).unwrap();
    server
}

pub(crate) fn config(port: u16) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(port);
    config.database("app");
    config.authentication(AuthMethod::sql_server("sa", "Standin-Passw0rd"));
    config.encryption(EncryptionLevel::NotSupported);
    config
}

pub(crate) async fn try_connect(config: Config) -> tiberius::Result<Connection> {
    let stream = TcpStream::connect(config.get_addr()).await?;
    stream.set_nodelay(true)?;
    Box::pin(Client::connect(config, stream.compat_write())).await
}

pub(crate) async fn connect(port: u16) -> Connection {
    try_connect(config(port)).await.unwrap()
}

/// Every row of the first result, each cell as the client shows it.
pub(crate) async fn rows(client: &mut Connection, sql: &str) -> Vec<Vec<String>> {
    let rows = client.simple_query(sql).await.unwrap().into_first_result().await.unwrap();
    rows.iter().map(|row| row.cells().map(|(_, cell)| format!("{cell:?}")).collect()).collect()
}

/// The first column of the first result as numbers.
pub(crate) async fn numbers(client: &mut Connection, sql: &str) -> Vec<i32> {
    let rows = client.simple_query(sql).await.unwrap().into_first_result().await.unwrap();
    rows.iter().map(|row| row.get::<i32, _>(0).unwrap()).collect()
}

/// The number of the error that the batch ends in.
pub(crate) async fn error(client: &mut Connection, sql: &str) -> u32 {
    match client.simple_query(sql).await {
        Err(error) => error.code(),
        Ok(stream) => match stream.into_results().await {
            Err(error) => error.code(),
            Ok(_) => None,
        },
    }
    .unwrap_or(0)
}

pub(crate) async fn run(client: &mut Connection, sql: &str) {
    client.simple_query(sql).await.unwrap().into_results().await.unwrap();
}
