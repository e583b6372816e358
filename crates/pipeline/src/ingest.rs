//! Row changes to ledger entries.

use std::sync::Arc;

use change::{Batch, Change, Page, Row, RowKey, Transaction};
use chrono::{DateTime, Datelike};
use chrono_tz::Tz;
use ledger::{Captured, Entry, Ingest, RejectedRow, StagedPage, StagedRows};
use normalizer::{Mapping, Normalized, NormalizedRow, Rejection, Rows};

use crate::error::PipelineError;

/// Turns a piece of the log into what the ledger stores of it.
pub(crate) fn ingest(mapping: &Mapping, batch: Batch, captured_at: i64) -> Ingest {
    let mut ingest = Ingest {
        captured: Vec::with_capacity(batch.changes.len()),
        rejected: Vec::new(),
        changes: batch.changes.len() as u64,
        position: batch.position,
        captured_at,
    };
    for change in batch.changes {
        let entry = match normalizer::normalize(mapping, &change) {
            Normalized::Unchanged | Normalized::BeforeFloor => continue,
            Normalized::Record(status_change) => Entry::Record(status_change),
            Normalized::Candidate(status_change) => Entry::Candidate(status_change),
            Normalized::Amended(status_change) => Entry::Amended(status_change),
            Normalized::Deletion { status_id, modified_at } => Entry::Deletion { status_id, modified_at },
            Normalized::Departure { status_id, modified_at } => Entry::Departure { status_id, modified_at },
            Normalized::Rejected(rejection) => {
                let broken = rejection.request.clone();
                ingest.rejected.push(rejected_change(mapping, &change, rejection));
                match broken {
                    Some(request) => Entry::Broken(request),
                    None => continue,
                }
            }
        };
        ingest.captured.push(captured(entry, change));
    }
    ingest
}

fn captured(entry: Entry, change: Change) -> Captured {
    let (row_key, old_row_key) = match entry {
        // The row that left was known by the key that it had.
        Entry::Departure { .. } => (change.old_key.or(change.key), None),
        _ => (change.key, change.old_key),
    };
    Captured { entry, row_key, old_row_key, transaction: change.transaction }
}

fn rejected_change(mapping: &Mapping, change: &Change, rejection: Rejection) -> RejectedRow {
    let transaction: &Arc<Transaction> = &change.transaction;
    RejectedRow {
        code: rejection.code,
        reason: rejection.reason,
        request: rejection.request,
        row_key: change.key.clone().filter(|_| mapping.rows() == Rows::History),
        row: normalizer::store_change(mapping, change),
        position: Some(transaction.position.clone()),
        at: transaction.committed_at,
    }
}

/// Turns a page of a snapshot into what the ledger stores of it; `moment` is when the copy was made.
pub(crate) fn stage(mapping: &Mapping, page: Page, moment: i64, zone: Tz) -> StagedPage {
    let mut staged = StagedPage {
        rows: StagedRows::with_capacity(page.rows.len()),
        rejected: Vec::new(),
        scanned: page.rows.len() as u64,
        fence: page.fence,
        cursor: page.cursor,
        at: moment,
    };
    for (row, key) in page.rows {
        match normalizer::normalize_row(mapping, &row, moment) {
            NormalizedRow::BeforeFloor | NormalizedRow::LeftOut => {}
            NormalizedRow::Record(change) => {
                let month = month_of(change.opening_at, zone);
                staged.rows.push(&change, month, key.as_ref());
            }
            NormalizedRow::Rejected(rejection) => {
                let key = key.filter(|_| mapping.rows() == Rows::History);
                staged.rejected.push(rejected_row(mapping, (&row, key), rejection, moment));
            }
        }
    }
    staged
}

/// Whether a row of a history came without the key that tells it apart.
pub(crate) fn lacks_keys<'a>(mapping: &Mapping, mut keys: impl Iterator<Item = Option<&'a RowKey>>) -> bool {
    mapping.rows() == Rows::History && keys.any(|key| key.is_none())
}

/// Fails for a page of a history whose rows cannot be told apart.
pub(crate) fn require_keys(mapping: &Mapping, page: &Page) -> Result<(), PipelineError> {
    if lacks_keys(mapping, page.rows.iter().map(|(_, key)| key.as_ref())) {
        return Err(PipelineError::no_key());
    }
    Ok(())
}

fn rejected_row(
    mapping: &Mapping,
    (row, row_key): (&Row, Option<RowKey>),
    rejection: Rejection,
    moment: i64,
) -> RejectedRow {
    RejectedRow {
        code: rejection.code,
        reason: rejection.reason,
        request: rejection.request,
        row_key,
        row: normalizer::store_row(mapping, row),
        position: None,
        at: moment,
    }
}

/// The month of opening as yyyymm in `zone`, by which a backfill is cut and counted.
#[must_use]
pub fn month_of(opening_at: i64, zone: Tz) -> u32 {
    DateTime::from_timestamp_micros(opening_at).map_or(0, |moment| {
        let local = moment.with_timezone(&zone);
        u32::try_from(local.year()).unwrap_or(0) * 100 + local.month()
    })
}
