//! Connect, begin, repair, stream, reconnect.
//!
//! The order that keeps every promise about the log:
//! 1. A ledger without a position begins: the log is reserved first, then the table is copied.
//! 2. A ledger with a gap on record repairs first: the log is reserved anew, the table copied and compared.
//! 3. The stream opens strictly after the ledger's position; what an earlier stream left open is dropped.
//! 4. A position is acknowledged to the database only after the ledger has committed it.
//!
//! Every step is on record before it is taken, so that a crash at any point leads back here.

use std::sync::Arc;
use std::time::Duration;

use change::{Beginning, Begun, Checkpoint, Retry, Source, SourceError, SourceErrorKind, full_text};
use chrono::Utc;
use ledger::{CopyId, CopyKind, Declared, GapFound, NewCopy, TableId};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::copier::Copier;
use crate::error::PipelineError;
use crate::health::{Health, SourceState};
use crate::ledger_thread::LedgerThread;
use crate::pulse::{BEAT_EVERY, Pulse};
use crate::room::Room;
use crate::settings::CaptureSettings;
use crate::stream_pump::Pump;
use crate::upkeep::settle_all;

/// On record from the moment the log was reserved by us until the first copy is complete: a start in
/// between reserves it anew, because the copy's snapshot died with the process.
const NOTE_RESERVED: &str = "reserved_for_first_copy";

const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_OPERATOR: Duration = Duration::from_secs(15);
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// The loop that reads the log.
pub(crate) struct Capture<S> {
    pub(crate) source: Arc<S>,
    /// What the tables are and their rows mean; mended mappings may arrive while the stream runs.
    pub(crate) declared: watch::Receiver<Declared>,
    pub(crate) ledger: LedgerThread,
    pub(crate) health: Health,
    pub(crate) settings: CaptureSettings,
    /// Told after each captured batch.
    pub(crate) captured: Arc<Notify>,
    /// Told when another copy of the table was asked for.
    pub(crate) copy_asked: Arc<Notify>,
    /// Whether the ledger may grow.
    pub(crate) room: Room,
    /// Told that this loop lives.
    pub(crate) pulse: Pulse,
}

impl<S: Source> Capture<S> {
    /// Reads the log until `stop`.
    ///
    /// # Errors
    /// When the very first connection fails for a cause that only an operator can mend (or, for a command
    /// that someone watches, for any cause), and when the ledger fails.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), PipelineError> {
        let result = {
            let mut streaming = std::pin::pin!(self.keep_streaming());
            loop {
                // In the same task, so that work which does not come back to its waiting holds the beat up as well.
                tokio::select! {
                    result = &mut streaming => break result,
                    () = stop.cancelled() => break Ok(()),
                    () = tokio::time::sleep(BEAT_EVERY) => self.pulse.beat(),
                }
            }
        };
        if let Err(error) = &result {
            self.health.update(|inner| inner.last_error = Some(full_text(error)));
        }
        self.health.set_state(SourceState::Stopped);
        result
    }

    async fn keep_streaming(&self) -> Result<(), PipelineError> {
        let mut pause = PAUSE_FIRST;
        let mut streamed = false;
        loop {
            self.health.set_state(SourceState::Connecting);
            let Err(error) = self.attempt(&mut streamed, &mut pause).await else { continue };
            match error {
                PipelineError::Source(error)
                    if error.kind() == SourceErrorKind::LostLog && self.settings.repairs =>
                {
                    self.record_gap(&error).await?;
                }
                PipelineError::Source(error) => {
                    self.wait_after(error, streamed, &mut pause).await?;
                }
                PipelineError::Ledger(error) if streamed && error.is_full() => {
                    let what = "the ledger's disk is full: capture is stopped, the database keeps its log until there is room";
                    self.health.raise("ledger_full", what.into(), error.hint().map(Into::into));
                    tokio::time::sleep(PAUSE_MAX).await;
                }
                other => return Err(other),
            }
        }
    }

    /// Decides what an error of the source means and waits accordingly.
    async fn wait_after(
        &self,
        error: SourceError,
        streamed: bool,
        pause: &mut Duration,
    ) -> Result<(), PipelineError> {
        let soon = error.kind().retry() == Retry::Soon;
        let lost = error.kind() == SourceErrorKind::LostLog;
        if lost || (!streamed && (self.settings.fail_fast || !soon)) {
            return Err(error.into());
        }
        self.health.source_failed(&error);
        if soon {
            tracing::warn!(
                pause_seconds = pause.as_secs_f64(),
                "capture interrupted, trying again: {}",
                full_text(&error)
            );
            tokio::time::sleep(*pause).await;
            *pause = (*pause * 2).min(PAUSE_MAX);
        } else {
            self.health.set_state(SourceState::Stopped);
            let what =
                format!("capture is stopped; the database keeps its log meanwhile: {}", full_text(&error));
            self.health.raise("capture_stopped", what, error.hint().map(str::to_owned));
            tokio::time::sleep(PAUSE_OPERATOR).await;
        }
        Ok(())
    }

    async fn attempt(&self, streamed: &mut bool, pause: &mut Duration) -> Result<(), PipelineError> {
        let checkpoint = self.ready().await?;
        self.ledger.call(|ledger| ledger.discard_open()).await?;
        let stream = self.source.stream(&checkpoint).await?;
        *streamed = true;
        *pause = PAUSE_FIRST;
        self.health.clear("capture_stopped");
        Pump::new(self, stream).run().await
    }

    /// Brings the ledger to where a stream can start: a position, and no gap that waits for repair.
    async fn ready(&self) -> Result<Checkpoint, PipelineError> {
        let (unfinished, gap, checkpoint) = self
            .ledger
            .call(|ledger| Ok((ledger.unfinished_copy()?, ledger.open_gap_id()?, ledger.checkpoint()?)))
            .await?;
        if gap.is_some() && !self.settings.repairs {
            let message = "the log was lost, and what that hid has not been mended yet";
            return Err(SourceError::new(SourceErrorKind::LostLog, message).into());
        }
        // A fenced copy goes on beside the stream; an exact one died with its snapshot.
        let resumable = unfinished.filter(|copy| !copy.exact && checkpoint.is_some());
        if resumable.is_none() {
            self.drop_unfinished_copy().await?;
            if let Some(gap) = gap {
                return self.repair(gap.id).await;
            }
        }
        match checkpoint {
            Some(checkpoint) => {
                // Who only looks leaves that to the next run.
                if self.settings.repairs {
                    self.copy_new_tables().await?;
                }
                Ok(checkpoint)
            }
            None => self.begin().await,
        }
    }

    /// Tables that came into the configuration after the first start are copied in pages beside the stream, unless
    /// another copy is under way: then when that is complete. So is everything, where a copy for a backfill that is sent
    /// again was given up.
    pub(crate) async fn copy_new_tables(&self) -> Result<(), PipelineError> {
        let declared = self.declared.borrow().clone();
        let names = declared.clone();
        let (missing, again) = self
            .ledger
            .call(move |ledger| match ledger.unfinished_copy()? {
                Some(_) => Ok((Vec::new(), false)),
                None => Ok((ledger.tables_to_copy(&declared)?, ledger.owes_copy_again()?)),
            })
            .await?;
        if again {
            tracing::info!(
                "the copy for a backfill that is sent again was cut short by a lost log: it begins once more"
            );
            return self.begin_copy(CopyKind::Again, false, None).await.map(|_| ());
        }
        if missing.is_empty() {
            return Ok(());
        }
        for table in missing.iter().filter_map(|table| names.tables().table(names.number(*table)?)) {
            tracing::info!(table = %table.name, "the table is new in the configuration: it is copied beside the stream");
        }
        self.begin_copy(CopyKind::Baseline, false, Some(missing)).await.map(|_| ())
    }

    async fn drop_unfinished_copy(&self) -> Result<(), PipelineError> {
        self.ledger
            .call(|ledger| match ledger.unfinished_copy()? {
                Some(copy) => ledger.abandon_copy(copy.id),
                None => Ok(()),
            })
            .await
    }

    /// The first start: reserve the log, copy the table.
    async fn begin(&self) -> Result<Checkpoint, PipelineError> {
        let reserved = self.ledger.call(|ledger| ledger.note(NOTE_RESERVED)).await?.is_some();
        let beginning = match &self.settings.from {
            _ if reserved => Beginning::Anew,
            Some(position) => Beginning::At(position.clone()),
            None => Beginning::Present,
        };
        let begun = self.source.begin(&beginning).await?;
        if let Some(told) = &begun.adopted {
            tracing::info!(position = %begun.checkpoint.position, "{told}");
        } else if begun.snapshot.is_some() {
            self.ledger.call(|ledger| ledger.set_note(NOTE_RESERVED, "1")).await?;
        }
        let checkpoint = self.copy(begun, CopyKind::Baseline).await?;
        self.ledger.call(|ledger| ledger.clear_note(NOTE_RESERVED)).await?;
        Ok(checkpoint)
    }

    /// After a lost log: reserve it anew, compare the table with what is known, emit what differs.
    async fn repair(&self, gap: i64) -> Result<Checkpoint, PipelineError> {
        self.health.set_state(SourceState::Repairing);
        let begun = self.source.begin(&Beginning::Anew).await?;
        let exact = begun.snapshot.is_some();
        let checkpoint = self.copy(begun, CopyKind::Repair { gap }).await?;
        if exact && self.ledger.call(|ledger| ledger.unfinished_copy()).await?.is_none() {
            settle_all(&self.ledger).await?;
            self.ledger.call(move |ledger| ledger.close_gap(gap, Utc::now().timestamp_micros())).await?;
            self.health.clear("lost_log");
            tracing::info!("the gap is repaired: what differed is in the delta");
            self.copy_new_tables().await?;
        }
        Ok(checkpoint)
    }

    /// Copies the table as of `begun`: exactly where possible, else the fenced copy is only begun here and
    /// goes on beside the stream.
    async fn copy(&self, begun: Begun<S::Snapshot>, kind: CopyKind) -> Result<Checkpoint, PipelineError> {
        let Begun { checkpoint, snapshot, rows_estimate, .. } = begun;
        let copier = self.copier();
        if let Some(snapshot) = snapshot.filter(|_| !copier.too_long(rows_estimate)) {
            let copy = self.begin_copy(kind, true, None).await?;
            if copier.copy_exact(snapshot, copy).await? {
                let at = checkpoint.clone();
                self.ledger.call(move |ledger| ledger.finish_copy(copy, Some(&at))).await?;
                // A quiet log would let the copy wait to be merged until something happens.
                self.captured.notify_one();
                return Ok(checkpoint);
            }
            tracing::info!(
                "the copy takes longer than a transaction may stay open: going on in fenced pages"
            );
            self.ledger.call(move |ledger| ledger.abandon_copy(copy)).await?;
        }
        // The copy is on record before the position: a ledger with a position and no copy would never make one.
        self.begin_copy(kind, false, None).await?;
        let at = checkpoint.clone();
        self.ledger.call(move |ledger| ledger.set_checkpoint(&at)).await?;
        Ok(checkpoint)
    }

    async fn begin_copy(
        &self,
        kind: CopyKind,
        exact: bool,
        tables: Option<Vec<TableId>>,
    ) -> Result<CopyId, PipelineError> {
        let copy = NewCopy { kind, exact, tables, at: Utc::now().timestamp_micros() };
        self.ledger.call(move |ledger| ledger.begin_copy(&copy)).await
    }

    async fn record_gap(&self, error: &SourceError) -> Result<(), PipelineError> {
        let reason = full_text(error);
        let what = format!(
            "the database's log was lost after our position ({reason}); the table is being compared with what is known, and what differs will be sent; statuses passed through meanwhile cannot be known"
        );
        self.health.raise("lost_log", what, error.hint().map(str::to_owned));
        self.health.source_failed(error);
        self.health.set_state(SourceState::Repairing);
        // The fences of a copy under way belong to the log that is gone.
        self.drop_unfinished_copy().await?;
        let found_at = Utc::now().timestamp_micros();
        self.ledger.call(move |ledger| ledger.open_gap(&GapFound { found_at, reason })).await?;
        Ok(())
    }

    /// Asks the server from time to time how long it will keep the log, on whatever connection it takes.
    pub(crate) fn watch_retention(
        &self,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), PipelineError>> + Send + use<S> {
        let (source, ledger, health) = (self.source.clone(), self.ledger.clone(), self.health.clone());
        async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(RETENTION_EVERY) => {}
                }
                if health.view().state != SourceState::Streaming {
                    continue;
                }
                let Some(checkpoint) = ledger.call(|ledger| ledger.checkpoint()).await? else { continue };
                match source.retention(&checkpoint.position).await {
                    Ok(retention) => health.update(|inner| inner.retention = retention),
                    Err(error) => tracing::debug!("retention is not known: {}", full_text(&error)),
                }
            }
        }
    }

    pub(crate) fn copier(&self) -> Copier<S> {
        Copier {
            source: self.source.clone(),
            declared: self.declared.borrow().clone(),
            ledger: self.ledger.clone(),
            settings: self.settings.clone(),
        }
    }
}
