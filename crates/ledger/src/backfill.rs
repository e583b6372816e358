//! The one-off delivery of a copy's rows: what was asked for, and the counts by month.
//!
//! Merging puts the rows into the order in which they leave. Counters by month are made when the backfill is
//! asked for and the copy is merged, and kept up to date from then on.

use normalizer::StatusChange;
use rusqlite::{CachedStatement, Connection, params};

use crate::copy_state::{self, CopyState};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::meta;

/// What state a row is in.
pub(crate) const WAITING: i64 = 0;
pub(crate) const BATCHED: i64 = 1;
pub(crate) const SKIPPED: i64 = 2;

/// The openings that were asked for: from the first, up to but without the second, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from_at: i64,
    pub(crate) to_at: i64,
}

impl Range {
    pub(crate) fn contains(self, opening_at: i64) -> bool {
        (self.from_at..self.to_at).contains(&opening_at)
    }
}

/// A change of one month's counters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Difference {
    pub(crate) waiting: i64,
    pub(crate) sending: i64,
    pub(crate) acknowledged: i64,
    pub(crate) skipped: i64,
    pub(crate) refused: i64,
}

impl Ledger {
    /// Asks for the delivery of all requests opened at or after `from_at` and before `to_at` (microseconds
    /// since the epoch). Asked again, the range widens to hold both.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn request_backfill(&mut self, from_at: i64, to_at: i64, now: i64) -> Result<(), LedgerError> {
        self.write("ask for the backfill", |transaction| {
            let before = range(transaction)?;
            let from_at = before.map_or(from_at, |before| before.from_at.min(from_at));
            let to_at = before.map_or(to_at, |before| before.to_at.max(to_at));
            meta::set(transaction, meta::BACKFILL_FROM, from_at)?;
            meta::set(transaction, meta::BACKFILL_TO, to_at)?;
            if before.is_none() {
                meta::set(transaction, meta::BACKFILL_ASKED_AT, now)?;
            }
            if before == Some(Range { from_at, to_at }) {
                // The counters stand as they are.
                return Ok(());
            }
            recount(transaction)
        })
    }
}

/// What was asked for, if anything was.
pub(crate) fn range(connection: &Connection) -> Result<Option<Range>, LedgerError> {
    let from_at = meta::get(connection, meta::BACKFILL_FROM)?;
    let to_at = meta::get(connection, meta::BACKFILL_TO)?;
    Ok(from_at.zip(to_at).map(|(from_at, to_at)| Range { from_at, to_at }))
}

/// Makes the counters anew, if a backfill was asked for and its copy is merged. One pass over the copy.
pub(crate) fn recount(connection: &Connection) -> Result<(), LedgerError> {
    let merged = copy_state::newest_for_backfill(connection)?.filter(|copy| copy.state == CopyState::Merged);
    let Some((_, range)) = merged.zip(range(connection)?) else { return Ok(()) };
    let first = copy_state::first_for_backfill(connection)?;
    connection.execute("DELETE FROM backfill_month", [])?;
    connection.execute(
        "INSERT INTO backfill_month(month, waiting, sending, acknowledged, skipped, refused) \
         SELECT r.month, count(*) FILTER (WHERE r.state = 0), \
         count(*) FILTER (WHERE r.state = 1 AND b.state IN (0, 4)), \
         count(*) FILTER (WHERE r.state = 1 AND coalesce(b.state, 1) = 1), \
         count(*) FILTER (WHERE r.state = 2), count(*) FILTER (WHERE r.state = 1 AND b.state = 2) \
         FROM backfill_row r LEFT JOIN batch b ON r.state = 1 AND b.id = r.batch_id \
         WHERE r.copy_id >= ?1 AND r.opening_at >= ?2 AND r.opening_at < ?3 GROUP BY r.month",
        params![first, range.from_at, range.to_at],
    )?;
    Ok(())
}

/// Applies a difference to a month's counters. Without counters nothing happens: they will be made later.
pub(crate) fn count(connection: &Connection, month: u32, by: Difference) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "UPDATE backfill_month SET waiting = waiting + ?2, sending = sending + ?3, \
         acknowledged = acknowledged + ?4, skipped = skipped + ?5, refused = refused + ?6 WHERE month = ?1",
    )?;
    statement.execute(params![month, by.waiting, by.sending, by.acknowledged, by.skipped, by.refused])?;
    Ok(())
}

/// What finds a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowKey<'a> {
    pub(crate) copy_id: i64,
    pub(crate) month: u32,
    pub(crate) service_id: &'a str,
    pub(crate) request_id: &'a str,
    /// Its place among the rows of its request; empty where there is only one.
    pub(crate) place: &'a str,
}

/// A row that waits for the backfill.
#[derive(Debug, Clone)]
pub(crate) struct WaitingRow {
    pub(crate) copy_id: i64,
    pub(crate) month: u32,
    pub(crate) place: String,
    pub(crate) change: StatusChange,
}

/// What a request's streamed record means for its rows in the backfill.
#[derive(Default)]
pub(crate) struct Before {
    /// They leave right before the record, in this order.
    pub(crate) leave: Vec<WaitingRow>,
    /// Whether more than these must leave before the record.
    pub(crate) more: bool,
    /// Those that were not asked for, and can never leave after the record.
    pub(crate) overtaken: Overtaken,
}

/// Waiting rows of one request that were not asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overtaken {
    pub(crate) rows: i64,
    copy_id: i64,
    month: u32,
}

/// Rows of one request that are looked at together: more than a batch takes.
const ROWS_BEFORE_MAX: usize = 1000;

/// Keeps each request's backfill rows before its first streamed record.
pub(crate) struct Order<'a> {
    find: Option<CachedStatement<'a>>,
    range: Option<Range>,
}

impl<'a> Order<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Result<Self, LedgerError> {
        // Two look-ups per record, only while something waits.
        let find = match meta::number(connection, meta::WAITING_ROWS)? > 0 {
            false => None,
            true => Some(connection.prepare_cached(
                "SELECT r.copy_id, r.month, r.opening_at, r.status_id, r.modified_at, r.place FROM known k \
                 CROSS JOIN backfill_row r ON r.copy_id = k.copy_id AND r.month = k.month \
                 AND r.service_id = k.service_id AND r.request_id = k.request_id \
                 WHERE k.service_id = ?1 AND k.request_id = ?2 AND k.copy_id > 0 AND r.state = 0 \
                 ORDER BY r.place",
            )?),
        };
        Ok(Self { find, range: range(connection)? })
    }

    /// What must happen before `record` enters a batch.
    pub(crate) fn before(&mut self, record: &StatusChange) -> Result<Before, LedgerError> {
        let mut before = Before::default();
        let Some(find) = &mut self.find else { return Ok(before) };
        let mut rows = find.query([&*record.service_id, &*record.request_id])?;
        while let Some(row) = rows.next()? {
            let (copy_id, month, opening_at) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if !self.range.is_some_and(|range| range.contains(opening_at)) {
                before.overtaken = Overtaken { rows: before.overtaken.rows + 1, copy_id, month };
                continue;
            }
            if before.leave.len() == ROWS_BEFORE_MAX {
                before.more = true;
                break;
            }
            let change = StatusChange {
                service_id: record.service_id.clone(),
                request_id: record.request_id.clone(),
                opening_at,
                status_id: row.get(3)?,
                modified_at: row.get(4)?,
            };
            before.leave.push(WaitingRow { copy_id, month, place: row.get(5)?, change });
        }
        Ok(before)
    }
}

/// Notes that what still waits of a request will never leave. The caller counts it off [`meta::WAITING_ROWS`]; it
/// lies outside the range that was asked for, so no month holds it.
pub(crate) fn skip(
    connection: &Connection,
    overtaken: &Overtaken,
    record: &StatusChange,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE backfill_row SET state = ?5 \
             WHERE copy_id = ?1 AND month = ?2 AND service_id = ?3 AND request_id = ?4 AND state = 0",
        )?
        .execute(params![
            overtaken.copy_id,
            overtaken.month,
            &*record.service_id,
            &*record.request_id,
            SKIPPED
        ])?;
    Ok(())
}

/// Puts a row into a state, and perhaps into a batch.
pub(crate) fn set_state(
    connection: &Connection,
    key: &RowKey<'_>,
    state: i64,
    batch: i64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE backfill_row SET state = ?5, batch_id = ?6 \
             WHERE copy_id = ?1 AND month = ?2 AND service_id = ?3 AND request_id = ?4 AND place = ?7",
        )?
        .execute(params![key.copy_id, key.month, key.service_id, key.request_id, state, batch, key.place])?;
    Ok(())
}

/// Removes a row if it still waits; tells whether it did.
pub(crate) fn remove_waiting(connection: &Connection, key: &RowKey<'_>) -> Result<bool, LedgerError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM backfill_row \
             WHERE copy_id = ?1 AND month = ?2 AND service_id = ?3 AND request_id = ?4 AND place = ?5 \
             AND state = 0",
        )?
        .execute(params![key.copy_id, key.month, key.service_id, key.request_id, key.place])?;
    Ok(removed > 0)
}
