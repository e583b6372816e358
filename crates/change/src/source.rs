//! The seam: what every engine can do, and nothing that only one of them means.

use std::future::Future;
use std::time::Duration;

use crate::{Batch, Checkpoint, Condition, Finding, Position, Removal, Row, RowKey, SourceError, Statement};

/// The tables that one connector reads; a connector is made with its server's settings and this.
///
/// A table's place in the list is its number everywhere in the seam. Each table is listed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The tables, in the order in which snapshots read them.
    pub tables: Vec<TableScope>,
}

impl Scope {
    /// The table with this number.
    #[must_use]
    pub fn table(&self, number: u16) -> Option<&TableScope> {
        self.tables.get(usize::from(number))
    }

    /// The tables with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u16, &TableScope)> {
        (0..).zip(&self.tables)
    }
}

impl From<TableScope> for Scope {
    fn from(table: TableScope) -> Self {
        Self { tables: vec![table] }
    }
}

/// What the product needs to know of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableScope {
    /// The table, as the configuration names it.
    pub table: String,
    /// The columns that the mapping needs, each once, in the order in which rows shall carry them.
    pub columns: Vec<String>,
    /// Whether changes and snapshot rows must carry their [`RowKey`]: only reporting of deletes needs it.
    pub keys: bool,
    /// Leaves out of snapshots what is older; only a coarse filter, to be polite.
    pub since: Option<Since>,
    /// Which rows count, by columns among `columns`. Snapshots may leave out rows that do not, as far as the server
    /// judges them as [`crate::Dialect`] asks; the log is read whole.
    pub condition: Option<Condition>,
    /// By which columns rows of other tables find theirs in this one, each list among `columns`. No two rows may hold
    /// the same in them, and a unique index must see to that: otherwise nothing is captured.
    pub parent_keys: Vec<Vec<String>>,
    /// In which columns, among `columns`, no two rows should hold the same, because the product would take them for one;
    /// none where each row stands for itself. `check` tells when no unique index sees to that.
    pub apart_by: Vec<String>,
}

/// A day before which rows may be left out of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// The column that holds the day a row was opened. A row with NULL in it is never left out, and a
    /// column that is neither a date nor a time filters nothing.
    pub column: String,
    /// Days since 1970-01-01, one day earlier than the product's own floor, so that no time zone matters.
    pub day: i32,
}

/// A database whose log can be read.
pub trait Source: Send + Sync + 'static {
    /// The log, opened.
    type Stream: ChangeStream;
    /// A copy of the tables' mapped columns, being read.
    type Snapshot: Snapshot;

    /// Looks at every prerequisite and returns all findings, never only the first, with up to
    /// `sample_rows` rows of each table for the caller to try its mapping on.
    fn check(&self, sample_rows: u32) -> impl Future<Output = Inspection> + Send;

    /// The statements that make the database ready for this configuration, least rights first to last.
    fn setup(&self) -> impl Future<Output = Result<Vec<Statement>, SourceError>> + Send;

    /// Runs `statements` with this configuration's user.
    fn apply(&self, statements: &[Statement]) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The statements that take away again what only this configuration needs, for a connector that is given up.
    ///
    /// # Errors
    /// When the server cannot be asked, and [`crate::SourceErrorKind::Busy`] when somebody still reads the log by it.
    fn removal(&self) -> impl Future<Output = Result<Removal, SourceError>> + Send;

    /// Makes the log keep everything from some position on and returns that position, with a snapshot
    /// exactly as of it where the engine can give one.
    ///
    /// Whatever an earlier call had reserved is given up for [`Beginning::Anew`].
    fn begin(
        &self,
        beginning: &Beginning,
    ) -> impl Future<Output = Result<Begun<Self::Snapshot>, SourceError>> + Send;

    /// Opens the log strictly after `checkpoint`.
    ///
    /// # Errors
    /// [`crate::SourceErrorKind::LostLog`] when the log no longer holds what follows, is found before and
    /// after the stream starts.
    fn stream(
        &self,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<Self::Stream, SourceError>> + Send;

    /// Opens a copy of tables apart from any log position.
    fn snapshot(
        &self,
        plan: &SnapshotPlan,
    ) -> impl Future<Output = Result<Self::Snapshot, SourceError>> + Send;

    /// Whether a stream that has reached `position` has passed `fence`.
    ///
    /// # Errors
    /// When one of them is not a position of this engine.
    fn covers(&self, position: &Position, fence: &Position) -> Result<bool, SourceError>;

    /// How much longer the server will keep what follows `position`, as far as it tells.
    fn retention(&self, position: &Position) -> impl Future<Output = Result<Retention, SourceError>> + Send;
}

/// The log of the tables, opened at a position.
pub trait ChangeStream: Send + 'static {
    /// Waits for the next piece of the log. Cancel-safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// After an error the stream is spent; open a new one from the last stored checkpoint.
    fn next(&mut self) -> impl Future<Output = Result<Batch, SourceError>> + Send;

    /// Tells the server that everything up to `position` is durable here, so that it may forget it.
    /// Never moves backwards; takes effect soon, not at once.
    ///
    /// # Errors
    /// When `position` is not a position of this engine.
    fn acknowledge(&mut self, position: &Position) -> Result<(), SourceError>;
}

/// A copy of the tables' mapped columns, being read page by page, one table after the other in the scope's order.
pub trait Snapshot: Send + 'static {
    /// The next page, or `None` after the last.
    fn next_page(&mut self) -> impl Future<Output = Result<Option<Page>, SourceError>> + Send;
}

/// Where a connector that has no checkpoint yet shall begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// At the log's present end, or where an existing reservation of ours stands: that is adopted.
    Present,
    /// At a position that the operator named.
    At(Position),
    /// At the log's present end, giving up whatever was reserved before.
    Anew,
}

/// A log position that is kept from now on.
#[derive(Debug)]
pub struct Begun<S> {
    /// Where the stream shall start.
    pub checkpoint: Checkpoint,
    /// All tables exactly as of the checkpoint, where the engine offers it; else fenced pages must do.
    pub snapshot: Option<S>,
    /// Whether an existing reservation was adopted, and what to tell the operator about it.
    pub adopted: Option<String>,
    /// About how many rows a snapshot of all tables would read, as far as the server can guess.
    pub rows_estimate: Option<u64>,
}

/// How a snapshot apart from the stream shall be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotPlan {
    /// All tables in one pass of one short transaction: for rehearsals, which need no log position.
    OnePass,
    /// In pages by key, each read in its own transaction and carrying a fence.
    Pages {
        /// The tables to read, by their numbers, in the order in which they are read.
        tables: Vec<u16>,
        /// Where there are any, only what was opened within these days, by the column and under the reservations of
        /// [`Since`]: rows that they cannot be compared with come too, and tables without such a column come whole.
        opened: Vec<Days>,
        /// Go on after this page, which is one of the first table's.
        after: Option<PageCursor>,
        /// Rows in a page at most.
        rows: u32,
    },
}

/// Some days on end, wide enough that no time zone matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first, in days since 1970-01-01.
    pub first: i32,
    /// The one after the last.
    pub end: i32,
}

/// The key of the last row of a page, in the connector's own spelling. It does not tell the table, whose number may be
/// another when the copy goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageCursor(Box<str>);

impl PageCursor {
    /// Wraps the connector's spelling.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The connector's spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Some rows of one table of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The number of their table.
    pub table: u16,
    /// Rows and, where the engine can tell, their keys.
    pub rows: Vec<(Row, Option<RowKey>)>,
    /// For a page read apart from the stream: the log's end after the page was read.
    pub fence: Option<Position>,
    /// Where the next page starts; `None` in a snapshot that cannot be resumed.
    pub cursor: Option<PageCursor>,
}

/// What [`Source::check`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// One finding per prerequisite, passes included.
    pub findings: Vec<Finding>,
    /// Rows to try the mapping on, table by table in the scope's order; no rows, or no entry, for a table that could
    /// not be read.
    pub samples: Vec<Vec<Row>>,
}

/// How long the server will keep the log.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Retention {
    /// Time left until the log may be cleaned up at the present rate; `None` when it is kept without limit
    /// or the server does not tell.
    pub left: Option<Duration>,
    /// Bytes of log that the server keeps for us.
    pub kept_bytes: Option<u64>,
}
