//! XA transactions that are prepared: their changes come in the log before anybody knows whether they will be committed.

use std::sync::Arc;

use change::{Change, SourceError, SourceErrorKind, Transaction};

use crate::binlog::group::Xid;
use crate::position::Place;

/// Changes that are held in memory at most, in bytes.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Prepared transactions at most; a server with more has lost their owners.
const PREPARED_MAX: usize = 100_000;

#[derive(Debug)]
struct Waiting {
    xid: Xid,
    /// Where it begins.
    place: Place,
    changes: Vec<(Change, usize)>,
}

/// The prepared transactions, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    waiting: Vec<Waiting>,
    /// Changes of the one that is being read.
    open: Vec<(Change, usize)>,
    bytes: usize,
}

impl Prepared {
    /// Holds a change of the transaction that is being read.
    ///
    /// # Errors
    /// A lost log when more would have to be held than memory allows: then only the table itself tells.
    pub(crate) fn hold(&mut self, change: Change, bytes: usize) -> Result<(), SourceError> {
        self.bytes += bytes + size_of::<Change>();
        if self.bytes > HELD_BYTES_MAX {
            return Err(SourceError::new(
                SourceErrorKind::LostLog,
                format!("prepared XA transactions hold more than {} MiB of changes", HELD_BYTES_MAX >> 20),
            )
            .with_hint("see XA RECOVER: commit or roll back what has been forgotten"));
        }
        self.open.push((change, bytes));
        Ok(())
    }

    /// The transaction that was being read is prepared; it began at `place`.
    ///
    /// # Errors
    /// A lost log when there are too many.
    pub(crate) fn prepare(&mut self, xid: Xid, place: Place) -> Result<(), SourceError> {
        if self.waiting.len() >= PREPARED_MAX {
            return Err(SourceError::new(
                SourceErrorKind::LostLog,
                format!("more than {PREPARED_MAX} XA transactions are prepared"),
            )
            .with_hint("see XA RECOVER: commit or roll back what has been forgotten"));
        }
        self.waiting.push(Waiting { xid, place, changes: std::mem::take(&mut self.open) });
        Ok(())
    }

    /// The changes of the transaction that was being read, which turned out to be committed at once.
    pub(crate) fn take_open(&mut self) -> Vec<(Change, usize)> {
        let changes = std::mem::take(&mut self.open);
        self.release(&changes);
        changes
    }

    /// The changes of a transaction that is committed or rolled back now; `None` for one that was prepared before
    /// reading began.
    pub(crate) fn take(&mut self, xid: &Xid) -> Option<Vec<(Change, usize)>> {
        let index = self.waiting.iter().position(|waiting| waiting.xid == *xid)?;
        let found = self.waiting.remove(index);
        self.release(&found.changes);
        Some(found.changes)
    }

    /// Where the oldest begins.
    pub(crate) fn oldest(&self) -> Option<&Place> {
        self.waiting.first().map(|waiting| &waiting.place)
    }

    fn release(&mut self, changes: &[(Change, usize)]) {
        let held: usize = changes.iter().map(|(_, bytes)| bytes + size_of::<Change>()).sum();
        self.bytes = self.bytes.saturating_sub(held);
    }
}

/// The change as part of the transaction that committed it.
pub(crate) fn committed_by(change: Change, transaction: &Arc<Transaction>) -> Change {
    Change { transaction: Arc::clone(transaction), ..change }
}
