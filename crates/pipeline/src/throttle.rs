//! How fast the table may be read.

use std::time::Duration;

use tokio::time::Instant;

/// Rows of a fenced page: a second's worth of a polite reader.
const PAGE_ROWS: u32 = 10_000;

/// Rows per second that an unthrottled copy reads at the least, to judge beforehand whether it fits into
/// one transaction.
const COPY_RATE_MIN: u64 = 50_000;

/// Rows of a page when so many may be read per second.
pub(crate) fn page_rows(rows_per_second: Option<u32>) -> u32 {
    rows_per_second.unwrap_or(PAGE_ROWS).clamp(100, PAGE_ROWS)
}

/// How long reading `rows` rows may take.
pub(crate) fn time_for(rows: u64, rows_per_second: Option<u32>) -> Duration {
    let rate = rows_per_second.map_or(COPY_RATE_MIN, u64::from).max(1);
    Duration::from_secs(rows / rate)
}

/// A reader's speed.
pub(crate) struct Throttle {
    rows_per_second: Option<u32>,
    started: Instant,
    rows: u64,
}

impl Throttle {
    pub(crate) fn new(rows_per_second: Option<u32>) -> Self {
        Self { rows_per_second, started: Instant::now(), rows: 0 }
    }

    /// Waits as long as reading these rows and all before should have taken.
    pub(crate) async fn keep(&mut self, rows: usize) {
        self.rows += rows as u64;
        if let Some(rate) = self.rows_per_second {
            let due = Duration::from_secs_f64(self.rows as f64 / f64::from(rate.max(1)));
            tokio::time::sleep_until(self.started + due).await;
        }
    }
}
