//! The server, the table and the backlogs.

use std::fmt;

use testbed::postgres::{Options, Server, Version};
use tokio_postgres::Client;

use crate::Failure;

/// The table of the measurements: 12 columns, about 330 bytes a row.
const TABLE: &str = "
    CREATE TABLE public.solicitudes (
        id                 bigint PRIMARY KEY,
        numero             text NOT NULL,
        servicio           text NOT NULL,
        estado             text NOT NULL,
        fecha_apertura     timestamp NOT NULL,
        fecha_modificacion timestamp NOT NULL,
        solicitante        text NOT NULL,
        direccion          text NOT NULL,
        correo             text NOT NULL,
        monto              numeric(12,2) NOT NULL,
        pagada             boolean NOT NULL,
        observaciones      text NOT NULL
    )";

const ROWS: &str = "
    INSERT INTO public.solicitudes
    SELECT i, 'SOL-' || lpad(i::text, 9, '0'), 'LIC-' || (i % 7), 'RECIBIDA',
           timestamp '2020-01-01' + (i % 2400) * interval '1 day' + (i % 86400) * interval '1 second',
           timestamp '2026-10-01' + (i % 86400) * interval '1 second',
           'Solicitante ' || md5(i::text), 'Calle ' || md5((i * 3)::text) || ' ' || md5((i * 5)::text),
           'correo' || i || '@ejemplo.do', (i % 100000) / 100.0, i % 2 = 0, md5((i * 7)::text)
    FROM generate_series(1, $1::int) AS i";

const UPDATE: &str = "
    UPDATE public.solicitudes
       SET estado = CASE estado WHEN 'RECIBIDA' THEN 'APROBADA' ELSE 'RECIBIDA' END,
           fecha_modificacion = fecha_modificacion + interval '1 minute'";

/// What happened to the table before a drain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backlog {
    /// So many updates in transactions of 1000.
    Large(u32),
    /// So many updates, each a transaction.
    Single(u32),
    /// So many updates in one transaction.
    OneTransaction(u32),
}

impl Backlog {
    pub(crate) fn updates(self) -> u32 {
        match self {
            Self::Large(updates) | Self::Single(updates) | Self::OneTransaction(updates) => updates,
        }
    }
}

impl fmt::Display for Backlog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Large(updates) => write!(formatter, "{updates} updates in transactions of 1000"),
            Self::Single(updates) => write!(formatter, "{updates} single-row transactions"),
            Self::OneTransaction(updates) => write!(formatter, "one transaction of {updates} updates"),
        }
    }
}

/// A server with the table on it.
pub(crate) struct Stage {
    pub(crate) server: Server,
    client: Client,
    row_bytes: i64,
}

/// The database of the measurements.
pub(crate) const DATABASE: &str = "tramites";

/// The connector's slot and publication.
pub(crate) const SLOT: &str = "bitacora";

/// The slot that `pg_recvlogical` drains.
pub(crate) const RIVAL_SLOT: &str = "recvlogical";

impl Stage {
    /// Brings a server up and fills the table.
    pub(crate) async fn set(rows: u32) -> Result<Self, Failure> {
        let options = Options::new(Version::Distribution)
            .setting("max_wal_size", "8GB")
            .setting("checkpoint_timeout", "1h")
            .setting("shared_buffers", "1GB")
            .setting("synchronous_commit", "off")
            .setting("autovacuum", "off");
        let server = Server::start(options)?;
        server.create_database(DATABASE).await?;
        let client = server.connect(DATABASE).await?;
        client.batch_execute(TABLE).await?;
        client.execute(ROWS, &[&i32::try_from(rows)?]).await?;
        // Each by itself: VACUUM refuses to share a message with others.
        client.batch_execute("VACUUM ANALYZE public.solicitudes").await?;
        client.batch_execute("CHECKPOINT").await?;
        client.batch_execute(&procedures()).await?;
        let bytes = client
            .query_one("SELECT avg(pg_column_size(s.*))::bigint FROM (SELECT * FROM public.solicitudes LIMIT 1000) s", &[])
            .await?;
        Ok(Self { server, client, row_bytes: bytes.get(0) })
    }

    /// The `[source]` of a connector with this slot and publication.
    pub(crate) fn source(&self, slot: &str) -> String {
        let server = &self.server;
        format!(
            r#"
[source]
engine = "postgres"
host = "{host}"
port = {port}
database = "{DATABASE}"
user = "{user}"
password = "{password}"
table = "public.solicitudes"
tls = "disable"

[source.postgres]
slot = "{slot}"
publication = "{slot}"
"#,
            host = server.host(),
            port = server.port(),
            user = server.superuser(),
            password = server.password(),
        )
    }

    pub(crate) fn version(&self) -> u32 {
        self.server.major()
    }

    pub(crate) fn row_bytes(&self) -> i64 {
        self.row_bytes
    }

    /// Makes a backlog behind the connector's slot and a second slot at the same place; returns its end.
    pub(crate) async fn make_backlog(&self, backlog: Backlog) -> Result<String, Failure> {
        let copy = format!("SELECT pg_copy_logical_replication_slot('{SLOT}', '{RIVAL_SLOT}')");
        self.client.batch_execute(&copy).await?;
        self.churn(backlog).await?;
        let end = self.client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?;
        Ok(end.get(0))
    }

    /// Makes a backlog behind all slots.
    pub(crate) async fn churn(&self, backlog: Backlog) -> Result<(), Failure> {
        let call = match backlog {
            Backlog::Large(updates) => format!("CALL churn({updates}, 1000)"),
            Backlog::Single(updates) => format!("CALL churn({updates}, 1)"),
            Backlog::OneTransaction(updates) => format!("{UPDATE} WHERE id <= {updates}"),
        };
        self.client.batch_execute(&call).await?;
        // The vacuum keeps the rounds alike: without it every round would write to a larger table.
        self.client.batch_execute("VACUUM public.solicitudes").await?;
        Ok(self.client.batch_execute("CHECKPOINT").await?)
    }

    /// Makes a table of parents, one for each row.
    pub(crate) async fn add_parents(&self) -> Result<(), Failure> {
        for sql in [
            "CREATE TABLE public.expedientes AS SELECT id, numero, fecha_apertura FROM public.solicitudes",
            "ALTER TABLE public.expedientes ADD PRIMARY KEY (id)",
            "VACUUM ANALYZE public.expedientes",
        ] {
            self.client.batch_execute(sql).await?;
        }
        Ok(())
    }

    /// Alters three rows and adds one, and loses the log that tells of it.
    pub(crate) async fn alter_four_unseen(&self) -> Result<(), Failure> {
        self.client.batch_execute(&format!("{UPDATE} WHERE id IN (5, 500, 5000)")).await?;
        let insert = "INSERT INTO public.solicitudes SELECT 0, 'SOL-NUEVA', servicio, estado, fecha_apertura, \
                      fecha_modificacion, solicitante, direccion, correo, monto, pagada, observaciones \
                      FROM public.solicitudes WHERE id = 50";
        self.client.batch_execute(insert).await?;
        self.forget_slots().await
    }

    /// Lets the slot's restart point move up, which it does at checkpoints; whether it has.
    pub(crate) async fn advance_slot(&self) -> Result<bool, Failure> {
        self.client.batch_execute("CHECKPOINT").await?;
        let sql = "SELECT pg_current_wal_lsn() - restart_lsn < 1000000 FROM pg_replication_slots WHERE slot_name = $1";
        Ok(self.client.query_one(sql, &[&SLOT]).await?.get(0))
    }

    pub(crate) async fn change_one_row(&self) -> Result<(), Failure> {
        Ok(self.client.batch_execute(&format!("{UPDATE} WHERE id = 1")).await?)
    }

    pub(crate) async fn drop_rival_slot(&self) -> Result<(), Failure> {
        Ok(self.client.batch_execute(&format!("SELECT pg_drop_replication_slot('{RIVAL_SLOT}')")).await?)
    }

    pub(crate) async fn forget_slots(&self) -> Result<(), Failure> {
        let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
        Ok(self.client.batch_execute(sql).await?)
    }
}

fn procedures() -> String {
    format!(
        "CREATE PROCEDURE churn(updates int, size int) LANGUAGE plpgsql AS $body$
         BEGIN
             FOR base IN 1..updates BY size LOOP
                 {UPDATE} WHERE id BETWEEN base AND base + size - 1;
                 COMMIT;
             END LOOP;
         END $body$"
    )
}
