//! Quarantined items, mapped or sent again after a mend.

use chrono::Utc;
use ledger::{Declared, Resolution, RowForRetry};
use normalizer::{NormalizedRow, Rejection};
use serde::{Deserialize, Serialize};

use crate::error::PipelineError;
use crate::ledger_thread::LedgerThread;
use crate::upkeep::settle_all;

/// Rows that one transaction maps again.
const ROWS_AT_ONCE: u32 = 500;

/// What became of the quarantined items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryReport {
    /// Rows that could be mapped now: they are in the delta or wait for the backfill.
    pub mapped: u64,
    /// Rows that turned out to be older than the floor date and are never sent.
    pub before_floor: u64,
    /// Rows that the condition leaves out now, and that are never sent.
    pub left_out: u64,
    /// Rows that still cannot be mapped and stay, with their present reason.
    pub still_rejected: u64,
    /// Refused records that go again with the next flush.
    pub records: u64,
}

/// Maps every quarantined row again as `declared` says and puts refused records back into the delta.
///
/// A row that is retried leaves as the next record of its request, with its own date of modification:
/// statuses that came after it may have left before.
///
/// # Errors
/// When the ledger fails.
pub async fn retry_quarantine(
    ledger: &LedgerThread,
    declared: &Declared,
) -> Result<RetryReport, PipelineError> {
    let mut report = RetryReport::default();
    let mut after = 0;
    loop {
        let rows = ledger.call(move |ledger| ledger.rows_for_retry(after, ROWS_AT_ONCE)).await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        let rows = ledger
            .call(move |ledger| {
                let completed = |row: RowForRetry| Ok((ledger.complete_row(&row)?, row));
                rows.into_iter().map(completed).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let resolutions: Vec<(i64, Resolution)> = rows
            .iter()
            .map(|(whole, row)| (row.id, resolve(declared, row, whole.as_deref(), &mut report)))
            .collect();
        let now = Utc::now().timestamp_micros();
        ledger
            .call(move |ledger| {
                resolutions.iter().try_for_each(|(id, resolution)| ledger.resolve_row(*id, resolution, now))
            })
            .await?;
    }
    let now = Utc::now().timestamp_micros();
    report.records = ledger.call(move |ledger| ledger.retry_records(now)).await?;
    settle_all(ledger).await?;
    Ok(report)
}

/// What becomes of a row; `whole` is the row with its parents' columns, or why it has none.
fn resolve(
    declared: &Declared,
    row: &RowForRetry,
    whole: Result<&str, &Rejection>,
    report: &mut RetryReport,
) -> Resolution {
    let tables = declared.tables();
    let mapped = declared.number(row.table).and_then(|table| tables.table(table)?.mapped.as_ref());
    let normalized = match (mapped, whole) {
        (_, Err(rejection)) => NormalizedRow::Rejected(rejection.clone()),
        (Some(mapped), Ok(whole)) => normalizer::normalize_stored(&mapped.mapping, whole, row.at),
        (None, Ok(_)) => NormalizedRow::Rejected(normalizer::missing_table("")),
    };
    match normalized {
        NormalizedRow::Record(change) => {
            report.mapped += 1;
            let month = normalizer::month_of(change.opening_at, tables.zone());
            Resolution::Mapped { change, month }
        }
        NormalizedRow::BeforeFloor => {
            report.before_floor += 1;
            Resolution::NothingOwed
        }
        NormalizedRow::LeftOut => {
            report.left_out += 1;
            Resolution::NothingOwed
        }
        NormalizedRow::Rejected(rejection) => {
            report.still_rejected += 1;
            Resolution::StillRejected { code: rejection.code, reason: rejection.reason }
        }
    }
}
