//! Messages of the log, put together into batches that end between transactions wherever possible.

use std::sync::Arc;

use change::{Batch, Change, Incident, Operation, RowKey, SourceError, Transaction};

use crate::decode::{self, DecodeError, Message, Old, Relation, RelationIds, Tuple};
use crate::position::Lsn;
use crate::relation::{Layout, Relations, Target};

/// A batch ends when it has this many changes.
const CHANGES_MAX: usize = 2048;
/// A batch ends when its changes take about this many bytes.
const BYTES_MAX: usize = 512 << 10;

/// A transaction whose commit is still to come.
#[derive(Debug)]
struct Open {
    commit_lsn: Lsn,
    committed_at: i64,
    /// Made when the first change of ours needs it.
    shared: Option<Arc<Transaction>>,
}

impl Open {
    fn transaction(&mut self) -> Arc<Transaction> {
        let made = self.shared.get_or_insert_with(|| {
            Arc::new(Transaction { position: self.commit_lsn.to_position(), committed_at: self.committed_at })
        });
        Arc::clone(made)
    }
}

/// How much of what is gathered lies before the last commit.
#[derive(Debug, Default, Clone, Copy)]
struct Complete {
    changes: usize,
    incidents: usize,
    bytes: usize,
}

/// Says of which table, by its number in the scope, a relation that bears no configured name is a partition.
pub(crate) type PartitionOf = Box<dyn FnMut(u32) -> Result<Option<u16>, SourceError> + Send>;

/// Gathers changes until they are taken as a batch.
pub(crate) struct Assembly {
    targets: Vec<Target>,
    relations: Relations,
    partition_of: Option<PartitionOf>,
    open: Option<Open>,
    /// Whether a piece of the open transaction was handed out.
    in_pieces: bool,
    changes: Vec<Change>,
    incidents: Vec<Incident>,
    bytes: usize,
    complete: Complete,
    /// The position up to which everything was handed out; `None` before the first batch, which tells where the stream
    /// stands even when the log is idle.
    taken: Option<Lsn>,
    /// The position up to which everything has been read.
    reached: Lsn,
}

impl Assembly {
    /// Starts with nothing gathered, at a position that is durable already. `partition_of` is asked once per
    /// unknown relation, where partitions appear in the log under their own names.
    pub(crate) fn new(targets: Vec<Target>, start: Lsn, partition_of: Option<PartitionOf>) -> Self {
        Self {
            targets,
            relations: Relations::default(),
            partition_of,
            open: None,
            in_pieces: false,
            changes: Vec::new(),
            incidents: Vec::new(),
            bytes: 0,
            complete: Complete::default(),
            taken: None,
            reached: start,
        }
    }

    /// Takes in one message of the log.
    ///
    /// # Errors
    /// A protocol error for bytes that are no such message, a schema error for a table that lacks a mapped
    /// column.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        match decode::message(bytes)? {
            Message::Relation(relation) => self.relation(&relation),
            message => Ok(self.apply(message)?),
        }
    }

    /// Takes in how far the server has read its log. Outside a transaction everything up to there has been
    /// received, so an idle database moves the position as well.
    pub(crate) fn keepalive(&mut self, wal_end: Lsn) {
        if self.open.is_none() {
            self.reached = self.reached.max(wal_end);
        }
    }

    /// Whether the next message may have to wait until a batch is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.changes.len() >= CHANGES_MAX || self.bytes >= BYTES_MAX
    }

    /// The position up to which everything has been read.
    pub(crate) fn reached(&self) -> Lsn {
        self.reached
    }

    /// Whether committed changes wait to be taken.
    pub(crate) fn has_committed(&self) -> bool {
        self.complete.changes > 0 || self.complete.incidents > 0
    }

    /// Whether the position has moved since a batch was taken.
    pub(crate) fn has_moved(&self) -> bool {
        self.taken.is_none_or(|taken| self.reached > taken)
    }

    /// The position is worth telling once more, although it is the same.
    pub(crate) fn note_moved(&mut self) {
        self.taken = None;
    }

    /// Everything up to the last commit; `None` when there is nothing to tell.
    pub(crate) fn take_committed(&mut self, caught_up: bool) -> Option<Batch> {
        if !self.has_committed() && !self.has_moved() {
            return None;
        }
        let open_changes = self.changes.split_off(self.complete.changes.min(self.changes.len()));
        let taken = self.complete.changes;
        let open_incidents = self.incidents.split_off(self.complete.incidents.min(self.incidents.len()));
        let open_incidents =
            open_incidents.into_iter().map(|incident| incident.without_first(taken)).collect();
        self.bytes -= self.complete.bytes;
        self.complete = Complete::default();
        self.taken = Some(self.reached);
        Some(Batch {
            changes: std::mem::replace(&mut self.changes, open_changes),
            incidents: std::mem::replace(&mut self.incidents, open_incidents),
            position: Some(self.reached.to_position()),
            caught_up,
        })
    }

    /// What a full assembly gives up: everything up to the last commit, or, in the middle of a large transaction, a
    /// piece of it without a position.
    pub(crate) fn take_full(&mut self) -> Option<Batch> {
        if self.has_committed() {
            return self.take_committed(false);
        }
        self.bytes = 0;
        self.in_pieces = true;
        Some(Batch {
            changes: std::mem::take(&mut self.changes),
            incidents: std::mem::take(&mut self.incidents),
            position: None,
            caught_up: false,
        })
    }

    /// Forgets the open transaction, so that it can be read again from its beginning; whether that was possible. It is
    /// not once a piece of it has been handed out.
    pub(crate) fn forget_open(&mut self) -> bool {
        if self.in_pieces {
            return false;
        }
        self.open = None;
        self.changes.truncate(self.complete.changes);
        self.incidents.truncate(self.complete.incidents);
        self.bytes = self.complete.bytes;
        true
    }

    fn relation(&mut self, relation: &Relation<'_>) -> Result<(), SourceError> {
        if let Some(target) = self.targets.iter().find(|target| target.is_named_by(relation)) {
            self.relations.remember(relation.oid, Some(target.layout(relation)?));
            return Ok(());
        }
        let root = match &mut self.partition_of {
            Some(partition_of) => partition_of(relation.oid)?,
            None => None,
        };
        let root = root.and_then(|number| self.targets.get(usize::from(number)));
        match root.map(|target| target.layout(relation)).transpose() {
            Ok(layout) => self.relations.remember(relation.oid, layout),
            // A server that publishes through the root describes its partitions too, with the root's column list
            // laid over their own order of columns: nonsense, which no row change refers to. Should one do so all
            // the same, an unknown relation is a definite error.
            Err(_) => self.relations.forget(relation.oid),
        }
        Ok(())
    }

    fn apply(&mut self, message: Message<'_>) -> Result<(), DecodeError> {
        match message {
            Message::Begin { commit_lsn, committed_at } => {
                if self.open.is_some() {
                    return Err(DecodeError::OutOfOrder("begin within a transaction"));
                }
                self.open = Some(Open { commit_lsn, committed_at, shared: None });
            }
            Message::Commit { end_lsn } => {
                if self.open.take().is_none() {
                    return Err(DecodeError::OutOfOrder("commit outside a transaction"));
                }
                self.reached = self.reached.max(end_lsn);
                self.in_pieces = false;
                self.complete = Complete {
                    changes: self.changes.len(),
                    incidents: self.incidents.len(),
                    bytes: self.bytes,
                };
            }
            Message::Insert { relation, new } => {
                self.row_change(Operation::Insert, relation, None, Some(&new))?
            }
            Message::Update { relation, old, new } => {
                self.row_change(Operation::Update, relation, old.as_ref(), Some(&new))?;
            }
            Message::Delete { relation, old } => {
                self.row_change(Operation::Delete, relation, Some(&old), None)?;
            }
            Message::Truncate(relations) => self.truncate(relations)?,
            Message::Relation(_) | Message::Aside => {}
        }
        Ok(())
    }

    fn row_change(
        &mut self,
        operation: Operation,
        relation: u32,
        old: Option<&Old<'_>>,
        new: Option<&Tuple<'_>>,
    ) -> Result<(), DecodeError> {
        let Some(layout) = self.relations.layout(relation)? else { return Ok(()) };
        let Some(open) = &mut self.open else {
            return Err(DecodeError::OutOfOrder("row change outside a transaction"));
        };
        let before = match old {
            Some(Old::Row(tuple)) => Some(layout.row(tuple)?),
            Some(Old::Key(_)) | None => None,
        };
        let after = new.map(|tuple| layout.row(tuple)).transpose()?;
        self.bytes += size_of::<Change>();
        self.bytes += before.as_ref().map_or(0, |(_, bytes)| *bytes);
        self.bytes += after.as_ref().map_or(0, |(_, bytes)| *bytes);
        let keys = keys(layout, old, new)?;
        self.changes.push(Change {
            table: layout.table(),
            operation,
            before: before.map(|(row, _)| row),
            after: after.map(|(row, _)| row),
            key: keys.current,
            old_key: keys.old,
            transaction: open.transaction(),
        });
        Ok(())
    }

    fn truncate(&mut self, relations: RelationIds<'_>) -> Result<(), DecodeError> {
        let Some(open) = &self.open else {
            return Err(DecodeError::OutOfOrder("truncation outside a transaction"));
        };
        let mut tables: Vec<u16> = relations.iter().filter_map(|oid| self.relations.table(oid)).collect();
        tables.sort_unstable();
        tables.dedup();
        let position = || open.commit_lsn.to_position();
        let after = self.changes.len();
        let incident = |table| Incident::Truncated { table, position: position(), after };
        self.incidents.extend(tables.into_iter().map(incident));
        Ok(())
    }
}

/// The keys of a changed row.
struct Keys {
    current: Option<RowKey>,
    old: Option<RowKey>,
}

fn keys(layout: &Layout, old: Option<&Old<'_>>, new: Option<&Tuple<'_>>) -> Result<Keys, DecodeError> {
    let old = old.map(|(Old::Key(tuple) | Old::Row(tuple))| tuple);
    let was = old.map_or(Ok(None), |tuple| layout.key(tuple, None))?;
    let Some(new) = new else { return Ok(Keys { current: was, old: None }) };
    let current = layout.key(new, old)?;
    Ok(Keys { old: was.filter(|was| current.as_ref().is_some_and(|now| now != was)), current })
}

#[cfg(test)]
mod tests;
