//! How far the backfill has come.

use rusqlite::OptionalExtension;

use crate::backfill;
use crate::copy_state::{self, CopyState};
use crate::error::LedgerError;
use crate::meta;
use crate::queries::Queries;

/// How far the backfill is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackfillState {
    /// The table was not copied completely yet, and nobody asked for the backfill.
    None,
    /// The copy is complete; nobody asked for its delivery.
    Copied,
    /// Asked for: being copied, or waiting to leave, or leaving.
    Sending,
    /// Everything that was asked for has been decided about.
    Done,
}

impl BackfillState {
    /// The word for it in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Copied => "copied",
            Self::Sending => "sending",
            Self::Done => "done",
        }
    }
}

/// How far the backfill has come.
///
/// Before it is asked for, `records` and `waiting` count what could be sent; afterwards all counts are about
/// the openings that were asked for. They are exact once the copy is complete, and 0 before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillStatus {
    /// How far, in one word.
    pub state: BackfillState,
    /// Whether the copy that it delivers is complete.
    pub copied: bool,
    /// When it was asked for, in microseconds since the epoch.
    pub asked_at: Option<i64>,
    /// The openings asked for: from here.
    pub from_at: Option<i64>,
    /// The openings asked for: up to but without there.
    pub to_at: Option<i64>,
    /// Rows of the table that the copy has read.
    pub scanned: u64,
    /// Records in all.
    pub records: u64,
    /// Records in no batch yet.
    pub waiting: u64,
    /// Records in a batch whose outcome is open.
    pub sending: u64,
    /// Records that the dashboard has.
    pub acknowledged: u64,
    /// Rows that need not be sent: their requests come, or came, by the stream.
    pub skipped: u64,
    /// Records that the dashboard refused.
    pub refused: u64,
}

/// The backfill's counts for one month of openings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillMonth {
    /// The month as yyyymm.
    pub month: u32,
    /// Records in no batch yet.
    pub waiting: u64,
    /// Records in a batch whose outcome is open.
    pub sending: u64,
    /// Records that the dashboard has.
    pub acknowledged: u64,
    /// Rows that need not be sent.
    pub skipped: u64,
    /// Records that the dashboard refused.
    pub refused: u64,
}

impl Queries {
    /// How far the backfill has come. Cheap: it reads counters.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn backfill_status(&self) -> Result<BackfillStatus, LedgerError> {
        let connection = &self.connection;
        let copy = copy_state::newest_for_backfill(connection)?;
        let copied = copy.as_ref().is_some_and(|copy| copy.state == CopyState::Merged);
        let asked = backfill::range(connection)?;
        let months = self.backfill_months()?;
        let sum = |count: fn(&BackfillMonth) -> u64| months.iter().map(count).sum::<u64>();
        let mut status = BackfillStatus {
            state: BackfillState::None,
            copied,
            asked_at: meta::get(connection, meta::BACKFILL_ASKED_AT)?,
            from_at: asked.map(|range| range.from_at),
            to_at: asked.map(|range| range.to_at),
            scanned: copy.map_or(0, |copy| copy.scanned),
            records: 0,
            waiting: sum(|month| month.waiting),
            sending: sum(|month| month.sending),
            acknowledged: sum(|month| month.acknowledged),
            skipped: sum(|month| month.skipped),
            refused: sum(|month| month.refused),
        };
        if asked.is_none() {
            status.waiting = meta::number(connection, meta::WAITING_ROWS)?.unsigned_abs();
        }
        status.records = status.waiting + status.sending + status.acknowledged + status.refused;
        status.state = match (asked, copied) {
            (None, false) => BackfillState::None,
            (None, true) => BackfillState::Copied,
            (Some(_), true) if status.waiting + status.sending == 0 => BackfillState::Done,
            (Some(_), _) => BackfillState::Sending,
        };
        Ok(status)
    }

    /// The backfill's counts by month of opening, oldest first; empty until it is asked for and its copy is
    /// complete.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn backfill_months(&self) -> Result<Vec<BackfillMonth>, LedgerError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT month, waiting, sending, acknowledged, skipped, refused FROM backfill_month ORDER BY month",
        )?;
        let months = statement.query_map([], |row| {
            Ok(BackfillMonth {
                month: row.get(0)?,
                waiting: row.get(1)?,
                sending: row.get(2)?,
                acknowledged: row.get(3)?,
                skipped: row.get(4)?,
                refused: row.get(5)?,
            })
        })?;
        Ok(months.collect::<Result<Vec<_>, _>>()?)
    }

    /// The month that the backfill sends next, as yyyymm; `None` when nothing waits.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn backfill_next_month(&self) -> Result<Option<u32>, LedgerError> {
        let sql = "SELECT month FROM backfill_month WHERE waiting > 0 ORDER BY month LIMIT 1";
        Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
    }
}
