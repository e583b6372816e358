//! Copies of the tables' mapped columns, one table after the other: as of one moment, or page by page.

use std::thread;

use change::{Page, PageCursor, RowKey, Scope, Snapshot, SnapshotPlan, SourceError, SourceErrorKind};
use tokio::sync::mpsc;

mod condition;
mod copied;

pub(crate) use copied::Copied;

use crate::catalog::Table;
use crate::config::PostgresConfig;
use crate::copy_binary::{self, Layout, Piece};
use crate::position::Lsn;
use crate::wire::{Closer, Connection, Purpose, refused};

/// Rows in a page of a copy that is read in one go.
const PAGE_ROWS: usize = 8192;
/// Bytes after which such a page ends early.
const PAGE_BYTES: usize = 2 << 20;
/// Pages that wait for the product: one, so that the next is read while it works on the last.
const PAGES_WAITING_MAX: usize = 1;

/// A copy of the table, being read.
#[derive(Debug)]
pub struct PostgresSnapshot {
    /// `None` marks the end, which a thread that died could not tell.
    pages: mpsc::Receiver<Result<Option<Page>, SourceError>>,
    closer: Closer,
    ended: bool,
}

impl Snapshot for PostgresSnapshot {
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

impl Drop for PostgresSnapshot {
    fn drop(&mut self) {
        self.closer.stop_reading();
    }
}

/// Starts a copy of everything on a connection that is in the transaction it shall be read in.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn whole(connection: Connection, copied: Vec<Copied>) -> Result<PostgresSnapshot, SourceError> {
    spawn(connection, move |connection, outlet| {
        copied.iter().try_for_each(|copied| copy_whole(connection, copied, outlet))
    })
}

/// What to copy of each table, in the scope's order.
pub(crate) fn of_all(tables: &[Table], scope: &Scope) -> Vec<Copied> {
    let tables = scope.numbered().zip(tables);
    tables.map(|((number, wanted), table)| Copied::new(number, table, wanted, None)).collect()
}

/// Opens a copy apart from any stream. Blocks.
///
/// # Errors
/// A schema error for pages of a table without a key.
pub(crate) fn open(
    config: &PostgresConfig,
    tables: &[Table],
    scope: &Scope,
    plan: &SnapshotPlan,
) -> Result<PostgresSnapshot, SourceError> {
    match plan {
        SnapshotPlan::OnePass => {
            let mut connection = Connection::open(config, Purpose::Sql)?;
            connection.query("begin a copy of the tables", BEGIN)?;
            whole(connection, of_all(tables, scope))
        }
        SnapshotPlan::Pages { tables: wanted, opened, after, rows } => {
            let mut after = after.as_ref();
            let mut left = Vec::with_capacity(wanted.len());
            for number in wanted {
                let place = usize::from(*number);
                let Some((table, wanted)) = tables.get(place).zip(scope.table(*number)) else { continue };
                expect_key(table)?;
                let copied = Copied::new(*number, table, wanted, Some(opened));
                // The cursor is of the first table.
                let stopped = after.take().map(|cursor| read_cursor(cursor, copied.key.len())).transpose()?;
                left.push((stopped, copied));
            }
            let rows = (*rows).max(1);
            let connection = Connection::open(config, Purpose::Sql)?;
            spawn(connection, move |connection, outlet| {
                left.into_iter()
                    .try_for_each(|(after, copied)| copy_pages(connection, &copied, after, rows, outlet))
            })
        }
    }
}

/// Begins a transaction that sees the database as of one moment.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

fn expect_key(table: &Table) -> Result<(), SourceError> {
    if !table.key.is_empty() {
        return Ok(());
    }
    Err(SourceError::new(
        SourceErrorKind::Schema,
        format!(
            "table {} has neither a primary key nor a replica identity index to read it in pages by",
            table.quoted()
        ),
    )
    .with_hint(format!("ALTER TABLE {} ADD PRIMARY KEY (…)", table.quoted())))
}

/// The texts of the key's columns at which a copy stopped, if there are as many as the table's key has.
fn read_cursor(cursor: &PageCursor, columns: usize) -> Result<Vec<String>, SourceError> {
    let key: Option<Vec<String>> = serde_json::from_str(cursor.as_str()).ok();
    key.filter(|key| key.len() == columns).ok_or_else(|| {
        let context = format!(
            "the copy stopped at the key {cursor:?}, which does not fit the table's key of {columns} columns"
        );
        SourceError::new(SourceErrorKind::Schema, context)
            .with_hint("the table's key was changed: start the copy anew")
    })
}

/// The texts of the key's columns.
fn write_cursor(key: &[String]) -> PageCursor {
    PageCursor::new(serde_json::json!(key).to_string())
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
) -> Result<PostgresSnapshot, SourceError> {
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
    let thread = thread::Builder::new().name("postgres-copy".to_owned()).spawn(body);
    thread.map_err(|error| {
        SourceError::new(SourceErrorKind::Busy, "start the thread that copies the table").caused_by(error)
    })?;
    Ok(PostgresSnapshot { pages, closer, ended: false })
}

/// A page being filled.
#[derive(Default)]
struct Filling {
    page: Page,
    bytes: usize,
    last_key: Option<Vec<String>>,
}

impl Filling {
    fn push_binary(&mut self, layouts: &[Layout], message: &[u8]) -> Result<(), SourceError> {
        let (count, cells) = match copy_binary::piece(message).ok_or_else(misshapen)? {
            Piece::Row(count, cells) => (count, cells),
            Piece::Nothing => return Ok(()),
        };
        let row = copy_binary::row(layouts, count, cells).ok_or_else(misshapen)?;
        self.bytes += message.len() + size_of_val(row.cells());
        self.page.rows.push((row, None));
        Ok(())
    }

    fn push(&mut self, copied: &Copied, line: &[u8]) -> Result<(), SourceError> {
        let (row, key, bytes) = copied.row(line).ok_or_else(misshapen)?;
        let row_key = key
            .as_ref()
            .filter(|_| copied.keys_wanted)
            .map(|key| RowKey::from_columns(key.iter().map(String::as_str)));
        self.bytes += bytes;
        self.last_key = key;
        self.page.rows.push((row, row_key));
        Ok(())
    }

    fn page_of(self, copied: &Copied) -> Page {
        Page { table: copied.table, ..self.page }
    }

    fn is_full(&self) -> bool {
        self.page.rows.len() >= PAGE_ROWS || self.bytes >= PAGE_BYTES
    }
}

fn misshapen() -> SourceError {
    let message = "copy of the table: a row does not have the cells that the catalogue promised";
    SourceError::new(SourceErrorKind::Protocol, message)
}

fn copy_whole(connection: &mut Connection, copied: &Copied, outlet: &Outlet) -> Result<(), End> {
    let mut filling = Filling::default();
    let binary = copied.binary();
    copy(connection, &copied.whole(), |message| {
        match binary {
            Some(layouts) => filling.push_binary(layouts, message)?,
            None => filling.push(copied, message)?,
        }
        if filling.is_full() {
            send(outlet, std::mem::take(&mut filling).page_of(copied))?;
        }
        Ok(())
    })?;
    if !filling.page.rows.is_empty() {
        send(outlet, filling.page_of(copied))?;
    }
    Ok(())
}

fn copy_pages(
    connection: &mut Connection,
    copied: &Copied,
    mut after: Option<Vec<String>>,
    rows: u32,
    outlet: &Outlet,
) -> Result<(), End> {
    loop {
        let mut filling = Filling::default();
        let sql = copied.page(after.as_deref(), rows);
        copy(connection, &sql, |line| Ok(filling.push(copied, line)?))?;
        let Filling { mut page, last_key, .. } = filling;
        // Noted after the page was read: whatever the page shows was committed before.
        page.fence = Some(log_end(connection)?.to_position());
        page.table = copied.table;
        page.cursor = last_key.as_deref().map(write_cursor);
        let whole = u32::try_from(page.rows.len()).is_ok_and(|count| count >= rows);
        if !page.rows.is_empty() {
            send(outlet, page)?;
        }
        if !whole {
            return Ok(());
        }
        after = last_key;
    }
}

fn send(outlet: &Outlet, page: Page) -> Result<(), End> {
    outlet.blocking_send(Ok(Some(page))).map_err(|_| End::Unwanted)
}

/// Where the log ends. A standby inserts nothing: there it is where the log has been replayed to.
fn log_end(connection: &mut Connection) -> Result<Lsn, SourceError> {
    let context = "ask for the log's end";
    let rows = connection.query(
        context,
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END",
    )?;
    let end: Option<Lsn> = rows.into_iter().flatten().flatten().next().and_then(|text| text.parse().ok());
    let end = end.ok_or_else(|| {
        SourceError::new(SourceErrorKind::Protocol, format!("{context}: the server told no position"))
    })?;
    Ok(end.before_page_header())
}

/// Runs one copy and hands each of its rows to `take`.
fn copy(
    connection: &mut Connection,
    sql: &str,
    mut take: impl FnMut(&[u8]) -> Result<(), End>,
) -> Result<(), End> {
    let context = "copy the table";
    connection.start_copy(context, sql)?;
    loop {
        let raw = connection.wait()?;
        match raw.tag {
            b'd' => take(raw.body)?,
            b'E' => return Err(refused(context, raw.body).into()),
            b'Z' => return Ok(()),
            _ => {}
        }
    }
}
