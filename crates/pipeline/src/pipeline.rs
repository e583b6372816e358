//! The loops, started, asked and stopped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use change::Source;
use chrono::Utc;
use delivery::Delivery;
use ledger::{
    BackfillState, CopyKind, Declared, Discard, Ledger, LedgerErrorKind, NewCopy, Repair, RepairAt,
};
use normalizer::Tables;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::capture::Capture;
use crate::courier::{Courier, DeliveryProgress, FlushReport, FlushResult, raise_quarantine};
use crate::delivery_loop::{BackfillNews, DeliveryLoop, Job};
use crate::error::PipelineError;
use crate::health::Health;
use crate::ledger_thread::LedgerThread;
use crate::lookout::{Lookout, recall};
use crate::pulse::{Pulse, expect_alive};
use crate::quarantine::{RetryReport, retry_quarantine};
use crate::room::Room;
use crate::settings::Settings;
use crate::status::{Status, status};
use crate::upkeep::{Upkeep, settle_all};

/// A large transaction is read for minutes, and nothing can be put behind it before its commit is read.
const OPEN_TRANSACTION_PATIENCE: Duration = Duration::from_secs(300);
const OPEN_TRANSACTION_CHECK: Duration = Duration::from_millis(50);

/// What the loops are made of.
pub struct Parts<S> {
    /// The database.
    pub source: S,
    /// Its tables, and what their rows mean.
    pub tables: Tables,
    /// The ledger, opened for writing.
    pub ledger: Ledger,
    /// The folder of the ledger.
    pub ledger_dir: PathBuf,
    /// The way to the dashboard.
    pub delivery: Delivery,
    /// Everything else.
    pub settings: Settings,
    /// What leaves.
    pub deliveries: Deliveries,
}

/// What leaves while the loops run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deliveries {
    /// Flushes on schedule and by request, and the backfill: right for the daemon.
    OnSchedule,
    /// What is asked for, and the backfill.
    #[default]
    OnRequest,
    /// Nothing: right for a command that only looks.
    None,
}

/// The openings that a backfill covers, in microseconds since the epoch, and whether it starts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillRange {
    /// Opened at or after this moment.
    pub from_at: i64,
    /// Opened before this moment.
    pub to_at: i64,
    /// Copies the table again and sends every request's present status again.
    pub restart: bool,
}

/// The running loops.
pub struct Pipeline {
    requests: Requests,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), PipelineError>>,
}

impl Pipeline {
    /// Starts all loops.
    ///
    /// # Errors
    /// When the ledger was filled with other rows than the tables are said to hold, or cannot be read or written; when the
    /// operating system gives no thread for it.
    pub fn start<S: Source>(parts: Parts<S>, engine: &'static str) -> Result<Self, PipelineError> {
        let Parts { source, tables, mut ledger, ledger_dir, delivery, settings, deliveries: what } = parts;
        let declared = ledger.declare_tables(Arc::new(tables))?;
        let health = Health::default();
        if what == Deliveries::OnSchedule {
            // Before any loop could find out that it is over.
            recall(&ledger, &health)?;
        }
        let ledger = LedgerThread::start(ledger)?;
        let (stop, captured, copy_asked) =
            (CancellationToken::new(), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (room, pulse) = (Room::new(settings.upkeep.ledger_bytes_max), Pulse::default());
        let (declared_sender, declared) = watch::channel(declared);
        let capture = Capture {
            source: Arc::new(source),
            declared,
            ledger: ledger.clone(),
            health: health.clone(),
            settings: settings.capture,
            captured: captured.clone(),
            copy_asked: copy_asked.clone(),
            room: room.clone(),
            pulse: pulse.clone(),
        };
        let upkeep = Upkeep {
            ledger: ledger.clone(),
            ledger_dir,
            health: health.clone(),
            settings: settings.upkeep,
            captured,
            room,
        };
        let courier =
            Courier::new(ledger.clone(), Arc::new(delivery), settings.delivery, health.clone(), stop.clone());
        let schedule = Some(settings.schedule).filter(|_| what == Deliveries::OnSchedule);
        let lookout = schedule.clone().map(|schedule| Lookout {
            ledger: ledger.clone(),
            health: health.clone(),
            schedule,
            settings: settings.lookout,
        });
        let (deliveries, jobs, news) = DeliveryLoop::new(courier, ledger.clone(), health.clone(), schedule);
        let mut tasks = JoinSet::new();
        tasks.spawn(capture.watch_retention(stop.clone()));
        tasks.spawn(capture.run(stop.clone()));
        tasks.spawn(upkeep.run(stop.clone()));
        if let Some(lookout) = lookout {
            tasks.spawn(lookout.run(stop.clone()));
        }
        if what != Deliveries::None {
            tasks.spawn(deliveries.run(stop.clone()));
        }
        let declared = Arc::new(declared_sender);
        let requests = Requests { ledger, health, pulse, jobs, news, copy_asked, engine, declared };
        Ok(Self { requests, stop, tasks })
    }

    /// A handle for requests, apart from the loops themselves.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Waits until a loop ends by itself, which none does but for a failure.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn failed(&mut self) -> Result<(), PipelineError> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| PipelineError::internal(format!("a loop broke: {error}")))??;
        }
        Ok(())
    }

    /// Stops all loops and waits for them: a POST under way gets some seconds to be answered.
    pub async fn shut_down(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!("while stopping: {error}");
            }
        }
    }
}

/// What may be asked of the running loops; cheap to clone.
#[derive(Clone)]
pub struct Requests {
    ledger: LedgerThread,
    health: Health,
    pulse: Pulse,
    jobs: mpsc::Sender<Job>,
    news: watch::Receiver<BackfillNews>,
    copy_asked: Arc<Notify>,
    engine: &'static str,
    declared: Arc<watch::Sender<Declared>>,
}

impl Requests {
    /// The ledger's thread.
    #[must_use]
    pub fn ledger(&self) -> &LedgerThread {
        &self.ledger
    }

    /// What is going on.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Whether the loops that must never stand still have shown life `within` this time.
    ///
    /// # Errors
    /// Which of them has not.
    pub async fn expect_alive(&self, within: Duration) -> Result<(), PipelineError> {
        expect_alive(&self.pulse, &self.ledger, within).await
    }

    /// Maps and sends quarantined items again with `mended`, by which new changes are mapped from now on.
    ///
    /// # Errors
    /// When `mended` needs other columns or other rows than the running loops read, or when the ledger fails.
    pub async fn retry_quarantine(&self, mended: Tables) -> Result<RetryReport, PipelineError> {
        let present = self.declared.borrow().clone();
        if !mended.reads_as(present.tables()) {
            return Err(PipelineError::refused(
                "the mended configuration needs other columns, or other rows, than the running daemon reads",
                "restart the daemon, then run `bitacora quarantine retry` again",
            ));
        }
        let mended = Arc::new(mended);
        let declared = self.ledger.call(move |ledger| ledger.declare_tables(mended)).await?;
        self.declared.send_replace(declared.clone());
        let report = retry_quarantine(&self.ledger, &declared).await?;
        self.show_quarantine().await?;
        Ok(report)
    }

    /// Discards quarantined items for good: those with the given numbers, or all of them.
    ///
    /// # Errors
    /// When the ledger fails.
    pub async fn discard_quarantine(&self, ids: Option<Vec<i64>>) -> Result<u64, PipelineError> {
        let now = Utc::now().timestamp_micros();
        let discarded = self
            .ledger
            .call(move |ledger| {
                let which = ids.as_deref().map_or(Discard::All, Discard::Items);
                ledger.discard(which, now)
            })
            .await?;
        self.show_quarantine().await?;
        Ok(discarded)
    }

    async fn show_quarantine(&self) -> Result<(), PipelineError> {
        let counts = self.ledger.call(|ledger| ledger.quarantine_counts()).await?;
        raise_quarantine(&self.health, counts.rows, counts.records);
        Ok(())
    }

    /// Flushes now, telling of the progress.
    ///
    /// # Errors
    /// When the ledger fails, or the loops are stopping.
    pub async fn flush(&self, told: mpsc::Sender<DeliveryProgress>) -> Result<FlushReport, PipelineError> {
        let (done, report) = oneshot::channel();
        let job = Job::Flush { told, done };
        self.jobs.send(job).await.map_err(|_| PipelineError::Stopped)?;
        report.await.map_err(|_| PipelineError::Stopped)?
    }

    /// Puts what an audit found into the delta; returns how much of it. What went on meanwhile comes by the stream.
    ///
    /// # Errors
    /// When the ledger fails, and when the database commits nothing for so long that a transaction of it stays open.
    pub async fn repair(&self, repairs: Vec<Repair>, at: RepairAt) -> Result<u64, PipelineError> {
        let deadline = Instant::now() + OPEN_TRANSACTION_PATIENCE;
        let repairs = Arc::new(repairs);
        loop {
            let (repairs, at) = (repairs.clone(), at.clone());
            match self.ledger.call(move |ledger| ledger.repair(&repairs, &at)).await {
                Err(PipelineError::Ledger(error))
                    if error.kind() == LedgerErrorKind::OpenTransaction && Instant::now() < deadline =>
                {
                    tokio::time::sleep(OPEN_TRANSACTION_CHECK).await;
                }
                ended => return ended,
            }
        }
    }

    /// Settles everything that was captured.
    ///
    /// # Errors
    /// When the ledger fails.
    pub async fn settle(&self) -> Result<(), PipelineError> {
        settle_all(&self.ledger).await
    }

    /// The product's state, exact to the moment.
    ///
    /// # Errors
    /// When the ledger fails.
    pub async fn status(&self) -> Result<Status, PipelineError> {
        let (view, engine) = (self.health.view(), self.engine);
        if view.caught_up {
            // Cheap when nothing waits, and the counts are exact after it.
            self.ledger.call(|ledger| ledger.settle(50_000)).await?;
        }
        self.ledger.call(move |ledger| status(ledger.queries(), engine, &view, Utc::now())).await
    }

    /// Asks for the backfill of `range` and waits until it is done or fails, telling of the progress.
    /// Dropping the future leaves the request standing: the loops go on with it.
    ///
    /// # Errors
    /// When the ledger fails, or the loops are stopping.
    pub async fn backfill(
        &self,
        range: BackfillRange,
        told: mpsc::Sender<DeliveryProgress>,
    ) -> Result<FlushReport, PipelineError> {
        let mut news = self.news.clone();
        news.mark_unchanged();
        let begun_at = Utc::now();
        if self.ask_backfill(range).await? == BackfillState::Done {
            return Ok(FlushReport::nothing());
        }
        self.jobs.send(Job::Backfill).await.map_err(|_| PipelineError::Stopped)?;
        loop {
            news.changed().await.map_err(|_| PipelineError::Stopped)?;
            let now = news.borrow_and_update().clone();
            if let Some(progress) = now.progress {
                // A slow reader misses some progress and nothing else.
                told.try_send(progress).ok();
            }
            if let Some((at, report)) = now.ended.filter(|(at, _)| *at >= begun_at) {
                tracing::debug!(%at, "backfill ended");
                if report.result != FlushResult::Interrupted {
                    return Ok(report);
                }
            }
        }
    }

    async fn ask_backfill(&self, range: BackfillRange) -> Result<BackfillState, PipelineError> {
        let now = Utc::now().timestamp_micros();
        if range.restart {
            let copy = NewCopy { kind: CopyKind::Again, exact: false, tables: None, at: now };
            self.ledger
                .call(move |ledger| {
                    let under_way = ledger.unfinished_copy()?;
                    if under_way.as_ref().is_some_and(|copy| matches!(copy.kind, CopyKind::Repair { .. })) {
                        // A repair sends what differs only: the copy begins when it is through.
                        return ledger.ask_copy_again();
                    }
                    if ledger.checkpoint()?.is_none() || under_way.is_some() {
                        // The copy that is under way, or about to begin, serves.
                        return Ok(());
                    }
                    ledger.begin_copy(&copy).map(|_| ())
                })
                .await?;
            self.copy_asked.notify_one();
        }
        self.ledger
            .call(move |ledger| {
                ledger.request_backfill(range.from_at, range.to_at, now)?;
                Ok(ledger.backfill_status()?.state)
            })
            .await
    }
}
