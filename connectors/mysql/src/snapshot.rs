//! Copies of the tables' mapped columns, one table after the other: as of one moment, or page by page.

use std::thread;

use change::{Days, Page, PageCursor, Scope, Snapshot, SnapshotPlan, SourceError, SourceErrorKind};
use tokio::sync::mpsc;

mod condition;
mod cursor;
mod select;
mod start;

pub(crate) use start::start;

use crate::catalog::{self, Table};
use crate::config::MysqlConfig;
use crate::log_end::log_end;
use crate::wire::{Closer, Connection};
use select::Copied;

/// Rows in a page of a copy that is read in one go.
const PAGE_ROWS: usize = 8192;
/// Bytes after which such a page ends early.
const PAGE_BYTES: usize = 2 << 20;
/// Bytes after which a page by key ends early: rows may be of any width.
const KEYED_PAGE_BYTES: usize = 16 << 20;
/// Pages that wait for the product: one, so that the next is read while it works on the last.
const PAGES_WAITING_MAX: usize = 1;

/// Pages wait for the stream to pass their fences, in seconds; the server must not end the connection meanwhile.
const PATIENCE: &str = "SET SESSION wait_timeout = 28800";

/// Begins a transaction that sees the database as of this moment
/// (<https://dev.mysql.com/doc/refman/8.4/en/commit.html>).
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// A copy of the tables, being read.
#[derive(Debug)]
pub struct MysqlSnapshot {
    /// `None` marks the end, which a thread that died could not tell.
    pages: mpsc::Receiver<Result<Option<Page>, SourceError>>,
    closer: Closer,
    ended: bool,
}

impl Snapshot for MysqlSnapshot {
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

impl Drop for MysqlSnapshot {
    fn drop(&mut self) {
        self.closer.close();
    }
}

/// Opens a copy apart from any stream. Blocks.
///
/// # Errors
/// A schema error for pages of a table without a key, and for mapped columns that no record can carry.
pub(crate) fn open(
    config: &MysqlConfig,
    scope: &Scope,
    plan: &SnapshotPlan,
) -> Result<MysqlSnapshot, SourceError> {
    let mut connection = connect(config)?;
    match plan {
        SnapshotPlan::OnePass => {
            let tables = catalog::tables(&mut connection, config, scope)?;
            let copies = Copied::all(&tables, scope)?;
            begin(&mut connection)?;
            whole(connection, copies)
        }
        SnapshotPlan::Pages { tables, opened, after, rows } => {
            let mut copies = Vec::with_capacity(tables.len());
            for number in tables {
                copies.push(paged(&mut connection, config, (scope, opened), *number)?);
            }
            let mut kept = after.as_ref().map(|cursor| stopped_at(&copies, cursor)).transpose()?;
            let rows = (*rows).max(1);
            spawn(connection, move |connection, outlet| {
                copies.iter().try_for_each(|copied| copy_pages(connection, copied, kept.take(), rows, outlet))
            })
        }
    }
}

/// What to copy, page by page, of the table with this number.
fn paged(
    connection: &mut Connection,
    config: &MysqlConfig,
    (scope, opened): (&Scope, &[Days]),
    number: u16,
) -> Result<Copied, SourceError> {
    let Some(one) = scope.table(number) else {
        return Err(cursor::unfit(format!(
            "a copy is asked for of table number {number}, which there is not"
        )));
    };
    let table = catalog::table(connection, config, one)?;
    expect_key(&table)?;
    Copied::new(number, &table, one, Some(opened))
}

/// The key that the copy stopped after in the first of the tables.
fn stopped_at(copies: &[Copied], cursor: &PageCursor) -> Result<Vec<String>, SourceError> {
    copies.first().map_or_else(
        || Err(cursor::unfit("a copy is to go on, and no table is to be copied".to_owned())),
        |first| cursor::read(first.parts(), cursor),
    )
}

/// Opens a connection to copy with.
fn connect(config: &MysqlConfig) -> Result<Connection, SourceError> {
    let mut connection = Connection::open(config)?;
    connection.execute("let the session that copies the table wait", PATIENCE)?;
    Ok(connection)
}

fn begin(connection: &mut Connection) -> Result<(), SourceError> {
    connection.execute("begin a copy of the table", BEGIN)
}

/// Starts a copy of everything on a connection that is in the transaction it shall be read in.
fn whole(connection: Connection, copies: Vec<Copied>) -> Result<MysqlSnapshot, SourceError> {
    spawn(connection, move |connection, outlet| {
        copies.iter().try_for_each(|copied| copy_whole(connection, copied, outlet))
    })
}

fn expect_key(table: &Table) -> Result<(), SourceError> {
    if !table.key.is_empty() {
        return Ok(());
    }
    Err(SourceError::new(
        SourceErrorKind::Schema,
        format!(
            "table {} has neither a primary key nor a unique index without NULL to read it in pages by",
            table.quoted()
        ),
    )
    .with_hint(format!("ALTER TABLE {} ADD PRIMARY KEY (…)", table.quoted())))
}

type Outlet = mpsc::Sender<Result<Option<Page>, SourceError>>;

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

fn spawn(
    mut connection: Connection,
    copy: impl FnOnce(&mut Connection, &Outlet) -> Result<(), End> + Send + 'static,
) -> Result<MysqlSnapshot, SourceError> {
    let closer = connection.closer()?;
    let (outlet, pages) = mpsc::channel(PAGES_WAITING_MAX);
    let body = move || {
        let last = match copy(&mut connection, &outlet) {
            Ok(()) => Ok(None),
            Err(End::Failed(error)) => Err(error),
            Err(End::Unwanted) => return,
        };
        if outlet.blocking_send(last).is_ok() {
            connection.terminate();
        }
    };
    let thread = thread::Builder::new().name("mysql-copy".to_owned()).spawn(body);
    thread.map_err(|error| {
        SourceError::new(SourceErrorKind::Busy, "start the thread that copies the table").caused_by(error)
    })?;
    Ok(MysqlSnapshot { pages, closer, ended: false })
}

/// A page being filled.
#[derive(Default)]
struct Filling {
    page: Page,
    bytes: usize,
    kept: Option<Vec<String>>,
    /// Takes no more rows.
    closed: bool,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.page.rows.len() >= PAGE_ROWS || self.bytes >= PAGE_BYTES
    }
}

/// Runs one statement and fills pages with its rows; `full` gets the page when it holds enough, and says whether to
/// go on.
fn copy(
    connection: &mut Connection,
    copied: &Copied,
    sql: &str,
    mut full: impl FnMut(&mut Filling) -> Result<(), End>,
) -> Result<Filling, End> {
    let mut filling = Filling::default();
    let mut unwanted = false;
    let copying = connection.for_each_row("copy the table", sql, |cells| {
        if filling.closed {
            return Ok(());
        }
        let row = copied.row(cells)?;
        filling.bytes += row.bytes;
        filling.kept = (!row.kept.is_empty()).then_some(row.kept);
        filling.page.rows.push((row.row, row.key));
        match full(&mut filling) {
            Ok(()) => Ok(()),
            Err(End::Failed(error)) => Err(error),
            Err(End::Unwanted) => {
                unwanted = true;
                Err(SourceError::new(SourceErrorKind::Unreachable, "nobody wants the copy any more"))
            }
        }
    });
    if unwanted {
        return Err(End::Unwanted);
    }
    copying?;
    Ok(filling)
}

fn copy_whole(connection: &mut Connection, copied: &Copied, outlet: &Outlet) -> Result<(), End> {
    let last = copy(connection, copied, &copied.whole(), |filling| {
        if filling.is_full() {
            send(outlet, copied, std::mem::take(filling).page)?;
        }
        Ok(())
    })?;
    if !last.page.rows.is_empty() {
        send(outlet, copied, last.page)?;
    }
    Ok(())
}

fn copy_pages(
    connection: &mut Connection,
    copied: &Copied,
    mut kept: Option<Vec<String>>,
    rows_max: u32,
    outlet: &Outlet,
) -> Result<(), End> {
    let mut rows = rows_max;
    loop {
        let sql = copied.page(kept.as_deref(), rows);
        let filling = copy(connection, copied, &sql, |filling| {
            filling.closed = filling.bytes >= KEYED_PAGE_BYTES;
            Ok(())
        })?;
        let mut page = filling.page;
        // Asked for after the page was read: a transaction is in the log before other sessions see it, so that
        // whatever the page shows comes before the fence.
        page.fence = Some(log_end(connection)?.fence());
        page.cursor = filling.kept.as_deref().map(cursor::write);
        let count = u32::try_from(page.rows.len()).unwrap_or(u32::MAX);
        if !page.rows.is_empty() {
            send(outlet, copied, page)?;
        }
        if count < rows && !filling.closed {
            return Ok(());
        }
        // The rest of a page that ended early was sent in vain: the next one asks for fewer rows.
        rows = if filling.closed { count.max(1) } else { rows.saturating_mul(2).min(rows_max) };
        kept = filling.kept;
    }
}

fn send(outlet: &Outlet, copied: &Copied, page: Page) -> Result<(), End> {
    let page = Page { table: copied.number, ..page };
    outlet.blocking_send(Ok(Some(page))).map_err(|_| End::Unwanted)
}

/// The statement that keeps others from changing the tables, for the moment in which a copy begins. One statement: a
/// second one would release what the first has locked
/// (<https://dev.mysql.com/doc/refman/8.4/en/lock-tables.html>).
fn lock_statement(tables: &[Table]) -> String {
    let locks: Vec<String> = tables.iter().map(|table| format!("{} READ", table.quoted())).collect();
    format!("LOCK TABLES {}", locks.join(", "))
}
