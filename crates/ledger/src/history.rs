//! Tables of which each row is a status change: what is kept of them beyond what requests need.
//!
//! Every row is told apart by its key. What was last told of it stands in `row_owner`, so that a row is reported
//! once, whoever brings it: the stream, a copy, a repair, quarantine.
//!
//! # What must hold
//! - A request's copied rows leave in the order of their keys where these are numbers, else of their moments, and before
//!   its streamed ones.
//! - A repair finds exactly the rows that are not known. They are *held* until all of the table was merged, because only
//!   then their order is known, and leave by seqs that were kept free before what the stream brings meanwhile.
//! - Nothing that is captured while a copy is read in pages leaves before all of it was merged.
//! - An update of a row that a copy has yet to bring is held for it: only the copy knows the row's place.

use rusqlite::{Connection, OptionalExtension, params};

use crate::copy::CopyKind;
use crate::copy_state::{CopyRow, CopyState};
use crate::declared::any_history;
use crate::error::LedgerError;
use crate::ledger::LogEnd;
use crate::log_row::{LogKind, Origin};
use crate::meta;
use crate::row_owner::{self, Owner};
use crate::table_id::{TableId, table_of_key, unscoped};

/// Seqs that are kept free for what a copy may bring: more than any table has rows.
pub(crate) const SEQS_KEPT: i64 = 1 << 40;

/// Whether a copy under way may still bring rows that nobody knows.
pub(crate) fn copy_is_under_way(connection: &Connection) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS(SELECT 1 FROM copy WHERE exact = 0 AND state < 2)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Up to which seq records may leave: what was captured since a copy in pages began waits for its end, because pages
/// to come may hold older rows of the same requests.
pub(crate) fn sealed_upto(connection: &Connection, settled: i64) -> Result<i64, LedgerError> {
    if !any_history(connection)? {
        return Ok(settled);
    }
    let sql = "SELECT min(began_seq) FROM copy WHERE exact = 0 AND state < 2";
    let began: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(began.map_or(settled, |began| began.min(settled)))
}

/// Keeps seqs free, before everything that is captured from now on, for what a repair in pages will bring.
pub(crate) fn keep_seqs(connection: &Connection, log: &mut LogEnd) -> Result<(), LedgerError> {
    meta::set(connection, meta::REPAIR_SEQ, log.next_seq)?;
    log.next_seq += SEQS_KEPT;
    log.committed_seq = log.next_seq - 1;
    meta::set(connection, meta::COMMITTED_SEQ, log.committed_seq)
}

/// Whether `copy` ends with a turn of its own, in which what was held for it is told.
pub(crate) fn ends_with_a_turn(connection: &Connection, copy: &CopyRow) -> Result<bool, LedgerError> {
    Ok(!copy.exact && any_history(connection)?)
}

/// Where a copy has its turn in the log.
pub(crate) struct Turn<'a> {
    pub(crate) seq: i64,
    pub(crate) position: Option<&'a str>,
    pub(crate) at: i64,
}

/// Tells of the rows that are held, if this is the last turn of the copy: those that a repair found, and those that an
/// update told of and no page brought, because they came to count, or went, after it was read. Returns how many.
pub(crate) fn release_held(
    connection: &Connection,
    copy: &CopyRow,
    turn: &Turn<'_>,
) -> Result<i64, LedgerError> {
    let is_last = "SELECT count(*) = 1 FROM marker WHERE copy_id = ?1";
    let is_last: bool = connection.query_row(is_last, [copy.id], |row| row.get(0))?;
    if copy.state != CopyState::Read || !is_last || !any_history(connection)? {
        return Ok(0);
    }
    let (first_seq, origin) = match copy.kind {
        CopyKind::Repair { .. } if !copy.exact => {
            (meta::number(connection, meta::REPAIR_SEQ)?, Origin::Repair)
        }
        CopyKind::Repair { .. } => (turn.seq + 1, Origin::Repair),
        CopyKind::Baseline | CopyKind::Again => (turn.seq + 1, Origin::Stream),
    };
    let mut release = Release { connection, turn, origin, next_seq: first_seq, request: Vec::new() };
    // Sorted, so all rows are read before the first is seen: they may be altered meanwhile.
    let mut rows = connection
        .prepare_cached("SELECT row_key FROM row_owner WHERE is_held = 1 ORDER BY service_id, request_id")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        release.take(row.get(0)?)?;
    }
    release.finish()?;
    Ok(release.next_seq - first_seq)
}

/// The held rows of one request after the other, put into the log.
struct Release<'a> {
    connection: &'a Connection,
    turn: &'a Turn<'a>,
    origin: Origin,
    next_seq: i64,
    request: Vec<(String, String, Owner)>,
}

impl Release<'_> {
    fn take(&mut self, row_key: String) -> Result<(), LedgerError> {
        let Some(owner) = row_owner::owner_of(self.connection, &row_key)? else { return Ok(()) };
        let is_other = |(_, _, last): &(String, String, Owner)| {
            last.request_id != owner.request_id || last.service_id != owner.service_id
        };
        if self.request.last().is_some_and(is_other) {
            self.finish()?;
        }
        let place = place_of(owner.modified_at.unwrap_or_default(), &row_key);
        self.request.push((place, row_key, owner));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), LedgerError> {
        self.request.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO change(seq, kind, service_id, request_id, status_id, opening_at, modified_at, row_key, \
             position, committed_at, captured_at, origin, table_id) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12)",
        )?;
        for (_, row_key, mut owner) in self.request.drain(..) {
            owner.seq = self.next_seq;
            owner.copy_id = 0;
            owner.is_held = false;
            insert.execute(params![
                owner.seq,
                LogKind::Record,
                owner.service_id,
                owner.request_id,
                owner.status_id,
                owner.opening_at.unwrap_or_default(),
                owner.modified_at.unwrap_or_default(),
                row_key,
                self.turn.position,
                self.turn.at,
                self.origin,
                table_of_key(&row_key),
            ])?;
            row_owner::set_owner(self.connection, &row_key, &owner)?;
            self.next_seq += 1;
        }
        Ok(())
    }
}

/// What becomes of a copied row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It waits for the backfill.
    Waits,
    /// It leaves, in its order, as a status change that the lost log held.
    Owed,
    /// It is known.
    Nothing,
}

/// What becomes of a copied row that says `row`, when `owner` is what was last told of it.
pub(crate) fn use_of(
    connection: &Connection,
    (copy, table): (&CopyRow, TableId),
    owner: Option<&Owner>,
    row: &Owner,
) -> Result<Use, LedgerError> {
    let Some(owner) = owner.filter(|owner| !owner.is_held) else {
        return Ok(if copy.is_first_of(table) { Use::Waits } else { Use::Owed });
    };
    let came_since = owner.seq > copy.began_seq;
    Ok(match copy.kind {
        CopyKind::Repair { .. } if came_since || owner.says_the_same(row) => Use::Nothing,
        CopyKind::Repair { .. } => Use::Owed,
        CopyKind::Baseline => Use::Nothing,
        CopyKind::Again => {
            let comes_by_stream = came_since || (owner.copy_id == 0 && is_unsent(connection, owner.seq)?);
            if comes_by_stream { Use::Nothing } else { Use::Waits }
        }
    })
}

/// Whether the record has still to leave.
fn is_unsent(connection: &Connection, seq: i64) -> Result<bool, LedgerError> {
    let sql = "SELECT batch_id = 0 FROM change WHERE seq = ?1";
    let found = connection.prepare_cached(sql)?.query_row([seq], |row| row.get(0));
    Ok(found.optional()?.unwrap_or(false))
}

/// Stands before the whole key of a row, where another table may have the same.
const SCOPED: char = '\u{1f}';

/// Where a row stands among those of its request, as text, so that it can be stored and sorted.
///
/// Numbers are given to rows as they are written, so a key of numbers tells their order better than any clock. Other
/// keys tell nothing: there the moment comes first.
pub(crate) fn place_of(modified_at: i64, row_key: &str) -> String {
    let key = unscoped(row_key);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let moment = format!("{:016x}", modified_at.wrapping_sub(i64::MIN).cast_unsigned());
    if !key.split('\u{1f}').all(is_number) {
        return format!("1{moment}{row_key}");
    }
    let mut place = String::from("0");
    for part in key.split('\u{1f}') {
        place.push_str(&format!("{:05}{part}", part.len()));
    }
    if key.len() < row_key.len() {
        // Rows of two tables may tell of one request, and have the same number.
        place.push_str(&format!("{SCOPED}{row_key}"));
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_placed_by_number_and_else_by_moment() {
        let numbers = ["7", "9", "10", "10\u{1f}2", "10\u{1f}11", "11\u{1f}1"].map(|key| place_of(-1, key));
        assert!(numbers.is_sorted(), "{numbers:#?}");
        assert_eq!(place_of(0, "9"), place_of(5, "9"));
        let others = [(i64::MIN, "z"), (-1, "b"), (0, "a"), (0, "b"), (1, ""), (i64::MAX, "1\u{1f}a")];
        let others = others.map(|(modified_at, key)| place_of(modified_at, key));
        assert!(others.is_sorted(), "{others:#?}");
    }
}
