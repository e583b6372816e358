//! What an engine brings so that the conformance suite can run against it.

use std::future::Future;

/// One entry of the database's own record of what happened; see [`Backend::history`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HistoryRow {
    /// Grows from change to change; per request, in commit order.
    pub(crate) seq: i64,
    /// The columns of the same names, as text; times are `YYYY-MM-DDTHH:MM:SS.ffffff`, local.
    pub(crate) numero: String,
    pub(crate) servicio: String,
    pub(crate) estado: String,
    pub(crate) fecha_apertura: String,
    pub(crate) fecha_modificacion: String,
}

/// A database of a real server.
///
/// The suite's own table is `solicitudes`: a surrogate key `id` made by the server, then `numero` (unique),
/// `servicio`, `estado` (text), `fecha_apertura`, `fecha_modificacion` (local, without a zone, microseconds)
/// and `nota` (text, may be NULL).
pub(crate) trait Backend: Sized + Send + Sync + 'static {
    /// One connection.
    type Session: Session;

    /// The engine, as the configuration and `status` name it.
    const ENGINE: &'static str;

    /// A database of its own on the server that the tests of this process share.
    fn shared() -> impl Future<Output = Self> + Send;

    /// A database on a server of its own, which may be crashed and flooded.
    fn own() -> impl Future<Output = Self> + Send;

    /// The sections `[source]` and `[source.ENGINE]` of the configuration for the suite's own table.
    fn source(&self) -> String;

    /// The password of the configuration's user.
    fn password(&self) -> String;

    /// Makes the suite's own table, and beside it the history: a trigger that notes each status that a
    /// request passes to, in the same transaction. It is the oracle's only source, and independent of us.
    fn create_table(&self) -> impl Future<Output = ()> + Send;

    /// Has the changes of another table of the database captured: for engines that are told so table by table.
    fn capture(&self, _table: &str) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Opens a connection.
    fn session(&self) -> impl Future<Output = Result<Self::Session, String>> + Send;

    /// What the history holds, in order.
    fn history(&self) -> impl Future<Output = Vec<HistoryRow>> + Send;

    /// Kills the server like a power cut.
    fn crash(&self);

    /// Starts it again.
    fn restart(&self);

    /// Takes away what the product would have read next: the slot, or the log itself. Works while the product
    /// streams and while it does not.
    fn lose_log(&self) -> impl Future<Output = ()> + Send;

    /// Adds `rows` requests `P-1`, `P-2`, … with status RECIBIDA in one transaction, quickly and without
    /// history; their openings are ten minutes apart, from the midnight of `first_day` on.
    fn insert_many(&self, rows: u64, first_day: &str) -> impl Future<Output = ()> + Send;

    /// Sets the status of all requests in one transaction, quickly and without history.
    fn set_all(&self, estado: &str) -> impl Future<Output = ()> + Send;
}

/// One connection to a [`Backend`]'s database.
pub(crate) trait Session: Send + Sync + 'static {
    const BEGIN: &'static str = "BEGIN";
    const COMMIT: &'static str = "COMMIT";
    const ROLLBACK: &'static str = "ROLLBACK";
    const SAVEPOINT: &'static str = "SAVEPOINT aparte";
    const ROLLBACK_TO_SAVEPOINT: &'static str = "ROLLBACK TO SAVEPOINT aparte";

    /// Runs statements; the error is the server's message.
    fn try_run(&self, sql: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Runs statements that must succeed.
    fn run(&self, sql: &str) -> impl Future<Output = ()> + Send {
        async move {
            if let Err(error) = self.try_run(sql).await {
                panic!("{sql}\n{error}");
            }
        }
    }

    /// Begins a transaction.
    fn begin(&self) -> impl Future<Output = ()> + Send {
        self.run(Self::BEGIN)
    }

    /// Commits it.
    fn commit(&self) -> impl Future<Output = ()> + Send {
        self.run(Self::COMMIT)
    }

    /// Rolls it back.
    fn rollback(&self) -> impl Future<Output = ()> + Send {
        self.run(Self::ROLLBACK)
    }
}
