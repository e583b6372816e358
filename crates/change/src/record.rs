//! Row changes, the transactions that carried them, and the batches in which they arrive.

use std::sync::Arc;

use crate::{Position, Row, RowKey};

/// What a change did to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The row came into being.
    Insert,
    /// The row was altered.
    Update,
    /// The row went away.
    Delete,
}

/// A committed transaction of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Where the log holds its commit.
    pub position: Position,
    /// When it committed by the database's clock, in microseconds since the epoch, UTC.
    pub committed_at: i64,
}

/// One row change of a configured table, in log order across all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The number of the table: its place in [`crate::Scope::tables`].
    pub table: u16,
    /// What happened to the row.
    pub operation: Operation,
    /// The row as it was, where the log carries all mapped columns of it. `None` for inserts, and wherever
    /// the engine logs the key at most: then the product compares with what it knows.
    pub before: Option<Row>,
    /// The row as it became; `None` for deletes.
    pub after: Option<Row>,
    /// The key of the row as it became, or of the row that was deleted, where the engine can tell.
    pub key: Option<RowKey>,
    /// The key that the row had before, only when the change altered the key.
    pub old_key: Option<RowKey>,
    /// The transaction that made the change.
    pub transaction: Arc<Transaction>,
}

/// Something that happened to a table as a whole, or to its log, and that no row change describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incident {
    /// All rows were removed at once. Nothing is sent for it: the operator is told, and a parent's rows are not joined
    /// to what comes after.
    Truncated {
        /// The number of the table.
        table: u16,
        /// Where the log says so.
        position: Position,
        /// How many of the batch's changes come before it.
        after: usize,
    },
    /// The engine's own capture does not run, or gives no sign of it: that nothing comes does not mean that nothing
    /// changes.
    CaptureSilent {
        /// What was found.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// It gives signs again.
    CaptureResumed,
}

impl Incident {
    /// The same as told of a batch that lacks the first so many changes.
    #[must_use]
    pub fn without_first(self, changes: usize) -> Self {
        match self {
            Self::Truncated { table, position, after } => {
                Self::Truncated { table, position, after: after.saturating_sub(changes) }
            }
            other => other,
        }
    }
}

/// A piece of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Row changes in log order, none for a batch that only moves the position.
    pub changes: Vec<Change>,
    /// What happened to a table as a whole.
    pub incidents: Vec<Incident>,
    /// Present only where the batch ends between transactions: every change up to here has been yielded
    /// and is committed. `None` in the middle of a large transaction, whose changes stay *open* until a
    /// later batch brings a position.
    pub position: Option<Position>,
    /// Whether the log's end had been reached when the batch was made, as far as the server told.
    pub caught_up: bool,
}
