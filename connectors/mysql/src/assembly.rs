//! Changes, gathered into batches that end between transactions wherever possible.

use change::{Batch, Change, Incident, Position};

/// A batch ends when it has this many changes.
const CHANGES_MAX: usize = 4096;
/// A batch ends when its changes take about this many bytes.
const BYTES_MAX: usize = 1 << 20;

/// How much of what is gathered lies before the last commit.
#[derive(Debug, Default, Clone, Copy)]
struct Complete {
    changes: usize,
    incidents: usize,
    bytes: usize,
}

/// What has been read and not been handed over.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    changes: Vec<Change>,
    incidents: Vec<Incident>,
    bytes: usize,
    complete: Complete,
    /// Whether the position has moved since a batch was taken.
    moved: bool,
    /// Whether a part of the open transaction has been handed over.
    open_taken: bool,
}

impl Assembly {
    /// Adds a change of the open transaction, of about so many bytes.
    pub(crate) fn add(&mut self, change: Change, bytes: usize) {
        self.bytes += bytes + size_of::<Change>();
        self.changes.push(change);
    }

    /// Adds that the open transaction has emptied the table with this number.
    pub(crate) fn add_truncation(&mut self, table: u16, position: Position) {
        self.incidents.push(Incident::Truncated { table, position, after: self.changes.len() });
    }

    /// What was added belongs to a transaction that is committed now.
    pub(crate) fn commit(&mut self) {
        self.complete =
            Complete { changes: self.changes.len(), incidents: self.incidents.len(), bytes: self.bytes };
        self.open_taken = false;
        self.moved = true;
    }

    /// Forgets the open transaction. Returns whether all of it could be forgotten: a part may have been handed over.
    pub(crate) fn roll_back(&mut self) -> bool {
        self.changes.truncate(self.complete.changes);
        self.incidents.truncate(self.complete.incidents);
        self.bytes = self.complete.bytes;
        !std::mem::take(&mut self.open_taken)
    }

    /// Whether the open transaction has changes.
    pub(crate) fn has_open(&self) -> bool {
        self.open_taken || self.changes.len() > self.complete.changes
    }

    /// Notes that the position has moved without a transaction of ours.
    pub(crate) fn note_moved(&mut self) {
        self.moved = true;
    }

    /// Whether the next event may have to wait until a batch is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.changes.len() >= CHANGES_MAX || self.bytes >= BYTES_MAX
    }

    /// Whether committed changes wait to be taken.
    pub(crate) fn has_committed(&self) -> bool {
        self.complete.changes > 0 || self.complete.incidents > 0
    }

    /// Whether the position has moved since a batch was taken.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved
    }

    /// Everything up to the last commit, which lies at `position`; `None` when there is nothing to tell.
    pub(crate) fn take_committed(
        &mut self,
        position: impl FnOnce() -> Position,
        caught_up: bool,
    ) -> Option<Batch> {
        if !self.has_committed() && !self.moved {
            return None;
        }
        let mut open_changes = self.changes.split_off(self.complete.changes.min(self.changes.len()));
        // The next batch will be about as long.
        open_changes.reserve(self.complete.changes.min(CHANGES_MAX));
        let taken = self.complete.changes;
        let open_incidents = self.incidents.split_off(self.complete.incidents.min(self.incidents.len()));
        let open_incidents =
            open_incidents.into_iter().map(|incident| incident.without_first(taken)).collect();
        self.bytes = self.bytes.saturating_sub(self.complete.bytes);
        self.complete = Complete::default();
        self.moved = false;
        Some(Batch {
            changes: std::mem::replace(&mut self.changes, open_changes),
            incidents: std::mem::replace(&mut self.incidents, open_incidents),
            position: Some(position()),
            caught_up,
        })
    }

    /// A batch out of the middle of a transaction that is too large for one, or what was committed before it.
    pub(crate) fn take_full(&mut self, position: impl FnOnce() -> Position) -> Option<Batch> {
        if self.has_committed() {
            return self.take_committed(position, false);
        }
        self.bytes = 0;
        self.open_taken = true;
        let room = Vec::with_capacity(CHANGES_MAX);
        Some(Batch {
            changes: std::mem::replace(&mut self.changes, room),
            incidents: std::mem::take(&mut self.incidents),
            position: None,
            caught_up: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use change::{Operation, Row, Transaction, Value};
    use std::sync::Arc;

    fn change() -> Change {
        let transaction = Transaction { position: Position::new("a.1:4"), committed_at: 0 };
        Change {
            table: 0,
            operation: Operation::Insert,
            before: None,
            after: Some(Row::new(vec![Value::Int(1)])),
            key: None,
            old_key: None,
            transaction: Arc::new(transaction),
        }
    }

    fn at() -> Position {
        Position::new("a.1:9")
    }

    #[test]
    fn a_position_comes_only_with_what_is_committed() {
        let mut assembly = Assembly::default();
        assembly.add(change(), 10);
        assert_eq!(assembly.take_committed(at, true), None);
        assembly.commit();
        assembly.add(change(), 10);
        let batch = assembly.take_committed(at, true).unwrap();
        assert_eq!((batch.changes.len(), batch.position, batch.caught_up), (1, Some(at()), true));
        assert!(assembly.has_open() && !assembly.has_committed());
    }

    #[test]
    fn a_large_transaction_leaves_in_parts_without_a_position() {
        let mut assembly = Assembly::default();
        assembly.add(change(), 10);
        assembly.commit();
        for _ in 0..CHANGES_MAX {
            assembly.add(change(), 10);
        }
        assert!(assembly.is_full());
        assert_eq!(assembly.take_full(at).unwrap().position, Some(at()));
        assert!(assembly.is_full());
        let part = assembly.take_full(at).unwrap();
        assert_eq!((part.changes.len(), part.position), (CHANGES_MAX, None));
        assert!(!assembly.is_full());
        assembly.commit();
        assert_eq!(assembly.take_committed(at, false).unwrap().position, Some(at()));
    }

    #[test]
    fn what_is_rolled_back_is_forgotten_unless_a_part_has_left() {
        let mut assembly = Assembly::default();
        assembly.add(change(), 10);
        assert!(assembly.roll_back());
        assert!(!assembly.has_open());
        assembly.add(change(), 10);
        assert!(assembly.take_full(at).is_some());
        assert!(!assembly.roll_back());
    }
}
