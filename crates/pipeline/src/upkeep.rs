//! What keeps the ledger small and its answers fresh: settling, pruning, the disk budget.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use change::full_text;
use chrono::Utc;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::health::Health;
use crate::ledger_thread::LedgerThread;
use crate::room::Room;
use crate::settings::UpkeepSettings;

/// Log rows that one settling transaction takes: small enough not to keep captured batches waiting, large enough not
/// to write the same pages of last known statuses again and again.
pub(crate) const SETTLE_ROWS: u64 = 50_000;

/// How long after a captured batch its changes are settled, so that `status` counts them exactly.
const SETTLE_DELAY: Duration = Duration::from_millis(200);

/// A log that is never caught up with, because changes keep coming, is settled this often all the same: no sooner
/// is a copy of the table merged, so that a backfill can begin.
const SETTLE_EVERY_UNDER_LOAD: Duration = Duration::from_secs(5);

const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// A flood of changes fills a disk in minutes, so it is looked at more often while it lasts.
const MEASURE_EVERY_WHILE_CAPTURING: Duration = Duration::from_millis(400);

const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// The loop that settles and prunes.
pub(crate) struct Upkeep {
    pub(crate) ledger: LedgerThread,
    pub(crate) ledger_dir: PathBuf,
    pub(crate) health: Health,
    pub(crate) settings: UpkeepSettings,
    /// Told after each captured batch.
    pub(crate) captured: Arc<Notify>,
    /// Tells the capture whether the ledger may grow.
    pub(crate) room: Room,
}

impl Upkeep {
    /// Runs until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), PipelineError> {
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut measure = tokio::time::interval(MEASURE_EVERY);
        let (mut measured_at, mut settled_at) = (Instant::now(), Instant::now());
        loop {
            let result = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.captured.notified() => {
                    tokio::time::sleep(SETTLE_DELAY).await;
                    if self.room.is_free() && measured_at.elapsed() < MEASURE_EVERY_WHILE_CAPTURING {
                        self.settle_some(&mut settled_at).await
                    } else {
                        measured_at = Instant::now();
                        self.measure().await.and(self.settle_some(&mut settled_at).await)
                    }
                }
                _ = prune.tick() => self.prune().await,
                _ = measure.tick() => self.measure().await,
            };
            if let Err(error) = result {
                self.health.raise("ledger", full_text(&error), error.hint());
            }
        }
    }

    /// Settles one slice. While the log is being caught up with, reading comes first, and flush and status settle
    /// what they need.
    async fn settle_some(&self, settled_at: &mut Instant) -> Result<(), PipelineError> {
        let view = self.health.view();
        let catching_up = !view.caught_up && view.committed_at.is_some();
        if catching_up && settled_at.elapsed() < SETTLE_EVERY_UNDER_LOAD {
            // Nothing may follow that would tell of it.
            self.captured.notify_one();
            return Ok(());
        }
        *settled_at = Instant::now();
        let settled = self.ledger.call(|ledger| ledger.settle(SETTLE_ROWS)).await?;
        if settled.more {
            self.captured.notify_one();
        }
        Ok(())
    }

    /// Stops the capture clearly before the disk is full: a ledger that cannot write its delivery marks could
    /// not even empty itself.
    async fn measure(&self) -> Result<(), PipelineError> {
        let bytes = self.ledger.call(|ledger| ledger.size_when_settled()).await?;
        // The ledger answers again.
        self.health.clear("ledger");
        let over = self
            .room
            .exceeded_by(bytes)
            .map(|max| format!("the ledger takes {bytes} bytes, more than `[ledger] max_size` of {max}"));
        let scarce = fs4::available_space(&self.ledger_dir)
            .ok()
            .filter(|free| *free < self.settings.disk_free_bytes_min)
            .map(|free| format!("only {free} bytes are free on the ledger's disk"));
        match over.or(scarce) {
            Some(what) => {
                let what = format!(
                    "{what}: capture is stopped, nothing is lost, and the database keeps its log until there is room"
                );
                let hint =
                    "free disk space, or flush, or raise `[ledger] max_size`; capture goes on by itself";
                self.health.raise("disk_budget", what, Some(hint.into()));
                self.room.set(false);
            }
            None => {
                self.health.clear("disk_budget");
                self.room.set(true);
            }
        }
        Ok(())
    }

    async fn prune(&self) -> Result<(), PipelineError> {
        let keep = i64::try_from(self.settings.keep.as_micros()).unwrap_or(i64::MAX);
        let before = Utc::now().timestamp_micros().saturating_sub(keep);
        while self.ledger.call(move |ledger| ledger.prune(before)).await?.more {}
        Ok(())
    }
}

/// Settles everything that is committed: what a flush and an exact count need.
pub(crate) async fn settle_all(ledger: &LedgerThread) -> Result<(), PipelineError> {
    while ledger.call(|ledger| ledger.settle(SETTLE_ROWS)).await?.more {}
    Ok(())
}
