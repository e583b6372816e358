//! One flush or backfill on its way, batch by batch.
//!
//! Batches leave by several *lanes* side by side, and each lane has a shard of the requests for its own: so one request's
//! records stay in order, and a lane that must repeat or halve a batch holds up only its own shard. What an earlier flush
//! left undecided was divided otherwise, perhaps, and leaves first, one batch after the other.
//!
//! While a batch is under way its lane forms the next one, so that the endpoint never waits for the ledger. At most one
//! batch of each lane is with the endpoint, and a lane's next one leaves after the acknowledgement is durable: after a
//! crash no more than one batch of each lane is sent again. What makes the acknowledgement durable makes the batch durable
//! that was formed meanwhile, so that each batch costs one wait for the disk.

use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};
use delivery::{Body, Fault, Precision};
use futures_util::future::try_join_all;
use ledger::{Batch, BatchId, Durable, FlushKind, FlushRow, Ledger, Limits, Shard};
use normalizer::StatusChange;
use tokio_util::sync::CancellationToken;

use crate::body_limit::BodyLimit;
use crate::courier::{Courier, DeliveryProgress, FlushReport, FlushResult, Tell, now};
use crate::delivery_attempts::{Attempts, Outcome};
use crate::error::PipelineError;
use crate::hours::Hours;
use crate::lanes::{Lanes, Others};
use crate::waiting::Waiting;

/// Records refused alone, one after the other, before the endpoint itself is held to be at fault.
const SUSPECTS_MAX: u32 = 10;

/// Whether a flush goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Next,
    /// The same, and the batch has parts now, which leave first.
    Parts,
    Done,
}

/// One flush on its way.
pub(crate) struct Run<'a> {
    courier: &'a Courier,
    flush: i64,
    kind: FlushKind,
    attempts: Attempts<'a>,
    tell: Tell<'a>,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    report: FlushReport,
    suspects: u32,
}

impl<'a> Run<'a> {
    /// Goes on with `flush`, which has taken time since `began`, until `interrupt` is cancelled.
    pub(crate) fn new(
        courier: &'a Courier,
        flush: &FlushRow,
        began: Instant,
        interrupt: &CancellationToken,
        tell: Tell<'a>,
    ) -> Self {
        let attempts = Attempts {
            delivery: &courier.delivery,
            ledger: &courier.ledger,
            health: &courier.health,
            retry: &courier.settings.retry,
            pace: &courier.pace,
            hours: Hours::of(&courier.settings, flush.kind),
            alert_after_failures: courier.settings.alert_after_failures,
            // A lane that comes to an end for all of them cancels it.
            interrupt: interrupt.child_token(),
            stop: &courier.stop,
            failed_in_row: AtomicU32::new(0),
            waiting: Waiting::default(),
        };
        let state = Mutex::new(State { report: FlushReport::nothing(), suspects: 0 });
        Self { courier, flush: flush.id, kind: flush.kind, attempts, tell, began, state }
    }

    /// The same outside the hours of the backfill: what it has begun must be decided before the delta may leave.
    pub(crate) fn ahead_of_the_delta(mut self) -> Self {
        self.attempts.hours = Hours::of(&self.courier.settings, FlushKind::Delta);
        self
    }

    /// Sends the batches that wait for an attempt, one after the other; whether the flush goes on. `until_none_of`
    /// ends that early, once none of its kind waits.
    pub(crate) async fn send_pending(&self, until_none_of: Option<FlushKind>) -> Result<bool, PipelineError> {
        let flush = self.flush;
        let next = move |ledger: &mut Ledger| match until_none_of {
            Some(kind) if !ledger.has_pending(kind)? => Ok(None),
            _ => ledger.pending_batch(flush),
        };
        while let Some(batch) = self.courier.ledger.call(next).await? {
            if self.step(batch).await? == Step::Done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Forms and sends all that the flush has, by as many lanes as the settings allow.
    pub(crate) async fn send_rest(&self) -> Result<(), PipelineError> {
        let count = self.courier.settings.concurrency.max(1);
        let lanes = Lanes::new(count);
        let work = Shard::divide(count).map(|shard| self.lane(&lanes, shard));
        try_join_all(work).await.map(drop)
    }

    async fn lane(&self, lanes: &Lanes, shard: Shard) -> Result<(), PipelineError> {
        let mut next = self.form(lanes, shard, Durable::Now).await?;
        loop {
            let Formed { batch, seen } = next;
            let Some(batch) = batch else {
                match lanes.wait_for_others(seen, &self.attempts.interrupt).await {
                    Others::MovedOn => next = self.form(lanes, shard, Durable::Now).await?,
                    Others::Finished => return Ok(()),
                    Others::Interrupted => {
                        self.end(FlushResult::Interrupted, None);
                        return Ok(());
                    }
                }
                continue;
            };
            let form = self.form(lanes, shard, Durable::WithNextCommit);
            let (sent, formed) = tokio::join!(self.send_whole(batch), form);
            if sent? == Step::Done {
                return Ok(());
            }
            next = formed?;
        }
    }

    /// Sends a batch, and where it must be split, its parts.
    async fn send_whole(&self, batch: Batch) -> Result<Step, PipelineError> {
        let whole = batch.id;
        let mut step = self.step(batch).await?;
        let mut is_split = step == Step::Parts;
        while is_split && step != Step::Done {
            match self.courier.ledger.call(move |ledger| ledger.next_part(whole)).await? {
                Some(part) => step = self.step(part).await?,
                None => is_split = false,
            }
        }
        Ok(step)
    }

    async fn step(&self, batch: Batch) -> Result<Step, PipelineError> {
        let (id, records, bytes) = (batch.id, batch.records, batch.body.len());
        let outcome = self.attempts.send(batch).await?;
        let (result, fault) = match outcome {
            Outcome::Acknowledged { status } => {
                self.acknowledged(id, records, status).await?;
                self.learn(bytes).await?;
                return Ok(Step::Next);
            }
            Outcome::TooLarge(fault) => {
                if records > 1 {
                    self.courier.body_limit.was_too_large(bytes);
                }
                return self.refused(id, records, fault).await;
            }
            Outcome::Refused(fault) => return self.refused(id, records, fault).await,
            Outcome::GaveUp(fault) => (FlushResult::Failed, Some(fault)),
            Outcome::Halted(fault) => (FlushResult::Halted, Some(fault)),
            Outcome::Closed(until) => {
                self.closed(until).await?;
                (FlushResult::Interrupted, None)
            }
            Outcome::Interrupted => (FlushResult::Interrupted, None),
        };
        self.end(result, fault.as_ref());
        Ok(Step::Done)
    }

    /// Ends all lanes, each after the POST that it has under way. The first one to end says how.
    fn end(&self, result: FlushResult, fault: Option<&Fault>) {
        let mut state = self.lock();
        if state.report.result == FlushResult::Acknowledged {
            state.report.ended(result, fault);
        }
        drop(state);
        self.attempts.interrupt.cancel();
    }

    /// What is durable with the next commit may be so after a POST that is decided about: each decision is a commit.
    async fn form(&self, lanes: &Lanes, shard: Shard, durable: Durable) -> Result<Formed, PipelineError> {
        let seen = lanes.formed();
        if self.attempts.interrupt.is_cancelled() || self.courier.stop.is_cancelled() {
            self.end(FlushResult::Interrupted, None);
            return Ok(Formed { batch: None, seen });
        }
        let (flush, mut builder) = (self.flush, self.builder());
        let max_records = self.courier.settings.batch_records_max;
        let form = move |ledger: &mut Ledger| {
            let builder = &mut builder;
            ledger.form_batch(flush, Limits { builder, max_records, shard, durable, now: now() })
        };
        let batch = self.courier.ledger.call(form).await?;
        if batch.is_some() {
            lanes.has_formed();
        }
        Ok(Formed { batch, seen })
    }

    fn builder(&self) -> Builder {
        let settings = &self.courier.settings;
        Builder::new(settings.precision, settings.batch_records_max, self.courier.body_limit.bytes_max())
    }

    async fn acknowledged(
        &self,
        batch: BatchId,
        records: u32,
        status: Option<u16>,
    ) -> Result<(), PipelineError> {
        self.courier.ledger.call(move |ledger| ledger.acknowledge(batch, now(), status)).await?;
        let has_suspects = {
            let mut state = self.lock();
            state.report.records += u64::from(records);
            state.report.batches += 1;
            state.suspects > 0
        };
        if has_suspects {
            self.confirm_suspects().await?;
        }
        self.tell_progress(None).await
    }

    /// Keeps what an acknowledgement of so many bytes has taught.
    async fn learn(&self, bytes: usize) -> Result<(), PipelineError> {
        let Some(note) = self.courier.body_limit.was_taken(bytes) else { return Ok(()) };
        self.courier.ledger.call(move |ledger| ledger.set_note(BodyLimit::NOTE, &note)).await
    }

    async fn refused(&self, batch: BatchId, records: u32, fault: Fault) -> Result<Step, PipelineError> {
        if records > 1 {
            tracing::warn!(batch, records, "batch refused, halving it: {fault}");
            let mut builder = self.builder();
            self.courier.ledger.call(move |ledger| ledger.split(batch, &mut builder, now())).await?;
            return Ok(Step::Parts);
        }
        let (code, reason) = (fault.code, fault.message.clone());
        self.courier.ledger.call(move |ledger| ledger.suspect(batch, code, &reason, now())).await?;
        let suspects = {
            let mut state = self.lock();
            state.suspects += 1;
            state.suspects
        };
        if suspects > SUSPECTS_MAX {
            self.end(FlushResult::Halted, Some(&fault));
            return Ok(Step::Done);
        }
        Ok(Step::Next)
    }

    async fn confirm_suspects(&self) -> Result<(), PipelineError> {
        let flush = self.flush;
        let confirmed = self.courier.ledger.call(move |ledger| ledger.confirm_suspects(flush, now())).await?;
        let mut state = self.lock();
        state.report.quarantined += confirmed;
        state.suspects = 0;
        Ok(())
    }

    /// At the end: few suspects are at fault themselves; many, with no acknowledgement between them, are not.
    pub(crate) async fn settle_suspects(&self) -> Result<FlushReport, PipelineError> {
        let flush = self.flush;
        let is_delivered = self.lock().report.result == FlushResult::Acknowledged;
        if is_delivered {
            self.confirm_suspects().await?;
        } else {
            self.courier.ledger.call(move |ledger| ledger.release_suspects(flush)).await?;
        }
        let mut state = self.lock();
        let report = &mut state.report;
        if report.quarantined > 0 && report.result == FlushResult::Acknowledged {
            report.result = FlushResult::Partial;
        }
        report.seconds = self.began.elapsed().as_secs_f64();
        report.waited_seconds = self.attempts.waiting.total().as_secs_f64();
        Ok(report.clone())
    }

    /// Writes down how the flush ended.
    pub(crate) async fn finish(self) -> Result<FlushReport, PipelineError> {
        let report = self.settle_suspects().await?;
        let flush = self.flush;
        let result = match report.result {
            FlushResult::Acknowledged => ledger::FlushResult::Acknowledged,
            FlushResult::Partial => ledger::FlushResult::Partial,
            FlushResult::Failed => ledger::FlushResult::Failed,
            FlushResult::Halted => ledger::FlushResult::Halted,
            // An interrupted flush stays open: whoever comes next goes on with it.
            FlushResult::Interrupted => return Ok(report),
        };
        let error = report.error.clone();
        self.courier
            .ledger
            .call(move |ledger| ledger.finish_flush(flush, result, error.as_deref(), now()))
            .await?;
        Ok(report)
    }

    async fn tell_progress(&self, waiting_until: Option<i64>) -> Result<(), PipelineError> {
        let (mut waiting, mut month) = (None, None);
        if self.kind == FlushKind::Backfill {
            let state = |ledger: &mut Ledger| Ok((ledger.backfill_status()?, ledger.backfill_next_month()?));
            let (status, next) = self.courier.ledger.call(state).await?;
            waiting = Some(status.waiting + status.sending);
            month = next;
        }
        let (records, batches) = {
            let state = self.lock();
            (state.report.records, state.report.batches)
        };
        (self.tell)(DeliveryProgress { records, batches, waiting, month, waiting_until });
        Ok(())
    }

    /// The hours in which something may leave are over.
    async fn closed(&self, until: DateTime<Utc>) -> Result<(), PipelineError> {
        let until = until.timestamp_micros();
        self.lock().report.waiting_until = Some(until);
        self.tell_progress(Some(until)).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a lane found when it looked for its next batch.
struct Formed {
    batch: Option<Batch>,
    /// How many batches all lanes had formed before.
    seen: u64,
}

/// Lets the ledger fill a batch's body while it chooses the records.
struct Builder {
    precision: Precision,
    records_max: usize,
    bytes_max: usize,
    body: Body,
}

impl Builder {
    fn new(precision: Precision, records_max: u32, bytes_max: usize) -> Self {
        let records_max = records_max as usize;
        Self { precision, records_max, bytes_max, body: Body::new(precision, records_max, bytes_max) }
    }
}

impl ledger::BodyBuilder for Builder {
    fn push(&mut self, change: &StatusChange) -> bool {
        self.body.push(change)
    }

    fn finish(&mut self) -> Vec<u8> {
        let next = Body::new(self.precision, self.records_max, self.bytes_max);
        std::mem::replace(&mut self.body, next).finish()
    }
}
