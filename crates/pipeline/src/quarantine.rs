//! Quarantined items, mapped or sent again after a mend.

use chrono::Utc;
use chrono_tz::Tz;
use ledger::{Resolution, RowForRetry};
use normalizer::{Mapping, NormalizedRow};
use serde::{Deserialize, Serialize};

use crate::error::PipelineError;
use crate::ingest::month_of;
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

/// Maps every quarantined row again with `mapping` and puts refused records back into the delta.
///
/// A row that is retried leaves as the next record of its request, with its own date of modification:
/// statuses that came after it may have left before.
///
/// # Errors
/// When the ledger fails.
pub async fn retry_quarantine(
    ledger: &LedgerThread,
    mapping: &Mapping,
    zone: Tz,
) -> Result<RetryReport, PipelineError> {
    let mut report = RetryReport::default();
    let mut after = 0;
    loop {
        let rows = ledger.call(move |ledger| ledger.rows_for_retry(after, ROWS_AT_ONCE)).await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        let resolutions: Vec<(i64, Resolution)> =
            rows.iter().map(|row| (row.id, resolve(mapping, row, zone, &mut report))).collect();
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

fn resolve(mapping: &Mapping, row: &RowForRetry, zone: Tz, report: &mut RetryReport) -> Resolution {
    match normalizer::normalize_stored(mapping, &row.row, row.at) {
        NormalizedRow::Record(change) => {
            report.mapped += 1;
            let month = month_of(change.opening_at, zone);
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
