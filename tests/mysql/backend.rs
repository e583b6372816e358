//! A MySQL or MariaDB database as a backend of the conformance suite.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use testbed::mysql::prelude::Queryable;
use testbed::mysql::{Conn, Options, Product, Server, shared};
use tokio::sync::Mutex;

use crate::support::backend::{Backend, HistoryRow, Session};
use crate::support::wait::{SOON, eventually};

/// A product, as a type.
pub(crate) trait Dialect: Send + Sync + 'static {
    const PRODUCT: Product;
    /// Forgets the whole log, with the numbers of its transactions.
    const RESET_LOG: &'static str;
    /// The position of the end of the log is in the first two columns of its answer.
    const LOG_END: &'static str;
    /// The variable of the redo log's size.
    const REDO_SIZE: &'static str;

    /// Lets the numbers of an empty log go on after `last`.
    fn number_after(server_uuid: &str, last: u64) -> String;
}

/// MySQL.
pub(crate) struct MySql;

impl Dialect for MySql {
    const PRODUCT: Product = Product::MySql;
    const RESET_LOG: &'static str = "RESET BINARY LOGS AND GTIDS";
    const LOG_END: &'static str = "SHOW BINARY LOG STATUS";
    const REDO_SIZE: &'static str = "innodb_redo_log_capacity";

    fn number_after(server_uuid: &str, last: u64) -> String {
        format!("SET GLOBAL gtid_purged = '{server_uuid}:1-{last}'")
    }
}

/// MariaDB.
pub(crate) struct MariaDb;

impl Dialect for MariaDb {
    const PRODUCT: Product = Product::MariaDb;
    const RESET_LOG: &'static str = "RESET MASTER";
    const LOG_END: &'static str = "SHOW MASTER STATUS";
    const REDO_SIZE: &'static str = "innodb_log_file_size";

    fn number_after(_server_uuid: &str, last: u64) -> String {
        format!("SET GLOBAL gtid_binlog_state = '0-1-{last}'")
    }
}

/// One database, removed when it is dropped.
pub(crate) struct Mysql<D> {
    server: Held,
    database: String,
    /// The number under which the product reads the log.
    server_id: u32,
    dialect: PhantomData<D>,
}

enum Held {
    Shared(&'static Server),
    Own(Box<Server>),
}

/// One connection; its methods take turns.
pub(crate) struct Client(Mutex<Conn>);

impl Session for Client {
    async fn try_run(&self, sql: &str) -> Result<(), String> {
        self.0.lock().await.query_drop(sql).await.map_err(|error| error.to_string())
    }
}

impl Client {
    /// The first column of the first row, as text.
    pub(crate) async fn value(&self, sql: &str) -> Option<String> {
        let row: Option<mysql_async::Row> = self.0.lock().await.query_first(sql).await.unwrap();
        row.and_then(|mut row| row.take::<Option<String>, _>(0)).flatten()
    }
}

const TABLE: [&str; 4] = [
    "CREATE TABLE solicitudes (
        id bigint AUTO_INCREMENT PRIMARY KEY,
        numero varchar(40) NOT NULL UNIQUE,
        servicio varchar(10) NOT NULL,
        estado varchar(20) NOT NULL,
        fecha_apertura datetime(6) NOT NULL,
        fecha_modificacion datetime(6) NOT NULL,
        nota text) ENGINE=InnoDB",
    "CREATE TABLE historia (
        seq bigint AUTO_INCREMENT PRIMARY KEY,
        numero varchar(40), servicio varchar(10), estado varchar(20),
        fecha_apertura datetime(6), fecha_modificacion datetime(6)) ENGINE=InnoDB",
    "CREATE TRIGGER anotar_alta AFTER INSERT ON solicitudes FOR EACH ROW
     IF @sin_historia IS NULL THEN
        INSERT INTO historia (numero, servicio, estado, fecha_apertura, fecha_modificacion)
        VALUES (NEW.numero, NEW.servicio, NEW.estado, NEW.fecha_apertura, NEW.fecha_modificacion);
     END IF",
    "CREATE TRIGGER anotar_cambio AFTER UPDATE ON solicitudes FOR EACH ROW
     IF @sin_historia IS NULL AND (NEW.estado <> OLD.estado OR NEW.numero <> OLD.numero) THEN
        INSERT INTO historia (numero, servicio, estado, fecha_apertura, fecha_modificacion)
        VALUES (NEW.numero, NEW.servicio, NEW.estado, NEW.fecha_apertura, NEW.fecha_modificacion);
     END IF",
];

impl<D: Dialect> Backend for Mysql<D> {
    type Session = Client;

    const ENGINE: &'static str = "mysql";

    async fn shared() -> Self {
        let server = shared(D::PRODUCT).unwrap_or_else(|error| panic!("{error}"));
        Self::on(Held::Shared(server)).await
    }

    async fn own() -> Self {
        Self::own_with(&[]).await
    }

    fn source(&self) -> String {
        self.source_for("solicitudes")
    }

    fn password(&self) -> String {
        self.server().password().to_owned()
    }

    async fn create_table(&self) {
        let client = self.client().await;
        for statement in TABLE {
            client.run(statement).await;
        }
    }

    async fn session(&self) -> Result<Client, String> {
        let told = |error: &dyn std::error::Error| error.to_string();
        let mut client = self.server().connect(&self.database).await.map_err(|error| told(&error))?;
        // The suite writes its literals as the standard has them.
        let standard = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')";
        client.query_drop(standard).await.map_err(|error| told(&error))?;
        Ok(Client(Mutex::new(client)))
    }

    async fn history(&self) -> Vec<HistoryRow> {
        let mut client = self.server().connect(&self.database).await.unwrap();
        let rows = client.query_map(
            "SELECT seq, numero, servicio, estado,
                    DATE_FORMAT(fecha_apertura, '%Y-%m-%dT%H:%i:%s.%f'),
                    DATE_FORMAT(fecha_modificacion, '%Y-%m-%dT%H:%i:%s.%f')
             FROM historia ORDER BY seq",
            |(seq, numero, servicio, estado, fecha_apertura, fecha_modificacion)| HistoryRow {
                seq,
                numero,
                servicio,
                estado,
                fecha_apertura,
                fecha_modificacion,
            },
        );
        rows.await.unwrap()
    }

    fn crash(&self) {
        self.server().kill().unwrap();
    }

    fn restart(&self) {
        self.server().restart().unwrap();
    }

    /// The log of the whole server: only for one of its own. Its transactions are numbered anew, from a number on
    /// that none of ours can have: as after a restore from a copy.
    async fn lose_log(&self) {
        assert!(matches!(self.server, Held::Own(_)), "other tests read the shared server's log");
        static LAST: AtomicU64 = AtomicU64::new(1_000_000);
        let last = LAST.fetch_add(1_000_000, Ordering::Relaxed);
        let client = self.client().await;
        let uuid = match D::PRODUCT {
            Product::MySql => client.value("SELECT @@server_uuid").await.unwrap(),
            Product::MariaDb => String::new(),
        };
        // Nothing may commit between the two statements.
        client.run("FLUSH TABLES WITH READ LOCK").await;
        client.run(D::RESET_LOG).await;
        client.run(&D::number_after(&uuid, last)).await;
        client.run("UNLOCK TABLES").await;
        self.cut_streams().await;
    }

    async fn insert_many(&self, rows: u64, first_day: &str) {
        let digits: Vec<String> = (0..10).map(|digit| format!("SELECT {digit} AS n")).collect();
        let sql = format!(
            "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion, nota)
             WITH d AS ({}), many AS (
                 SELECT 1 + a.n + 10 * b.n + 100 * c.n + 1000 * e.n + 10000 * f.n + 100000 * g.n AS n
                 FROM d a, d b, d c, d e, d f, d g)
             SELECT CONCAT('P-', n), IF(n % 3 = 0, 'PER', 'LIC'), 'RECIBIDA',
                    TIMESTAMP('{first_day}') + INTERVAL 10 * n MINUTE,
                    TIMESTAMP('{first_day}') + INTERVAL 10 * n MINUTE, REPEAT('n', 150)
             FROM many WHERE n <= {rows} ORDER BY n",
            digits.join(" UNION ALL ")
        );
        let client = self.client().await;
        client.run("SET @sin_historia = 1").await;
        client.run(&sql).await;
    }

    async fn set_all(&self, estado: &str) {
        let client = self.client().await;
        client.run("SET @sin_historia = 1").await;
        client.run(&format!("UPDATE solicitudes SET estado = '{estado}', fecha_modificacion = NOW(6)")).await;
    }
}

impl<D: Dialect> Mysql<D> {
    /// On a server of its own with these settings.
    pub(crate) async fn own_with(settings: &[(&str, &str)]) -> Self {
        Self::start(Self::options(settings)).await
    }

    /// What a server of its own has: room for the rows of large tests, and these settings.
    pub(crate) fn options(settings: &[(&str, &str)]) -> Options {
        let options = Options::new(D::PRODUCT).without_fsync();
        let options = options.setting("innodb_buffer_pool_size", "256M").setting(D::REDO_SIZE, "512M");
        settings.iter().fold(options, |options, (name, value)| options.setting(name, value))
    }

    pub(crate) async fn start(options: Options) -> Self {
        let server = Server::start(options).unwrap_or_else(|error| panic!("{error}"));
        Self::on(Held::Own(Box::new(server))).await
    }

    async fn on(server: Held) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let backend = Self {
            server,
            database: format!("tramites_{number}"),
            server_id: 1000 + number,
            dialect: PhantomData,
        };
        backend.server().create_database(&backend.database).await.unwrap();
        backend
    }

    pub(crate) fn server(&self) -> &Server {
        match &self.server {
            Held::Shared(server) => server,
            Held::Own(server) => server,
        }
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    pub(crate) fn server_id(&self) -> u32 {
        self.server_id
    }

    /// The administrator's connection.
    pub(crate) async fn client(&self) -> Client {
        self.session().await.unwrap()
    }

    /// `[source]` for another table; `table` as the configuration writes it.
    pub(crate) fn source_for(&self, table: &str) -> String {
        format!(
            "[source]\nengine = \"mysql\"\nhost = \"{}\"\nport = {}\ndatabase = \"{}\"\nuser = \"{}\"\n\
             password = \"${{BITACORA_DB_PASSWORD}}\"\ntable = '{table}'\ntls = \"disable\"\n\n\
             [source.mysql]\nserver_id = {}\n",
            self.server().host(),
            self.server().port(),
            self.database,
            self.server().superuser(),
            self.server_id,
        )
    }

    /// Ends every connection that reads the log.
    pub(crate) async fn cut_streams(&self) {
        let mut client = self.server().connect("").await.unwrap();
        let readers = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
        let readers: Vec<u64> = client.query(readers).await.unwrap();
        for reader in readers {
            // It may have ended by itself.
            drop(client.query_drop(format!("KILL {reader}")).await);
        }
    }

    /// The name of the file that the log is written to, and its length.
    pub(crate) async fn log_end(&self) -> (String, u64) {
        let mut client = self.server().connect("").await.unwrap();
        let mut row: mysql_async::Row = client.query_first(D::LOG_END).await.unwrap().unwrap();
        (row.take(0).unwrap(), row.take(1).unwrap())
    }

    /// Begins a new file of the log and removes those before it. A server keeps a file that somebody reads, even a
    /// reader who has gone unnoticed.
    pub(crate) async fn purge_log(&self) {
        let client = self.client().await;
        client.run("FLUSH BINARY LOGS").await;
        let (last, _) = self.log_end().await;
        eventually("the older files are gone", SOON, async || {
            self.cut_streams().await;
            client.run(&format!("PURGE BINARY LOGS TO '{last}'")).await;
            let first = client.value("SHOW BINARY LOGS").await.unwrap();
            (first == last).then_some(())
        })
        .await;
    }
}

impl<D> Drop for Mysql<D> {
    /// The shared server's disk is the machine's.
    fn drop(&mut self) {
        let Held::Shared(server) = self.server else { return };
        let statement = format!("DROP DATABASE `{}`", self.database);
        // The test's own runtime cannot be waited for here.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.is_ok_and(|runtime| runtime.block_on(server.run(&statement)).is_ok())
        });
        if !matches!(cleaner.join(), Ok(true)) {
            eprintln!("the database {} stays behind", self.database);
        }
    }
}
