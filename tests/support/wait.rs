//! Waiting for events with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take that is not a matter of volume. Generous: a slow machine must not fail a test.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// How long the work on hundreds of thousands of rows may take.
pub(crate) const LATER: Duration = Duration::from_secs(300);

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(25);

/// Looks until `probe` finds what it looks for, and returns that.
///
/// # Panics
/// When it was not found before the deadline; `what` says what was waited for.
pub(crate) async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(began.elapsed() < deadline, "not within {} s: {what}", deadline.as_secs());
        tokio::time::sleep(INTERVAL).await;
    }
}
