//! When what leaves: flushes by schedule and by request, and the backfill in between.

use std::time::Duration;

use change::full_text;
use chrono::{DateTime, Utc};
use ledger::{BackfillState, FlushKind};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::courier::{Courier, DeliveryProgress, FlushReport, FlushResult};
use crate::error::PipelineError;
use crate::health::Health;
use crate::ledger_thread::LedgerThread;
use crate::schedule::Schedule;

/// The moment from which a ledger that has never flushed counts its schedule.
pub(crate) const NOTE_SCHEDULED_FROM: &str = "scheduled_from";

/// The clock is read at least this often: a machine that slept, or a clock that was set, must not delay a
/// flush by more.
const CLOCK_CHECK: Duration = Duration::from_secs(5);

/// How often the loop looks whether the copy has brought something to send.
const COPY_CHECK: Duration = Duration::from_millis(200);

/// How long a backfill that failed waits before the daemon tries it again.
const BACKFILL_PAUSE: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

/// A request to the loop.
pub(crate) enum Job {
    /// Flush now.
    Flush { told: mpsc::Sender<DeliveryProgress>, done: oneshot::Sender<Result<FlushReport, PipelineError>> },
    /// A backfill was asked for: look whether there is something to send.
    Backfill,
}

/// How the backfill is doing.
#[derive(Debug, Clone, Default)]
pub(crate) struct BackfillNews {
    pub(crate) progress: Option<DeliveryProgress>,
    /// When and how it last ended.
    pub(crate) ended: Option<(DateTime<Utc>, FlushReport)>,
}

/// What the backfill needs of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BackfillNeed {
    /// Nothing: not asked for, done, or in a pause.
    None,
    /// The copy of the table has to come further.
    Copy,
    /// To be sent.
    Ready,
}

/// How long the loop may sleep.
fn idle_time(need: BackfillNeed, next_flush: Option<DateTime<Utc>>) -> Duration {
    let patience = if need == BackfillNeed::Copy { COPY_CHECK } else { CLOCK_CHECK };
    let due = next_flush.and_then(|due| (due - Utc::now()).to_std().ok());
    due.map_or(patience, |due| patience.min(due + Duration::from_millis(1)))
}

/// When to flush next: when it is due, or as soon as the window opens that has closed on a flush.
fn sooner(due: Option<DateTime<Utc>>, waiting_until: Option<i64>) -> Option<DateTime<Utc>> {
    let opening = waiting_until.and_then(DateTime::from_timestamp_micros);
    due.into_iter().chain(opening).min()
}

/// The loop that owns the courier.
pub(crate) struct DeliveryLoop {
    courier: Courier,
    ledger: LedgerThread,
    health: Health,
    schedule: Option<Schedule>,
    jobs: mpsc::Receiver<Job>,
    news: watch::Sender<BackfillNews>,
    backfill_not_before: DateTime<Utc>,
    /// A backfill was asked for and its copy is under way.
    awaits_copy: bool,
}

impl DeliveryLoop {
    pub(crate) fn new(
        courier: Courier,
        ledger: LedgerThread,
        health: Health,
        schedule: Option<Schedule>,
    ) -> (Self, mpsc::Sender<Job>, watch::Receiver<BackfillNews>) {
        let (sender, jobs) = mpsc::channel(16);
        let (news, receiver) = watch::channel(BackfillNews::default());
        let backfill_not_before = DateTime::UNIX_EPOCH;
        let awaits_copy = false;
        let this = Self { courier, ledger, health, schedule, jobs, news, backfill_not_before, awaits_copy };
        (this, sender, receiver)
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), PipelineError> {
        let mut next_flush = self.first_flush().await?;
        while !stop.is_cancelled() {
            self.health.update(|inner| inner.next_flush_at = next_flush);
            if next_flush.is_some_and(|due| due <= Utc::now()) {
                let waiting_until = self.scheduled_flush().await;
                next_flush = sooner(self.next_flush(Utc::now()), waiting_until);
                continue;
            }
            let job = match self.backfill_need().await? {
                BackfillNeed::Ready => self.backfill_until_wanted(next_flush).await?,
                need => tokio::select! {
                    job = self.jobs.recv() => job,
                    () = tokio::time::sleep(idle_time(need, next_flush)) => continue,
                    () = stop.cancelled() => return Ok(()),
                },
            };
            if let Some(Job::Flush { told, done }) = job {
                let report = self.requested_flush(told).await;
                if let Ok(report) = &report
                    && self.schedule.is_some()
                {
                    next_flush = sooner(next_flush, report.waiting_until);
                }
                // The one who asked may have gone; the flush is on record all the same.
                drop(done.send(report));
            }
        }
        Ok(())
    }

    /// A flush that was interrupted goes on at once; one that was missed while nothing ran is due now.
    async fn first_flush(&self) -> Result<Option<DateTime<Utc>>, PipelineError> {
        if self.schedule.is_none() {
            return Ok(None);
        }
        let now = Utc::now();
        let (interrupted, last, since) = self
            .ledger
            .call(move |ledger| {
                let since = match ledger.note(NOTE_SCHEDULED_FROM)? {
                    Some(since) => since.parse().unwrap_or(now),
                    None => {
                        ledger.set_note(NOTE_SCHEDULED_FROM, &now.to_rfc3339())?;
                        now
                    }
                };
                let last = ledger.last_flush(FlushKind::Delta)?;
                let interrupted = last.as_ref().is_some_and(|flush| flush.finished_at.is_none());
                Ok((interrupted, last.map(|flush| flush.started_at), since))
            })
            .await?;
        if interrupted {
            return Ok(Some(now));
        }
        let last = last.and_then(DateTime::from_timestamp_micros).unwrap_or(since);
        Ok(self.next_flush(last.max(since)))
    }

    fn next_flush(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.schedule.as_ref()?.next_after(after)
    }

    /// Flushes; returns until when a closed window holds back what is left.
    async fn scheduled_flush(&self) -> Option<i64> {
        tracing::info!("flush begins");
        match self.courier.flush(&|_| {}).await {
            Ok(report) => {
                self.health.clear("flush");
                tracing::info!(
                    result = ?report.result,
                    records = report.records,
                    batches = report.batches,
                    quarantined = report.quarantined,
                    seconds = report.seconds,
                    waited_seconds = report.waited_seconds,
                    "flush ended"
                );
                report.waiting_until
            }
            Err(error) => {
                self.health.raise("flush", full_text(&error), error.hint());
                None
            }
        }
    }

    async fn requested_flush(
        &self,
        told: mpsc::Sender<DeliveryProgress>,
    ) -> Result<FlushReport, PipelineError> {
        // A slow reader misses some progress and nothing else.
        let tell = move |progress| {
            told.try_send(progress).ok();
        };
        let report = self.courier.flush(&tell).await;
        if report.is_ok() {
            self.health.clear("flush");
        }
        report
    }

    async fn backfill_need(&mut self) -> Result<BackfillNeed, PipelineError> {
        if Utc::now() < self.backfill_not_before {
            return Ok(BackfillNeed::None);
        }
        let (status, open) = self
            .ledger
            .call(|ledger| Ok((ledger.backfill_status()?, ledger.open_flush(FlushKind::Backfill)?)))
            .await?;
        let awaited = std::mem::take(&mut self.awaits_copy);
        Ok(match status.state {
            BackfillState::Sending if status.waiting + status.sending > 0 => BackfillNeed::Ready,
            BackfillState::Sending => {
                self.awaits_copy = true;
                BackfillNeed::Copy
            }
            // A flush that interrupted the backfill took its last rows along: its end has still to be told.
            BackfillState::Done if open.is_some() => BackfillNeed::Ready,
            BackfillState::Done if awaited => {
                // All that the copy met had come by the stream meanwhile: whoever asked waits for an end all the same.
                self.end(FlushReport::nothing());
                BackfillNeed::None
            }
            _ => BackfillNeed::None,
        })
    }

    /// Delivers the backfill until it ends, a job arrives or the next flush is due; returns the job.
    async fn backfill_until_wanted(
        &mut self,
        next_flush: Option<DateTime<Utc>>,
    ) -> Result<Option<Job>, PipelineError> {
        let interrupt = CancellationToken::new();
        let news = self.news.clone();
        let tell = move |progress| news.send_modify(|news| news.progress = Some(progress));
        let work = self.courier.backfill(&interrupt, &tell);
        tokio::pin!(work);
        let mut wanted = None;
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                job = self.jobs.recv(), if wanted.is_none() => {
                    wanted = job;
                    interrupt.cancel();
                }
                () = tokio::time::sleep(CLOCK_CHECK) => {
                    if next_flush.is_some_and(|due| due <= Utc::now()) {
                        interrupt.cancel();
                    }
                }
            }
        };
        let report = result?;
        match report.result {
            FlushResult::Interrupted if wanted.is_none() => {
                // The window is closed: look again when the clock is checked.
                self.backfill_not_before = Utc::now() + CLOCK_CHECK;
            }
            FlushResult::Interrupted => {}
            FlushResult::Failed | FlushResult::Halted => {
                self.backfill_not_before = Utc::now() + BACKFILL_PAUSE;
                self.end(report);
            }
            // Nothing is left for now; while the table is still being copied, more will come.
            FlushResult::Acknowledged | FlushResult::Partial => {
                let status = self.ledger.call(|ledger| ledger.backfill_status()).await?;
                if status.state == BackfillState::Done {
                    self.end(report);
                }
            }
        }
        Ok(wanted)
    }

    fn end(&self, report: FlushReport) {
        self.news.send_modify(|news| news.ended = Some((Utc::now(), report)));
    }
}
