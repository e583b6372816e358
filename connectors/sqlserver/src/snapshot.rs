//! Copies of the tables' mapped columns, one table after the other: as of one moment, or page by page.
//!
//! The capture lags behind what a copy shows. A copy is exactly as of one position where the tables may be locked against
//! changes for the moment in which its snapshot begins; else it is made of fenced pages, each read in a statement of its
//! own, whatever the isolation.

use std::collections::VecDeque;
use std::sync::Arc;

use change::{Days, Page, PageCursor, Position, Scope, Snapshot, SnapshotPlan, SourceError, SourceErrorKind};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

mod condition;
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

/// A copy of the tables, being read.
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
    let identity = Identity::ask(&mut client).await?;
    let (outlet, pages) = mpsc::channel(PAGES_WAITING_MAX);
    let mut scanned = None;
    let mut kept = None;
    let (copies, rows) = match plan {
        SnapshotPlan::OnePass => {
            let tables = catalog::tables(&mut client, scope).await?;
            (Copied::all(&tables, scope)?, None)
        }
        SnapshotPlan::Pages { tables, opened, after, rows } => {
            let mut copies = Vec::with_capacity(tables.len());
            for number in tables {
                let (table, copied) = paged(&mut client, (scope, opened), *number, &identity).await?;
                copies.push(copied);
                // Where there is no log, there is one table.
                scanned = Modified::of(config, &table)?.map(|modified| (table, modified));
            }
            kept = after.as_ref().map(|cursor| stopped_at(&copies, cursor)).transpose()?;
            (copies, Some((*rows).max(1)))
        }
    };
    if identity.snapshots {
        client.run("read without locks", VERSIONED).await?;
        if rows.is_none() {
            // All tables as of one moment; the server ends the transaction with the connection.
            client.run("begin a copy of the tables", "BEGIN TRANSACTION").await?;
        }
    }
    let config = Arc::new(config.clone());
    let copier = Copier { config, client, versioned: identity.snapshots, scanned, outlet, kept };
    let reader = tokio::spawn(copier.run(copies, rows)).abort_handle();
    Ok(SqlServerSnapshot { pages, reader, ended: false })
}

/// The table with this number, and what to copy of it page by page.
async fn paged(
    client: &mut Client,
    (scope, opened): (&Scope, &[Days]),
    number: u16,
    identity: &Identity,
) -> Result<(Table, Copied), SourceError> {
    let Some(one) = scope.table(number) else {
        return Err(cursor::unfit(format!(
            "a copy is asked for of table number {number}, which there is not"
        )));
    };
    let table = catalog::table(client, one).await?;
    let parts = cursor::parts(&table, &identity.collation)?;
    let copied = Copied::new(number, &table, one, (parts, opened))?;
    Ok((table, copied))
}

/// The key that the copy stopped after in the first of the tables.
fn stopped_at(copies: &[Copied], cursor: &PageCursor) -> Result<Vec<String>, SourceError> {
    copies.first().map_or_else(
        || Err(cursor::unfit("a copy is to go on, and no table is to be copied".to_owned())),
        |first| cursor::read(cursor, first.parts()),
    )
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
    outlet: mpsc::Sender<Result<Option<Page>, SourceError>>,
    /// The key after which the first page begins.
    kept: Option<Vec<String>>,
}

/// Pages that wait until the capture has gone past them.
#[derive(Default)]
struct Waiting {
    pages: VecDeque<Page>,
    bytes: usize,
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
    /// What a task needs that copies everything with a connection that has begun to read.
    fn new(
        config: &SqlServerConfig,
        client: Client,
        outlet: mpsc::Sender<Result<Option<Page>, SourceError>>,
    ) -> Self {
        let config = Arc::new(config.clone());
        Self { config, client, versioned: true, scanned: None, outlet, kept: None }
    }

    /// Copies one table after the other: as a whole, or by pages of so many rows.
    async fn run(mut self, copies: Vec<Copied>, rows: Option<u32>) {
        let copied = match rows {
            Some(rows) => self.copy_pages(&copies, rows).await,
            None => self.copy_whole(&copies).await,
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

    /// One statement for each table that reads everything.
    async fn copy_whole(&mut self, copies: &[Copied]) -> Result<(), End> {
        for copied in copies {
            let empty = || Page { table: copied.number, ..Page::default() };
            let mut rows = self.client.read("copy the table", &copied.whole(), &[]).await?;
            let (mut page, mut bytes) = (empty(), 0);
            while let Some(row) = rows.next().await? {
                let row = copied.row(&row)?;
                bytes += row.bytes;
                page.rows.push((row.row, row.key));
                if page.rows.len() >= PAGE_ROWS || bytes >= PAGE_BYTES {
                    bytes = 0;
                    let full = std::mem::replace(&mut page, empty());
                    self.outlet.send(Ok(Some(full))).await.map_err(|_| End::Unwanted)?;
                }
            }
            if !page.rows.is_empty() {
                self.outlet.send(Ok(Some(page))).await.map_err(|_| End::Unwanted)?;
            }
        }
        Ok(())
    }

    /// Page after page, each with its fence.
    async fn copy_pages(&mut self, copies: &[Copied], rows_max: u32) -> Result<(), End> {
        let way = match self.scanned {
            Some(_) => Way::LogEnd,
            None => Way::find(&mut self.client).await?,
        };
        let mut waiting = Waiting::default();
        for copied in copies {
            self.copy_table(copied, way, rows_max, &mut waiting).await?;
        }
        self.send_after_capture(&mut waiting).await
    }

    async fn copy_table(
        &mut self,
        copied: &Copied,
        way: Way,
        rows_max: u32,
        waiting: &mut Waiting,
    ) -> Result<(), End> {
        let mut kept = self.kept.take();
        let mut rows = rows_max;
        loop {
            let filled = self.page(copied, kept.as_deref(), rows).await?;
            let count = u32::try_from(filled.page.rows.len()).unwrap_or(u32::MAX);
            let last = !filled.cut && count < rows;
            // The rest of a page that ended early was sent in vain: the next one asks for fewer rows.
            rows = if filled.cut { count.max(1) } else { rows.saturating_mul(2).min(rows_max) };
            kept = filled.kept.or(kept);
            let mut page = filled.page;
            if way == Way::LogEnd && !page.rows.is_empty() {
                page.fence = Some(self.log_end().await?);
                self.send(page).await?;
            } else if !page.rows.is_empty() {
                waiting.bytes += filled.bytes;
                waiting.pages.push_back(page);
            }
            if waiting.bytes >= WAITING_BYTES_MAX {
                self.send_after_capture(waiting).await?;
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
    async fn send_after_capture(&mut self, waiting: &mut Waiting) -> Result<(), End> {
        if waiting.pages.is_empty() {
            return Ok(());
        }
        waiting.bytes = 0;
        let moment: Moment = fence::now(&mut self.client).await?;
        let fence = tokio::select! {
            fence = fence::passed(&mut self.client, &self.config, &moment) => fence?,
            () = self.outlet.closed() => return Err(End::Unwanted),
        };
        for mut page in waiting.pages.drain(..) {
            page.fence = Some(fence.clone());
            self.outlet.send(Ok(Some(page))).await.map_err(|_| End::Unwanted)?;
        }
        Ok(())
    }

    /// Reads the page after the last one; a lock or a deadlock in the way is waited for, as often as is sensible.
    async fn page(
        &mut self,
        copied: &Copied,
        kept: Option<&[String]>,
        rows: u32,
    ) -> Result<Filled, SourceError> {
        let (sql, params) = copied.page(kept, rows);
        let mut attempt = 1;
        loop {
            match self.fill(copied, &sql, &params).await {
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

    async fn fill(&mut self, copied: &Copied, sql: &str, params: &[Param]) -> Result<Filled, SourceError> {
        let page = Page { table: copied.number, ..Page::default() };
        let mut filled = Filled { page, bytes: 0, kept: None, cut: false };
        let mut rows = self.client.read("copy a page of the table", sql, params).await?;
        while let Some(row) = rows.next().await? {
            if filled.cut {
                continue;
            }
            let row = copied.row(&row)?;
            filled.bytes += row.bytes;
            filled.kept = Some(row.kept);
            filled.page.rows.push((row.row, row.key));
            filled.cut = filled.bytes >= KEYED_PAGE_BYTES;
        }
        filled.page.cursor = filled.kept.as_deref().map(cursor::write);
        Ok(filled)
    }
}
