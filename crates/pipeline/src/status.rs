//! The documented, versioned shape of `status --json` and `/status`. Keys are only ever added.

use change::Retention;
use chrono::{DateTime, SecondsFormat, Utc};
use ledger::{FlushKind, LedgerError, Queries};
use serde::{Deserialize, Serialize};

use crate::health::{Alert, Inner, SourceState};

/// The product's state. What is unknown is null, never absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this shape: 1.
    pub version: u32,
    /// The database and the reading of its log.
    pub source: SourceStatus,
    /// Row changes of the configured table since the ledger was made, status changes or not.
    pub captured_changes: u64,
    /// What the dashboard has not acknowledged yet.
    pub delta: DeltaStatus,
    /// The flushes.
    pub flush: FlushStatus,
    /// The one-off historical load.
    pub backfill: BackfillReport,
    /// What was put aside with its reason.
    pub quarantine: QuarantineStatus,
    /// The tables, and what there is of each.
    #[serde(default)]
    pub tables: Vec<TableStatus>,
    /// Losses of the log, and how they were mended.
    pub gaps: Vec<GapStatus>,
    /// What an operator must know of now.
    pub alerts: Vec<Alert>,
}

/// The database and the reading of its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The engine, as the configuration names it.
    pub engine: String,
    /// What the capture is doing.
    pub state: SourceState,
    /// Everything up to here is durable in the ledger.
    pub position: Option<String>,
    /// Seconds by which the ledger is behind the database.
    pub lag_seconds: Option<f64>,
    /// Hours until the server may clean the log up; null when it keeps it without limit or does not tell.
    pub retention_hours: Option<f64>,
    /// Bytes of log that the server keeps for us.
    pub kept_bytes: Option<u64>,
    /// Why the capture is not streaming.
    pub last_error: Option<String>,
}

/// What the dashboard has not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeltaStatus {
    /// Status changes.
    pub records: u64,
    /// When the oldest of them was captured.
    pub oldest_at: Option<String>,
}

/// The flushes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlushStatus {
    /// When the next one is due; null when nothing runs that would start it.
    pub next_at: Option<String>,
    /// Whether one is under way.
    pub running: bool,
    /// Failed delivery attempts since the last acknowledgement.
    pub failed_attempts: u32,
    /// The latest one.
    pub last: Option<LastFlush>,
}

/// The latest flush.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastFlush {
    /// When it began.
    pub started_at: String,
    /// When it ended; null while it runs or waits to go on.
    pub finished_at: Option<String>,
    /// `acknowledged`, `partial`, `failed` or `halted`; null while it runs or waits to go on.
    pub result: Option<String>,
    /// Records acknowledged.
    pub records: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Why it did not deliver everything.
    pub error: Option<String>,
}

/// The one-off historical load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackfillReport {
    /// `none` (the table was not copied yet), `copied` (waiting to be asked for), `sending`, `done`.
    pub state: String,
    /// Rows that the snapshot read.
    pub rows: u64,
    /// Records acknowledged.
    pub records: u64,
    /// Records that wait to be sent.
    pub waiting: u64,
    /// Requests left out because a later status of theirs had gone before.
    pub skipped: u64,
}

/// What was put aside with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuarantineStatus {
    /// Rows that could not be mapped.
    pub rows: u64,
    /// Records that the dashboard refuses.
    pub records: u64,
    /// Rows that wait for the row of another table that they belong to.
    #[serde(default)]
    pub waiting: u64,
}

/// A table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// The table, as the configuration names it.
    pub table: String,
    /// Rows that the last copy of it has read.
    #[serde(default)]
    pub copied: u64,
    /// Its status changes that are in no batch yet; counted where there are several tables.
    #[serde(default)]
    pub delta: u64,
    /// Its rows that wait for the row of another table that they belong to.
    #[serde(default)]
    pub waiting: u64,
    /// Its rows and records in quarantine.
    pub quarantine: u64,
}

/// A loss of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapStatus {
    /// The last moment of which all changes are known.
    pub from: Option<String>,
    /// The moment of the comparison that mended it; statuses passed through in between cannot be known.
    pub to: Option<String>,
    /// When the loss was found.
    pub found_at: String,
    /// When it was mended.
    pub repaired_at: Option<String>,
    /// Requests whose status differed, and was sent.
    pub records: u64,
    /// What had happened.
    pub reason: String,
}

/// Puts the state together from the ledger and the live view of the loops.
///
/// # Errors
/// When the ledger cannot be read.
pub fn status(
    ledger: &Queries,
    engine: &str,
    view: &Inner,
    now: DateTime<Utc>,
) -> Result<Status, LedgerError> {
    let delta = ledger.delta()?;
    let backfill = ledger.backfill_status()?;
    let quarantine = ledger.quarantine_counts()?;
    Ok(Status {
        version: 1,
        source: SourceStatus {
            engine: engine.into(),
            state: view.state,
            position: ledger.checkpoint()?.map(|checkpoint| checkpoint.position.to_string()),
            lag_seconds: view.lag_seconds(now),
            retention_hours: hours(view.retention),
            kept_bytes: view.retention.kept_bytes,
            last_error: view.last_error.clone(),
        },
        captured_changes: ledger.captured_changes()?,
        delta: DeltaStatus { records: delta.records, oldest_at: delta.oldest_at.and_then(moment) },
        flush: FlushStatus {
            next_at: view.next_flush_at.map(written),
            running: view.flushing,
            failed_attempts: view.failed_attempts,
            last: last_flush(ledger)?,
        },
        backfill: BackfillReport {
            state: backfill.state.as_str().into(),
            rows: backfill.scanned,
            records: backfill.acknowledged,
            waiting: backfill.waiting + backfill.sending,
            skipped: backfill.skipped,
        },
        quarantine: QuarantineStatus {
            rows: quarantine.rows,
            records: quarantine.records,
            waiting: ledger.waiting_rows()?,
        },
        tables: tables(ledger)?,
        gaps: gaps(ledger)?,
        alerts: view.alerts().cloned().collect(),
    })
}

fn tables(ledger: &Queries) -> Result<Vec<TableStatus>, LedgerError> {
    let tables = ledger.table_counts()?.into_values().map(|counts| TableStatus {
        table: counts.name,
        copied: counts.copied,
        delta: counts.delta,
        waiting: counts.waiting,
        quarantine: counts.quarantine,
    });
    Ok(tables.collect())
}

fn last_flush(ledger: &Queries) -> Result<Option<LastFlush>, LedgerError> {
    let Some(flush) = ledger.last_flush(FlushKind::Delta)? else { return Ok(None) };
    Ok(Some(LastFlush {
        started_at: moment(flush.started_at).unwrap_or_default(),
        finished_at: flush.finished_at.and_then(moment),
        result: flush.result.map(|result| result.as_str().into()),
        records: flush.records,
        batches: flush.batches,
        error: flush.last_error,
    }))
}

fn gaps(ledger: &Queries) -> Result<Vec<GapStatus>, LedgerError> {
    let gaps = ledger.gaps()?.into_iter().map(|gap| GapStatus {
        from: gap.from_at.and_then(moment),
        to: gap.to_at.and_then(moment),
        found_at: moment(gap.found_at).unwrap_or_default(),
        repaired_at: gap.repaired_at.and_then(moment),
        records: gap.records,
        reason: gap.reason,
    });
    Ok(gaps.collect())
}

fn hours(retention: Retention) -> Option<f64> {
    retention.left.map(|left| (left.as_secs_f64() / 360.0).round() / 10.0)
}

fn moment(at: i64) -> Option<String> {
    DateTime::from_timestamp_micros(at).map(written)
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
