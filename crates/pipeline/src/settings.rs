//! What the loops need to know, already validated.

use std::time::Duration;

use delivery::{Precision, RetryPolicy};

use crate::schedule::Schedule;
use crate::window::Window;

/// Everything the loops need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the log is read and the table copied.
    pub capture: CaptureSettings,
    /// How the delta and the backfill leave.
    pub delivery: DeliverySettings,
    /// What the ledger keeps.
    pub upkeep: UpkeepSettings,
    /// When the delta is flushed.
    pub schedule: Schedule,
    /// What calls for attention though nothing failed.
    pub lookout: LookoutSettings,
}

/// What calls for attention though nothing failed.
#[derive(Debug, Clone)]
pub struct LookoutSettings {
    /// How far behind the database the ledger may be.
    pub behind_after: Duration,
    /// The time of day by which a flush that was due must have been acknowledged; `None` for no such time.
    pub acknowledged_by: Option<Schedule>,
}

/// How the log is read and the table copied.
#[derive(Debug, Clone)]
pub struct CaptureSettings {
    /// How long a snapshot's transaction may stay open in the database; what would take longer is read in
    /// fenced pages.
    pub snapshot_max: Duration,
    /// Rows of the table read per second at most, to spare the database.
    pub rows_per_second: Option<u32>,
    /// Where a ledger without a position begins; `None` for the log's present end.
    pub from: Option<change::Position>,
    /// Gives up at the first error that only an operator can mend, and at an unreachable server: right for
    /// a command that someone watches, wrong for a daemon.
    pub fail_fast: bool,
    /// Whether a log that was lost is mended, which else is an error, and tables that are new are copied.
    pub repairs: bool,
}

/// How records are grouped into POSTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// Consolidated: many services in one POST.
    None,
    /// One service per POST.
    Service,
}

/// How the delta and the backfill leave.
#[derive(Debug, Clone)]
pub struct DeliverySettings {
    /// Records in a batch at most.
    pub batch_records_max: u32,
    /// Bytes in a batch's body at most.
    pub batch_bytes_max: usize,
    /// How records are grouped.
    pub group_by: GroupBy,
    /// How times are written.
    pub precision: Precision,
    /// How often and how long failed attempts are repeated.
    pub retry: RetryPolicy,
    /// How many POSTs may be under way side by side.
    pub concurrency: u32,
    /// POSTs a minute at most, whatever their number side by side.
    pub requests_per_minute: Option<u32>,
    /// The only hours in which anything is sent, if there are such.
    pub window: Option<Window>,
    /// The only hours in which a backfill is sent, if there are such.
    pub backfill_window: Option<Window>,
    /// Consecutive failed attempts after which an alert is raised.
    pub alert_after_failures: u32,
}

/// What the ledger keeps.
#[derive(Debug, Clone)]
pub struct UpkeepSettings {
    /// How long acknowledged records stay.
    pub keep: Duration,
    /// Bytes of disk that the ledger may take; capture stops clearly before.
    pub ledger_bytes_max: Option<u64>,
    /// Bytes of disk that must stay free on the ledger's file system.
    pub disk_free_bytes_min: u64,
}
