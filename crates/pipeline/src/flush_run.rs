//! One flush or backfill on its way, batch by batch.

use std::sync::atomic::AtomicU32;

use chrono::{DateTime, Utc};
use delivery::{Body, Fault, Precision};
use ledger::{Batch, FlushKind, FlushRow, Ledger};
use normalizer::StatusChange;
use tokio_util::sync::CancellationToken;

use crate::courier::{Courier, DeliveryProgress, FlushReport, FlushResult, Tell, now};
use crate::delivery_attempts::{Attempts, Outcome};
use crate::error::PipelineError;

/// Records refused alone, one after the other, before the endpoint itself is held to be at fault.
const SUSPECTS_MAX: u32 = 10;

/// Whether a flush goes on.
pub(crate) enum Step {
    Next,
    Done,
}

/// One flush on its way.
pub(crate) struct Run<'a> {
    courier: &'a Courier,
    flush: i64,
    kind: FlushKind,
    attempts: Attempts<'a>,
    tell: Tell<'a>,
    suspects: u32,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
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

    pub(crate) async fn step(
        &mut self,
        report: &mut FlushReport,
        next: Option<Batch>,
    ) -> Result<Step, PipelineError> {
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
        self.courier.ledger.call(move |ledger| ledger.next_batch(flush, &mut body, records_max, now())).await
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
    pub(crate) async fn settle_suspects(&mut self, report: &mut FlushReport) -> Result<(), PipelineError> {
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

    pub(crate) async fn finish(mut self, report: &mut FlushReport) -> Result<(), PipelineError> {
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
