//! Flushes: which part of the delta one sends, and how it ended.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::error::LedgerError;
use crate::history;
use crate::ledger::Ledger;
use crate::log_row::decode;
use crate::meta;
use crate::queries::Queries;
use crate::waiting;

/// A flush.
pub type FlushId = i64;

/// What a flush sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushKind {
    /// The delta as of one moment.
    Delta,
    /// What waits of the backfill.
    Backfill,
}

impl FlushKind {
    const ALL: [Self; 2] = [Self::Delta, Self::Backfill];

    /// The word for it in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Backfill => "backfill",
        }
    }
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushResult {
    /// Every record was acknowledged.
    Acknowledged,
    /// All but what is in quarantine was acknowledged.
    Partial,
    /// It gave up; what is left goes with the next one.
    Failed,
    /// Someone must act first; what is left goes with the next one.
    Halted,
}

impl FlushResult {
    const ALL: [Self; 4] = [Self::Acknowledged, Self::Partial, Self::Failed, Self::Halted];

    /// The word for it in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Halted => "halted",
        }
    }
}

impl ToSql for FlushKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

impl FromSql for FlushKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        decode(value, &Self::ALL)
    }
}

impl ToSql for FlushResult {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

impl FromSql for FlushResult {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        decode(value, &Self::ALL)
    }
}

/// A flush as it is on record. Times are microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushRow {
    /// The flush.
    pub id: FlushId,
    /// What it sends.
    pub kind: FlushKind,
    /// Whether each batch holds records of one service only.
    pub by_service: bool,
    /// When it was started.
    pub started_at: i64,
    /// When it ended; `None` while it is open.
    pub finished_at: Option<i64>,
    /// How it ended.
    pub result: Option<FlushResult>,
    /// Records acknowledged.
    pub records: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Records refused.
    pub refused: u64,
    /// Attempts, failed ones included.
    pub attempts: u64,
    /// Why an attempt, or the flush, last failed.
    pub last_error: Option<String>,
    /// Log rows up to here are sealed.
    pub(crate) upto_seq: i64,
    /// Up to where it has formed batches: of the delta by seq, of the backfill by month and request.
    pub(crate) cursor_month: u32,
    pub(crate) cursor_service: String,
    pub(crate) cursor_request: String,
    pub(crate) cursor_seq: i64,
}

const SELECT: &str = "SELECT id, kind, by_service, started_at, finished_at, result, records, batches, refused, \
                      attempts, last_error, upto_seq, cursor_month, cursor_service, cursor_request, cursor_seq FROM flush";

fn read(row: &Row<'_>) -> rusqlite::Result<FlushRow> {
    Ok(FlushRow {
        id: row.get(0)?,
        kind: row.get(1)?,
        by_service: row.get(2)?,
        started_at: row.get(3)?,
        finished_at: row.get(4)?,
        result: row.get(5)?,
        records: row.get(6)?,
        batches: row.get(7)?,
        refused: row.get(8)?,
        attempts: row.get(9)?,
        last_error: row.get(10)?,
        upto_seq: row.get(11)?,
        cursor_month: row.get(12)?,
        cursor_service: row.get(13)?,
        cursor_request: row.get(14)?,
        cursor_seq: row.get(15)?,
    })
}

/// The flush, which must be open.
pub(crate) fn find_open(connection: &Connection, flush: FlushId) -> Result<FlushRow, LedgerError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE id = ?1 AND finished_at IS NULL"))?;
    let found = statement.query_row([flush], read).optional()?;
    found.ok_or_else(|| LedgerError::misuse(format!("flush {flush} is not open")))
}

fn open_of(connection: &Connection, kind: FlushKind) -> Result<Option<FlushRow>, LedgerError> {
    let sql = format!("{SELECT} WHERE kind = ?1 AND finished_at IS NULL ORDER BY id LIMIT 1");
    Ok(connection.prepare_cached(&sql)?.query_row([kind], read).optional()?)
}

impl Ledger {
    /// Starts a flush. For the delta it seals what is settled: what comes later is for the next flush. Rows that wait
    /// for their parents since before the last flush began go to quarantine.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Misuse`] when one of the kind is open, or committed changes are not settled.
    pub fn start_flush(
        &mut self,
        kind: FlushKind,
        by_service: bool,
        now: i64,
    ) -> Result<FlushRow, LedgerError> {
        let declared = self.declared.clone();
        self.write("start a flush", |transaction| {
            if let Some(open) = open_of(transaction, kind)? {
                return Err(LedgerError::misuse(format!("flush {} is still open", open.id)));
            }
            let settled = meta::number(transaction, meta::SETTLED_SEQ)?;
            let upto = history::sealed_upto(transaction, settled)?;
            let mut batched = meta::number(transaction, meta::BATCHED_SEQ)?;
            if kind == FlushKind::Delta {
                if let Some(reopened) = meta::get::<i64>(transaction, meta::REOPENED_SEQ)? {
                    batched = batched.min(reopened);
                    meta::set(transaction, meta::BATCHED_SEQ, batched)?;
                    meta::clear(transaction, meta::REOPENED_SEQ)?;
                }
                waiting::flush_begins(transaction, declared.as_ref())?;
                if settled < meta::number(transaction, meta::COMMITTED_SEQ)? {
                    return Err(LedgerError::misuse("captured changes are not settled yet"));
                }
                if by_service {
                    seal_by_service(transaction, batched, upto)?;
                }
            }
            let cursor = if by_service { 0 } else { batched };
            let id = transaction
                .prepare_cached(
                    "INSERT INTO flush(kind, by_service, upto_seq, cursor_seq, started_at) \
                     VALUES(?1, ?2, ?3, ?4, ?5)",
                )?
                .insert(params![kind, by_service, upto, cursor, now])?;
            find_open(transaction, id)
        })
    }

    /// Ends a flush. What it leaves behind, pending batches included, goes with the next one.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Misuse`] when it is not open.
    pub fn finish_flush(
        &mut self,
        flush: FlushId,
        result: FlushResult,
        error: Option<&str>,
        now: i64,
    ) -> Result<(), LedgerError> {
        self.write("finish a flush", |transaction| {
            find_open(transaction, flush)?;
            transaction.execute(
                "UPDATE flush SET result = ?2, last_error = coalesce(?3, last_error), finished_at = ?4 WHERE id = ?1",
                params![flush, result, error, now],
            )?;
            Ok(())
        })
    }
}

/// The order of services is written down once, because finding each service's next records in a large
/// delta would mean to read all of it for every batch.
fn seal_by_service(transaction: &Transaction<'_>, batched: i64, upto: i64) -> Result<(), LedgerError> {
    transaction.execute("DELETE FROM sealed_order", [])?;
    transaction.execute(
        "INSERT INTO sealed_order(service_id, seq) SELECT service_id, seq FROM change \
         WHERE seq > ?1 AND seq <= ?2 AND batch_id = 0 ORDER BY service_id, seq",
        [batched, upto],
    )?;
    Ok(())
}

impl Queries {
    /// The flush of this kind that was started and not finished: it must be gone on with before another.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn open_flush(&self, kind: FlushKind) -> Result<Option<FlushRow>, LedgerError> {
        open_of(&self.connection, kind)
    }

    /// The newest flush of this kind, open or not.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn last_flush(&self, kind: FlushKind) -> Result<Option<FlushRow>, LedgerError> {
        let sql = format!("{SELECT} WHERE kind = ?1 ORDER BY id DESC LIMIT 1");
        Ok(self.connection.prepare_cached(&sql)?.query_row([kind], read).optional()?)
    }

    /// When a flush of the delta last ended with everything acknowledged that is not in quarantine, in microseconds
    /// since the epoch.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn last_acknowledged_at(&self) -> Result<Option<i64>, LedgerError> {
        let sql = "SELECT max(finished_at) FROM flush WHERE kind = ?1 AND result IN (?2, ?3)";
        let parameters = params![FlushKind::Delta, FlushResult::Acknowledged, FlushResult::Partial];
        Ok(self.connection.prepare_cached(sql)?.query_row(parameters, |row| row.get(0))?)
    }

    /// The newest flushes of all kinds, newest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn flushes(&self, limit: u32) -> Result<Vec<FlushRow>, LedgerError> {
        let mut statement = self.connection.prepare_cached(&format!("{SELECT} ORDER BY id DESC LIMIT ?1"))?;
        Ok(statement.query_map([limit], read)?.collect::<Result<Vec<_>, _>>()?)
    }

    /// Whether a batch of a flush of this kind waits for its outcome.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn has_pending(&self, kind: FlushKind) -> Result<bool, LedgerError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM batch b JOIN flush f ON f.id = b.flush_id \
             WHERE b.state IN (0, 4) AND b.state = 0 AND f.kind = ?1)",
        )?;
        Ok(statement.query_row([kind], |row| row.get(0))?)
    }
}
