//! Copies of the table's mapped columns: as of one moment, or page by page.
//!
//! The capture lags behind what a copy shows. A copy is exactly as of one position where the table may be locked against
//! changes for the moment in which its snapshot begins; else it is made of fenced pages, each read in a statement of its
//! own, whatever the isolation.

use std::collections::VecDeque;
use std::sync::Arc;

use change::{Page, Position, Scope, Snapshot, SnapshotPlan, SourceError, SourceErrorKind};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub(crate) mod cursor;
pub(crate) mod exact;
pub(crate) mod fence;
mod select;

use crate::catalog::{self, Table};
use crate::client::{Client, Param, VERSIONED};
use crate::config::SqlServerConfig;
use crate::identity::Identity;
use crate::poll::{self, Modified};
use fence::{Moment, Way};
use select::Copied;

/// Rows in a page of a copy that is read in one go.
const PAGE_ROWS: usize = 8192;
/// Bytes after which such a page ends early.
const PAGE_BYTES: usize = 2 << 20;
/// Bytes after which a page by key ends early: rows may be of any width.
const KEYED_PAGE_BYTES: usize = 8 << 20;
/// Bytes of pages that wait together until the capture has gone past them.
const WAITING_BYTES_MAX: usize = 12 << 20;
/// Pages that wait for the product: one, so that the next is read while it works on the last.
const PAGES_WAITING_MAX: usize = 1;
/// How often a page is tried that a lock or a deadlock got in the way of.
const ATTEMPTS: u32 = 5;

/// A copy of the table, being read.
#[derive(Debug)]
pub struct SqlServerSnapshot {
    /// `None` marks the end, which a task that died could not tell.
    pages: mpsc::Receiver<Result<Option<Page>, SourceError>>,
    reader: AbortHandle,
    ended: bool,
}

impl Snapshot for SqlServerSnapshot {
    async fn next_page(&mut self) -> Result<Option<Page>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let next = self.pages.recv().await;
        let next = next.unwrap_or_else(|| {
            Err(SourceError::new(SourceErrorKind::Unreachable, "the copy of the table ended before its end"))
        });
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }
}

impl Drop for SqlServerSnapshot {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Opens a copy.
///
/// # Errors
/// A schema error for pages of a table without a key, and for mapped columns that no record can carry.
pub(crate) async fn open(
    config: &SqlServerConfig,
    scope: &Scope,
    plan: &SnapshotPlan,
) -> Result<SqlServerSnapshot, SourceError> {
    let mut client = Client::open(config).await?;
    let table = catalog::table(&mut client, scope).await?;
    let identity = Identity::ask(&mut client).await?;
    let parts = match plan {
        SnapshotPlan::OnePass => Vec::new(),
        SnapshotPlan::Pages { .. } | SnapshotPlan::Opened { .. } => {
            cursor::parts(&table, &identity.collation)?
        }
    };
    let days = if let SnapshotPlan::Opened { days, .. } = plan { days.as_slice() } else { &[] };
    let copied = Copied::opened(&table, scope, parts, days)?;
    if identity.snapshots {
        client.run("read without locks", VERSIONED).await?;
    }
    let (outlet, pages) = mpsc::channel(PAGES_WAITING_MAX);
    let mut copier = Copier {
        config: Arc::new(config.clone()),
        client,
        versioned: identity.snapshots,
        scanned: Modified::of(config, &table)?.map(|modified| (table.clone(), modified)),
        copied,
        outlet,
        kept: None,
    };
    let rows = match plan {
        SnapshotPlan::OnePass => None,
        SnapshotPlan::Pages { after, rows } => {
            copier.kept = match after {
                Some(cursor) => Some(cursor::read(cursor, copier.copied.parts())?),
                None => None,
            };
            Some((*rows).max(1))
        }
        SnapshotPlan::Opened { rows, .. } => Some((*rows).max(1)),
    };
    let reader = tokio::spawn(copier.run(rows)).abort_handle();
    Ok(SqlServerSnapshot { pages, reader, ended: false })
}

/// Why a copy ends early.
enum End {
    /// Nobody wants it any more.
    Unwanted,
    /// It cannot go on.
    Failed(SourceError),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// What the copying task works with.
struct Copier {
    config: Arc<SqlServerConfig>,
    client: Client,
    versioned: bool,
    /// By what the table is scanned, where it is: then a fence is a time.
    scanned: Option<(Table, Modified)>,
    copied: Copied,
    outlet: mpsc::Sender<Result<Option<Page>, SourceError>>,
    /// The key after which the next page begins.
    kept: Option<Vec<String>>,
}

/// A page that was read.
struct Filled {
    page: Page,
    bytes: usize,
    /// The key of its last row.
    kept: Option<Vec<String>>,
    /// Whether it ended before it had all rows that were asked for.
    cut: bool,
}

impl Copier {
    /// A task that copies the whole table with a connection that has begun to read.
    fn new(
        config: &SqlServerConfig,
        client: Client,
        copied: Copied,
        outlet: mpsc::Sender<Result<Option<Page>, SourceError>>,
    ) -> Self {
        let config = Arc::new(config.clone());
        Self { config, client, versioned: true, scanned: None, copied, outlet, kept: None }
    }

    async fn run(mut self, rows: Option<u32>) {
        let copied = match rows {
            Some(rows) => self.copy_pages(rows).await,
            None => self.copy_whole().await,
        };
        let last = match copied {
            Ok(()) => Ok(None),
            Err(End::Failed(error)) => Err(error),
            Err(End::Unwanted) => return,
        };
        if self.outlet.send(last).await.is_err() {
            tracing::debug!("the copy was not wanted any more when it ended");
        }
    }

    async fn send(&self, page: Page) -> Result<(), End> {
        self.outlet.send(Ok(Some(page))).await.map_err(|_| End::Unwanted)
    }

    /// One statement that reads everything.
    async fn copy_whole(&mut self) -> Result<(), End> {
        let sql = self.copied.whole();
        let mut rows = self.client.read("copy the table", &sql, &[]).await?;
        let (mut page, mut bytes) = (Page::default(), 0);
        while let Some(row) = rows.next().await? {
            let row = self.copied.row(&row)?;
            bytes += row.bytes;
            page.rows.push((row.row, row.key));
            if page.rows.len() >= PAGE_ROWS || bytes >= PAGE_BYTES {
                bytes = 0;
                self.outlet.send(Ok(Some(std::mem::take(&mut page)))).await.map_err(|_| End::Unwanted)?;
            }
        }
        if !page.rows.is_empty() {
            self.outlet.send(Ok(Some(page))).await.map_err(|_| End::Unwanted)?;
        }
        Ok(())
    }

    /// Page after page, each with its fence.
    async fn copy_pages(&mut self, rows_max: u32) -> Result<(), End> {
        let way = match self.scanned {
            Some(_) => Way::LogEnd,
            None => Way::find(&mut self.client).await?,
        };
        let mut waiting: VecDeque<Page> = VecDeque::new();
        let mut waiting_bytes = 0;
        let mut rows = rows_max;
        loop {
            let filled = self.page(rows).await?;
            let count = u32::try_from(filled.page.rows.len()).unwrap_or(u32::MAX);
            let last = !filled.cut && count < rows;
            // The rest of a page that ended early was sent in vain: the next one asks for fewer rows.
            rows = if filled.cut { count.max(1) } else { rows.saturating_mul(2).min(rows_max) };
            self.kept = filled.kept.or(self.kept.take());
            let mut page = filled.page;
            if way == Way::LogEnd && !page.rows.is_empty() {
                page.fence = Some(self.log_end().await?);
                self.send(page).await?;
            } else if !page.rows.is_empty() {
                waiting_bytes += filled.bytes;
                waiting.push_back(page);
            }
            if !waiting.is_empty() && (last || waiting_bytes >= WAITING_BYTES_MAX) {
                waiting_bytes = 0;
                self.send_after_capture(&mut waiting).await?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Where the log ends, or the newest time where the table is scanned.
    async fn log_end(&mut self) -> Result<Position, SourceError> {
        match &self.scanned {
            Some((table, modified)) => {
                Ok(poll::newest(&mut self.client, table, modified).await?.to_position())
            }
            None => fence::log_end(&mut self.client).await,
        }
    }

    /// Hands pages over once the capture has gone past all of them.
    async fn send_after_capture(&mut self, waiting: &mut VecDeque<Page>) -> Result<(), End> {
        let moment: Moment = fence::now(&mut self.client).await?;
        let fence = tokio::select! {
            fence = fence::passed(&mut self.client, &self.config, &moment) => fence?,
            () = self.outlet.closed() => return Err(End::Unwanted),
        };
        for mut page in waiting.drain(..) {
            page.fence = Some(fence.clone());
            self.outlet.send(Ok(Some(page))).await.map_err(|_| End::Unwanted)?;
        }
        Ok(())
    }

    /// Reads the page after the last one; a lock or a deadlock in the way is waited for, as often as is sensible.
    async fn page(&mut self, rows: u32) -> Result<Filled, SourceError> {
        let (sql, params) = self.copied.page(self.kept.as_deref(), rows);
        let mut attempt = 1;
        loop {
            match self.fill(&sql, &params).await {
                Err(error)
                    if error.kind() == SourceErrorKind::Busy
                        && attempt < ATTEMPTS
                        && !self.client.is_spent() =>
                {
                    tracing::info!(attempt, "a page of the table could not be read: {error}");
                    attempt += 1;
                    tokio::time::sleep(self.config.poll_interval).await;
                    if self.versioned {
                        // The server may have ended the session's transaction, and with it nothing else: this costs nothing.
                        self.client.run("read without locks", VERSIONED).await?;
                    }
                }
                result => return result,
            }
        }
    }

    async fn fill(&mut self, sql: &str, params: &[Param]) -> Result<Filled, SourceError> {
        let mut filled = Filled { page: Page::default(), bytes: 0, kept: None, cut: false };
        let mut rows = self.client.read("copy a page of the table", sql, params).await?;
        while let Some(row) = rows.next().await? {
            if filled.cut {
                continue;
            }
            let row = self.copied.row(&row)?;
            filled.bytes += row.bytes;
            filled.kept = Some(row.kept);
            filled.page.rows.push((row.row, row.key));
            filled.cut = filled.bytes >= KEYED_PAGE_BYTES;
        }
        filled.page.cursor = filled.kept.as_deref().map(cursor::write);
        Ok(filled)
    }
}
