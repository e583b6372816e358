//! What leaves: the nightly flush and the backfill, batch by acknowledged batch.
//!
//! A batch is stored with its body before its first POST and stays stored until something is decided about
//! it, so an attempt whose acknowledgement was lost is repeated whole and identical, also after a crash.
//!
//! # Refusals
//! A refused batch is halved until the record at fault stands alone. One record refused among accepted ones
//! is at fault itself and goes to quarantine; but an endpoint that refuses everything must not push a whole
//! delta into quarantine. So a record that is refused alone is first a *suspect*: the next acknowledgement,
//! or the end of the flush, confirms it; too many in a row without any acknowledgement
//! halt the flush, and the suspects wait with the rest.

use std::sync::Arc;

use chrono::Utc;
use delivery::{Delivery, Fault};
use ledger::{FlushKind, FlushRow, Ledger, LedgerError};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::flush_run::{Run, Step};
use crate::health::Health;
use crate::ledger_thread::LedgerThread;
use crate::settings::{DeliverySettings, GroupBy};
use crate::upkeep::{SETTLE_ROWS, settle_all};

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

    pub(crate) fn ended(&mut self, result: FlushResult, fault: &Fault) {
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
    pub(crate) ledger: LedgerThread,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) settings: DeliverySettings,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
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
        let flush =
            self.ledger.call(move |ledger| open_or_start(ledger, FlushKind::Backfill, by_service)).await?;
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
            let what =
                format!("delivery is halted, nothing is lost and the delta waits in the ledger: {why}");
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
    let what = format!(
        "{rows} rows that could not be mapped and {records} refused records are in quarantine; they are kept, and everything else goes on"
    );
    health.raise(
        "quarantine",
        what,
        Some("see `bitacora quarantine list`; mend the cause, then `bitacora quarantine retry`".into()),
    );
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

pub(crate) fn now() -> i64 {
    Utc::now().timestamp_micros()
}
