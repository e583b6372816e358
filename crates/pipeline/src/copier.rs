//! Snapshots into the ledger.
//!
//! Exact: the table as of one log position, in one pass; nothing can have touched it in between. Fenced:
//! pages by key while the stream runs. Each page carries a *fence*, the log's end after it was read; when
//! the stream has passed the fence, the ledger takes from the page the requests that the stream has not
//! touched since the copy began, and the touched ones come by the stream.

use std::sync::Arc;

use change::{Page, Position, Snapshot, SnapshotPlan, Source};
use chrono::Utc;
use ledger::{CopyId, Declared, PageId, StagedPage, Unfinished};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::error::PipelineError;
use crate::ingest::{require_keys, stage};
use crate::ledger_thread::LedgerThread;
use crate::settings::CaptureSettings;
use crate::throttle::{self, Throttle};

/// Pages that may wait for their fences, in the ledger: enough not to wait for the stream after every page, where an idle
/// log moves once in some minutes only.
const PAGES_WAITING_MAX: usize = 64;

/// Rows of an exact copy that are committed at once. Nothing of such a copy counts before all of it is there, so that
/// syncing the disk for every page would be for nothing.
const COMMIT_ROWS: u64 = 50_000;

/// A page in the ledger that waits until the stream has passed its fence.
#[derive(Debug, Clone)]
pub(crate) struct WaitingPage {
    pub(crate) id: PageId,
    pub(crate) fence: Position,
}

/// What copying needs.
pub(crate) struct Copier<S> {
    pub(crate) source: Arc<S>,
    pub(crate) declared: Declared,
    pub(crate) ledger: LedgerThread,
    pub(crate) settings: CaptureSettings,
}

impl<S: Source> Copier<S> {
    /// Whether a copy of about `rows` rows would keep its transaction open for too long.
    pub(crate) fn too_long(&self, rows: Option<u64>) -> bool {
        throttle::time_for(rows.unwrap_or(0), self.settings.rows_per_second) > self.settings.snapshot_max
    }

    /// Copies `snapshot` whole. `Ok(false)` when it took longer than a transaction may stay open: what was
    /// copied is of no use then.
    pub(crate) async fn copy_exact(
        &self,
        mut snapshot: S::Snapshot,
        copy: CopyId,
    ) -> Result<bool, PipelineError> {
        let started = Instant::now();
        let moment = Utc::now().timestamp_micros();
        let mut throttle = Throttle::new(self.settings.rows_per_second);
        let mut gathered = StagedPage::default();
        loop {
            let full = (gathered.scanned >= COMMIT_ROWS).then(|| std::mem::take(&mut gathered));
            // The next page is read while the ledger stores the last ones.
            let (page, stored) = tokio::join!(snapshot.next_page(), self.store(copy, full));
            stored?;
            let Some(page) = page? else { break };
            let rows = page.rows.len();
            require_keys(self.declared.tables(), &page)?;
            let staged = stage(&self.declared, page, moment);
            if gathered.scanned > 0 && gathered.table != staged.table {
                self.store(copy, Some(std::mem::replace(&mut gathered, staged))).await?;
            } else if gathered.scanned > 0 {
                gathered.append(staged);
            } else {
                gathered = staged;
            }
            if started.elapsed() > self.settings.snapshot_max {
                return Ok(false);
            }
            throttle.keep(rows).await;
        }
        self.store(copy, Some(gathered)).await?;
        Ok(true)
    }

    async fn store(&self, copy: CopyId, page: Option<StagedPage>) -> Result<(), PipelineError> {
        if let Some(page) = page {
            self.ledger.call(move |ledger| ledger.append_page(copy, &page)).await?;
        }
        Ok(())
    }

    /// Copies the table page by page, telling of each page that waits for its fence. Returns when all
    /// pages are read; they may still be waiting.
    pub(crate) async fn copy_pages(
        &self,
        copy: Unfinished,
        waiting: mpsc::Sender<WaitingPage>,
        places: Arc<Semaphore>,
    ) -> Result<(), PipelineError> {
        // A table may have left the configuration since the copy began: what was read of it is no beginning of another.
        let numbers: Vec<Option<u16>> =
            copy.tables.iter().map(|table| self.declared.number(*table)).collect();
        let stands = numbers.first().is_some_and(Option::is_some);
        let tables: Vec<u16> = numbers.into_iter().flatten().collect();
        if tables.is_empty() {
            return Ok(());
        }
        let plan = SnapshotPlan::Pages {
            tables,
            opened: Vec::new(),
            after: copy.cursor.filter(|_| stands),
            rows: throttle::page_rows(self.settings.rows_per_second),
        };
        let mut snapshot = self.source.snapshot(&plan).await?;
        let mut throttle = Throttle::new(self.settings.rows_per_second);
        loop {
            let place = places.clone().acquire_owned().await;
            place.map_err(|_| PipelineError::Stopped)?.forget();
            let Some(page) = snapshot.next_page().await? else { return Ok(()) };
            let rows = page.rows.len();
            require_keys(self.declared.tables(), &page)?;
            let page = self.store_fenced(copy.id, page).await?;
            if waiting.send(page).await.is_err() {
                return Ok(());
            }
            throttle.keep(rows).await;
        }
    }

    async fn store_fenced(&self, copy: CopyId, page: Page) -> Result<WaitingPage, PipelineError> {
        let Some(fence) = page.fence.clone() else {
            return Err(PipelineError::internal("a page of a fenced snapshot came without its fence"));
        };
        let staged = stage(&self.declared, page, Utc::now().timestamp_micros());
        let id = self.ledger.call(move |ledger| ledger.append_page(copy, &staged)).await?;
        Ok(WaitingPage { id, fence })
    }
}

/// Places for pages that wait for their fences.
pub(crate) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PAGES_WAITING_MAX))
}
