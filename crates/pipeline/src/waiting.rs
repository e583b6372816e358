//! How much of a delivery's time is spent waiting for the endpoint.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts the time during which at least one POST is under way.
#[derive(Default)]
pub(crate) struct Waiting {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    under_way: u32,
    since: Option<Instant>,
    total: Duration,
}

/// One POST under way; it ends when this is dropped.
pub(crate) struct UnderWay<'a>(&'a Waiting);

impl Waiting {
    /// A POST begins.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        let mut inner = self.lock();
        inner.under_way += 1;
        inner.since.get_or_insert_with(Instant::now);
        UnderWay(self)
    }

    /// The time so far.
    pub(crate) fn total(&self) -> Duration {
        let inner = self.lock();
        inner.total + inner.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.under_way = inner.under_way.saturating_sub(1);
        if inner.under_way == 0
            && let Some(since) = inner.since.take()
        {
            inner.total += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posts_side_by_side_count_once() {
        let waiting = Waiting::default();
        assert_eq!(waiting.total(), Duration::ZERO);
        let began = Instant::now();
        let first = waiting.begin();
        let second = waiting.begin();
        drop(first);
        assert!(waiting.lock().since.is_some(), "the second one is still under way");
        drop(second);
        let total = waiting.total();
        assert!(total <= began.elapsed());
        assert_eq!(waiting.total(), total, "nothing is under way any more");
    }
}
