//! A SQL Server database as a backend of the conformance suite: on the stand-in, or on the real server that
//! `BITACORA_TEST_SQLSERVER_URL` names.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testbed::sqlserver::{Address, Command, Options, StandIn, batches};
use tokio::sync::Mutex;

use crate::support::backend::{Backend, HistoryRow, Session};
use crate::support::wait::{SOON, eventually};

/// One database that captures its changes.
pub(crate) struct SqlServer {
    server: Held,
    database: String,
    /// The captured tables of the schema `dbo`.
    captured: std::sync::Mutex<Vec<String>>,
}

enum Held {
    Shared(&'static StandIn),
    Own(Box<StandIn>),
    /// Somebody else's, in which we have databases.
    Real(Address),
}

/// One connection; its methods take turns.
pub(crate) struct Client(Mutex<testbed::sqlserver::Client>);

impl Session for Client {
    const BEGIN: &'static str = "BEGIN TRANSACTION";
    const COMMIT: &'static str = "COMMIT TRANSACTION";
    const ROLLBACK: &'static str = "ROLLBACK TRANSACTION";
    const SAVEPOINT: &'static str = "SAVE TRANSACTION aparte";
    const ROLLBACK_TO_SAVEPOINT: &'static str = "ROLLBACK TRANSACTION aparte";

    async fn try_run(&self, sql: &str) -> Result<(), String> {
        let mut client = self.0.lock().await;
        for batch in batches(sql) {
            let answer = client.simple_query(batch).await.map_err(|error| error.to_string())?;
            answer.into_results().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Client {
    /// The rows of a query, whose columns are all texts.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let mut client = self.0.lock().await;
        let rows = client.simple_query(sql).await.unwrap().into_first_result().await.unwrap();
        let text = |row: &tiberius::Row, at: usize| row.get::<&str, _>(at).map(str::to_owned);
        rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
    }

    /// The first column of the first row, a text.
    pub(crate) async fn value(&self, sql: &str) -> Option<String> {
        self.rows(sql).await.into_iter().flatten().next().flatten()
    }
}

/// The trigger works for sessions that have not said that they want none; see [`Backend::insert_many`].
const TABLE: [&str; 3] = [
    "CREATE TABLE dbo.solicitudes (
        id bigint IDENTITY NOT NULL PRIMARY KEY,
        numero nvarchar(40) NOT NULL UNIQUE,
        servicio varchar(10) NOT NULL,
        estado varchar(20) NOT NULL,
        fecha_apertura datetime2(6) NOT NULL,
        fecha_modificacion datetime2(6) NOT NULL,
        nota nvarchar(400) NULL)",
    "CREATE TABLE dbo.historia (
        seq bigint IDENTITY NOT NULL PRIMARY KEY,
        numero nvarchar(40), servicio varchar(10), estado varchar(20),
        fecha_apertura datetime2(6), fecha_modificacion datetime2(6))",
    "CREATE TRIGGER anotar ON dbo.solicitudes AFTER INSERT, UPDATE AS
     BEGIN
        SET NOCOUNT ON;
        IF CONTEXT_INFO() IS NOT NULL RETURN;
        INSERT INTO dbo.historia (numero, servicio, estado, fecha_apertura, fecha_modificacion)
        SELECT i.numero, i.servicio, i.estado, i.fecha_apertura, i.fecha_modificacion
        FROM inserted i LEFT JOIN deleted d ON d.id = i.id
        WHERE d.id IS NULL OR d.estado <> i.estado OR d.numero <> i.numero
        ORDER BY i.id;
     END",
];

const WITHOUT_HISTORY: &str = "SET CONTEXT_INFO 0x01";

/// Has all columns of a table captured: a row change counts whether it is of a mapped column or not.
pub(crate) fn enabling(table: &str) -> String {
    format!(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{table}',
        @role_name = NULL, @supports_net_changes = 0"
    )
}

impl Backend for SqlServer {
    type Session = Client;

    const ENGINE: &'static str = "sqlserver";

    async fn shared() -> Self {
        static SHARED: OnceLock<StandIn> = OnceLock::new();
        Self::on(|| Held::Shared(SHARED.get_or_init(|| start(Options::default())))).await
    }

    async fn own() -> Self {
        Self::own_with(Options::default()).await
    }

    fn source(&self) -> String {
        self.source_for("dbo.solicitudes")
    }

    fn password(&self) -> String {
        self.address().password.clone()
    }

    async fn create_table(&self) {
        let client = self.client().await;
        for statement in TABLE {
            client.run(statement).await;
        }
        self.capture("solicitudes").await;
    }

    async fn capture(&self, table: &str) {
        self.client().await.run(&enabling(table)).await;
        self.captured.lock().unwrap().push(table.to_owned());
    }

    async fn session(&self) -> Result<Client, String> {
        let client = self.address().connect(&self.database).await.map_err(|error| error.to_string())?;
        Ok(Client(Mutex::new(client)))
    }

    async fn history(&self) -> Vec<HistoryRow> {
        let sql = "SELECT CAST(seq AS varchar(20)), numero, servicio, estado,
            CONVERT(varchar(26), fecha_apertura, 121), CONVERT(varchar(26), fecha_modificacion, 121)
            FROM dbo.historia ORDER BY seq";
        let rows = self.client().await.rows(sql).await.into_iter();
        let row = |row: Vec<Option<String>>| {
            let mut cells = row.into_iter().map(Option::unwrap);
            let mut next = || cells.next().unwrap();
            HistoryRow {
                seq: next().parse().unwrap(),
                numero: next(),
                servicio: next(),
                estado: next(),
                fecha_apertura: next().replace(' ', "T"),
                fecha_modificacion: next().replace(' ', "T"),
            }
        };
        rows.map(row).collect()
    }

    /// A real server stays up: our database leaves it, and everybody who is connected to it.
    fn crash(&self) {
        match &self.server {
            Held::Shared(_) => panic!("other tests use the shared server"),
            Held::Own(server) => server.kill().unwrap(),
            Held::Real(_) => self.administer("SET OFFLINE WITH ROLLBACK IMMEDIATE"),
        }
    }

    fn restart(&self) {
        match &self.server {
            Held::Shared(_) => panic!("other tests use the shared server"),
            Held::Own(server) => server.restart().unwrap(),
            Held::Real(_) => self.administer("SET ONLINE"),
        }
    }

    /// The instance goes with all that it has captured, and another one takes its name.
    async fn lose_log(&self) {
        let client = self.client().await;
        let captured = self.captured.lock().unwrap().clone();
        for table in captured {
            let disable = format!(
                "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'{table}',
                @capture_instance = N'all'"
            );
            client.run(&format!("{disable}; {}", enabling(&table))).await;
        }
    }

    async fn insert_many(&self, rows: u64, first_day: &str) {
        /// Rows of one statement, of which the server keeps as many in memory.
        const CHUNK: u64 = 100_000;
        let digits: Vec<String> = (0..10).map(|digit| format!("SELECT {digit} AS n")).collect();
        let digits = format!("({})", digits.join(" UNION ALL "));
        let client = self.client().await;
        client.run(WITHOUT_HISTORY).await;
        client.begin().await;
        for first in (1..=rows).step_by(usize::try_from(CHUNK).unwrap()) {
            let sql = format!(
                "INSERT INTO dbo.solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion, nota)
                 SELECT CONCAT('P-', n), CASE WHEN n % 3 = 0 THEN 'PER' ELSE 'LIC' END, 'RECIBIDA',
                     DATEADD(minute, 10 * n, CAST('{first_day}' AS datetime2(6))),
                     DATEADD(minute, 10 * n, CAST('{first_day}' AS datetime2(6))), REPLICATE('n', 150)
                 FROM (SELECT {first} + a.n + 10 * b.n + 100 * c.n + 1000 * e.n + 10000 * f.n AS n
                       FROM {digits} a CROSS JOIN {digits} b CROSS JOIN {digits} c CROSS JOIN {digits} e
                       CROSS JOIN {digits} f) AS many
                 WHERE n <= {rows} ORDER BY n"
            );
            client.run(&sql).await;
        }
        client.commit().await;
    }

    async fn set_all(&self, estado: &str) {
        let client = self.client().await;
        client.run(WITHOUT_HISTORY).await;
        let sql =
            format!("UPDATE dbo.solicitudes SET estado = '{estado}', fecha_modificacion = SYSDATETIME()");
        client.run(&sql).await;
    }
}

impl SqlServer {
    /// On a stand-in of its own that is so; a real server is as it is.
    pub(crate) async fn own_with(options: Options) -> Self {
        Self::on(|| Held::Own(Box::new(start(options)))).await
    }

    /// The same with a database that captures nothing.
    pub(crate) async fn own_without_capture(options: Options) -> Self {
        Self::in_new_database(|| Held::Own(Box::new(start(options)))).await
    }

    async fn on(standin: impl FnOnce() -> Held) -> Self {
        let backend = Self::in_new_database(standin).await;
        let (address, name) = (backend.address(), backend.database());
        address.run(name, "EXEC sys.sp_cdc_enable_db").await.unwrap();
        address.run(name, "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON").await.unwrap();
        backend
    }

    async fn in_new_database(standin: impl FnOnce() -> Held) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let server = Address::from_environment().map_or_else(standin, Held::Real);
        let process = std::process::id();
        let database = match &server {
            Held::Real(_) => format!("bitacora_{process}_{number}"),
            _ => format!("tramites_{number}"),
        };
        let backend = Self { server, database, captured: std::sync::Mutex::default() };
        backend.address().create_database(backend.database()).await.unwrap();
        backend
    }

    pub(crate) fn address(&self) -> &Address {
        match &self.server {
            Held::Shared(server) => server.address(),
            Held::Own(server) => server.address(),
            Held::Real(address) => address,
        }
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The stand-in; `None` on a real server.
    pub(crate) fn standin(&self) -> Option<&StandIn> {
        match &self.server {
            Held::Shared(server) => Some(server),
            Held::Own(server) => Some(server),
            Held::Real(_) => None,
        }
    }

    /// Does something to the stand-in.
    pub(crate) fn control(&self, command: &Command) {
        self.standin().expect("a test for the stand-in alone").control(command).unwrap();
    }

    /// The administrator's connection.
    pub(crate) async fn client(&self) -> Client {
        self.session().await.unwrap()
    }

    /// `[source]` for another table; `table` as the configuration writes it.
    pub(crate) fn source_for(&self, table: &str) -> String {
        let Address { host, port, user, .. } = self.address();
        format!(
            "[source]\nengine = \"sqlserver\"\nhost = \"{host}\"\nport = {port}\ndatabase = \"{}\"\nuser = \"{user}\"\n\
             password = \"${{BITACORA_DB_PASSWORD}}\"\ntable = '{table}'\ntls = \"disable\"\n\n\
             [source.sqlserver]\npoll_interval = \"100ms\"\n",
            self.database
        )
    }

    /// Waits until everything that has committed is captured.
    pub(crate) async fn captured(&self) {
        if self.standin().is_some() {
            return self.control(&Command::CaptureNow { database: self.database.clone() });
        }
        // A scan that ended a second after we asked has begun after it.
        let client = self.client().await;
        let asked = client.value("SELECT CONVERT(varchar(30), GETDATE(), 126)").await.unwrap();
        let ended = format!(
            "SELECT CAST(DATEDIFF(second, '{asked}', MAX(end_time)) AS varchar(20)) FROM sys.dm_cdc_log_scan_sessions"
        );
        eventually("the capture has run", SOON, async || {
            let seconds = client.value(&ended).await?.parse::<i64>().ok()?;
            (seconds > 1).then_some(())
        })
        .await;
    }

    /// Alters our database from outside of it.
    fn administer(&self, change: &str) {
        let statement = format!("ALTER DATABASE [{}] {change}", self.database);
        let address = self.address().clone();
        // The test's own runtime cannot be waited for here.
        let worker = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(address.run("master", &statement)).unwrap();
        });
        worker.join().unwrap();
    }
}

impl Drop for SqlServer {
    /// A real server is there for others, too.
    fn drop(&mut self) {
        if matches!(self.server, Held::Real(_)) && !std::thread::panicking() {
            let name = &self.database;
            self.administer(&format!("SET SINGLE_USER WITH ROLLBACK IMMEDIATE; DROP DATABASE [{name}]"));
        }
    }
}

fn start(mut options: Options) -> StandIn {
    options.scan_interval = Duration::from_millis(5);
    // A sign of the capture on an idle database, which real servers give every five minutes.
    options.idle_interval = Duration::from_millis(500);
    let program = Path::new(env!("CARGO_BIN_EXE_standin-under-test"));
    StandIn::start(program, options)
        .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}
