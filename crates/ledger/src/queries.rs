//! What can be asked of a ledger, by the process that writes it and by any other.

use change::{Checkpoint, Position, ServerIdentity};
use rusqlite::Connection;

use crate::error::LedgerError;
use crate::meta;

/// Questions to the ledger; [`crate::Ledger`] and [`crate::LedgerReader`] both lend one.
///
/// Each question is answered as of one commit.
#[derive(Debug)]
pub struct Queries {
    pub(crate) connection: Connection,
}

impl Queries {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Where the stream goes on, and on which server. `None` until both are known.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, LedgerError> {
        let position: Option<String> = meta::get(&self.connection, meta::POSITION)?;
        let server: Option<String> = meta::get(&self.connection, meta::SERVER)?;
        Ok(position.zip(server).map(|(position, server)| Checkpoint {
            position: Position::new(position),
            server: ServerIdentity::new(server),
        }))
    }

    /// Row changes captured since the ledger was made, status changes or not.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn captured_changes(&self) -> Result<u64, LedgerError> {
        Ok(meta::number(&self.connection, meta::CAPTURED_CHANGES)?.unsigned_abs())
    }

    /// When the newest captured transaction committed in the database, in microseconds since the epoch.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn committed_at(&self) -> Result<Option<i64>, LedgerError> {
        meta::get(&self.connection, meta::COMMITTED_AT)
    }

    /// When the ledger last took something from the stream, in microseconds since the epoch.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn captured_at(&self) -> Result<Option<i64>, LedgerError> {
        meta::get(&self.connection, meta::CAPTURED_AT)
    }

    /// Whether committed log rows wait to be settled, so that [`Queries::delta`] does not count them yet.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn is_settled(&self) -> Result<bool, LedgerError> {
        let settled = meta::number(&self.connection, meta::SETTLED_SEQ)?;
        Ok(settled >= meta::number(&self.connection, meta::COMMITTED_SEQ)?)
    }

    /// The note that was left under `key`.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn note(&self, key: &str) -> Result<Option<String>, LedgerError> {
        meta::get(&self.connection, &format!("{}{key}", meta::NOTE_PREFIX))
    }

    /// Bytes that the ledger's main file takes, free pages included; its log file is not counted.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn size_bytes(&self) -> Result<u64, LedgerError> {
        let pages: u64 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let size: u64 = self.connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        Ok(pages.saturating_mul(size))
    }
}
