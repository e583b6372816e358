//! A server with one captured table, and what the tests ask of it.

use std::time::Duration;

use change::{
    Batch, Beginning, Change, ChangeStream, Checkpoint, Operation, Page, Row, Snapshot, SnapshotPlan, Source,
    SourceError, TableScope, Value,
};
use sqlserver_connector::{Mode, SqlServerConfig, SqlServerSource, SqlServerStream, TlsMode};
use standin::{Options, Standin};

/// How long anything may take.
const SOON: Duration = Duration::from_secs(30);

pub(crate) const DATABASE: &str = "tramites";
pub(crate) const PASSWORD: &str = "Standin-Passw0rd";

pub(crate) const TABLE: &str =
    "CREATE TABLE dbo.solicitudes (id int NOT NULL PRIMARY KEY, numero varchar(20) NOT NULL,
    estado tinyint NOT NULL, abierta datetime NOT NULL, nota nvarchar(100) NULL)";

pub(crate) const ENABLE_DATABASE: &str = "EXEC sys.sp_cdc_enable_db";

pub(crate) const ENABLE: &str = "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'solicitudes',
    @role_name = NULL, @supports_net_changes = 0, @captured_column_list = N'[id], [numero], [estado], [abierta]'";

pub(crate) fn options() -> Options {
    Options::default()
}

/// A server whose capture runs only when it is told to.
pub(crate) fn by_hand() -> Options {
    let mut options = options();
    options.agent = false;
    options
}

/// A server with the table, captured.
pub(crate) fn captured(options: Options) -> Standin {
    let server = uncaptured(options);
    run(&server, ENABLE_DATABASE);
    run(&server, ENABLE);
    server.capture_now(DATABASE).unwrap();
    server
}

/// A server with the table and nothing else.
pub(crate) fn uncaptured(options: Options) -> Standin {
    let server = Standin::start(options).unwrap();
    server.sql("master", "CREATE DATABASE tramites").unwrap();
    run(&server, TABLE);
    server
}

pub(crate) fn run(server: &Standin, sql: &str) {
    server.sql(DATABASE, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub(crate) fn insert(server: &Standin, id: u32, status: u8) {
    run(
        server,
        &format!(
            "INSERT INTO dbo.solicitudes VALUES ({id}, 'A-{id}', {status}, '2024-05-01T10:00:00', NULL)"
        ),
    );
}

pub(crate) fn update(server: &Standin, id: u32, status: u8) {
    run(server, &format!("UPDATE dbo.solicitudes SET estado = {status} WHERE id = {id}"));
}

pub(crate) fn config(server: &Standin) -> SqlServerConfig {
    SqlServerConfig {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        database: DATABASE.to_owned(),
        user: "sa".to_owned(),
        password: PASSWORD.to_owned(),
        tls: TlsMode::Disable,
        tls_ca: None,
        capture_instance: None,
        poll_interval: Duration::from_millis(20),
        read_only: false,
        server_time_zone: None,
        call_timeout: Duration::from_secs(10),
        silent_after: SqlServerConfig::SILENT_AFTER,
        mode: Mode::Capture,
    }
}

pub(crate) fn scope() -> TableScope {
    TableScope {
        table: "dbo.solicitudes".to_owned(),
        columns: ["numero", "estado", "abierta"].map(str::to_owned).to_vec(),
        keys: true,
        since: None,
        condition: None,
        parent_keys: Vec::new(),
        apart_by: Vec::new(),
    }
}

pub(crate) fn source(server: &Standin) -> SqlServerSource {
    SqlServerSource::new(config(server), scope())
}

/// Where a stream begins now.
pub(crate) async fn present(source: &SqlServerSource) -> Checkpoint {
    source.begin(&Beginning::Present).await.unwrap().checkpoint
}

/// The checkpoint after a position.
pub(crate) fn after(batch: &Batch, checkpoint: &Checkpoint) -> Checkpoint {
    Checkpoint { position: batch.position.clone().unwrap(), server: checkpoint.server.clone() }
}

pub(crate) async fn next(stream: &mut SqlServerStream) -> Result<Batch, SourceError> {
    tokio::time::timeout(SOON, stream.next()).await.expect("the stream should have said something")
}

/// Reads batches until one satisfies `enough`, which is the last.
pub(crate) async fn until(
    stream: &mut SqlServerStream,
    mut enough: impl FnMut(&Batch) -> bool,
) -> Vec<Batch> {
    let mut batches = Vec::new();
    loop {
        let batch = next(stream).await.unwrap();
        let done = enough(&batch);
        batches.push(batch);
        if done {
            return batches;
        }
    }
}

/// Reads until `count` changes have come with a position that covers them.
pub(crate) async fn changes(stream: &mut SqlServerStream, count: usize) -> (Vec<Change>, Batch) {
    let mut seen = 0;
    let batches = until(stream, |batch| {
        seen += batch.changes.len();
        seen >= count && batch.position.is_some()
    })
    .await;
    let last = batches.last().cloned().unwrap();
    (batches.into_iter().flat_map(|batch| batch.changes).collect(), last)
}

/// Reads until the stream fails, and returns the changes before with the error.
pub(crate) async fn failure(stream: &mut SqlServerStream) -> (Vec<Batch>, SourceError) {
    let mut batches = Vec::new();
    loop {
        match next(stream).await {
            Ok(batch) => batches.push(batch),
            Err(error) => return (batches, error),
        }
    }
}

/// Operation, number, status before, status after.
pub(crate) type Told = (Operation, String, Option<i64>, Option<i64>);

pub(crate) fn told(changes: &[Change]) -> Vec<Told> {
    changes
        .iter()
        .map(|change| {
            let row = change.after.as_ref().or(change.before.as_ref()).unwrap();
            (change.operation, number(row), status(change.before.as_ref()), status(change.after.as_ref()))
        })
        .collect()
}

pub(crate) fn number(row: &Row) -> String {
    match row.get(0) {
        Some(Value::Text(number)) => number.to_string(),
        other => panic!("{other:?} is no number"),
    }
}

pub(crate) fn status(row: Option<&Row>) -> Option<i64> {
    row.map(|row| match row.get(1) {
        Some(Value::Int(status)) => *status,
        other => panic!("{other:?} is no status"),
    })
}

/// All pages of a copy.
pub(crate) async fn pages(source: &SqlServerSource, plan: &SnapshotPlan) -> Vec<Page> {
    let mut snapshot = source.snapshot(plan).await.unwrap();
    let mut pages = Vec::new();
    while let Some(page) = tokio::time::timeout(SOON, snapshot.next_page()).await.unwrap().unwrap() {
        pages.push(page);
    }
    pages
}
