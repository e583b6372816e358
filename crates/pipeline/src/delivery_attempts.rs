//! One batch, attempted until something is decided about it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use delivery::{Answer, Delivery, Fault, RetryPolicy, Verdict};
use ledger::Batch;
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::health::Health;
use crate::ledger_thread::LedgerThread;

/// How long a POST that is under way may go on after a stop was asked for: an answer that still arrives
/// spares the dashboard a repeat, and every command must stop within ten seconds.
const STOP_GRACE: Duration = Duration::from_secs(7);

/// How often an answer "not accepted" of unclear meaning (a 2xx that says `success: false`) is tried again
/// before the batch is halved to find the record at fault.
const UNCLEAR_REFUSALS_MAX: u32 = 3;

/// What became of a batch.
pub(crate) enum Outcome {
    /// The dashboard has it.
    Acknowledged { status: Option<u16> },
    /// Too large or refused: to be halved, or, alone, put aside.
    Refused(Fault),
    /// The retry policy's patience ended.
    GaveUp(Fault),
    /// Trying again is useless until an operator mends something.
    Halted(Fault),
    /// A stop was asked for, or the caller is wanted elsewhere.
    Interrupted,
}

/// What attempting needs.
pub(crate) struct Attempts<'a> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) ledger: &'a LedgerThread,
    pub(crate) health: &'a Health,
    pub(crate) retry: &'a RetryPolicy,
    pub(crate) alert_after_failures: u32,
    /// Ends the work between POSTs.
    pub(crate) interrupt: &'a CancellationToken,
    /// Ends the work, a POST under way included, after a grace.
    pub(crate) stop: &'a CancellationToken,
    /// Attempts that failed since the last acknowledgement, over all batches.
    pub(crate) failed_in_row: AtomicU32,
}

impl Attempts<'_> {
    /// Sends `batch` again and again until an outcome is clear; every attempt is on record.
    pub(crate) async fn send(&self, batch: &Batch) -> Result<Outcome, PipelineError> {
        let started = Instant::now();
        let mut unclear_refusals = 0;
        loop {
            let Some(answer) = self.post(batch).await else { return Ok(Outcome::Interrupted) };
            self.record(batch, &answer).await?;
            let (fault, after) = match answer.verdict {
                Verdict::Acknowledged => return Ok(Outcome::Acknowledged { status: answer.status }),
                Verdict::TooLarge { fault } | Verdict::Refused { certain: true, fault } => {
                    return Ok(Outcome::Refused(fault));
                }
                Verdict::Halt { fault } => return Ok(Outcome::Halted(fault)),
                Verdict::Refused { certain: false, fault } => {
                    unclear_refusals += 1;
                    if unclear_refusals > UNCLEAR_REFUSALS_MAX {
                        return Ok(Outcome::Refused(fault));
                    }
                    (fault, None)
                }
                Verdict::Retry { after, fault } => (fault, after),
            };
            let pause = self.pause(after);
            if started.elapsed() + pause > self.retry.give_up_after {
                return Ok(Outcome::GaveUp(fault));
            }
            tracing::warn!(
                batch = batch.id,
                pause_seconds = pause.as_secs_f64(),
                "delivery postponed: {fault}"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.interrupt.cancelled() => return Ok(Outcome::Interrupted),
                () = self.stop.cancelled() => return Ok(Outcome::Interrupted),
            }
        }
    }

    async fn post(&self, batch: &Batch) -> Option<Answer> {
        if self.stop.is_cancelled() || self.interrupt.is_cancelled() {
            return None;
        }
        let grace = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            answer = self.delivery.post(batch.body.clone().into()) => Some(answer),
            () = grace => None,
        }
    }

    async fn record(&self, batch: &Batch, answer: &Answer) -> Result<(), PipelineError> {
        let fault = match &answer.verdict {
            Verdict::Acknowledged => {
                self.failed_in_row.store(0, Ordering::Relaxed);
                self.health.update(|inner| inner.failed_attempts = 0);
                self.health.clear("delivery_failing");
                self.health.clear("delivery_halted");
                return Ok(());
            }
            Verdict::Retry { fault, .. }
            | Verdict::TooLarge { fault }
            | Verdict::Refused { fault, .. }
            | Verdict::Halt { fault } => fault,
        };
        let failed = self.failed_in_row.fetch_add(1, Ordering::Relaxed) + 1;
        self.health.update(|inner| inner.failed_attempts = failed);
        if failed >= self.alert_after_failures {
            let what = format!(
                "{failed} delivery attempts in a row have failed; nothing is lost, the delta waits in the ledger. The last one: {fault}"
            );
            self.health.raise("delivery_failing", what, fault.hint.clone());
        }
        let (id, error, status) = (batch.id, fault.to_string(), answer.status);
        self.ledger.call(move |ledger| ledger.attempt_failed(id, &error, status)).await
    }

    fn pause(&self, after: Option<Duration>) -> Duration {
        let attempt = self.failed_in_row.load(Ordering::Relaxed).max(1);
        self.retry.pause(attempt, rand::random::<f64>(), after)
    }
}
