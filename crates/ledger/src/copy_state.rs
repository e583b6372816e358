//! How far a copy has come.

use change::{PageCursor, Position};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::backfill;
use crate::copy::{CopyId, CopyKind, PageId};
use crate::declared;
use crate::error::LedgerError;
use crate::log_row::decode;
use crate::meta;
use crate::parents;
use crate::queries::Queries;
use crate::table_id::TableId;

/// A copy that is still being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The copy.
    pub id: CopyId,
    /// Why the table is copied.
    pub kind: CopyKind,
    /// Whether all pages are as of one log position: then it cannot be resumed by another process.
    pub exact: bool,
    /// Where the next page starts; `None` before the first.
    pub cursor: Option<PageCursor>,
    /// Rows read so far.
    pub scanned: u64,
    /// The tables that it has still to read, in their order; the cursor belongs to the first of them.
    pub tables: Vec<TableId>,
}

/// How far the newest copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// The copy.
    pub id: CopyId,
    /// Why the table is copied.
    pub kind: CopyKind,
    /// When it began, in microseconds since the epoch.
    pub began_at: i64,
    /// Rows read, those before the floor included.
    pub scanned: u64,
    /// Rows that were stored.
    pub staged: u64,
    /// Rows that could not be mapped.
    pub rejected: u64,
    /// Whether the whole table was read.
    pub is_read: bool,
    /// Whether, beyond that, all rows have had their turn in the log.
    pub is_merged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyState {
    BeingRead,
    Read,
    Merged,
    Abandoned,
}

impl CopyState {
    const ALL: [Self; 4] = [Self::BeingRead, Self::Read, Self::Merged, Self::Abandoned];
}

impl ToSql for CopyState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

impl FromSql for CopyState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        decode(value, &Self::ALL)
    }
}

/// A copy as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct CopyRow {
    pub(crate) id: CopyId,
    pub(crate) kind: CopyKind,
    pub(crate) exact: bool,
    pub(crate) state: CopyState,
    pub(crate) began_seq: i64,
    pub(crate) began_at: i64,
    pub(crate) first_id: i64,
    pub(crate) last_id: i64,
    cursor: Option<String>,
    cursor_table: Option<TableId>,
    pub(crate) scanned: u64,
    pub(crate) tables: Vec<TableId>,
    /// Those that a repair reads though no copy had read them to its end before.
    first_tables: Vec<TableId>,
    staged: u64,
    rejected: u64,
}

const SELECT: &str = "SELECT id, kind, gap_id, exact, state, began_seq, began_at, first_id, last_id, cursor, \
                      scanned, staged, rejected, tables, first_tables, cursor_table FROM copy";

/// Which copies have rows for the backfill: a repair only where it took the place of a first copy.
const FOR_BACKFILL: &str = "(kind <> 1 OR first_tables IS NOT NULL)";

impl CopyRow {
    /// Whether rows of the table that nobody knows belong to the history: they are not what a lost log held.
    pub(crate) fn is_first_of(&self, table: TableId) -> bool {
        !matches!(self.kind, CopyKind::Repair { .. }) || self.first_tables.contains(&table)
    }

    /// The tables that count as never copied when this copy is given up.
    pub(crate) fn first_tables(&self) -> &[TableId] {
        if self.kind == CopyKind::Baseline { &self.tables } else { &self.first_tables }
    }

    /// The tables that it has still to read.
    fn tables_left(&self) -> Vec<TableId> {
        let Some(begun) = self.cursor_table else { return self.tables.clone() };
        self.tables.iter().copied().skip_while(|table| *table != begun).collect()
    }
}

/// Those of `tables` that no copy has read to its end.
pub(crate) fn never_read(connection: &Connection, tables: &[TableId]) -> Result<Vec<TableId>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT tables FROM copy WHERE state IN (1, 2)")?;
    let mut never = tables.to_vec();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let read =
            declared::tables_from_json(row.get_ref(0)?.as_str_or_null().map_err(rusqlite::Error::from)?);
        never.retain(|table| !read.contains(table));
    }
    Ok(never)
}

pub(crate) fn kind_number(kind: CopyKind) -> i64 {
    match kind {
        CopyKind::Baseline => 0,
        CopyKind::Repair { .. } => 1,
        CopyKind::Again => 2,
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<CopyRow> {
    let kind = match row.get(1)? {
        0 => CopyKind::Baseline,
        1 => CopyKind::Repair { gap: row.get::<_, Option<i64>>(2)?.unwrap_or(0) },
        2 => CopyKind::Again,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    Ok(CopyRow {
        id: row.get(0)?,
        kind,
        exact: row.get(3)?,
        state: row.get(4)?,
        began_seq: row.get(5)?,
        began_at: row.get(6)?,
        first_id: row.get(7)?,
        last_id: row.get(8)?,
        cursor: row.get(9)?,
        scanned: row.get(10)?,
        staged: row.get(11)?,
        rejected: row.get(12)?,
        tables: declared::tables_from_json(row.get_ref(13)?.as_str_or_null()?),
        first_tables: row
            .get_ref(14)?
            .as_str_or_null()?
            .map_or_else(Vec::new, |text| declared::tables_from_json(Some(text))),
        cursor_table: row.get(15)?,
    })
}

pub(crate) fn find(connection: &Connection, copy: CopyId) -> Result<Option<CopyRow>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    Ok(statement.query_row([copy], read).optional()?)
}

/// The copy, which must be one that is being read.
pub(crate) fn being_read(connection: &Connection, copy: CopyId) -> Result<CopyRow, LedgerError> {
    find(connection, copy)?
        .filter(|row| row.state == CopyState::BeingRead)
        .ok_or_else(|| LedgerError::misuse(format!("copy {copy} of the table is not being read")))
}

pub(crate) fn unfinished(connection: &Connection) -> Result<Option<CopyRow>, LedgerError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE state = 0 ORDER BY id LIMIT 1"))?;
    Ok(statement.query_row([], read).optional()?)
}

/// The first of the copies whose rows the backfill sends: it and all after it that have such rows. A copy that is made again
/// is for all tables; one of tables that came into the configuration later is for these.
pub(crate) fn first_for_backfill(connection: &Connection) -> Result<CopyId, LedgerError> {
    let sql = "SELECT coalesce(max(id), 0) FROM copy WHERE kind = 2 AND state <> 3";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// The complete copies whose rows the backfill sends, oldest first.
pub(crate) fn merged_for_backfill(connection: &Connection) -> Result<Vec<CopyId>, LedgerError> {
    let first = first_for_backfill(connection)?;
    let sql = format!("SELECT id FROM copy WHERE id >= ?1 AND {FOR_BACKFILL} AND state = 2 ORDER BY id");
    let mut statement = connection.prepare_cached(&sql)?;
    let copies = statement.query_map([first], |row| row.get(0))?;
    Ok(copies.collect::<Result<_, _>>()?)
}

/// The newest copy whose rows are, or will be, what the backfill sends.
pub(crate) fn newest_for_backfill(connection: &Connection) -> Result<Option<CopyRow>, LedgerError> {
    let mut statement = connection
        .prepare_cached(&format!("{SELECT} WHERE {FOR_BACKFILL} AND state <> 3 ORDER BY id DESC LIMIT 1"))?;
    Ok(statement.query_row([], read).optional()?)
}

pub(crate) fn set_state(connection: &Connection, copy: CopyId, state: CopyState) -> Result<(), LedgerError> {
    connection.execute("UPDATE copy SET state = ?2 WHERE id = ?1", params![copy, state])?;
    Ok(())
}

/// Whether every touch of a request must be noted: while pages of a copy come one by one beside the stream,
/// and while rejected rows of a repair may still be mapped and compared.
pub(crate) fn must_track(connection: &Connection) -> Result<bool, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM copy WHERE exact = 0 AND state < 2) \
         OR EXISTS(SELECT 1 FROM quarantine WHERE state = 0 AND copy_id = \
         (SELECT max(id) FROM copy WHERE kind = 1 AND state < 3))",
    )?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Notes that a copy is complete, if it was read and nothing of it waits for its turn in the log.
pub(crate) fn complete_when_merged(connection: &Connection, copy: CopyId) -> Result<(), LedgerError> {
    let completed = connection.execute(
        "UPDATE copy SET state = 2 WHERE id = ?1 AND state = 1 \
         AND NOT EXISTS(SELECT 1 FROM marker WHERE copy_id = ?1)",
        [copy],
    )?;
    if completed == 0 {
        return Ok(());
    }
    let Some(read) = find(connection, copy)? else { return Ok(()) };
    parents::forget_vanished(connection, &read.tables, copy, read.began_seq)?;
    // The tables were read anew, so what earlier copies had rejected is in this copy, one way or the other.
    let mut resolve = connection.prepare_cached(
        "UPDATE quarantine SET state = 2, resolved_at = ?2 \
         WHERE state = 0 AND origin = 1 AND copy_id < ?1 AND table_id = ?3",
    )?;
    for table in &read.tables {
        resolve.execute(params![copy, read.began_at, table])?;
    }
    backfill::recount(connection)
}

/// Pages that wait until the stream has passed their fences, oldest first.
pub(crate) fn pages_waiting(
    connection: &Connection,
    copy: CopyId,
) -> Result<Vec<(PageId, Position)>, LedgerError> {
    let mut statement = connection
        .prepare_cached("SELECT id, fence FROM page WHERE copy_id = ?1 AND fence IS NOT NULL ORDER BY id")?;
    let pages = statement
        .query_map([copy], |row| Ok((row.get(0)?, Position::new(row.get::<_, String>(1)?))))?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(pages)
}

impl Queries {
    /// The copy that is being read, if there is one.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn unfinished_copy(&self) -> Result<Option<Unfinished>, LedgerError> {
        Ok(unfinished(&self.connection)?.map(|row| Unfinished {
            id: row.id,
            kind: row.kind,
            exact: row.exact,
            tables: row.tables_left(),
            cursor: row.cursor.map(PageCursor::new),
            scanned: row.scanned,
        }))
    }

    /// Whether a copy for a backfill that is sent again was given up, and has to begin once more.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn owes_copy_again(&self) -> Result<bool, LedgerError> {
        Ok(meta::number(&self.connection, meta::AGAIN_ASKED)? > 0)
    }

    /// The pages of a copy that wait until the stream has passed their fences, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn pages_waiting(&self, copy: CopyId) -> Result<Vec<(PageId, Position)>, LedgerError> {
        pages_waiting(&self.connection, copy)
    }

    /// How far the newest copy has come; `None` when there never was one.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn copy_progress(&self) -> Result<Option<CopyProgress>, LedgerError> {
        let sql = format!("{SELECT} WHERE state <> 3 ORDER BY id DESC LIMIT 1");
        let newest = self.connection.prepare_cached(&sql)?.query_row([], read).optional()?;
        Ok(newest.map(|row| CopyProgress {
            id: row.id,
            kind: row.kind,
            began_at: row.began_at,
            scanned: row.scanned,
            staged: row.staged,
            rejected: row.rejected,
            is_read: row.state != CopyState::BeingRead,
            is_merged: row.state == CopyState::Merged,
        }))
    }
}
