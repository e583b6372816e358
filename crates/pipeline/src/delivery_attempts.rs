//! One batch, attempted until something is decided about it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use delivery::{Answer, Delivery, Fault, RetryPolicy, Verdict};
use ledger::{Batch, BatchId};
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::health::Health;
use crate::hours::Hours;
use crate::ledger_thread::LedgerThread;
use crate::pace::Pace;
use crate::waiting::Waiting;

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
    /// To be halved, or, alone, put aside.
    Refused(Fault),
    /// The same, because of its size.
    TooLarge(Fault),
    /// The retry policy's patience ended.
    GaveUp(Fault),
    /// Trying again is useless until an operator mends something.
    Halted(Fault),
    /// Nothing may be sent before this moment.
    Closed(DateTime<Utc>),
    /// A stop was asked for, or the caller is wanted elsewhere.
    Interrupted,
}

/// What attempting needs; all lanes share it.
pub(crate) struct Attempts<'a> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) ledger: &'a LedgerThread,
    pub(crate) health: &'a Health,
    pub(crate) retry: &'a RetryPolicy,
    pub(crate) pace: &'a Pace,
    pub(crate) hours: Hours,
    pub(crate) alert_after_failures: u32,
    /// Ends the work between POSTs.
    pub(crate) interrupt: CancellationToken,
    /// Ends the work, a POST under way included, after a grace.
    pub(crate) stop: &'a CancellationToken,
    /// Attempts that failed since the last acknowledgement, over all batches.
    pub(crate) failed_in_row: AtomicU32,
    pub(crate) waiting: Waiting,
}

impl Attempts<'_> {
    /// Sends `batch` again and again until an outcome is clear; every attempt is on record.
    pub(crate) async fn send(&self, batch: Batch) -> Result<Outcome, PipelineError> {
        let (id, body) = (batch.id, Bytes::from(batch.body));
        let started = Instant::now();
        let (mut attempts, mut unclear_refusals) = (0, 0);
        loop {
            if let Some(outcome) = self.obstacle().await {
                return Ok(outcome);
            }
            let Some(answer) = self.post(body.clone()).await else { return Ok(Outcome::Interrupted) };
            attempts += 1;
            if let Verdict::Retry { after: Some(pause), .. } = &answer.verdict {
                // At once: other lanes are about to send.
                self.pace.hold((*pause).min(self.retry.give_up_after));
            }
            self.record(id, &answer).await?;
            let (fault, after) = match answer.verdict {
                Verdict::Acknowledged => return Ok(Outcome::Acknowledged { status: answer.status }),
                Verdict::TooLarge { fault } => return Ok(Outcome::TooLarge(fault)),
                Verdict::Refused { certain: true, fault } => return Ok(Outcome::Refused(fault)),
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
            let pause = self.retry.pause(attempts, rand::random::<f64>(), after);
            if started.elapsed() + pause > self.retry.give_up_after {
                return Ok(Outcome::GaveUp(fault));
            }
            tracing::warn!(batch = id, pause_seconds = pause.as_secs_f64(), "delivery postponed: {fault}");
            if !self.unless_wanted(tokio::time::sleep(pause)).await {
                return Ok(Outcome::Interrupted);
            }
        }
    }

    /// Waits for a turn to send; what keeps the batch from being sent then.
    async fn obstacle(&self) -> Option<Outcome> {
        let closed = || self.hours.closed_until(Utc::now()).map(Outcome::Closed);
        if let Some(closed) = closed() {
            return Some(closed);
        }
        if !self.unless_wanted(self.pace.turn()).await {
            return Some(Outcome::Interrupted);
        }
        // The turn may have come late.
        closed()
    }

    /// Posts; `None` when it was interrupted.
    async fn post(&self, body: Bytes) -> Option<Answer> {
        let grace = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        let _under_way = self.waiting.begin();
        tokio::select! {
            answer = self.delivery.post(body) => Some(answer),
            () = grace => None,
        }
    }

    /// Waits for `pause`, unless the work is to end; whether it goes on.
    async fn unless_wanted(&self, pause: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = self.interrupt.cancelled() => false,
            () = self.stop.cancelled() => false,
            () = pause => true,
        }
    }

    async fn record(&self, batch: BatchId, answer: &Answer) -> Result<(), PipelineError> {
        let Some(fault) = answer.verdict.fault() else {
            self.failed_in_row.store(0, Ordering::Relaxed);
            self.health.update(|inner| inner.failed_attempts = 0);
            self.health.clear("delivery_failing");
            self.health.clear("delivery_halted");
            return Ok(());
        };
        let failed = self.failed_in_row.fetch_add(1, Ordering::Relaxed) + 1;
        self.health.update(|inner| inner.failed_attempts = failed);
        if failed >= self.alert_after_failures {
            let what = format!(
                "{failed} delivery attempts in a row have failed; nothing is lost, the delta waits in the ledger. The last one: {fault}"
            );
            self.health.raise("delivery_failing", what, fault.hint.clone());
        }
        let (error, status) = (fault.to_string(), answer.status);
        self.ledger.call(move |ledger| ledger.attempt_failed(batch, &error, status)).await
    }
}
