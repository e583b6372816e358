//! The life of one request, as far as the ledger goes back.

use change::Position;
use rusqlite::{Connection, Row, params};

use crate::batch::{ACKNOWLEDGED, BatchId, REFUSED};
use crate::captured_block::{self, PackedRow};
use crate::error::LedgerError;
use crate::flush::FlushId;
use crate::log_row::Origin;
use crate::meta;
use crate::queries::Queries;
use crate::table_id::TableId;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeState {
    /// Captured, and not yet compared with what was known.
    Unsettled,
    /// In the delta.
    Delta,
    /// Waiting for the backfill.
    Waiting,
    /// In a batch whose outcome is open.
    Batched,
    /// The dashboard has it.
    Acknowledged,
    /// In quarantine.
    Quarantined,
    /// A row of a copy that need not be sent: the request came, or comes, by the stream.
    Skipped,
}

impl LifeState {
    /// The word for it in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsettled => "unsettled",
            Self::Delta => "delta",
            Self::Waiting => "waiting",
            Self::Batched => "batched",
            Self::Acknowledged => "acknowledged",
            Self::Quarantined => "quarantined",
            Self::Skipped => "skipped",
        }
    }
}

/// One status change of a request, or one row that should have told of one. Times are microseconds since
/// the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifeEvent {
    /// The service; `None` for a row that could not be mapped that far.
    pub service_id: Option<String>,
    /// The status; `None` for a row that could not be mapped.
    pub status_id: Option<u8>,
    /// When the request was opened.
    pub opening_at: Option<i64>,
    /// When it passed to the status.
    pub modified_at: Option<i64>,
    /// The commit in the database's log.
    pub position: Option<Position>,
    /// When that transaction committed.
    pub committed_at: Option<i64>,
    /// When the ledger took it; of a row of a copy, when the copy began.
    pub captured_at: Option<i64>,
    /// Where it comes from.
    pub origin: Origin,
    /// Where it is.
    pub state: LifeState,
    /// The batch that it went into.
    pub batch: Option<BatchId>,
    /// The flush that the batch belongs to.
    pub flush: Option<FlushId>,
    /// When the batch was first sent.
    pub sent_at: Option<i64>,
    /// When the dashboard acknowledged it.
    pub acknowledged_at: Option<i64>,
    /// Why it is in quarantine.
    pub reason: Option<String>,
    /// The table that it comes from.
    pub table: TableId,
}

impl Queries {
    /// The whole life of one request, in the order in which it was captured. Requests of several services
    /// may share an id: all are told. Reads the whole ledger.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn explain(&self, request_id: &str) -> Result<Vec<LifeEvent>, LedgerError> {
        // One view of the ledger: what is settled meanwhile must not be told twice.
        let transaction = self.connection.unchecked_transaction()?;
        let connection: &Connection = &transaction;
        let settled = meta::number(connection, meta::SETTLED_SEQ)?;
        let committed = meta::number(connection, meta::COMMITTED_SEQ)?;
        let mut events = snapshot_rows(connection, request_id)?;
        events.extend(log_rows(connection, request_id, settled, committed)?);
        captured_block::visit(connection, settled, committed, |row| {
            if row.request_id == Some(request_id) && row.status_id.is_some() {
                events.push(unsettled(row));
            }
            Ok(())
        })?;
        events.extend(rejected_rows(connection, request_id)?);
        events.sort_by_key(|event| event.captured_at);
        Ok(events)
    }
}

/// Reads what is common to rows of the log and of copies: the record, its moments, and its batch.
fn read(row: &Row<'_>, origin: Origin, outside_batch: LifeState) -> rusqlite::Result<LifeEvent> {
    let batch: Option<i64> = row.get(7)?;
    let state = match row.get::<_, Option<i64>>(8)? {
        // The batch was acknowledged so long ago that it is forgotten.
        None if batch.is_some_and(|batch| batch > 0) => LifeState::Acknowledged,
        None => outside_batch,
        Some(ACKNOWLEDGED) => LifeState::Acknowledged,
        Some(REFUSED) => LifeState::Quarantined,
        Some(_) => LifeState::Batched,
    };
    Ok(LifeEvent {
        service_id: row.get(0)?,
        status_id: row.get(1)?,
        opening_at: row.get(2)?,
        modified_at: row.get(3)?,
        position: row.get::<_, Option<String>>(4)?.map(Position::new),
        committed_at: row.get(5)?,
        captured_at: row.get(6)?,
        origin,
        state,
        batch: batch.filter(|batch| *batch > 0),
        flush: row.get(9)?,
        sent_at: row.get(10)?,
        acknowledged_at: row.get(11)?,
        reason: row.get(12)?,
        table: row.get(14)?,
    })
}

fn unsettled(row: &PackedRow<'_>) -> LifeEvent {
    LifeEvent {
        service_id: row.service_id.map(str::to_owned),
        status_id: row.status_id,
        opening_at: row.opening_at,
        modified_at: row.modified_at,
        position: Some(Position::new(row.position)),
        committed_at: Some(row.committed_at),
        captured_at: Some(row.captured_at),
        origin: Origin::Stream,
        state: LifeState::Unsettled,
        batch: None,
        flush: None,
        sent_at: None,
        acknowledged_at: None,
        reason: None,
        table: row.table,
    }
}

fn log_rows(
    connection: &Connection,
    request_id: &str,
    settled: i64,
    committed: i64,
) -> Result<Vec<LifeEvent>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT c.service_id, c.status_id, c.opening_at, c.modified_at, c.position, c.committed_at, \
         c.captured_at, c.batch_id, b.state, b.flush_id, b.first_sent_at, b.acknowledged_at, \
         (SELECT reason FROM quarantine q WHERE q.batch_id = c.batch_id AND c.batch_id > 0), c.seq, c.table_id, c.origin \
         FROM change c LEFT JOIN batch b ON b.id = c.batch_id \
         WHERE c.request_id = ?1 AND c.seq <= ?2 AND c.status_id IS NOT NULL ORDER BY c.seq",
    )?;
    let events = statement.query_map(params![request_id, committed], |row| {
        let state = if row.get::<_, i64>(13)? > settled { LifeState::Unsettled } else { LifeState::Delta };
        read(row, row.get(15)?, state)
    })?;
    Ok(events.collect::<Result<Vec<_>, _>>()?)
}

fn snapshot_rows(connection: &Connection, request_id: &str) -> Result<Vec<LifeEvent>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT r.service_id, r.status_id, r.opening_at, r.modified_at, NULL, NULL, c.began_at, r.batch_id, \
         b.state, b.flush_id, b.first_sent_at, b.acknowledged_at, \
         (SELECT reason FROM quarantine q WHERE q.batch_id = r.batch_id AND r.batch_id > 0), r.state, r.table_id \
         FROM backfill_row r LEFT JOIN batch b ON b.id = r.batch_id LEFT JOIN copy c ON c.id = r.copy_id \
         WHERE r.request_id = ?1 ORDER BY r.copy_id, r.month, r.service_id",
    )?;
    let events = statement.query_map([request_id], |row| {
        let state = if row.get::<_, i64>(13)? == 0 { LifeState::Waiting } else { LifeState::Skipped };
        read(row, Origin::Snapshot, state)
    })?;
    Ok(events.collect::<Result<Vec<_>, _>>()?)
}

fn rejected_rows(connection: &Connection, request_id: &str) -> Result<Vec<LifeEvent>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT service_id, NULL, NULL, NULL, position, at, at, NULL, NULL, NULL, NULL, NULL, reason, origin, table_id \
         FROM quarantine WHERE request_id = ?1 AND kind = 0 AND state = 0 ORDER BY id",
    )?;
    let events = statement.query_map([request_id], |row| {
        let origin = if row.get(13)? { Origin::Snapshot } else { Origin::Stream };
        read(row, origin, LifeState::Quarantined)
    })?;
    Ok(events.collect::<Result<Vec<_>, _>>()?)
}
