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
use std::time::Instant;

use chrono::Utc;
use delivery::{Delivery, Fault};
use ledger::{FlushKind, FlushRow, Ledger, LedgerError};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::body_limit::BodyLimit;
use crate::error::PipelineError;
use crate::flush_run::Run;
use crate::health::Health;
use crate::ledger_thread::LedgerThread;
use crate::pace::Pace;
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
    /// Until when a closed window holds back what is left, in microseconds since the epoch.
    pub waiting_until: Option<i64>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// For how much of that at least one POST was waiting for its answer, in seconds.
    pub waited_seconds: f64,
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
            waiting_until: None,
            seconds: 0.0,
            waited_seconds: 0.0,
        }
    }

    pub(crate) fn ended(&mut self, result: FlushResult, fault: Option<&Fault>) {
        self.result = result;
        self.error = fault.map(ToString::to_string);
        self.hint = fault.and_then(|fault| fault.hint.clone());
    }

    /// Whether nothing is left but what is in quarantine.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.result, FlushResult::Acknowledged | FlushResult::Partial)
    }

    /// The two parts of one flush as one.
    fn followed_by(self, rest: Self) -> Self {
        let is_partial = self.result == FlushResult::Partial && rest.result == FlushResult::Acknowledged;
        Self {
            result: if is_partial { FlushResult::Partial } else { rest.result },
            records: self.records + rest.records,
            batches: self.batches + rest.batches,
            quarantined: self.quarantined + rest.quarantined,
            error: rest.error.or(self.error),
            hint: rest.hint.or(self.hint),
            waiting_until: rest.waiting_until,
            seconds: self.seconds + rest.seconds,
            waited_seconds: self.waited_seconds + rest.waited_seconds,
        }
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
    pub(crate) pace: Pace,
    pub(crate) body_limit: BodyLimit,
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
        let pace = Pace::new(settings.requests_per_minute);
        let body_limit = BodyLimit::new(settings.batch_bytes_max, delivery.target());
        Self { ledger, delivery, settings, pace, body_limit, health, stop }
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
        let result = self.deliver(FlushKind::Backfill, interrupt, tell).await;
        self.after_delivery(&result).await;
        result
    }

    async fn flush_all(&self, tell: Tell<'_>) -> Result<FlushReport, PipelineError> {
        let never = CancellationToken::new();
        // A backfill batch whose outcome is open may hold the first record of a request in the delta: it
        // is decided first, so that each request's records stay in order.
        if self.ledger.call(|ledger| ledger.has_pending(FlushKind::Backfill)).await? {
            let report = self.deliver_pending_backfill(&never).await?;
            if !report.is_done() {
                return Ok(report);
            }
        }
        let left_over = self.ledger.call(|ledger| ledger.open_flush(FlushKind::Delta)).await?.is_some();
        let report = self.deliver(FlushKind::Delta, &never, tell).await?;
        if left_over && report.is_done() {
            return Ok(report.followed_by(self.deliver(FlushKind::Delta, &never, tell).await?));
        }
        Ok(report)
    }

    /// Opens or continues a flush of `kind` and delivers it.
    async fn deliver(
        &self,
        kind: FlushKind,
        interrupt: &CancellationToken,
        tell: Tell<'_>,
    ) -> Result<FlushReport, PipelineError> {
        let began = Instant::now();
        if kind == FlushKind::Delta {
            settle_all(&self.ledger).await?;
        }
        let flush = self.open(kind).await?;
        let run = Run::new(self, &flush, began, interrupt, tell);
        if run.send_pending(None).await? {
            run.send_rest().await?;
        }
        run.finish().await
    }

    async fn deliver_pending_backfill(
        &self,
        interrupt: &CancellationToken,
    ) -> Result<FlushReport, PipelineError> {
        let began = Instant::now();
        let flush = self.open(FlushKind::Backfill).await?;
        let run = Run::new(self, &flush, began, interrupt, &|_| {}).ahead_of_the_delta();
        run.send_pending(Some(FlushKind::Backfill)).await?;
        run.settle_suspects().await
    }

    /// The flush that is open, or a new one; with what an earlier one has learned.
    async fn open(&self, kind: FlushKind) -> Result<FlushRow, PipelineError> {
        let by_service = self.settings.group_by == GroupBy::Service;
        let open = move |ledger: &mut Ledger| {
            Ok((open_or_start(ledger, kind, by_service)?, ledger.note(BodyLimit::NOTE)?))
        };
        let (flush, note) = self.ledger.call(open).await?;
        if let Some(note) = note {
            self.body_limit.recall(&note);
        }
        Ok(flush)
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
    let rows = match rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    let records = match records {
        1 => "1 refused record".to_owned(),
        records => format!("{records} refused records"),
    };
    let what = format!(
        "in quarantine: {rows} that could not be mapped, {records}; they are kept, and everything else goes on"
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

pub(crate) fn now() -> i64 {
    Utc::now().timestamp_micros()
}
