//! Appending what the stream brings: one commit for changes and the position that covers them.

use std::sync::Arc;

use change::{Position, RowKey, Transaction as SourceTransaction};
use normalizer::{Normalized, Rejection, RequestKey, StatusChange};
use rusqlite::Connection;

use crate::captured_block::{self, Packer};
use crate::captured_rows::CapturedRows;
use crate::error::LedgerError;
use crate::ledger::{Ledger, LogEnd};
use crate::meta;
use crate::quarantine::PutAside;
use crate::table_id::TableId;
use crate::unjoined::Unjoined;

/// What one row change means, as far as it is known when it is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A status change for certain.
    Record(StatusChange),
    /// A status, which is a change unless it repeats the request's last known one.
    Candidate(StatusChange),
    /// A row of a history was altered: a status change, unless it says what was told of the row before.
    Amended(StatusChange),
    /// A row went away of which the log tells only the key; it is reported with a status.
    Deletion {
        /// The status that stands for the deletion.
        status_id: u8,
        /// When the row went away, in microseconds since the epoch.
        modified_at: i64,
    },
    /// A row is gone of which the log tells only the key that it had: reported like a deletion if it is known, and
    /// nothing otherwise.
    Departure {
        /// The status that stands for it.
        status_id: u8,
        /// When the row went, in microseconds since the epoch.
        modified_at: i64,
    },
    /// A row of this request was rejected, so its status is not known any more.
    Broken(RequestKey),
    /// A parent's row, or one that means something only with its parent: it is joined when its turn to be settled comes.
    Unjoined(Unjoined),
}

impl Entry {
    /// What a row change means, if it may matter.
    ///
    /// # Errors
    /// Why it cannot be mapped.
    pub fn of(normalized: Normalized) -> Result<Option<Self>, Rejection> {
        Ok(Some(match normalized {
            Normalized::Unchanged | Normalized::BeforeFloor => return Ok(None),
            Normalized::Record(change) => Self::Record(change),
            Normalized::Candidate(change) => Self::Candidate(change),
            Normalized::Amended(change) => Self::Amended(change),
            Normalized::Deletion { status_id, modified_at } => Self::Deletion { status_id, modified_at },
            Normalized::Departure { status_id, modified_at } => Self::Departure { status_id, modified_at },
            Normalized::Rejected(rejection) => return Err(rejection),
        }))
    }
}

/// One row change that may matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The table of the row.
    pub table: TableId,
    /// What it means.
    pub entry: Entry,
    /// The key of the row as it became, where deletes are reported or each row is a status change.
    pub row_key: Option<RowKey>,
    /// The key that the row had before, when the change altered it.
    pub old_row_key: Option<RowKey>,
    /// The transaction that made the change.
    pub transaction: Arc<SourceTransaction>,
}

/// A row that could not be mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The table of the row.
    pub table: TableId,
    /// A stable name of what is wrong with it.
    pub code: &'static str,
    /// What is wrong with it, for the operator.
    pub reason: String,
    /// The request it belongs to, where that could be told.
    pub request: Option<RequestKey>,
    /// The row's key, where each row is a status change.
    pub row_key: Option<RowKey>,
    /// Its mapped columns as JSON, so that it can be mapped again.
    pub row: String,
    /// The commit of the transaction that made it so; `None` for a row of a copy.
    pub position: Option<Position>,
    /// When that transaction committed, or the copy was made, in microseconds since the epoch.
    pub at: i64,
}

/// What a piece of the log brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ingest {
    /// Row changes that may matter, and when the piece was read.
    pub captured: CapturedRows,
    /// Rows that could not be mapped.
    pub rejected: Vec<RejectedRow>,
    /// Row changes of the tables in this piece, those that do not matter included.
    pub changes: u64,
    /// Present only where the piece ends between transactions; what came without stays open.
    pub position: Option<Position>,
}

impl Ledger {
    /// Appends pieces of the log, in their order, in one commit.
    ///
    /// After `Ok`, everything up to the last piece's position is durable and may be acknowledged to the
    /// database. After `Err`, nothing was stored.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Full`] when the disk has no room: the stream must pause.
    pub fn append(&mut self, pieces: &[Ingest]) -> Result<(), LedgerError> {
        let mut log = self.log;
        self.write("append captured changes", |transaction| {
            let mut appender = Appender::new(transaction, &mut log)?;
            for piece in pieces {
                appender.append(piece)?;
            }
            appender.finish()
        })?;
        self.log = log;
        Ok(())
    }

    /// Drops what was appended without a position: the stream starts again before it.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn discard_open(&mut self) -> Result<(), LedgerError> {
        if !self.log.is_open() {
            return Ok(());
        }
        let committed_seq = self.log.committed_seq;
        self.write("drop an unfinished transaction", |transaction| {
            // Open rows of ledgers before version 2 are not packed.
            transaction.execute("DELETE FROM change WHERE seq > ?1", [committed_seq])?;
            captured_block::drop_open(transaction, committed_seq)?;
            transaction.execute("DELETE FROM quarantine WHERE state = 1", [])?;
            Ok(())
        })?;
        let committed_at = self.queries().committed_at()?;
        let packed_bytes = captured_block::bytes(&self.queries().connection)?;
        self.log = LogEnd {
            next_seq: committed_seq + 1,
            committed_seq,
            open_changes: 0,
            open_rejected: 0,
            committed_at,
            packed_bytes,
        };
        Ok(())
    }
}

struct Appender<'a> {
    connection: &'a Connection,
    log: &'a mut LogEnd,
    block: Packer,
    aside: PutAside<'a>,
    position: Option<&'a Position>,
    captured_changes: u64,
    captured_at: Option<i64>,
}

impl<'a> Appender<'a> {
    fn new(connection: &'a Connection, log: &'a mut LogEnd) -> Result<Self, LedgerError> {
        let aside = PutAside::new(connection)?;
        let block = Packer::default();
        Ok(Self { connection, log, block, aside, position: None, captured_changes: 0, captured_at: None })
    }

    fn append(&mut self, piece: &'a Ingest) -> Result<(), LedgerError> {
        let open = piece.position.is_none();
        if open && !self.log.is_open() {
            // What is dropped if the transaction is read again lies apart from what is committed.
            self.store_block()?;
        }
        for rows in piece.captured.blocks() {
            if self.block.overflows_with(rows) {
                self.store_block()?;
            }
            self.block.append(rows);
            self.log.next_seq += rows.count();
            if self.block.is_full() {
                self.store_block()?;
            }
        }
        for rejected in &piece.rejected {
            self.aside.put(rejected, None, open)?;
        }
        self.log.open_changes += piece.changes;
        self.captured_at = Some(piece.captured.captured_at());
        self.log.committed_at = piece.captured.committed_at().or(self.log.committed_at);
        match &piece.position {
            Some(position) => self.commit(position),
            None => {
                self.log.open_rejected += piece.rejected.len() as u64;
                Ok(())
            }
        }
    }

    fn store_block(&mut self) -> Result<(), LedgerError> {
        self.log.packed_bytes += self.block.store(self.connection, self.log.next_seq)?;
        Ok(())
    }

    /// Everything so far belongs to committed transactions.
    fn commit(&mut self, position: &'a Position) -> Result<(), LedgerError> {
        if self.log.open_rejected > 0 {
            self.connection.execute("UPDATE quarantine SET state = 0 WHERE state = 1", [])?;
        }
        self.position = Some(position);
        self.captured_changes += self.log.open_changes;
        self.log.committed_seq = self.log.next_seq - 1;
        self.log.open_changes = 0;
        self.log.open_rejected = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<(), LedgerError> {
        let connection = self.connection;
        self.store_block()?;
        if let Some(captured_at) = self.captured_at {
            meta::set(connection, meta::CAPTURED_AT, captured_at)?;
        }
        let Some(position) = self.position else { return Ok(()) };
        meta::set(connection, meta::POSITION, position.as_str())?;
        meta::set(connection, meta::COMMITTED_SEQ, self.log.committed_seq)?;
        // A position may come without any row: the log of a quiet table moves on with the others'.
        if let Some(committed_at) = self.log.committed_at {
            meta::set(connection, meta::COMMITTED_AT, committed_at)?;
        }
        let captured = i64::try_from(self.captured_changes).unwrap_or(i64::MAX);
        meta::add(connection, meta::CAPTURED_CHANGES, captured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LedgerErrorKind;

    fn piece(rows: usize, position: &str) -> Ingest {
        let transaction = Arc::new(SourceTransaction { position: Position::new(position), committed_at: 0 });
        let change = StatusChange {
            service_id: "101".into(),
            request_id: "A".repeat(100).into(),
            opening_at: 0,
            status_id: 9,
            modified_at: 0,
        };
        let captured = Captured {
            table: TableId::default(),
            entry: Entry::Record(change),
            row_key: None,
            old_row_key: None,
            transaction: transaction.clone(),
        };
        Ingest {
            captured: CapturedRows::pack(0, &vec![captured; rows]),
            changes: rows as u64,
            position: Some(transaction.position.clone()),
            ..Ingest::default()
        }
    }

    #[test]
    fn a_full_disk_stores_nothing_and_goes_on_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), "test").unwrap();
        ledger.append(&[piece(10, "0/1")]).unwrap();
        // SQLite's own limit fails with the same code as a disk without room.
        let pages: i64 =
            ledger.queries().connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let limit = |ledger: &Ledger, pages: i64| {
            let set = ledger.queries().connection.pragma_update_and_check(
                None,
                "max_page_count",
                pages,
                |_| Ok(()),
            );
            set.unwrap();
        };
        limit(&ledger, pages);
        let error = ledger.append(&[piece(1_000, "0/2")]).unwrap_err();
        assert_eq!(error.kind(), LedgerErrorKind::Full);
        assert!(error.is_full() && error.hint().unwrap().contains("room"));
        assert_eq!(ledger.captured_changes().unwrap(), 10);

        limit(&ledger, 1_000_000);
        ledger.append(&[piece(1_000, "0/2")]).unwrap();
        assert_eq!(ledger.captured_changes().unwrap(), 1_010);
        while ledger.settle(100).unwrap().more {}
        assert_eq!(ledger.delta().unwrap().records, 1_010);
    }
}
