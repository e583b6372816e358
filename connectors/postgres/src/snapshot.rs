//! Copies of the table's mapped columns: as of one moment, or page by page.

use std::str;
use std::thread;

use change::{
    Days, Page, PageCursor, Row, RowKey, Scope, Snapshot, SnapshotPlan, SourceError, SourceErrorKind, Value,
};
use tokio::sync::mpsc;

mod condition;

use crate::catalog::{Kind as TableKind, Table};
use crate::config::PostgresConfig;
use crate::copy_binary::{self, Layout, Piece};
use crate::copy_text::{CopiedCell, cells};
use crate::name::{quote_ident, quote_literal};
use crate::position::Lsn;
use crate::value::Kind;
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

/// What is copied, and how its rows are read.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    /// The statement up to where conditions would follow.
    select: String,
    /// What leaves rows out that are too old or do not count; empty for nothing.
    filter: Option<String>,
    kinds: Vec<Kind>,
    /// How the mapped columns are read in binary format; `None` where one of them is not known in it.
    layouts: Option<Vec<Layout>>,
    /// The key's columns, which follow the mapped ones.
    key: Vec<String>,
    keys_wanted: bool,
}

impl Copied {
    /// Works out what to copy. Pages need the key to go on from; other copies only where it is asked for.
    pub(crate) fn new(table: &Table, scope: &Scope, paged: bool) -> Self {
        Self::opened(table, scope, paged, &[])
    }

    /// The same of what was opened on these days only, where there are any.
    fn opened(table: &Table, scope: &Scope, paged: bool, days: &[Days]) -> Self {
        let key: Vec<String> = if paged || scope.keys {
            table.key.iter().map(|column| quote_ident(&column.name)).collect()
        } else {
            Vec::new()
        };
        let mapped = table.columns.iter().map(|column| quote_ident(&column.name));
        let columns: Vec<String> = mapped.chain(key.iter().cloned()).collect();
        // Rows of children by inheritance are in the log under the children's names: they are not the table's.
        let only = if table.kind == TableKind::Partitioned { "" } else { "ONLY " };
        Self {
            select: format!("SELECT {} FROM {only}{}", columns.join(", "), table.quoted()),
            filter: condition::filter(&table.all_columns, scope, days),
            kinds: table.columns.iter().map(|column| Kind::of(column.base_type_oid)).collect(),
            layouts: table.columns.iter().map(|column| Layout::of(column.base_type_oid)).collect(),
            keys_wanted: scope.keys && !key.is_empty(),
            key,
        }
    }

    /// The statement that copies everything.
    fn whole(&self) -> String {
        let condition = self.filter.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        let format = if self.binary().is_some() { " (FORMAT binary)" } else { "" };
        format!("COPY ({}{condition}) TO STDOUT{format}", self.select)
    }

    /// How a copy of everything is read in binary format. Keys are texts, to be equal to those in the log.
    fn binary(&self) -> Option<&[Layout]> {
        self.layouts.as_deref().filter(|_| self.key.is_empty())
    }

    /// The statement that copies one page.
    fn page(&self, after: Option<&[String]>, rows: u32) -> String {
        let key = self.key.join(", ");
        let mut conditions: Vec<String> = self.filter.iter().cloned().collect();
        if let Some(after) = after {
            // The texts take the types of the columns that they are compared with.
            let literals: Vec<String> = after.iter().map(|text| quote_literal(text)).collect();
            conditions.push(format!("({key}) > ({})", literals.join(", ")));
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        format!("COPY ({}{condition} ORDER BY {key} LIMIT {rows}) TO STDOUT", self.select)
    }

    /// Reads one copied row: the row, its key's columns where they were copied, and about its bytes.
    fn row(&self, line: &[u8]) -> Option<(Row, Option<Vec<String>>, usize)> {
        let mut cells = cells(line);
        let mut row = Vec::with_capacity(self.kinds.len());
        for kind in &self.kinds {
            row.push(match cells.next()? {
                Some(text) => kind.read(&text),
                None => Value::Null,
            });
        }
        let key = (!self.key.is_empty()).then(|| {
            let column = |cell: CopiedCell<'_>| Some(str::from_utf8(cell?.as_ref()).ok()?.to_owned());
            cells.by_ref().take(self.key.len()).map(column).collect::<Option<Vec<_>>>()
        });
        if cells.next().is_some() {
            return None;
        }
        let bytes = line.len() + row.len() * size_of::<Value>();
        Some((Row::new(row), key.flatten(), bytes))
    }
}

/// Starts a copy of everything on a connection that is in the transaction it shall be read in.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn whole(connection: Connection, copied: Copied) -> Result<PostgresSnapshot, SourceError> {
    spawn(connection, move |connection, outlet| copy_whole(connection, &copied, outlet))
}

/// Opens a copy apart from any stream. Blocks.
///
/// # Errors
/// A schema error for pages of a table without a key.
pub(crate) fn open(
    config: &PostgresConfig,
    table: &Table,
    scope: &Scope,
    plan: &SnapshotPlan,
) -> Result<PostgresSnapshot, SourceError> {
    match plan {
        SnapshotPlan::OnePass => {
            let copied = Copied::new(table, scope, false);
            let mut connection = Connection::open(config, Purpose::Sql)?;
            connection.query("begin a copy of the table", BEGIN)?;
            whole(connection, copied)
        }
        SnapshotPlan::Pages { after, rows } => {
            let copied = Copied::new(table, scope, true);
            expect_key(table)?;
            let after = after.as_ref().map(|cursor| read_cursor(cursor, copied.key.len())).transpose()?;
            pages(config, copied, after, *rows)
        }
        SnapshotPlan::Opened { days, rows } => {
            expect_key(table)?;
            pages(config, Copied::opened(table, scope, true, days), None, *rows)
        }
    }
}

fn pages(
    config: &PostgresConfig,
    copied: Copied,
    after: Option<Vec<String>>,
    rows: u32,
) -> Result<PostgresSnapshot, SourceError> {
    let connection = Connection::open(config, Purpose::Sql)?;
    spawn(connection, move |connection, outlet| copy_pages(connection, &copied, after, rows.max(1), outlet))
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

fn read_cursor(cursor: &PageCursor, columns: usize) -> Result<Vec<String>, SourceError> {
    let key: Option<Vec<String>> = serde_json::from_str(cursor.as_str()).ok();
    key.filter(|key| key.len() == columns).ok_or_else(|| {
        SourceError::new(
            SourceErrorKind::Schema,
            format!("the copy stopped at the key {cursor:?}, which does not fit the table's key of {columns} columns"),
        )
        .with_hint("the table's key was changed: start the copy anew")
    })
}

fn write_cursor(key: &[String]) -> PageCursor {
    PageCursor::new(serde_json::Value::from(key.to_vec()).to_string())
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
            send(outlet, std::mem::take(&mut filling).page)?;
        }
        Ok(())
    })?;
    if !filling.page.rows.is_empty() {
        send(outlet, filling.page)?;
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
