//! What leaves: the nightly flush and the backfill, batch by acknowledged batch.
//!
//! A batch is stored with its body before its first POST and stays stored until something is decided about
//! it, so an attempt whose acknowledgement was lost is repeated whole and identical, also after a crash.
//!
//! # Refusals
//! A refused batch is halved until the record at fault stands alone. One record refused among accepted ones
//! is at fault itself and goes to quarantine; but an endpoint that refuses everything must not push a whole
//! delta into quarantine. So a record that is refused alone is first a *suspect*: the next acknowledgement,
//! or the end of the flush, confirms it; more than [`SUSPECTS_MAX`] in a row without any acknowledgement
//! halt the flush, and the suspects wait with the rest.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use chrono::{DateTime, Utc};
use delivery::{Body, Delivery, Fault, Precision};
use ledger::{Batch, FlushKind, FlushRow, Ledger, LedgerError};
use normalizer::StatusChange;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::delivery_attempts::{Attempts, Outcome};
use crate::error::PipelineError;
use crate::health::Health;
use crate::ledger_thread::LedgerThread;
use crate::settings::{DeliverySettings, GroupBy};
use crate::upkeep::{SETTLE_ROWS, settle_all};

/// Records refused alone, one after the other, before the endpoint itself is held to be at fault.
const SUSPECTS_MAX: u32 = 10;

/// How a flush or backfill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlushResult {
    /// Every record was acknowledged.
    Acknowledged,
    /// All but what is in quarantine was acknowledged.
    Partial,
    /// The retry policy's patience ended; what is left goes with the next flush.
    Failed,
    /// The endpoint needs an operator; what is left goes with the next flush.
    Halted,
    /// Stopped on the way; the next flush goes on where this one stopped.
    Interrupted,
}

/// What a flush or backfill did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlushReport {
    /// How it ended.
    pub result: FlushResult,
    /// Records acknowledged.
    pub records: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Records put into quarantine.
    pub quarantined: u64,
    /// Why it did not deliver everything.
    pub error: Option<String>,
    /// What the institution must do about it.
    pub hint: Option<String>,
}

impl FlushReport {
    /// The report of a delivery that had nothing to send.
    pub(crate) fn nothing() -> Self {
        Self {
            result: FlushResult::Acknowledged,
            records: 0,
            batches: 0,
            quarantined: 0,
            error: None,
            hint: None,
        }
    }

    fn ended(&mut self, result: FlushResult, fault: &Fault) {
        self.result = result;
        self.error = Some(fault.to_string());
        self.hint.clone_from(&fault.hint);
    }
}

/// How far a flush or backfill has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryProgress {
    /// Records acknowledged since it began.
    pub records: u64,
    /// Batches acknowledged since it began.
    pub batches: u64,
    /// Records of a backfill that wait to be sent.
    pub waiting: Option<u64>,
    /// The month of opening, as yyyymm, at which a backfill is.
    pub month: Option<u32>,
    /// The moment until which a closed window holds the backfill back, in microseconds since the epoch.
    pub waiting_until: Option<i64>,
}

/// Tells others how far a delivery has come.
pub(crate) type Tell<'a> = &'a (dyn Fn(DeliveryProgress) + Send + Sync);

/// The one who carries batches to the dashboard. One at a time: its methods must not run side by side.
pub struct Courier {
    ledger: LedgerThread,
    delivery: Arc<Delivery>,
    settings: DeliverySettings,
    health: Health,
    stop: CancellationToken,
}

impl Courier {
    /// Makes a courier that ends its work when `stop` is cancelled.
    #[must_use]
    pub fn new(
        ledger: LedgerThread,
        delivery: Arc<Delivery>,
        settings: DeliverySettings,
        health: Health,
        stop: CancellationToken,
    ) -> Self {
        Self { ledger, delivery, settings, health, stop }
    }

    /// Sends the delta: what an earlier flush left, then everything that is settled now.
    ///
    /// # Errors
    /// When the ledger fails; a failing endpoint is a result, not an error.
    pub async fn flush(
        &self,
        tell: &(dyn Fn(DeliveryProgress) + Send + Sync),
    ) -> Result<FlushReport, PipelineError> {
        self.health.update(|inner| inner.flushing = true);
        let result = self.flush_all(tell).await;
        self.health.update(|inner| inner.flushing = false);
        self.after_delivery(&result).await;
        result
    }

    /// Sends what waits of the backfill, until it is done, the window closes, or `interrupt` is cancelled.
    ///
    /// # Errors
    /// When the ledger fails; a failing endpoint is a result, not an error.
    pub async fn backfill(
        &self,
        interrupt: &CancellationToken,
        tell: &(dyn Fn(DeliveryProgress) + Send + Sync),
    ) -> Result<FlushReport, PipelineError> {
        let mut report = FlushReport::nothing();
        let result = self.deliver(FlushKind::Backfill, interrupt, &mut report, tell).await;
        let result = result.map(|()| report);
        self.after_delivery(&result).await;
        result
    }

    async fn flush_all(&self, tell: Tell<'_>) -> Result<FlushReport, PipelineError> {
        let never = CancellationToken::new();
        let mut report = FlushReport::nothing();
        // A backfill batch whose outcome is open may hold the first record of a request in the delta: it
        // is decided first, so that each request's records stay in order.
        if self.ledger.call(|ledger| ledger.has_pending(FlushKind::Backfill)).await? {
            self.deliver_pending_backfill(&never, &mut report).await?;
            if report.result != FlushResult::Acknowledged && report.result != FlushResult::Partial {
                return Ok(report);
            }
            report = FlushReport::nothing();
        }
        let left_over = self.ledger.call(|ledger| ledger.open_flush(FlushKind::Delta)).await?.is_some();
        self.deliver(FlushKind::Delta, &never, &mut report, tell).await?;
        let done = matches!(report.result, FlushResult::Acknowledged | FlushResult::Partial);
        if left_over && done {
            let mut rest = FlushReport::nothing();
            self.deliver(FlushKind::Delta, &never, &mut rest, tell).await?;
            report = sum(report, rest);
        }
        Ok(report)
    }

    /// Opens or continues a flush of `kind` and delivers it.
    async fn deliver(
        &self,
        kind: FlushKind,
        interrupt: &CancellationToken,
        report: &mut FlushReport,
        tell: Tell<'_>,
    ) -> Result<(), PipelineError> {
        let by_service = self.settings.group_by == GroupBy::Service;
        if kind == FlushKind::Delta {
            settle_all(&self.ledger).await?;
        }
        let flush = self.ledger.call(move |ledger| open_or_start(ledger, kind, by_service)).await?;
        let mut run = Run::new(self, &flush, interrupt, tell);
        while let Step::Next = run.step(report, None).await? {}
        run.finish(report).await
    }

    async fn deliver_pending_backfill(
        &self,
        interrupt: &CancellationToken,
        report: &mut FlushReport,
    ) -> Result<(), PipelineError> {
        let by_service = self.settings.group_by == GroupBy::Service;
        let flush = self
            .ledger
            .call(move |ledger| open_or_start(ledger, FlushKind::Backfill, by_service))
            .await?;
        let mut run = Run::new(self, &flush, interrupt, &|_| {});
        while self.ledger.call(|ledger| ledger.has_pending(FlushKind::Backfill)).await? {
            if !matches!(run.step(report, None).await?, Step::Next) {
                break;
            }
        }
        run.settle_suspects(report).await
    }

    async fn after_delivery(&self, result: &Result<FlushReport, PipelineError>) {
        if let Ok(report) = result
            && report.result == FlushResult::Halted
        {
            let why = report.error.clone().unwrap_or_default();
            let what = format!("delivery is halted, nothing is lost and the delta waits in the ledger: {why}");
            self.health.raise("delivery_halted", what, report.hint.clone());
        }
        match self.ledger.call(|ledger| ledger.quarantine_counts()).await {
            Ok(counts) => raise_quarantine(&self.health, counts.rows, counts.records),
            Err(error) => self.health.raise("ledger", error.to_string(), error.hint()),
        }
    }
}

/// Raises or clears the quarantine's alert by its counts.
pub(crate) fn raise_quarantine(health: &Health, rows: u64, records: u64) {
    if rows + records == 0 {
        return health.clear("quarantine");
    }
    let what = format!("{rows} rows that could not be mapped and {records} refused records are in quarantine; they are kept, and everything else goes on");
    health.raise("quarantine", what, Some("see `bitacora quarantine list`; mend the cause, then `bitacora quarantine retry`".into()));
}

/// The flush that is open, or a new one. What was captured since the settling before is settled in the same
/// turn of the ledger's thread, so that nothing can come in between.
fn open_or_start(ledger: &mut Ledger, kind: FlushKind, by_service: bool) -> Result<FlushRow, LedgerError> {
    if let Some(open) = ledger.open_flush(kind)? {
        return Ok(open);
    }
    if kind == FlushKind::Delta {
        while ledger.settle(SETTLE_ROWS)?.more {}
    }
    ledger.start_flush(kind, by_service, now())
}

fn sum(first: FlushReport, second: FlushReport) -> FlushReport {
    let partial = first.result == FlushResult::Partial && second.result == FlushResult::Acknowledged;
    FlushReport {
        result: if partial { FlushResult::Partial } else { second.result },
        records: first.records + second.records,
        batches: first.batches + second.batches,
        quarantined: first.quarantined + second.quarantined,
        error: second.error.or(first.error),
        hint: second.hint.or(first.hint),
    }
}

fn now() -> i64 {
    Utc::now().timestamp_micros()
}

/// Whether a flush goes on.
enum Step {
    Next,
    Done,
}

/// One flush on its way.
struct Run<'a> {
    courier: &'a Courier,
    flush: i64,
    kind: FlushKind,
    attempts: Attempts<'a>,
    tell: Tell<'a>,
    suspects: u32,
}

impl<'a> Run<'a> {
    fn new(
        courier: &'a Courier,
        flush: &FlushRow,
        interrupt: &'a CancellationToken,
        tell: Tell<'a>,
    ) -> Self {
        let attempts = Attempts {
            delivery: &courier.delivery,
            ledger: &courier.ledger,
            health: &courier.health,
            retry: &courier.settings.retry,
            alert_after_failures: courier.settings.alert_after_failures,
            interrupt,
            stop: &courier.stop,
            failed_in_row: AtomicU32::new(0),
        };
        Self { courier, flush: flush.id, kind: flush.kind, attempts, tell, suspects: 0 }
    }

    async fn step(&mut self, report: &mut FlushReport, next: Option<Batch>) -> Result<Step, PipelineError> {
        if self.window_closed(report).await? {
            return Ok(Step::Done);
        }
        let batch = match next {
            Some(batch) => batch,
            None => match self.next_batch().await? {
                Some(batch) => batch,
                None => return Ok(Step::Done),
            },
        };
        match self.attempts.send(&batch).await? {
            Outcome::Acknowledged { status } => self.acknowledged(&batch, status, report).await?,
            Outcome::Refused(fault) => return self.refused(&batch, fault, report).await,
            Outcome::GaveUp(fault) => {
                report.ended(FlushResult::Failed, &fault);
                return Ok(Step::Done);
            }
            Outcome::Halted(fault) => {
                report.ended(FlushResult::Halted, &fault);
                return Ok(Step::Done);
            }
            Outcome::Interrupted => {
                report.result = FlushResult::Interrupted;
                return Ok(Step::Done);
            }
        }
        Ok(Step::Next)
    }

    async fn next_batch(&self) -> Result<Option<Batch>, PipelineError> {
        let (flush, mut body) = (self.flush, self.body());
        let records_max = self.courier.settings.batch_records_max;
        self.courier
            .ledger
            .call(move |ledger| ledger.next_batch(flush, &mut body, records_max, now()))
            .await
    }

    fn body(&self) -> Builder {
        let settings = &self.courier.settings;
        Builder::new(settings.precision, settings.batch_records_max, settings.batch_bytes_max)
    }

    async fn acknowledged(
        &mut self,
        batch: &Batch,
        status: Option<u16>,
        report: &mut FlushReport,
    ) -> Result<(), PipelineError> {
        let id = batch.id;
        self.courier.ledger.call(move |ledger| ledger.acknowledge(id, now(), status)).await?;
        report.records += u64::from(batch.records);
        report.batches += 1;
        if self.suspects > 0 {
            self.confirm_suspects(report).await?;
        }
        self.tell_progress(report, None).await
    }

    async fn refused(
        &mut self,
        batch: &Batch,
        fault: Fault,
        report: &mut FlushReport,
    ) -> Result<Step, PipelineError> {
        let id = batch.id;
        if batch.records > 1 {
            tracing::warn!(batch = id, records = batch.records, "batch refused, halving it: {fault}");
            let mut body = self.body();
            self.courier.ledger.call(move |ledger| ledger.split(id, &mut body, now())).await?;
            return Ok(Step::Next);
        }
        let (code, reason) = (fault.code, fault.message.clone());
        self.courier.ledger.call(move |ledger| ledger.suspect(id, code, &reason, now())).await?;
        self.suspects += 1;
        if self.suspects > SUSPECTS_MAX {
            report.ended(FlushResult::Halted, &fault);
            return Ok(Step::Done);
        }
        Ok(Step::Next)
    }

    async fn confirm_suspects(&mut self, report: &mut FlushReport) -> Result<(), PipelineError> {
        let flush = self.flush;
        report.quarantined +=
            self.courier.ledger.call(move |ledger| ledger.confirm_suspects(flush, now())).await?;
        self.suspects = 0;
        Ok(())
    }

    /// At the end: few suspects are at fault themselves; many, with no acknowledgement between them, are not.
    async fn settle_suspects(&mut self, report: &mut FlushReport) -> Result<(), PipelineError> {
        let flush = self.flush;
        let delivered = matches!(report.result, FlushResult::Acknowledged | FlushResult::Partial);
        if delivered {
            self.confirm_suspects(report).await?;
        } else {
            self.courier.ledger.call(move |ledger| ledger.release_suspects(flush)).await?;
        }
        if report.quarantined > 0 && report.result == FlushResult::Acknowledged {
            report.result = FlushResult::Partial;
        }
        Ok(())
    }

    async fn finish(mut self, report: &mut FlushReport) -> Result<(), PipelineError> {
        self.settle_suspects(report).await?;
        let flush = self.flush;
        let result = match report.result {
            FlushResult::Acknowledged => ledger::FlushResult::Acknowledged,
            FlushResult::Partial => ledger::FlushResult::Partial,
            FlushResult::Failed => ledger::FlushResult::Failed,
            FlushResult::Halted => ledger::FlushResult::Halted,
            // An interrupted flush stays open: whoever comes next goes on with it.
            FlushResult::Interrupted => return Ok(()),
        };
        let error = report.error.clone();
        self.courier
            .ledger
            .call(move |ledger| ledger.finish_flush(flush, result, error.as_deref(), now()))
            .await
    }

    async fn tell_progress(
        &self,
        report: &FlushReport,
        waiting_until: Option<i64>,
    ) -> Result<(), PipelineError> {
        let (mut waiting, mut month) = (None, None);
        if self.kind == FlushKind::Backfill {
            let state = |ledger: &mut Ledger| Ok((ledger.backfill_status()?, ledger.backfill_next_month()?));
            let (status, next) = self.courier.ledger.call(state).await?;
            waiting = Some(status.waiting + status.sending);
            month = next;
        }
        let (records, batches) = (report.records, report.batches);
        (self.tell)(DeliveryProgress { records, batches, waiting, month, waiting_until });
        Ok(())
    }

    /// A backfill is only sent inside its window; outside it the run ends as interrupted.
    async fn window_closed(&self, report: &mut FlushReport) -> Result<bool, PipelineError> {
        let Some(window) = &self.courier.settings.window else { return Ok(false) };
        let moment: DateTime<Utc> = Utc::now();
        if self.kind == FlushKind::Delta || window.contains(moment) {
            return Ok(false);
        }
        report.result = FlushResult::Interrupted;
        self.tell_progress(report, Some(window.opens_after(moment).timestamp_micros())).await?;
        Ok(true)
    }
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
