//! Copies of the table, staged page by page beside the log.

use change::{Checkpoint, PageCursor, Position};
use rusqlite::{Connection, OptionalExtension, params};

use crate::copy_state::{self, CopyRow, CopyState};
use crate::copy_turn::{Turn, put_marker, turns_of_exact};
use crate::declared::Declared;
use crate::error::{LedgerError, LedgerErrorKind};
use crate::gap::GapId;
use crate::ingest::RejectedRow;
use crate::ledger::{Ledger, store_checkpoint};
use crate::quarantine::PutAside;
use crate::staged::StagedRows;
use crate::table_id::TableId;
use crate::unjoined::UnjoinedRows;
use crate::{declared, history, meta, row_owner, staged, unjoined};

/// A copy of the table.
pub type CopyId = i64;

/// A page of a copy.
pub type PageId = i64;

/// Why the table is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// For the first time: its rows become the last known statuses and wait for the backfill.
    Baseline,
    /// After the log was lost: what differs from the last known statuses is emitted.
    Repair {
        /// The gap in the log that it mends.
        gap: GapId,
    },
    /// Once more, because the backfill shall be sent again.
    Again,
}

/// How a copy begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCopy {
    /// Why the table is copied.
    pub kind: CopyKind,
    /// Whether all pages are as of one log position, at which the stream will start when they are complete.
    /// Otherwise each page carries a fence.
    pub exact: bool,
    /// The tables that it reads; all that are configured without them.
    pub tables: Option<Vec<TableId>>,
    /// When it begins, in microseconds since the epoch.
    pub at: i64,
}

/// A page of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StagedPage {
    /// The table.
    pub table: TableId,
    /// The rows that could be mapped.
    pub rows: StagedRows,
    /// Parents, and rows that are to be joined to theirs.
    pub unjoined: UnjoinedRows,
    /// The rows that could not.
    pub rejected: Vec<RejectedRow>,
    /// All rows that were read, those before the floor included.
    pub scanned: u64,
    /// The log's end after the page was read; `None` in an exact copy.
    pub fence: Option<Position>,
    /// Where the next page starts, so that the copy can be resumed.
    pub cursor: Option<PageCursor>,
    /// When it was read, in microseconds since the epoch.
    pub at: i64,
}

impl StagedPage {
    /// Adds the page of the same table that follows this one, so that both are stored as one.
    pub fn append(&mut self, next: Self) {
        self.rows.append(&next.rows);
        self.unjoined.append(&next.unjoined);
        self.rejected.extend(next.rejected);
        self.scanned += next.scanned;
        self.fence = next.fence;
        self.cursor = next.cursor.or(self.cursor.take());
        self.at = next.at;
    }
}

impl Ledger {
    /// Begins a copy. What the stream brings from now on counts as newer than the copy.
    ///
    /// A copy for a backfill that is sent again drops what still waits of earlier ones.
    ///
    /// # Errors
    /// [`LedgerErrorKind::Misuse`] when another copy is being read, or a first copy was taken already.
    pub fn begin_copy(&mut self, new: &NewCopy) -> Result<CopyId, LedgerError> {
        // Rows of an earlier copy that have still to be merged would come to wait after the others went; and what was
        // captured before a log was lost is joined to the parents that were known then.
        if new.kind != CopyKind::Baseline {
            self.settle_all()?;
        }
        let in_pages = matches!(new.kind, CopyKind::Repair { .. }) && !new.exact;
        let keeps_seqs = in_pages && declared::any_history(&self.queries().connection)?;
        if keeps_seqs {
            // The stream that left a transaction open has ended with the log.
            self.discard_open()?;
        }
        let began_seq = self.log.committed_seq;
        let every = || self.declared.as_ref().map_or_else(|| vec![TableId::default()], Declared::ids);
        let mut tables = new.tables.clone().unwrap_or_else(every);
        if let Some(declared) = &self.declared {
            // Parents come before the rows that are joined to them.
            tables.sort_by_key(|table| declared.number(*table));
        }
        let mut log = self.log;
        let copy = self.write("begin a copy of the table", |transaction| {
            if let Some(unfinished) = copy_state::unfinished(transaction)? {
                let message = format!("copy {} of the table is still being read", unfinished.id);
                return Err(LedgerError::misuse(message));
            }
            match new.kind {
                CopyKind::Repair { gap } => {
                    transaction.execute("UPDATE gap SET to_at = ?2 WHERE id = ?1", params![gap, new.at])?;
                }
                CopyKind::Baseline => {
                    let again = copy_state::newest_for_backfill(transaction)?;
                    if let Some(copy) = again.filter(|_| new.tables.is_none()) {
                        let message = format!("the table was copied already, by copy {}", copy.id);
                        return Err(LedgerError::misuse(message));
                    }
                }
                CopyKind::Again => {
                    meta::clear(transaction, meta::AGAIN_ASKED)?;
                    transaction.execute("DELETE FROM backfill_row WHERE state = 0", [])?;
                    transaction.execute("DELETE FROM backfill_month", [])?;
                    meta::set(transaction, meta::WAITING_ROWS, 0)?;
                }
            }
            if keeps_seqs {
                history::keep_seqs(transaction, &mut log)?;
            }
            let first = match new.kind {
                CopyKind::Repair { .. } => copy_state::never_read(transaction, &tables)?,
                CopyKind::Baseline | CopyKind::Again => Vec::new(),
            };
            declared::set_copied(transaction, &tables, true)?;
            insert_copy(transaction, new, began_seq, (&tables, &first))
        })?;
        self.log = log;
        Ok(copy)
    }

    /// Stages a page. Nobody sees its rows before their turn in the log.
    ///
    /// # Errors
    /// [`LedgerErrorKind::Misuse`] when the copy is not being read.
    pub fn append_page(&mut self, copy: CopyId, page: &StagedPage) -> Result<PageId, LedgerError> {
        self.write("store a page of a copy", |transaction| {
            let copy = copy_state::being_read(transaction, copy)?;
            let first_id = meta::number(transaction, meta::NEXT_STAGED_ID)?.max(1);
            let last_id = staged::append(transaction, &page.rows, first_id)?;
            let last_id = unjoined::append(transaction, &page.unjoined, last_id + 1)?;
            let mut aside = PutAside::new(transaction)?;
            page.rejected.iter().try_for_each(|row| aside.put(row, Some(copy.id), false))?;
            meta::set(transaction, meta::NEXT_STAGED_ID, last_id + 1)?;
            let mut update = transaction.prepare_cached(
                "UPDATE copy SET scanned = scanned + ?2, staged = staged + ?3, rejected = rejected + ?4, \
                 cursor = coalesce(?5, cursor), last_id = ?6, \
                 cursor_table = CASE WHEN ?5 IS NULL THEN cursor_table ELSE ?7 END WHERE id = ?1",
            )?;
            update.execute(params![
                copy.id,
                page.scanned,
                page.rows.len() + page.unjoined.len(),
                page.rejected.len(),
                page.cursor.as_ref().map(PageCursor::as_str),
                last_id,
                page.table,
            ])?;
            transaction
                .prepare_cached("UPDATE source_table SET scanned = scanned + ?2 WHERE id = ?1")?
                .execute(params![page.table, page.scanned])?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO page(copy_id, first_id, last_id, fence, at, table_id) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let fence = page.fence.as_ref().map(Position::as_str);
            Ok(insert.insert(params![copy.id, first_id, last_id, fence, page.at, page.table])?)
        })
    }

    /// Puts the page's turn at the log's end: the stream has passed its fence, so whatever happened to its
    /// rows before they were read is in the log already. A page that has passed its fence stays where it is.
    ///
    /// # Errors
    /// [`LedgerErrorKind::OpenTransaction`] when the log ends within a transaction.
    pub fn pass_fence(&mut self, page: PageId) -> Result<(), LedgerError> {
        self.require_closed("pass the fence of a page")?;
        let mut log = self.log;
        self.write("pass the fence of a page", |transaction| {
            let turn = transaction
                .prepare_cached(
                    "SELECT copy_id, first_id, last_id, fence, at, table_id FROM page WHERE id = ?1",
                )?
                .query_row([page], |row| {
                    let (first_id, last_id, table) = (row.get(1)?, row.get(2)?, row.get(5)?);
                    let (position, at) = (row.get(3)?, row.get(4)?);
                    Ok((row.get(0)?, Turn { table, first_id, last_id, position, at }))
                })
                .optional()?;
            let Some((copy, turn)) = turn else { return Ok(()) };
            let copy = copy_state::being_read(transaction, copy)?;
            transaction.execute("DELETE FROM page WHERE id = ?1", [page])?;
            put_marker(transaction, &mut log, &copy, &turn)
        })?;
        self.log = log;
        Ok(())
    }

    /// Ends the reading of a copy. For an exact one, `checkpoint` is what it is exact as of: it becomes the
    /// ledger's position in the same commit that gives the copy its turn in the log.
    ///
    /// # Errors
    /// [`LedgerErrorKind::Misuse`] when pages still wait for their fences, or an exact copy comes without
    /// its position.
    pub fn finish_copy(&mut self, copy: CopyId, checkpoint: Option<&Checkpoint>) -> Result<(), LedgerError> {
        self.require_closed("finish a copy of the table")?;
        let mut log = self.log;
        self.write("finish a copy of the table", |transaction| {
            let copy = copy_state::being_read(transaction, copy)?;
            if let Some(checkpoint) = checkpoint {
                store_checkpoint(transaction, checkpoint)?;
            }
            copy_state::set_state(transaction, copy.id, CopyState::Read)?;
            if copy.exact {
                let Some(checkpoint) = checkpoint else {
                    return Err(LedgerError::misuse("an exact copy came without its position"));
                };
                let turns = turns_of_exact(transaction, &copy, checkpoint)?;
                transaction.execute("DELETE FROM page WHERE copy_id = ?1", [copy.id])?;
                return turns.iter().try_for_each(|turn| put_marker(transaction, &mut log, &copy, turn));
            }
            match copy_state::pages_waiting(transaction, copy.id)?.len() {
                0 if history::ends_with_a_turn(transaction, &copy)? => {
                    let last = Turn {
                        table: TableId::default(),
                        first_id: copy.last_id + 1,
                        last_id: copy.last_id,
                        position: None,
                        at: copy.began_at,
                    };
                    put_marker(transaction, &mut log, &copy, &last)
                }
                0 => copy_state::complete_when_merged(transaction, copy.id),
                waiting => Err(LedgerError::misuse(format!(
                    "{waiting} pages of the copy still wait for their fences"
                ))),
            }
        })?;
        self.log = log;
        Ok(())
    }

    /// Gives a copy up whose reading cannot go on: its rows go, and what was only known from them.
    ///
    /// # Errors
    /// [`LedgerErrorKind::Misuse`] when the copy is not being read.
    pub fn abandon_copy(&mut self, copy: CopyId) -> Result<(), LedgerError> {
        self.write("give up a copy of the table", |transaction| {
            let copy = copy_state::being_read(transaction, copy)?;
            forget_known(transaction, &copy)?;
            row_owner::forget_copy(transaction, copy.id)?;
            declared::set_copied(transaction, copy.first_tables(), false)?;
            if copy.kind == CopyKind::Again {
                // What it shall send again is still asked for.
                meta::set(transaction, meta::AGAIN_ASKED, 1)?;
            }
            staged::drop_all(transaction, copy.first_id, copy.last_id)?;
            // Rows that are in a batch already have left, and stay on record.
            transaction.execute("DELETE FROM backfill_row WHERE copy_id = ?1 AND state <> 1", [copy.id])?;
            transaction.execute("DELETE FROM quarantine WHERE copy_id = ?1 AND state = 0", [copy.id])?;
            transaction.execute("DELETE FROM marker WHERE copy_id = ?1", [copy.id])?;
            transaction.execute("DELETE FROM page WHERE copy_id = ?1", [copy.id])?;
            copy_state::set_state(transaction, copy.id, CopyState::Abandoned)
        })
    }

    /// Notes that a copy for a backfill that is sent again must begin as soon as none is under way.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn ask_copy_again(&mut self) -> Result<(), LedgerError> {
        self.write("ask for a copy of the table", |transaction| meta::set(transaction, meta::AGAIN_ASKED, 1))
    }

    /// Fails when the log ends within a transaction: what is put behind it would be committed with it, or
    /// it without its commit.
    pub(crate) fn require_closed(&self, doing: &str) -> Result<(), LedgerError> {
        if !self.log.is_open() {
            return Ok(());
        }
        let message = format!("{doing}: a transaction of the database is still being read");
        Err(LedgerError::new(LedgerErrorKind::OpenTransaction, message))
    }
}

fn insert_copy(
    connection: &Connection,
    new: &NewCopy,
    began_seq: i64,
    (tables, first): (&[TableId], &[TableId]),
) -> Result<CopyId, LedgerError> {
    let gap = match new.kind {
        CopyKind::Repair { gap } => Some(gap),
        CopyKind::Baseline | CopyKind::Again => None,
    };
    let next_id = meta::number(connection, meta::NEXT_STAGED_ID)?.max(1);
    let mut insert = connection.prepare_cached(
        "INSERT INTO copy(kind, exact, state, gap_id, began_seq, began_at, first_id, last_id, tables, first_tables) \
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let kind = copy_state::kind_number(new.kind);
    let state = CopyState::BeingRead;
    let first = (!first.is_empty()).then(|| declared::tables_json(first));
    let tables = declared::tables_json(tables);
    Ok(insert.insert(params![
        kind,
        new.exact,
        state,
        gap,
        began_seq,
        new.at,
        next_id,
        next_id - 1,
        tables,
        first
    ])?)
}

/// Requests that are only known from this copy are not known any more; the others lose their tie to it.
fn forget_known(connection: &Connection, copy: &CopyRow) -> Result<(), LedgerError> {
    let sql = "SELECT count(*) FROM backfill_row WHERE copy_id = ?1 AND state = 0";
    let waiting: i64 = connection.query_row(sql, [copy.id], |row| row.get(0))?;
    meta::add(connection, meta::WAITING_ROWS, -waiting)?;
    if copy.kind != CopyKind::Again {
        connection.execute("DELETE FROM known WHERE copy_id = ?1 AND emitted_seq = 0", [copy.id])?;
    }
    connection.execute("UPDATE known SET copy_id = 0, month = 0 WHERE copy_id = ?1", [copy.id])?;
    Ok(())
}
