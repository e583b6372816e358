//! One flush or backfill on its way, batch by batch.
//!
//! Batches leave by several *lanes* side by side, and each lane has a shard of the requests for its own: so one request's
//! records stay in order, and a lane that must repeat or halve a batch holds up only its own shard. What an earlier flush
//! left undecided was divided otherwise, perhaps, and leaves first, one batch after the other.
//!
//! While a batch is under way its lane forms the next one, so that the endpoint never waits for the ledger. At most one
//! batch of each lane is with the endpoint. Its acknowledgement may be *put off*: the next batch leaves at once, and the
//! acknowledgement is committed beside that POST, together with the batch after the next. Nothing leaves after that before
//! both are durable: after a crash no more than two batches of each lane are sent again, in their order.
//!
//! Two batches that hold records of one request would tell its earlier status again after its later one. So an
//! acknowledgement is put off only where the next batch shares no request with the acknowledged one; else it is durable
//! before the next one leaves.

use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};
use delivery::Fault;
use futures_util::future::try_join_all;
use ledger::{Acknowledgement, Batch, BatchId, FlushKind, FlushRow, Ledger, Limits, Shard};
use tokio_util::sync::CancellationToken;

use crate::body_limit::BodyLimit;
use crate::courier::{Courier, DeliveryProgress, FlushReport, FlushResult, Tell, now};
use crate::delivery_attempts::{Attempts, Outcome};
use crate::error::PipelineError;
use crate::formed::{Builder, Formed, Next, RequestSet};
use crate::hours::Hours;
use crate::lanes::{Lanes, Others};
use crate::waiting::Waiting;

/// Records refused alone, one after the other, before the endpoint itself is held to be at fault.
const SUSPECTS_MAX: u32 = 10;

/// Whether a flush goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Next,
    /// The same, and this is yet to be made durable.
    Acknowledged(Owed),
    /// The same, and the batch has parts now, which leave first.
    Parts,
    Done,
}

/// An acknowledgement that is not durable yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owed {
    word: Acknowledgement,
    records: u32,
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
            if self.durable_step(batch).await? == Step::Done {
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
        let mut formed = self.form(lanes, shard, None).await?;
        let mut owed = None;
        loop {
            let Some(Next { batch, requests }) = formed.next else {
                match lanes.wait_for_others(formed.seen, &self.attempts.interrupt).await {
                    Others::MovedOn => formed = self.form(lanes, shard, None).await?,
                    Others::Finished => return Ok(()),
                    Others::Interrupted => {
                        self.end(FlushResult::Interrupted, None);
                        return Ok(());
                    }
                }
                continue;
            };
            let form = self.form(lanes, shard, owed.take());
            let (sent, further) = tokio::join!(self.send_whole(batch), form);
            formed = further?;
            match sent? {
                Step::Done => return Ok(()),
                Step::Acknowledged(word) => {
                    owed = self.put_off(word, &requests, formed.next.as_ref()).await?;
                }
                Step::Next | Step::Parts => {}
            }
        }
    }

    /// Puts an acknowledgement off until the next batch is under way, or makes it durable at once.
    async fn put_off(
        &self,
        owed: Owed,
        requests: &RequestSet,
        next: Option<&Next>,
    ) -> Result<Option<Owed>, PipelineError> {
        let has_suspects = self.lock().suspects > 0;
        if !has_suspects && next.is_some_and(|next| requests.share_none_with(&next.requests)) {
            return Ok(Some(owed));
        }
        self.acknowledge(owed).await?;
        Ok(None)
    }

    /// Sends a batch, and where it must be split, its parts.
    async fn send_whole(&self, batch: Batch) -> Result<Step, PipelineError> {
        let whole = batch.id;
        let step = self.step(batch).await?;
        if step != Step::Parts {
            return Ok(step);
        }
        while let Some(part) = self.courier.ledger.call(move |ledger| ledger.next_part(whole)).await? {
            if self.durable_step(part).await? == Step::Done {
                return Ok(Step::Done);
            }
        }
        Ok(Step::Next)
    }

    /// The same as [`Self::step`], after which nothing is owed.
    async fn durable_step(&self, batch: Batch) -> Result<Step, PipelineError> {
        let step = self.step(batch).await?;
        let Step::Acknowledged(owed) = step else { return Ok(step) };
        self.acknowledge(owed).await?;
        Ok(Step::Next)
    }

    async fn step(&self, batch: Batch) -> Result<Step, PipelineError> {
        let (id, records, bytes) = (batch.id, batch.records, batch.body.len());
        let outcome = self.attempts.send(batch).await?;
        let (result, fault) = match outcome {
            Outcome::Acknowledged { status } => {
                let word = Acknowledgement { batch: id, at: now(), http_status: status };
                self.learn(bytes).await?;
                return Ok(Step::Acknowledged(Owed { word, records }));
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

    /// Forms the lane's next batch, and makes durable in the same commit what is owed.
    async fn form(&self, lanes: &Lanes, shard: Shard, owed: Option<Owed>) -> Result<Formed, PipelineError> {
        let seen = lanes.formed();
        if self.attempts.interrupt.is_cancelled() || self.courier.stop.is_cancelled() {
            if let Some(owed) = owed {
                self.acknowledge(owed).await?;
            }
            self.end(FlushResult::Interrupted, None);
            return Ok(Formed { next: None, seen });
        }
        let (flush, mut builder) = (self.flush, self.builder());
        let max_records = self.courier.settings.batch_records_max;
        let form = move |ledger: &mut Ledger| {
            let limits = Limits { builder: &mut builder, max_records, shard, now: now() };
            let batch = match owed {
                Some(owed) => ledger.acknowledge_and_form(&owed.word, limits),
                None => ledger.form_batch(flush, limits),
            }?;
            Ok(batch.map(|batch| Next { batch, requests: builder.into_requests() }))
        };
        let next = self.courier.ledger.call(form).await?;
        if next.is_some() {
            lanes.has_formed();
        }
        if let Some(owed) = owed {
            self.count(&owed);
            self.tell_progress(None).await?;
        }
        Ok(Formed { next, seen })
    }

    fn builder(&self) -> Builder {
        let settings = &self.courier.settings;
        Builder::new(settings.precision, settings.batch_records_max, self.courier.body_limit.bytes_max())
    }

    /// Makes an acknowledgement durable by itself.
    async fn acknowledge(&self, owed: Owed) -> Result<(), PipelineError> {
        let Acknowledgement { batch, at, http_status } = owed.word;
        self.courier.ledger.call(move |ledger| ledger.acknowledge(batch, at, http_status)).await?;
        self.count(&owed);
        // An acknowledgement that was put off came when there were none, and says nothing of those that came since.
        if self.lock().suspects > 0 {
            self.confirm_suspects().await?;
        }
        self.tell_progress(None).await
    }

    fn count(&self, owed: &Owed) {
        let mut state = self.lock();
        state.report.records += u64::from(owed.records);
        state.report.batches += 1;
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
