//! Joining rows to their parents, in the order of the log.
//!
//! # What must hold
//! - A row is joined to its parent as the parent was at the row's own place in the log, whenever it is settled.
//! - A parent's change alone says nothing: it counts from the next change of a row that is joined to it.
//! - A row whose parent is not known waits for it, and leaves with those behind it in the order in which they came.
//! - What is known of parents moves on in the commit that settles the rows before: a crash cannot part them.

use std::sync::Arc;

use change::{Change, Operation, Position, Row, RowKey, Transaction};
use normalizer::{Join, Mapped, Normalized, NormalizedRow, Rejection, Rows, Table};
use rusqlite::Connection;

use crate::captured_block::{self, PackedRow};
use crate::copy_state;
use crate::declared::Declared;
use crate::error::LedgerError;
use crate::ingest::{Entry, RejectedRow};
use crate::log_row::{LogKind, Origin};
use crate::parents::{Parent, Parents, completed};
use crate::quarantine::PutAside;
use crate::table_id::{TableId, unscoped};
use crate::unjoined::Unjoined;
use crate::unpack::LogWriter;
use crate::waiting::Waiting;

/// How many rows a slice takes in place of `max_rows` where they are joined: they stand in memory beside the parents that
/// they ask for.
pub(crate) fn joined_rows(max_rows: u64) -> u64 {
    (max_rows / 2).max(1)
}

/// Joins the rows of a slice.
pub(crate) struct Joiner<'a> {
    connection: &'a Connection,
    pub(crate) declared: &'a Declared,
    pub(crate) parents: Parents<'a>,
    pub(crate) aside: PutAside<'a>,
    log: LogWriter<'a>,
    waiting: Waiting<'a>,
    /// Rows of the log up to here were settled before.
    settled: i64,
    /// Whether a copy under way needs to know of every touch of a parent.
    track: bool,
}

/// What became of looking for a row's parents.
pub(crate) struct Found<'a> {
    /// Of each join.
    pub(crate) parents: Vec<Option<Row>>,
    /// The first that is missing, and its key if the row has one.
    pub(crate) missing: Option<(&'a Join, Option<String>)>,
}

impl Found<'_> {
    pub(crate) fn rows(&self) -> Vec<Option<&Row>> {
        self.parents.iter().map(Option::as_ref).collect()
    }
}

impl<'a> Joiner<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        declared: &'a Declared,
        settled: i64,
    ) -> Result<Self, LedgerError> {
        Ok(Self {
            connection,
            declared,
            parents: Parents::new(connection, declared)?,
            aside: PutAside::new(connection)?,
            log: LogWriter::new(connection)?,
            waiting: Waiting::new(connection, declared)?,
            settled,
            track: copy_state::must_track(connection)?,
        })
    }

    /// Reads the parents that packed rows after `after` and up to `upto` ask for.
    pub(crate) fn read_ahead(&mut self, after: i64, upto: i64) -> Result<(), LedgerError> {
        let mut keys = Vec::new();
        captured_block::visit(self.connection, after, upto, |row| {
            let Some(unjoined) = &row.unjoined else { return Ok(()) };
            let (_, Some(table)) = self.declared.table_of(unjoined.shape)? else { return Ok(()) };
            let Some(row) = &unjoined.row else { return Ok(()) };
            let row = self.declared.reshaped(unjoined.shape, row.clone());
            self.keys_of(table, &row, &mut keys);
            Ok(())
        })?;
        self.parents.read_all(keys)
    }

    /// The keys of the parents that a row asks for, and by which it is known itself.
    pub(crate) fn keys_of(&self, table: &Table, row: &Row, keys: &mut Vec<(usize, String)>) {
        let joins = table.mapped.iter().flat_map(|mapped| &mapped.joins);
        keys.extend(joins.filter_map(|join| Some((join.mirror, join.key_of(row)?))));
        let own = table.mirrors.iter();
        keys.extend(own.filter_map(|place| Some((*place, self.declared.mirror(*place)?.key_of(row)?))));
    }

    /// Takes the next row into account.
    pub(crate) fn visit(&mut self, row: &PackedRow<'_>, unjoined: &Unjoined) -> Result<(), LedgerError> {
        let (id, table) = self.declared.table_of(unjoined.shape)?;
        let Some(table) = table else {
            return if unjoined.is_child { self.put_orphan_aside(row, id) } else { Ok(()) };
        };
        let Some(operation) = unjoined.operation else {
            return table.mirrors.iter().try_for_each(|mirror| self.parents.empty(*mirror, row.seq));
        };
        let reshaped = |found: &Option<Row>| {
            found.as_ref().map(|row| self.declared.reshaped(unjoined.shape, row.clone()))
        };
        let (now, former) = (reshaped(&unjoined.row), reshaped(&unjoined.former));
        for mirror in &table.mirrors {
            let told = Told { operation, now: now.as_ref(), former: former.as_ref() };
            self.tell(*mirror, row, &told)?;
        }
        if unjoined.is_child { self.child(row, unjoined) } else { Ok(()) }
    }

    /// Writes what was learnt.
    pub(crate) fn finish(self) -> Result<(), LedgerError> {
        self.parents.store()
    }

    /// What a parent's change says, as the rows that are joined to it by one key see it.
    fn tell(&mut self, mirror: usize, row: &PackedRow<'_>, told: &Told<'_>) -> Result<(), LedgerError> {
        let Some(kept) = self.declared.mirror(mirror) else { return Ok(()) };
        let by_row_key = |key: &str| self.parents.key_by_row(mirror, key);
        let row_key = row.row_key.map(unscoped);
        if told.operation == Operation::Delete {
            let key = match (told.now.and_then(|row| kept.key_of(row)), row_key) {
                (Some(key), _) => Some(key),
                (None, Some(row_key)) => Some(by_row_key(row_key)?),
                (None, None) => None,
            };
            return key.map_or(Ok(()), |key| self.remove((mirror, &key), told.now, row.seq));
        }
        let Some(now) = told.now else { return Ok(()) };
        let Some(key) = kept.key_of(now) else { return Ok(()) };
        let old = match (told.former.and_then(|row| kept.key_of(row)), row.old_row_key) {
            (Some(old), _) => Some(old),
            (None, Some(old)) => Some(by_row_key(unscoped(old))?),
            (None, None) => None,
        };
        let mut cells = kept.cells_of(now);
        if let Some(old) = old.filter(|old| *old != key) {
            cells = completed(cells, self.parents.find(mirror, &old)?);
            self.remove((mirror, &old), told.former, row.seq)?;
        }
        if let Some(row_key) = row_key {
            self.parents.set_row_key(mirror, row_key, &key)?;
        }
        let before = self.parents.find(mirror, &key)?;
        cells = completed(cells, before);
        let is_known = before.is_some_and(|before| !before.is_gone);
        if is_known && !self.track && before.is_some_and(|before| before.cells == cells) {
            return Ok(());
        }
        let parent = |cells| Parent { cells, seq: row.seq, copy_id: 0, is_gone: false };
        if let Some(former) = told.former.filter(|_| !is_known) {
            // Rows that wait came before this change: they see the parent as it was.
            let cells = kept.cells_of(former);
            if kept.key_of(former).is_some_and(|old| old == key) {
                self.parents.set(mirror, &key, parent(cells));
                self.release(mirror, &key)?;
            }
        }
        self.parents.set(mirror, &key, parent(cells));
        self.release(mirror, &key)
    }

    /// A parent went away. Rows that are deleted with it are still joined to it.
    fn remove(
        &mut self,
        (mirror, key): (usize, &str),
        last: Option<&Row>,
        seq: i64,
    ) -> Result<(), LedgerError> {
        let told = last.and_then(|row| Some(self.declared.mirror(mirror)?.cells_of(row)));
        let known = self.parents.find(mirror, key)?.map(|parent| parent.cells.clone());
        let cells = known.or(told).unwrap_or_default();
        self.parents.set(mirror, key, Parent { cells, seq, copy_id: 0, is_gone: true });
        Ok(())
    }

    /// A parent as a copy shows it.
    pub(crate) fn tell_copied(
        &mut self,
        mirror: usize,
        (row, row_key): (&Row, Option<&str>),
        (copy_id, began_seq): (i64, i64),
    ) -> Result<(), LedgerError> {
        let Some(kept) = self.declared.mirror(mirror) else { return Ok(()) };
        let Some(key) = kept.key_of(row) else { return Ok(()) };
        if let Some(row_key) = row_key {
            self.parents.set_row_key(mirror, row_key, &key)?;
        }
        // What the stream has told since the copy began is newer.
        let is_known_better = self.parents.find(mirror, &key)?.is_some_and(|parent| parent.seq > began_seq);
        if is_known_better || self.parents.emptied_since(mirror, began_seq) {
            return Ok(());
        }
        let parent = Parent { cells: kept.cells_of(row), seq: began_seq, copy_id, is_gone: false };
        self.parents.set(mirror, &key, parent);
        self.release(mirror, &key)
    }

    fn release(&mut self, mirror: usize, key: &str) -> Result<(), LedgerError> {
        for (seq, stored) in self.waiting.take(mirror, key)? {
            for row in captured_block::Rows::new(&stored, seq) {
                let row = row?;
                if let Some(unjoined) = &row.unjoined {
                    self.child(&row, unjoined)?;
                }
            }
        }
        Ok(())
    }

    /// Looks for the parents of a row.
    pub(crate) fn find<'t>(
        &mut self,
        mapped: &'t Mapped,
        row: Option<&Row>,
        is_deleted: bool,
    ) -> Result<Found<'t>, LedgerError> {
        let mut found = Found { parents: Vec::with_capacity(mapped.joins.len()), missing: None };
        for join in &mapped.joins {
            let key = row.and_then(|row| join.key_of(row));
            let parent = match &key {
                Some(key) => self.parents.find(join.mirror, key)?,
                None => None,
            };
            let usable =
                parent.filter(|parent| (is_deleted || !parent.is_gone) && !parent.cells.cells().is_empty());
            if usable.is_none() && found.missing.is_none() {
                found.missing = Some((join, key));
            }
            found.parents.push(usable.map(|parent| parent.cells.clone()));
        }
        Ok(found)
    }

    /// A row that is joined and becomes a row of the log, or waits, or is put aside.
    fn child(&mut self, row: &PackedRow<'_>, unjoined: &Unjoined) -> Result<(), LedgerError> {
        let (id, table) = self.declared.table_of(unjoined.shape)?;
        let Some((table, mapped)) = table.and_then(|table| Some((table, table.mapped.as_ref()?))) else {
            return self.put_orphan_aside(row, id);
        };
        let own = unjoined.row.as_ref().map(|row| self.declared.reshaped(unjoined.shape, row.clone()));
        let Some(operation) = unjoined.operation else { return Ok(()) };
        let is_deleted = operation == Operation::Delete;
        let found = self.find(mapped, own.as_ref(), is_deleted)?;
        let joined = own.as_ref().map(|own| mapped.joined(own, &found.rows()));
        if let (Some((join, key)), false) = (&found.missing, is_deleted) {
            if joined.as_ref().is_some_and(|joined| owes_nothing(mapped, joined, row.committed_at)) {
                return Ok(());
            }
            if let Some(key) = key {
                return self.waiting.add((join.mirror, key), row, unjoined);
            }
        }
        // A deleted row whose parent is not known is known by its key alone.
        let whole = joined.filter(|_| found.missing.is_none());
        let no_parent = found.missing.as_ref().filter(|_| !is_deleted);
        let normalized = match no_parent {
            Some((join, _)) => Normalized::Rejected(normalizer::missing_parent(join)),
            None => normalizer::normalize(&mapped.mapping, &change_of(row, operation, whole)),
        };
        match Entry::of(normalized) {
            Ok(None) => Ok(()),
            Ok(Some(entry)) => self.write(row, &entry),
            Err(rejection) => {
                let deleted_as = mapped.mapping.deletion_status().filter(|_| is_deleted);
                let own = own.unwrap_or_default();
                let stored = normalizer::store_joined(table, &own, &found.rows(), deleted_as);
                self.reject((row, id), rejection, stored, mapped.mapping.rows() == Rows::History)
            }
        }
    }

    fn reject(
        &mut self,
        (row, table): (&PackedRow<'_>, TableId),
        rejection: Rejection,
        stored: String,
        history: bool,
    ) -> Result<(), LedgerError> {
        let broken = rejection.request.clone();
        let row_key = row.row_key.filter(|_| history).map(unscoped);
        let rejected = RejectedRow {
            table,
            code: rejection.code,
            reason: rejection.reason,
            request: rejection.request,
            row_key: row_key.map(|key| RowKey::from(key.to_owned())),
            row: stored,
            position: Some(Position::new(row.position)),
            at: row.committed_at,
        };
        self.aside.put(&rejected, None, false)?;
        broken.map_or(Ok(()), |request| self.write(row, &Entry::Broken(request)))
    }

    /// A row of a table that is not mapped any more.
    fn put_orphan_aside(&mut self, row: &PackedRow<'_>, table: TableId) -> Result<(), LedgerError> {
        let sql = "SELECT coalesce(name, '') FROM source_table WHERE id = ?1";
        let name: String = self.connection.query_row(sql, [table], |row| row.get(0))?;
        self.reject((row, table), normalizer::missing_table(&name), "{}".into(), false)
    }

    /// Puts what a row says into the log, at its own place.
    fn write(&mut self, row: &PackedRow<'_>, entry: &Entry) -> Result<(), LedgerError> {
        let mut told = PackedRow { unjoined: None, ..row.clone() };
        match entry {
            Entry::Record(change) => told.say(LogKind::Record, change),
            Entry::Candidate(change) => told.say(LogKind::Candidate, change),
            Entry::Amended(change) => told.say(LogKind::Amended, change),
            Entry::Deletion { status_id, modified_at } => {
                told.kind = LogKind::Deletion;
                (told.status_id, told.modified_at) = (Some(*status_id), Some(*modified_at));
            }
            Entry::Departure { status_id, modified_at } => {
                told.kind = LogKind::Departure;
                (told.status_id, told.modified_at) = (Some(*status_id), Some(*modified_at));
                // The row that left was known by the key that it had.
                (told.row_key, told.old_row_key) = (told.old_row_key.or(told.row_key), None);
            }
            Entry::Broken(request) => {
                told.kind = LogKind::Broken;
                told.service_id = Some(&request.service_id);
                told.request_id = Some(&request.request_id);
            }
            Entry::Unjoined(_) => return Ok(()),
        }
        self.log.insert(&told, Origin::Stream)?;
        if row.seq <= self.settled {
            let sql = "INSERT OR IGNORE INTO released(seq) VALUES(?1)";
            self.connection.prepare_cached(sql)?.execute([row.seq])?;
        }
        Ok(())
    }
}

/// What the log tells of a parent.
struct Told<'a> {
    operation: Operation,
    now: Option<&'a Row>,
    former: Option<&'a Row>,
}

fn change_of(row: &PackedRow<'_>, operation: Operation, joined: Option<Row>) -> Change {
    let (before, after) = if operation == Operation::Delete { (joined, None) } else { (None, joined) };
    let key = |key: Option<&str>| key.map(|key| RowKey::from(key.to_owned()));
    let transaction = Transaction { position: Position::new(row.position), committed_at: row.committed_at };
    Change {
        table: 0,
        operation,
        before,
        after,
        key: key(row.row_key),
        old_key: key(row.old_row_key),
        transaction: Arc::new(transaction),
    }
}

/// Whether a row is none of the dashboard's business, whatever its parent says.
pub(crate) fn owes_nothing(mapped: &Mapped, joined: &Row, moment: i64) -> bool {
    match normalizer::normalize_row(&mapped.mapping, joined, moment) {
        NormalizedRow::BeforeFloor => true,
        // A row that leaves the condition may have to be reported.
        NormalizedRow::LeftOut => mapped.mapping.deletion_status().is_none(),
        NormalizedRow::Record(_) | NormalizedRow::Rejected(_) => false,
    }
}
