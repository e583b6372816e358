//! Rows of change tables, put together to changes.
//!
//! An update is two rows: what the row was (3), and what it became (4). An update of a unique key is a deletion (1) and an
//! insertion (2): with one `__$seqval` when it is of a single row, with one each when it is of several. Told as they
//! are, they would make a request vanish and come into being anew; so deletions wait until it is known what follows
//! them in their transaction, as far as memory allows
//! (<https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql>).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use change::{Batch, Change, Operation, Position, Row, RowKey, Transaction, Value};

use crate::instance::MaskBit;
use crate::lsn::Lsn;

/// Changes of one transaction that wait for what follows a deletion; the rest of a longer one is told as it comes.
const HELD_CHANGES_MAX: usize = 8192;
/// Bytes of them.
const HELD_BYTES_MAX: usize = 4 << 20;

/// A row of a change table.
#[derive(Debug, Clone)]
pub(super) struct Captured {
    /// The number of the table that was changed.
    pub(super) table: u16,
    pub(super) lsn: Lsn,
    /// Numbers the row's change; an update has one for both its rows.
    pub(super) seqval: Lsn,
    /// 1 to 4.
    pub(super) operation: i64,
    /// Which columns the change touched; only where a column may have been left out.
    pub(super) mask: Vec<u8>,
    pub(super) row: Row,
    pub(super) key: Option<RowKey>,
    /// About how much memory it takes.
    pub(super) bytes: usize,
}

/// A change that waits.
#[derive(Debug)]
struct Held {
    change: Change,
    seqval: Lsn,
    bytes: usize,
}

/// The transaction being read.
#[derive(Debug)]
struct Open {
    lsn: Lsn,
    transaction: Arc<Transaction>,
    /// What rows were, until it comes what they became: one of each table at the most.
    before: Vec<Captured>,
    held: Vec<Held>,
    held_bytes: usize,
}

/// Puts changes together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    changes: Vec<Change>,
    bytes: usize,
    open: Option<Open>,
}

impl Assembly {
    /// Bytes of the changes that are ready.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many changes are ready.
    pub(super) fn ready(&self) -> usize {
        self.changes.len()
    }

    /// Takes the next row in log order. `large` tells of each mapped column that may be left out where a mask says whether
    /// the change touched it, and `committed_at` when a transaction committed.
    pub(super) fn push(
        &mut self,
        captured: Captured,
        large: &[(usize, MaskBit)],
        committed_at: impl FnOnce(Lsn) -> i64,
    ) {
        if self.open.as_ref().is_none_or(|open| open.lsn != captured.lsn) {
            self.end_transaction();
            let position = captured.lsn.to_position();
            let transaction = Arc::new(Transaction { position, committed_at: committed_at(captured.lsn) });
            let (before, held) = (Vec::new(), Vec::new());
            self.open = Some(Open { lsn: captured.lsn, transaction, before, held, held_bytes: 0 });
        }
        let Some(open) = &mut self.open else { return };
        let before = open.before.iter().position(|before| before.table == captured.table);
        let before = before.map(|at| open.before.swap_remove(at));
        if captured.operation == 3 {
            open.before.push(captured);
            return;
        }
        let before = before.filter(|before| before.seqval == captured.seqval);
        let held = open.hold(captured, before, large);
        let waits = held.change.operation == Operation::Delete || !open.held.is_empty();
        if waits {
            open.held_bytes += held.bytes;
            open.held.push(held);
            if open.held.len() >= HELD_CHANGES_MAX || open.held_bytes >= HELD_BYTES_MAX {
                self.release();
            }
        } else {
            self.bytes += held.bytes;
            self.changes.push(held.change);
        }
    }

    /// Ends the transaction that is open: a window of the log holds whole ones.
    pub(super) fn end_transaction(&mut self) {
        self.release();
        self.open = None;
    }

    fn release(&mut self) {
        let Some(open) = &mut self.open else { return };
        open.held_bytes = 0;
        let held = paired(std::mem::take(&mut open.held));
        for one in held {
            self.bytes += one.bytes;
            self.changes.push(one.change);
        }
    }

    /// What is ready. With a position only where everything up to it has been taken.
    pub(super) fn take(&mut self, position: Option<Position>, caught_up: bool) -> Batch {
        self.bytes = 0;
        Batch { changes: std::mem::take(&mut self.changes), incidents: Vec::new(), position, caught_up }
    }
}

impl Open {
    /// The change that a row makes, with what the row was where that came just before.
    fn hold(&self, captured: Captured, before: Option<Captured>, large: &[(usize, MaskBit)]) -> Held {
        let Captured { table, seqval, operation, mask, row, key, bytes, .. } = captured;
        let bytes = bytes + before.as_ref().map_or(0, |before| before.bytes) + size_of::<Change>();
        let transaction = Arc::clone(&self.transaction);
        let change = match operation {
            1 => Change {
                table,
                operation: Operation::Delete,
                before: Some(row),
                after: None,
                key,
                old_key: None,
                transaction,
            },
            2 => Change {
                table,
                operation: Operation::Insert,
                before: None,
                after: Some(row),
                key,
                old_key: None,
                transaction,
            },
            _ => {
                let (before_row, before_key) =
                    before.map_or((None, None), |before| (Some(before.row), before.key));
                let (before, after) = completed(before_row, row, &mask, large);
                let old_key = before_key.filter(|before| key.as_ref() != Some(before));
                Change {
                    table,
                    operation: Operation::Update,
                    before,
                    after: Some(after),
                    key,
                    old_key,
                    transaction,
                }
            }
        };
        Held { change, seqval, bytes }
    }
}

/// Puts back what capture left out of an update: texts without a greatest length that the change did not touch. What the
/// row was is left out then, always; what it became is there as far as the documentation goes, and was found to be left
/// out as well (<https://github.com/debezium/debezium/pull/8078>).
fn completed(before: Option<Row>, after: Row, mask: &[u8], large: &[(usize, MaskBit)]) -> (Option<Row>, Row) {
    let untouched: HashSet<usize> =
        large.iter().filter(|(_, bit)| !bit.is_set(mask)).map(|(place, _)| *place).collect();
    if untouched.is_empty() {
        return (before, after);
    }
    let cell = |row: &Row, place: usize| row.get(place).cloned().unwrap_or(Value::Null);
    // A NULL that the change did not touch may be one, or be left out: then the former row is not known whole.
    let unknown = untouched.iter().any(|place| cell(&after, *place).is_null());
    let before = before.filter(|_| !unknown).map(|before| {
        let cells = 0..before.cells().len();
        Row::new(cells.map(|at| cell(if untouched.contains(&at) { &after } else { &before }, at)).collect())
    });
    let cells = 0..after.cells().len();
    let after = cells.map(|at| match cell(&after, at) {
        Value::Null if untouched.contains(&at) => Value::Unchanged,
        value => value,
    });
    (before, Row::new(after.collect()))
}

/// Makes updates of deletions and insertions that belong together: by their number, else by the row's key, else by
/// equal mapped columns, when only the key was altered. An update stands where its insertion stood.
fn paired(mut held: Vec<Held>) -> Vec<Held> {
    let is = |held: &Held, operation: Operation| held.change.operation == operation;
    if !held.iter().any(|one| is(one, Operation::Insert))
        || !held.iter().any(|one| is(one, Operation::Delete))
    {
        return held;
    }
    let by_number = pairs(&held, &HashSet::new(), |one| Some(one.seqval));
    let mut taken: HashSet<usize> = by_number.iter().flat_map(|(one, other)| [*one, *other]).collect();
    let by_key = pairs(&held, &taken, |one| one.change.key.clone());
    taken.extend(by_key.iter().flat_map(|(one, other)| [*one, *other]));
    let by_content = pairs(&held, &taken, |one| {
        let row = one.change.after.as_ref().or(one.change.before.as_ref())?;
        Some(format!("{:?}", row.cells()))
    });
    let mut gone = HashSet::new();
    for (deletion, insertion) in by_number.into_iter().chain(by_key).chain(by_content) {
        let Some((before, old_key)) =
            held.get_mut(deletion).map(|deleted| (deleted.change.before.take(), deleted.change.key.take()))
        else {
            continue;
        };
        if let Some(inserted) = held.get_mut(insertion) {
            inserted.change.operation = Operation::Update;
            inserted.change.before = before;
            inserted.change.old_key = old_key.filter(|old| inserted.change.key.as_ref() != Some(old));
            gone.insert(deletion);
        }
    }
    held.into_iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, one)| one).collect()
}

/// Deletions and the insertions after them in the same table that have the same mark, each in one pair at the most.
fn pairs<M: Eq + std::hash::Hash>(
    held: &[Held],
    taken: &HashSet<usize>,
    mark: impl Fn(&Held) -> Option<M>,
) -> Vec<(usize, usize)> {
    let mark = |one: &Held| mark(one).map(|mark| (one.change.table, mark));
    let mut waiting: HashMap<(u16, M), Vec<usize>> = HashMap::new();
    let mut found = Vec::new();
    for (at, one) in held.iter().enumerate().filter(|(at, _)| !taken.contains(at)) {
        match one.change.operation {
            Operation::Delete => {
                if let Some(mark) = mark(one) {
                    waiting.entry(mark).or_default().push(at);
                }
            }
            Operation::Insert => {
                let deletion = mark(one).and_then(|mark| waiting.get_mut(&mark)?.pop());
                found.extend(deletion.map(|deletion| (deletion, at)));
            }
            Operation::Update => {}
        }
    }
    found
}

#[cfg(test)]
mod tests;
