//! A PostgreSQL database as a backend of the conformance suite.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use testbed::postgres::{Options, Server, Version, shared};
use tokio_postgres::{Client, NoTls};

use crate::support::backend::{Backend, HistoryRow, Session};
use crate::support::wait::SOON;

/// A version of the server, as a type.
pub(crate) trait Release: Send + Sync + 'static {
    const VERSION: Version;
}

/// The version that the machine's distribution offers.
pub(crate) struct Distribution;

impl Release for Distribution {
    const VERSION: Version = Version::Distribution;
}

/// The newest version.
pub(crate) struct V18;

impl Release for V18 {
    const VERSION: Version = Version::V18;
}

/// One database, removed with its slots when it is dropped.
pub(crate) struct Postgres<R> {
    server: Held,
    database: String,
    release: PhantomData<R>,
}

enum Held {
    Shared(&'static Server),
    Own(Box<Server>),
}

/// A session is a client; the connection ends with it.
impl Session for Client {
    async fn try_run(&self, sql: &str) -> Result<(), String> {
        self.batch_execute(sql).await.map_err(|error| told(&error))
    }
}

/// What the server says, which the error's own text leaves out.
pub(crate) fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |server| server.message().to_owned())
}

const TABLE: &str = "
    CREATE TABLE solicitudes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        numero varchar(40) NOT NULL UNIQUE,
        servicio varchar(10) NOT NULL,
        estado varchar(20) NOT NULL,
        fecha_apertura timestamp NOT NULL,
        fecha_modificacion timestamp NOT NULL,
        nota text);
    CREATE TABLE historia (
        seq bigserial PRIMARY KEY,
        numero text, servicio text, estado text, fecha_apertura timestamp, fecha_modificacion timestamp);
    CREATE FUNCTION anotar() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' OR NEW.estado IS DISTINCT FROM OLD.estado OR NEW.numero <> OLD.numero THEN
            INSERT INTO historia (numero, servicio, estado, fecha_apertura, fecha_modificacion)
            VALUES (NEW.numero, NEW.servicio, NEW.estado, NEW.fecha_apertura, NEW.fecha_modificacion);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER anotar AFTER INSERT OR UPDATE ON solicitudes FOR EACH ROW EXECUTE FUNCTION anotar()";

impl<R: Release> Backend for Postgres<R> {
    type Session = Client;

    const ENGINE: &'static str = "postgres";

    async fn shared() -> Self {
        let server = shared(R::VERSION).unwrap_or_else(|error| panic!("{error}"));
        Self::on(Held::Shared(server)).await
    }

    async fn own() -> Self {
        Self::own_with(&[]).await
    }

    fn source(&self) -> String {
        self.source_for("public.solicitudes")
    }

    fn password(&self) -> String {
        self.server().password().to_owned()
    }

    async fn create_table(&self) {
        self.client().await.run(TABLE).await;
    }

    async fn session(&self) -> Result<Client, String> {
        let connecting = self.server().config(&self.database).connect(NoTls).await;
        let (client, connection) = connecting.map_err(|error| told(&error))?;
        // What ends the connection is told to whoever uses the client.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    async fn history(&self) -> Vec<HistoryRow> {
        let client = self.client().await;
        let rows = client.query(
            "SELECT seq, numero, servicio, estado,
                    to_char(fecha_apertura, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'),
                    to_char(fecha_modificacion, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')
             FROM historia ORDER BY seq",
            &[],
        );
        let rows = rows.await.unwrap();
        let rows = rows.iter().map(|row| HistoryRow {
            seq: row.get(0),
            numero: row.get(1),
            servicio: row.get(2),
            estado: row.get(3),
            fecha_apertura: row.get(4),
            fecha_modificacion: row.get(5),
        });
        rows.collect()
    }

    fn crash(&self) {
        self.server().kill().unwrap();
    }

    fn restart(&self) {
        self.server().restart().unwrap();
    }

    async fn lose_log(&self) {
        let client = self.client().await;
        let slot = self.slot();
        let free = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'"
        );
        let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
        let deadline = Instant::now() + SOON;
        // Whoever streams comes back at once: the two statements race with that until they win.
        loop {
            client.run(&free).await;
            match client.try_run(&drop).await {
                Ok(()) => return,
                Err(error) => assert!(Instant::now() < deadline, "the slot cannot be dropped: {error}"),
            }
        }
    }

    async fn insert_many(&self, rows: u64, first_day: &str) {
        let sql = format!(
            "BEGIN; SET LOCAL session_replication_role = replica;
             INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion, nota)
             SELECT 'P-' || n, CASE WHEN n % 3 = 0 THEN 'PER' ELSE 'LIC' END, 'RECIBIDA', at, at, repeat('n', 150)
             FROM generate_series(1, {rows}) n, LATERAL (SELECT timestamp '{first_day}' + n * interval '10 min') o(at);
             COMMIT"
        );
        self.client().await.run(&sql).await;
    }

    async fn set_all(&self, estado: &str) {
        let sql = format!(
            "BEGIN; SET LOCAL session_replication_role = replica;
             UPDATE solicitudes SET estado = '{estado}', fecha_modificacion = localtimestamp;
             COMMIT"
        );
        self.client().await.run(&sql).await;
    }
}

impl<R: Release> Postgres<R> {
    /// On a server of its own with these settings.
    pub(crate) async fn own_with(settings: &[(&str, &str)]) -> Self {
        let options = Options::new(R::VERSION).without_fsync();
        Self::start(settings.iter().fold(options, |options, (name, value)| options.setting(name, value)))
            .await
    }

    /// On a server of its own that offers TLS; it also listens on an address that its certificate does not name.
    pub(crate) async fn own_with_tls() -> Self {
        let options = Options::new(R::VERSION).without_fsync().with_tls();
        Self::start(options.setting("listen_addresses", "127.0.0.1,127.0.0.2")).await
    }

    async fn start(options: Options) -> Self {
        let server = Server::start(options).unwrap_or_else(|error| panic!("{error}"));
        Self::on(Held::Own(Box::new(server))).await
    }

    async fn on(server: Held) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let database = format!("tramites_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let backend = Self { server, database, release: PhantomData };
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

    /// The slot of the configuration: slots belong to the whole server, so each database has its own name.
    pub(crate) fn slot(&self) -> String {
        format!("bitacora_{}", self.database)
    }

    /// The superuser's connection.
    pub(crate) async fn client(&self) -> Client {
        self.session().await.unwrap()
    }

    /// `[source]` for another table; `table` as the configuration writes it.
    pub(crate) fn source_for(&self, table: &str) -> String {
        format!(
            "[source]\nengine = \"postgres\"\nhost = \"{}\"\nport = {}\ndatabase = \"{}\"\nuser = \"{}\"\n\
             password = \"${{BITACORA_DB_PASSWORD}}\"\ntable = '{table}'\ntls = \"disable\"\n\n\
             [source.postgres]\nslot = \"{}\"\npublication = \"bitacora\"\n",
            self.server().host(),
            self.server().port(),
            self.database,
            self.server().superuser(),
            self.slot(),
        )
    }

    /// The position up to which the product has confirmed the log, as bytes; `None` without a slot.
    pub(crate) async fn confirmed(&self) -> Option<i64> {
        let sql =
            "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = $1";
        let row = self.client().await.query_opt(sql, &[&self.slot()]).await.unwrap();
        row.and_then(|row| row.get(0))
    }

    /// The end of the log, as bytes.
    pub(crate) async fn log_end(&self) -> i64 {
        let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        self.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }
}

impl<R> Drop for Postgres<R> {
    /// A slot that nobody reads would make the shared server keep its log for the rest of the run.
    fn drop(&mut self) {
        let Held::Shared(server) = self.server else { return };
        let database = self.database.clone();
        // The test's own runtime cannot be waited for here.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(remove(server, &database))
        });
        if !matches!(cleaner.join(), Ok(Ok(()))) {
            eprintln!("the database {} stays behind", self.database);
        }
    }
}

async fn remove(server: &Server, database: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = server.connect("postgres").await?;
    let slots = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '{database}';
         SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{database}'"
    );
    let mut tries = 0;
    // The process that used the slot needs a moment to end.
    while let Err(error) = client.batch_execute(&slots).await {
        tries += 1;
        if tries > 100 {
            return Err(error.into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(client.batch_execute(&format!("DROP DATABASE \"{database}\" WITH (FORCE)")).await?)
}
