//! Whether the two loops on which everything rests still turn: the one that reads the log, and the ledger's thread.
//!
//! A loop that waits is alive: for the database, for the dashboard, for room on the disk. One that does not come back to
//! its waiting is not, and whoever supervises the process should start it anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::PipelineError;
use crate::ledger_thread::LedgerThread;

/// How often a loop shows that it lives.
pub(crate) const BEAT_EVERY: Duration = Duration::from_millis(500);

/// When a loop last came back to its waiting.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Mutex<Instant>>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Pulse {
    /// Shows that the loop lives.
    pub(crate) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Fails when the reading of the log has not shown life, or the ledger's thread has not come to an order, `within` that
/// time.
///
/// # Errors
/// Which of them stands still.
pub(crate) async fn expect_alive(
    capture: &Pulse,
    ledger: &LedgerThread,
    within: Duration,
) -> Result<(), PipelineError> {
    let age = capture.age();
    if age > within {
        let what = format!("the loop that reads the log has stood still for {} s", age.as_secs());
        return Err(PipelineError::internal(what));
    }
    let answered = tokio::time::timeout(within, ledger.call(|_| Ok(()))).await;
    answered.unwrap_or_else(|_| {
        let what = format!("the ledger's thread has not answered for {} s", within.as_secs());
        Err(PipelineError::internal(what))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ledger::Ledger;

    use super::*;

    const WITHIN: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_ledger_that_does_not_come_back_is_no_life() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = LedgerThread::start(Ledger::open(dir.path(), "test").unwrap()).unwrap();
        let pulse = Pulse::default();
        expect_alive(&pulse, &ledger, Duration::from_secs(60)).await.unwrap();

        let (release, held) = mpsc::channel::<()>();
        let busy = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.call(move |_| Ok(held.recv().ok())).await }
        });
        let error = loop {
            pulse.beat();
            // Until the busy job is at work the thread still answers.
            match expect_alive(&pulse, &ledger, WITHIN).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().starts_with("the ledger's thread has not answered"), "{error}");
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        expect_alive(&pulse, &ledger, Duration::from_secs(60)).await.unwrap();
    }

    #[tokio::test]
    async fn a_capture_that_does_not_beat_is_no_life() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = LedgerThread::start(Ledger::open(dir.path(), "test").unwrap()).unwrap();
        let pulse = Pulse::default();
        tokio::time::sleep(WITHIN * 2).await;
        let error = expect_alive(&pulse, &ledger, WITHIN).await.unwrap_err();
        assert!(error.to_string().starts_with("the loop that reads the log has stood still"), "{error}");
        pulse.beat();
        expect_alive(&pulse, &ledger, Duration::from_secs(60)).await.unwrap();
    }
}
