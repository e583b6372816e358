//! A session that reads pieces of the log, with a temporary copy of a slot that ends with it.

use change::{SourceError, SourceErrorKind};

use crate::config::PostgresConfig;
use crate::name::{quote_ident, quote_literal};
use crate::position::Lsn;
use crate::wire::{Closer, Connection, Purpose, Raw};
use crate::wire::{Filled, TextRow};

/// The first version that looks, while a statement runs, whether the client is still there
/// (<https://www.postgresql.org/docs/current/runtime-config-connection.html#GUC-CLIENT-CONNECTION-CHECK-INTERVAL>).
const CLIENT_CHECK_SINCE: u32 = 140_000;

/// What a piece holds at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Bytes of log, whoever's changes they hold.
    pub(crate) bytes: u64,
    /// It ends with the transaction that makes it this many messages long.
    pub(crate) messages: u32,
}

/// One of the sessions that take turns.
#[derive(Debug)]
pub(crate) struct PieceReader {
    config: PostgresConfig,
    connection: Connection,
    slot: String,
    has_slot: bool,
    /// Whether a statement has been sent whose answer has not been read to its end.
    is_busy: bool,
}

impl PieceReader {
    /// Opens a session without a slot.
    ///
    /// # Errors
    /// When the server has no place for one more.
    pub(crate) fn open(config: &PostgresConfig) -> Result<Self, SourceError> {
        let mut connection = Connection::open(config, Purpose::Sql)?;
        // A session that is gone must not decode on: its end is what drops the slot.
        if connection.version() >= CLIENT_CHECK_SINCE {
            let context = "have the server look whether we are still there";
            let set = connection.query(context, "SET client_connection_check_interval = '1s'");
            if let Err(error) = set {
                // Some systems cannot tell; the server then finds out when it sends.
                tracing::debug!(error = %error, "the server will notice our end later");
            }
        }
        let slot = format!("bitacora_catch_up_{}", connection.process());
        Ok(Self { config: config.clone(), connection, slot, has_slot: false, is_busy: false })
    }

    /// The temporary slot's name.
    pub(crate) fn slot(&self) -> &str {
        &self.slot
    }

    /// Makes the temporary slot stand where `slot` stands, which may be another reader's.
    ///
    /// # Errors
    /// When the server refuses, for example because it has no slot left.
    pub(crate) fn copy_slot(&mut self, slot: &str) -> Result<(), SourceError> {
        let own = quote_literal(&self.slot);
        if std::mem::take(&mut self.has_slot) {
            let sql = format!("SELECT pg_drop_replication_slot({own})");
            self.query("drop a copy of the replication slot", &sql)?;
        }
        let sql = format!("SELECT pg_copy_logical_replication_slot({}, {own}, true)", quote_literal(slot));
        self.query("copy the replication slot for catching up", &sql)?;
        self.has_slot = true;
        Ok(())
    }

    /// Moves the temporary slot forward.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn move_slot(&mut self, to: Lsn) -> Result<(), SourceError> {
        let sql = format!("SELECT pg_replication_slot_advance({}, '{to}')", quote_literal(&self.slot));
        self.query("advance a copy of the replication slot", &sql)?;
        Ok(())
    }

    fn query(&mut self, context: &str, sql: &str) -> Result<Vec<TextRow>, SourceError> {
        self.connection.query(context, sql)
    }

    /// Has the server decode the next piece, which begins at `from`. It does so without us: the answer may be read
    /// much later.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn ask(&mut self, from: Lsn, extent: Extent) -> Result<(), SourceError> {
        let publications = quote_literal(&quote_ident(&self.config.publication));
        let sql = format!(
            "COPY (SELECT data FROM pg_logical_slot_get_binary_changes({}, '{}', {},
                'proto_version', '1', 'publication_names', {publications})) TO STDOUT (FORMAT binary)",
            quote_literal(&self.slot),
            Lsn(from.0.saturating_add(extent.bytes)),
            extent.messages,
        );
        self.is_busy = true;
        self.connection.ask(&sql)
    }

    /// The next message of the answer that has been read already.
    ///
    /// # Errors
    /// When what came is not a message.
    pub(crate) fn take(&mut self) -> Result<Option<Raw<'_>>, SourceError> {
        let raw = self.connection.take()?;
        if raw.is_some_and(|raw| raw.tag == b'Z') {
            self.is_busy = false;
        }
        Ok(raw)
    }

    /// Reads more of the answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn fill(&mut self) -> Result<(), SourceError> {
        match self.connection.fill()? {
            Filled::Bytes(_) => Ok(()),
            Filled::Nothing | Filled::Closed => {
                let what = format!("the server at {} closed the connection", self.config.address());
                Err(SourceError::new(SourceErrorKind::Unreachable, what))
            }
        }
    }

    /// Ends reading from another thread.
    ///
    /// # Errors
    /// When the system has no handle left.
    pub(crate) fn closer(&self) -> Result<Closer, SourceError> {
        self.connection.closer()
    }

    /// Ends the session and with it the slot.
    pub(crate) fn end(self) {
        if self.is_busy
            && let Err(error) = self.connection.canceller(&self.config).cancel()
        {
            tracing::debug!(error = %error, "the server will notice our end later");
        }
        self.connection.terminate();
    }
}
