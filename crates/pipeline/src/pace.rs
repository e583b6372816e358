//! How fast POSTs follow each other, whichever lane sends them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The turns of all lanes. Turns are evenly spaced, so that a minute's worth never comes as one burst.
pub(crate) struct Pace {
    interval: Duration,
    /// Nobody sends before.
    next: Mutex<Instant>,
}

impl Pace {
    /// So many turns a minute at most; as many as are asked for where nothing is said.
    pub(crate) fn new(per_minute: Option<u32>) -> Self {
        let interval = per_minute.map_or(Duration::ZERO, |turns| Duration::from_secs(60) / turns.max(1));
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn and takes it. Dropped while it waits, it takes none.
    pub(crate) async fn turn(&self) {
        while let Err(due) = self.try_turn(Instant::now()) {
            tokio::time::sleep_until(due).await;
        }
    }

    /// Nobody sends for `pause`: the endpoint asked to be left alone.
    pub(crate) fn hold(&self, pause: Duration) {
        self.hold_until(Instant::now() + pause);
    }

    fn hold_until(&self, moment: Instant) {
        let mut next = self.lock();
        *next = (*next).max(moment);
    }

    /// Takes a turn, or says when there may be one.
    fn try_turn(&self, now: Instant) -> Result<(), Instant> {
        let mut next = self.lock();
        if *next > now {
            return Err(*next);
        }
        *next = now + self.interval;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_evenly_spaced() {
        let pace = Pace::new(Some(120));
        let began = Instant::now();
        let half = Duration::from_millis(500);
        assert_eq!(pace.try_turn(began), Ok(()));
        assert_eq!(pace.try_turn(began), Err(began + half));
        assert_eq!(pace.try_turn(began + half), Ok(()));
        // A turn that nobody took is not made up for.
        assert_eq!(pace.try_turn(began + 10 * half), Ok(()));
        assert_eq!(pace.try_turn(began + 10 * half), Err(began + 11 * half));
    }

    #[test]
    fn an_endpoint_that_asks_for_it_is_left_alone_by_all() {
        let pace = Pace::new(None);
        let began = Instant::now();
        assert_eq!(pace.try_turn(began), Ok(()));
        assert_eq!(pace.try_turn(began), Ok(()));
        let until = began + Duration::from_secs(30);
        pace.hold_until(until);
        pace.hold_until(began + Duration::from_secs(3));
        assert_eq!(pace.try_turn(began), Err(until));
        assert_eq!(pace.try_turn(until), Ok(()));
    }
}
