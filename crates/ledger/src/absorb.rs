//! Merging rows of a copy with the last known statuses, at the place in the log where their turn comes.
//!
//! A large copy is merged in slices, each sorted by request. Where the table holds a request several times,
//! the row with the newest modification counts.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::absorb_history::HistoryMerge;
use crate::backfill::{self, RowKey};
use crate::copy::CopyKind;
use crate::copy_state::{self, CopyRow};
use crate::declared::{self, Declared};
use crate::error::{LedgerError, LedgerErrorKind};
use crate::history;
use crate::joined_copy;
use crate::known::{Known, KnownTable};
use crate::log_row::{LogKind, Origin};
use crate::meta;
use crate::row_owner::{self, Owner};
use crate::staged::{self, Slice, Staged};
use crate::table_id::TableId;

/// A place in the log where rows of a copy are merged.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    pub(crate) seq: i64,
    pub(crate) table: TableId,
    pub(crate) copy_id: i64,
    pub(crate) merged_id: i64,
    pub(crate) last_id: i64,
    pub(crate) reserved: i64,
    pub(crate) emitted: i64,
    pub(crate) position: Option<String>,
    pub(crate) at: i64,
}

/// What merging a slice did.
pub(crate) struct Absorbed {
    /// Status changes that it brought into the log.
    pub(crate) emitted: u64,
    /// Whether all rows of the marker are merged.
    pub(crate) is_complete: bool,
}

/// The first marker after `settled`.
pub(crate) fn next_marker(connection: &Connection, settled: i64) -> Result<Option<Marker>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, copy_id, merged_id, last_id, reserved, emitted, position, at, table_id FROM marker \
         WHERE seq > ?1 ORDER BY seq LIMIT 1",
    )?;
    let found = statement.query_row([settled], |row| {
        Ok(Marker {
            seq: row.get(0)?,
            copy_id: row.get(1)?,
            merged_id: row.get(2)?,
            last_id: row.get(3)?,
            reserved: row.get(4)?,
            emitted: row.get(5)?,
            position: row.get(6)?,
            at: row.get(7)?,
            table: row.get(8)?,
        })
    });
    Ok(found.optional()?)
}

/// Merges the next slice of the marker's rows, at most `max_rows` of them.
pub(crate) fn absorb(
    (connection, declared): (&Connection, Option<&Declared>),
    marker: &Marker,
    max_rows: i64,
) -> Result<Absorbed, LedgerError> {
    let Some(copy) = copy_state::find(connection, marker.copy_id)? else {
        let message = format!("copy {} has a place in the log and no row of its own", marker.copy_id);
        return Err(LedgerError::new(LedgerErrorKind::Damaged, message));
    };
    let end = marker.last_id.min(marker.merged_id.saturating_add(max_rows));
    let is_complete = end >= marker.last_id;
    let mut slice = Slice::read(connection, marker.merged_id, end)?;
    if slice.has_unjoined() {
        let declared = declared.ok_or_else(|| {
            LedgerError::misuse("copied rows wait to be joined, and nobody has said to which tables")
        })?;
        joined_copy::join(connection, declared, (&copy, marker), &mut slice)?;
    }
    let (waiting, mut emitted) = if declared::is_history(connection, marker.table)? {
        (merge_history(connection, &copy, marker, &slice)?, 0)
    } else {
        merge_requests(connection, &copy, marker, &slice)?
    };
    if is_complete {
        let turn = history::Turn { seq: marker.seq, position: marker.position.as_deref(), at: marker.at };
        emitted += history::release_held(connection, &copy, &turn)?;
    }
    meta::add(connection, meta::WAITING_ROWS, waiting)?;
    staged::drop_merged(connection, marker.merged_id, end)?;
    connection.execute(
        "UPDATE marker SET merged_id = ?2, emitted = emitted + ?3 WHERE seq = ?1",
        [marker.seq, end, emitted],
    )?;
    if let CopyKind::Repair { gap } = copy.kind {
        connection.execute("UPDATE gap SET records = records + ?2 WHERE id = ?1", [gap, emitted])?;
    }
    Ok(Absorbed { emitted: emitted.unsigned_abs(), is_complete })
}

/// Merges the rows up to `end`; tells how many came to wait, and how many were brought into the log.
fn merge_requests(
    connection: &Connection,
    copy: &CopyRow,
    marker: &Marker,
    slice: &Slice,
) -> Result<(i64, i64), LedgerError> {
    let mut merge = Merge::new(connection, copy, marker)?;
    for row in slice.rows() {
        merge.visit(&row?)?;
    }
    merge.decide()?;
    Ok((merge.waiting, merge.emitted))
}

/// Merges the rows of a history up to `end`; tells how many came to wait.
fn merge_history(
    connection: &Connection,
    copy: &CopyRow,
    marker: &Marker,
    slice: &Slice,
) -> Result<i64, LedgerError> {
    let mut merge = HistoryMerge::new(connection, copy, marker.table)?;
    for row in slice.rows() {
        merge.visit(&row?)?;
    }
    merge.finish()?;
    Ok(merge.waiting)
}

/// A row of the copy, kept until the next one shows whether it is the last of its request.
#[derive(Default)]
struct Last {
    month: u32,
    service_id: String,
    request_id: String,
    status_id: u8,
    opening_at: i64,
    modified_at: i64,
}

/// What becomes of a row.
enum Use {
    /// It carries the request: it waits for the backfill.
    Waits,
    /// The request is owed or known otherwise.
    Skipped,
    /// It shows a status change that the lost log held.
    Emitted,
    /// It shows what is known.
    Nothing,
}

struct Merge<'a> {
    connection: &'a Connection,
    copy: &'a CopyRow,
    marker: &'a Marker,
    known: KnownTable<'a>,
    store: CachedStatement<'a>,
    emit: CachedStatement<'a>,
    is_unsent: CachedStatement<'a>,
    last: Option<Last>,
    waiting: i64,
    emitted: i64,
}

impl<'a> Merge<'a> {
    fn new(connection: &'a Connection, copy: &'a CopyRow, marker: &'a Marker) -> Result<Self, LedgerError> {
        let store = connection.prepare_cached(
            "INSERT INTO backfill_row(copy_id, month, service_id, request_id, status_id, opening_at, \
             modified_at, state, table_id) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT(copy_id, month, service_id, request_id, place) DO UPDATE SET status_id = excluded.status_id, \
             opening_at = excluded.opening_at, modified_at = excluded.modified_at, state = excluded.state, \
             table_id = excluded.table_id \
             WHERE excluded.state = 0 AND backfill_row.state = 2",
        )?;
        let emit = connection.prepare_cached(
            "INSERT INTO change(seq, kind, service_id, request_id, status_id, opening_at, modified_at, \
             position, committed_at, captured_at, origin, table_id) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11)",
        )?;
        let is_unsent = connection
            .prepare_cached("SELECT EXISTS(SELECT 1 FROM change WHERE seq = ?1 AND batch_id = 0)")?;
        let known = KnownTable::new(connection)?;
        Ok(Self {
            connection,
            copy,
            marker,
            known,
            store,
            emit,
            is_unsent,
            last: None,
            waiting: 0,
            emitted: 0,
        })
    }

    fn visit(&mut self, row: &Staged<'_>) -> Result<(), LedgerError> {
        if self
            .last
            .as_ref()
            .is_some_and(|last| last.service_id != row.service_id || last.request_id != row.request_id)
        {
            self.decide()?;
        }
        let mut last = self.last.take().unwrap_or_default();
        last.month = row.month;
        row.service_id.clone_into(&mut last.service_id);
        row.request_id.clone_into(&mut last.request_id);
        last.status_id = row.status_id;
        last.opening_at = row.opening_at;
        last.modified_at = row.modified_at;
        if let Some(key) = row.row_key {
            self.own(&self.marker.table.scoped(key), &last)?;
        }
        self.last = Some(last);
        Ok(())
    }

    fn own(&self, key: &str, row: &Last) -> Result<(), LedgerError> {
        let began_seq = self.copy.began_seq;
        if row_owner::owner_of(self.connection, key)?.is_some_and(|owner| owner.seq > began_seq) {
            // The stream has told since then whose row it is.
            return Ok(());
        }
        let owner = Owner {
            service_id: row.service_id.clone(),
            request_id: row.request_id.clone(),
            opening_at: Some(row.opening_at),
            seq: began_seq,
            status_id: row.status_id,
            modified_at: Some(row.modified_at),
            copy_id: self.copy.id,
            is_held: false,
        };
        row_owner::set_owner(self.connection, key, &owner)
    }

    /// Decides about the request whose last row was just seen.
    fn decide(&mut self) -> Result<(), LedgerError> {
        let Some(row) = self.last.take() else { return Ok(()) };
        let before = self.known.find(&row.service_id, &row.request_id)?;
        let mut known = before.unwrap_or_default();
        let used = match self.copy.kind {
            CopyKind::Repair { .. } => self.for_repair(before.as_ref(), row.status_id),
            CopyKind::Baseline => self.for_baseline(before.as_ref()),
            CopyKind::Again => self.for_again(before.as_ref())?,
        };
        match used {
            Use::Nothing => {}
            Use::Skipped => self.store(&row, backfill::SKIPPED)?,
            Use::Waits if known.copy_id == self.copy.id => self.replace(&row, known)?,
            Use::Waits => {
                self.waiting += 1;
                self.carry(&row, known)?;
            }
            Use::Emitted => {
                self.emitted += 1;
                let seq = self.marker.seq + self.marker.emitted + self.emitted;
                self.emit(&row, seq)?;
                known.emitted_seq = seq;
                known.touched_seq = seq;
                self.learn(&row, known)?;
            }
        }
        Ok(())
    }

    fn for_baseline(&self, known: Option<&Known>) -> Use {
        match known {
            None => Use::Waits,
            // Nothing was ever emitted for it, and no row of another copy carries it.
            Some(known) if known.emitted_seq > 0 => Use::Skipped,
            Some(known) if known.status_id == 0 && known.touched_seq > self.copy.began_seq => Use::Skipped,
            Some(known) if known.copy_id == 0 || known.copy_id == self.copy.id => Use::Waits,
            Some(_) => Use::Skipped,
        }
    }

    fn for_again(&mut self, known: Option<&Known>) -> Result<Use, LedgerError> {
        let Some(known) = known else { return Ok(Use::Waits) };
        let began_seq = self.copy.began_seq;
        let comes_by_stream = known.emitted_seq > began_seq
            || (known.status_id == 0 && known.touched_seq > began_seq)
            || self.is_unsent(known.emitted_seq)?;
        Ok(if comes_by_stream { Use::Skipped } else { Use::Waits })
    }

    /// Whether the request's last status change has still to leave: sent before it, the copy's row would be
    /// out of order.
    fn is_unsent(&mut self, seq: i64) -> Result<bool, LedgerError> {
        Ok(seq > 0 && self.is_unsent.query_row([seq], |row| row.get(0))?)
    }

    fn for_repair(&self, known: Option<&Known>, status_id: u8) -> Use {
        let is_first = self.copy.is_first_of(self.marker.table);
        if is_first && known.is_none_or(|known| known.copy_id == self.copy.id) {
            // The first copy was not complete when the log was lost: the row belongs to the history.
            return self.for_baseline(known);
        }
        match known {
            None => Use::Emitted,
            Some(known) if known.status_id == status_id || known.touched_seq > self.copy.began_seq => {
                Use::Nothing
            }
            Some(_) => Use::Emitted,
        }
    }

    /// Another row of this copy carries the request, from an earlier page or slice: the newer one counts,
    /// unless the older one has left already.
    fn replace(&mut self, row: &Last, known: Known) -> Result<(), LedgerError> {
        if known.modified_at > Some(row.modified_at) {
            return Ok(());
        }
        let key = RowKey {
            copy_id: self.copy.id,
            month: known.month,
            service_id: &row.service_id,
            request_id: &row.request_id,
            place: "",
        };
        if backfill::remove_waiting(self.connection, &key)? {
            self.carry(row, known)?;
        }
        Ok(())
    }

    fn carry(&mut self, row: &Last, mut known: Known) -> Result<(), LedgerError> {
        known.copy_id = self.copy.id;
        known.month = row.month;
        self.store(row, backfill::WAITING)?;
        self.learn(row, known)
    }

    fn store(&mut self, row: &Last, state: i64) -> Result<(), LedgerError> {
        self.store.execute(params![
            self.copy.id,
            row.month,
            row.service_id,
            row.request_id,
            row.status_id,
            row.opening_at,
            row.modified_at,
            state,
            self.marker.table,
        ])?;
        Ok(())
    }

    fn emit(&mut self, row: &Last, seq: i64) -> Result<(), LedgerError> {
        self.emit.execute(params![
            seq,
            LogKind::Record,
            row.service_id,
            row.request_id,
            row.status_id,
            row.opening_at,
            row.modified_at,
            self.marker.position,
            self.marker.at,
            Origin::Repair,
            self.marker.table,
        ])?;
        Ok(())
    }

    fn learn(&mut self, row: &Last, mut known: Known) -> Result<(), LedgerError> {
        known.status_id = row.status_id;
        known.opening_at = Some(row.opening_at);
        known.modified_at = Some(row.modified_at);
        known.retried = 0;
        known.table = self.marker.table;
        self.known.store(&row.service_id, &row.request_id, &known)
    }
}
