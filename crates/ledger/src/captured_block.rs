//! Captured changes until they are settled: blocks of packed rows.
//!
//! Ingest must keep up with a database that empties its log. A row of SQLite for each change would cost more than
//! everything else that is done with it, and most changes are looked at once, when they are settled. So they are
//! packed, and become rows of the log slice by slice.
//!
//! A block never holds rows on both sides of the last commit, nor of a marker: it is dropped or settled whole.

use std::sync::Arc;

use change::Transaction as SourceTransaction;
use normalizer::StatusChange;
use rusqlite::{Connection, params};

use crate::error::{LedgerError, LedgerErrorKind};
use crate::ingest::{Captured, Entry};
use crate::log_row::LogKind;
use crate::packing::{pack_length, text, unpack_length};
use crate::table_id::TableId;
use crate::unjoined::Unjoined;

/// A block is stored when it has this many bytes: many rows, and little memory.
const BLOCK_BYTES: usize = 128 * 1024;

/// Stands before the facts of a transaction, which hold for the rows after it, where rows have their kind.
const TRANSACTION: u8 = 0xff;

/// Stands before the number of a table, from which the rows after it are, where rows have their kind.
const TABLE: u8 = 0xfe;

/// The block that is being filled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Packer {
    packed: Vec<u8>,
    count: i64,
    /// What the packed rows were last told of.
    told: Option<(Arc<SourceTransaction>, i64)>,
    table: TableId,
}

impl Packer {
    /// Adds a row that was captured at `captured_at`, in microseconds since the epoch.
    pub(crate) fn push(&mut self, captured: &Captured, captured_at: i64) {
        let transaction = &captured.transaction;
        if !self.told.as_ref().is_some_and(|(told, at)| Arc::ptr_eq(told, transaction) && *at == captured_at)
        {
            self.packed.push(TRANSACTION);
            self.pack_text(Some(transaction.position.as_str()));
            self.pack_number(transaction.committed_at);
            self.pack_number(captured_at);
            self.told = Some((transaction.clone(), captured_at));
        }
        self.pack_table(captured.table);
        match &captured.entry {
            Entry::Record(change) => self.pack_change(LogKind::Record, change),
            Entry::Candidate(change) => self.pack_change(LogKind::Candidate, change),
            Entry::Amended(change) => self.pack_change(LogKind::Amended, change),
            Entry::Deletion { status_id, modified_at } => {
                self.pack_end(LogKind::Deletion, *status_id, *modified_at);
            }
            Entry::Departure { status_id, modified_at } => {
                self.pack_end(LogKind::Departure, *status_id, *modified_at);
            }
            Entry::Broken(request) => {
                self.packed.push(LogKind::Broken as u8);
                self.pack_text(Some(&request.service_id));
                self.pack_text(Some(&request.request_id));
            }
            Entry::Unjoined(unjoined) => {
                self.packed.push(LogKind::Unjoined as u8);
                unjoined.pack(&mut self.packed);
            }
        }
        for key in [&captured.row_key, &captured.old_row_key] {
            let key = key.as_ref().map(|key| captured.table.scoped(key.as_str()));
            self.pack_text(key.as_deref());
        }
        self.count += 1;
    }

    /// Adds the rows that another packer packed.
    pub(crate) fn append(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        // What is packed begins with its transaction, and takes its table for the first one.
        self.pack_table(TableId::default());
        self.packed.extend_from_slice(&other.packed);
        self.count += other.count;
        self.table = other.table;
        self.told.clone_from(&other.told);
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> i64 {
        self.count
    }

    /// Packs a row again that is not joined yet.
    pub(crate) fn push_unjoined(&mut self, row: &PackedRow<'_>, unjoined: &Unjoined) {
        self.packed.push(TRANSACTION);
        self.pack_text(Some(row.position));
        self.pack_number(row.committed_at);
        self.pack_number(row.captured_at);
        self.pack_table(row.table);
        self.packed.push(LogKind::Unjoined as u8);
        unjoined.pack(&mut self.packed);
        self.pack_text(row.row_key);
        self.pack_text(row.old_row_key);
    }

    /// The rows so far.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.packed
    }

    fn pack_table(&mut self, table: TableId) {
        if self.table != table {
            self.packed.push(TABLE);
            self.pack_number(table.number());
            self.table = table;
        }
    }

    fn pack_change(&mut self, kind: LogKind, change: &StatusChange) {
        self.packed.extend_from_slice(&[kind as u8, change.status_id]);
        self.pack_number(change.opening_at);
        self.pack_number(change.modified_at);
        self.pack_text(Some(&change.service_id));
        self.pack_text(Some(&change.request_id));
    }

    fn pack_end(&mut self, kind: LogKind, status_id: u8, modified_at: i64) {
        self.packed.extend_from_slice(&[kind as u8, status_id]);
        self.pack_number(modified_at);
    }

    fn pack_number(&mut self, number: i64) {
        self.packed.extend_from_slice(&number.to_le_bytes());
    }

    /// Zero stands for no text, which is not the same as an empty one.
    fn pack_text(&mut self, text: Option<&str>) {
        pack_length(&mut self.packed, text.map_or(0, |text| text.len() + 1));
        self.packed.extend_from_slice(text.unwrap_or_default().as_bytes());
    }

    /// Whether the block is large enough to be stored.
    pub(crate) fn is_full(&self) -> bool {
        self.packed.len() >= BLOCK_BYTES
    }

    /// Whether the rows of `other` would make it larger than a block is when it is stored.
    pub(crate) fn overflows_with(&self, other: &Self) -> bool {
        self.count > 0 && self.packed.len() + other.packed.len() > BLOCK_BYTES
    }

    /// Stores the block, whose last row has the seq before `next_seq`, and begins another. Returns its bytes.
    pub(crate) fn store(&mut self, connection: &Connection, next_seq: i64) -> Result<u64, LedgerError> {
        let bytes = self.packed.len() as u64;
        if self.count > 0 {
            connection
                .prepare_cached("INSERT INTO captured_block(last_seq, first_seq, rows) VALUES(?1, ?2, ?3)")?
                .execute(params![next_seq - 1, next_seq - self.count, self.packed])?;
            self.packed.clear();
            self.count = 0;
            self.told = None;
            self.table = TableId::default();
        }
        Ok(bytes)
    }
}

/// Bytes of all packed rows.
pub(crate) fn bytes(connection: &Connection) -> Result<u64, LedgerError> {
    let sql = "SELECT coalesce(sum(length(rows)), 0) FROM captured_block";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// A packed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedRow<'a> {
    pub(crate) seq: i64,
    pub(crate) table: TableId,
    pub(crate) kind: LogKind,
    pub(crate) service_id: Option<&'a str>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) status_id: Option<u8>,
    pub(crate) opening_at: Option<i64>,
    pub(crate) modified_at: Option<i64>,
    pub(crate) row_key: Option<&'a str>,
    pub(crate) old_row_key: Option<&'a str>,
    pub(crate) position: &'a str,
    pub(crate) committed_at: i64,
    pub(crate) captured_at: i64,
    /// What was captured, of a row that is not joined yet.
    pub(crate) unjoined: Option<Unjoined>,
}

impl<'a> PackedRow<'a> {
    /// Makes the row say that a request passed to a status.
    pub(crate) fn say(&mut self, kind: LogKind, change: &'a StatusChange) {
        self.kind = kind;
        self.service_id = Some(&change.service_id);
        self.request_id = Some(&change.request_id);
        self.status_id = Some(change.status_id);
        self.opening_at = Some(change.opening_at);
        self.modified_at = Some(change.modified_at);
    }
}

/// The rows of a block, in the order of the log.
pub(crate) struct Rows<'a> {
    rest: &'a [u8],
    next_seq: i64,
    table: TableId,
    position: &'a str,
    committed_at: i64,
    captured_at: i64,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(packed: &'a [u8], first_seq: i64) -> Self {
        let table = TableId::default();
        Self { rest: packed, next_seq: first_seq, table, position: "", committed_at: 0, captured_at: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<i64> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(i64::from_le_bytes(*bytes))
    }

    fn text(&mut self) -> Option<Option<&'a str>> {
        let (length, rest) = unpack_length(self.rest)?;
        self.rest = rest;
        let Some(length) = length.checked_sub(1) else { return Some(None) };
        let (text, rest) = text(rest, length)?;
        self.rest = rest;
        Some(Some(text))
    }

    fn row(&mut self) -> Option<PackedRow<'a>> {
        let kind = loop {
            match self.byte()? {
                TRANSACTION => {
                    self.position = self.text()??;
                    self.committed_at = self.number()?;
                    self.captured_at = self.number()?;
                }
                TABLE => self.table = TableId::from_number(self.number()?),
                kind => break LogKind::from_byte(kind)?,
            }
        };
        let mut row = PackedRow {
            seq: self.next_seq,
            table: self.table,
            kind,
            service_id: None,
            request_id: None,
            status_id: None,
            opening_at: None,
            modified_at: None,
            row_key: None,
            old_row_key: None,
            position: self.position,
            committed_at: self.committed_at,
            captured_at: self.captured_at,
            unjoined: None,
        };
        if kind == LogKind::Unjoined {
            let (unjoined, rest) = Unjoined::unpack(self.rest)?;
            self.rest = rest;
            row.unjoined = Some(unjoined);
        } else {
            self.read_status(&mut row)?;
        }
        row.row_key = self.text()?;
        row.old_row_key = self.text()?;
        self.next_seq += 1;
        Some(row)
    }

    /// What a row says of a request, as far as its kind tells.
    fn read_status(&mut self, row: &mut PackedRow<'a>) -> Option<()> {
        let kind = row.kind;
        if kind != LogKind::Broken {
            row.status_id = Some(self.byte()?);
        }
        if matches!(kind, LogKind::Record | LogKind::Candidate | LogKind::Amended) {
            row.opening_at = Some(self.number()?);
        }
        if kind != LogKind::Broken {
            row.modified_at = Some(self.number()?);
        }
        if !kind.is_gone() {
            row.service_id = Some(self.text()??);
            row.request_id = Some(self.text()??);
        }
        Some(())
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<PackedRow<'a>, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_none() {
            self.rest = &[];
        }
        Some(row.ok_or_else(|| {
            LedgerError::new(LedgerErrorKind::Damaged, "a stored block of captured changes cannot be read")
        }))
    }
}

/// Visits the packed rows with seqs after `after` and up to `upto`, in the order of the log.
pub(crate) fn visit(
    connection: &Connection,
    after: i64,
    upto: i64,
    mut visit: impl FnMut(&PackedRow<'_>) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut blocks = connection.prepare_cached(
        "SELECT first_seq, rows FROM captured_block WHERE last_seq > ?1 AND last_seq <= ?2 ORDER BY last_seq",
    )?;
    let mut blocks = blocks.query([after, upto])?;
    while let Some(block) = blocks.next()? {
        let packed = block.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        for row in Rows::new(packed, block.get(0)?) {
            visit(&row?)?;
        }
    }
    Ok(())
}

/// Drops the rows after `committed`: their transaction is read again.
pub(crate) fn drop_open(connection: &Connection, committed: i64) -> Result<(), LedgerError> {
    connection.execute("DELETE FROM captured_block WHERE last_seq > ?1", [committed])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use change::{Operation, Position, Row, RowKey, Value};
    use normalizer::RequestKey;
    use proptest::prelude::*;

    use crate::unpack::unpack;

    use super::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let change = ("[12]", "[a-cñ]{0,2}|[a-c]{126,130}", any::<i64>(), any::<u8>(), any::<i64>())
            .prop_map(|(service_id, request_id, opening_at, status_id, modified_at)| StatusChange {
                service_id: service_id.into(),
                request_id: request_id.into(),
                opening_at,
                status_id,
                modified_at,
            });
        let broken = ("[12]", "[a-c]{1,2}").prop_map(|(service_id, request_id)| RequestKey {
            service_id: service_id.into(),
            request_id: request_id.into(),
        });
        prop_oneof![
            change.clone().prop_map(Entry::Record),
            change.clone().prop_map(Entry::Amended),
            change.prop_map(Entry::Candidate),
            any::<(u8, i64)>()
                .prop_map(|(status_id, modified_at)| Entry::Deletion { status_id, modified_at }),
            any::<(u8, i64)>()
                .prop_map(|(status_id, modified_at)| Entry::Departure { status_id, modified_at }),
            broken.prop_map(Entry::Broken),
        ]
    }

    fn any_unjoined() -> impl Strategy<Value = Entry> {
        let row = || {
            let cells = prop::collection::vec(any::<i64>().prop_map(Value::Int), 0..3);
            prop::option::of(cells.prop_map(Row::new))
        };
        let operation = prop::sample::select(vec![Operation::Insert, Operation::Update, Operation::Delete]);
        let operation = prop::option::of(operation);
        (operation, row(), row(), any::<(u16, bool)>()).prop_map(
            |(operation, row, former, (shape, is_child))| {
                Entry::Unjoined(Unjoined { shape: shape.into(), operation, row, former, is_child })
            },
        )
    }

    fn any_piece(entries: impl Strategy<Value = Entry>) -> impl Strategy<Value = (Vec<Captured>, i64)> {
        let key = || prop::option::of("[a-z\u{1f}ñ]{0,9}");
        let rows = prop::collection::vec((1_i64..3, entries, key(), key()), 0..5);
        (rows, any::<i64>(), any::<i64>()).prop_map(|(rows, committed_at, captured_at)| {
            let position = Position::new(format!("0/{committed_at:X}"));
            let transaction = Arc::new(SourceTransaction { position, committed_at });
            let captured =
                |(table, entry, key, old): (i64, Entry, Option<String>, Option<String>)| Captured {
                    table: TableId::from_number(table),
                    entry,
                    row_key: key.map(RowKey::from),
                    old_row_key: old.map(RowKey::from),
                    transaction: transaction.clone(),
                };
            (rows.into_iter().map(captured).collect(), captured_at)
        })
    }

    fn store(pieces: &[(Vec<Captured>, i64)]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema/1.sql")).unwrap();
        connection.execute_batch(include_str!("schema/2.sql")).unwrap();
        connection.execute_batch(include_str!("schema/3.sql")).unwrap();
        let (mut next_seq, mut block) = (1, Packer::default());
        for (number, (rows, captured_at)) in pieces.iter().enumerate() {
            let mut packed = Packer::default();
            rows.iter().for_each(|row| packed.push(row, *captured_at));
            block.append(&packed);
            next_seq += rows.len() as i64;
            if number % 2 == 1 {
                block.store(&connection, next_seq).unwrap();
            }
        }
        block.store(&connection, next_seq).unwrap();
        connection
    }

    /// What of a row is stored, as text.
    fn told(captured: &Captured, seq: i64, captured_at: i64) -> String {
        let full = |kind, change: &'_ StatusChange| {
            let request = (change.service_id.to_string(), change.request_id.to_string());
            (kind, Some(request), Some(change.status_id), Some(change.opening_at), Some(change.modified_at))
        };
        let end = |kind, status_id, modified_at| (kind, None, Some(status_id), None, Some(modified_at));
        let (kind, request, status, opening, modified) = match &captured.entry {
            Entry::Record(change) => full(LogKind::Record, change),
            Entry::Candidate(change) => full(LogKind::Candidate, change),
            Entry::Amended(change) => full(LogKind::Amended, change),
            Entry::Deletion { status_id, modified_at } => end(LogKind::Deletion, *status_id, *modified_at),
            Entry::Departure { status_id, modified_at } => end(LogKind::Departure, *status_id, *modified_at),
            Entry::Broken(key) => {
                let request = (key.service_id.to_string(), key.request_id.to_string());
                (LogKind::Broken, Some(request), None, None, None)
            }
            Entry::Unjoined(_) => (LogKind::Unjoined, None, None, None, None),
        };
        let key =
            |key: &Option<RowKey>| key.as_ref().map(|key| captured.table.scoped(key.as_str()).into_owned());
        let (row_key, old_row_key) = (key(&captured.row_key), key(&captured.old_row_key));
        format!(
            "{:?}",
            PackedRow {
                seq,
                table: captured.table,
                kind,
                service_id: request.as_ref().map(|request| request.0.as_str()),
                request_id: request.as_ref().map(|request| request.1.as_str()),
                status_id: status,
                opening_at: opening,
                modified_at: modified,
                row_key: row_key.as_deref(),
                old_row_key: old_row_key.as_deref(),
                position: captured.transaction.position.as_str(),
                committed_at: captured.transaction.committed_at,
                captured_at,
                unjoined: match &captured.entry {
                    Entry::Unjoined(unjoined) => Some(unjoined.clone()),
                    _ => None,
                },
            }
        )
    }

    proptest! {
        #[test]
        fn every_row_is_read_as_it_was_packed(
            pieces in prop::collection::vec(any_piece(prop_oneof![any_entry(), any_unjoined()]), 0..5),
        ) {
            let connection = store(&pieces);
            let rows = pieces.iter().flat_map(|(rows, at)| rows.iter().map(move |row| (row, *at)));
            let expected: Vec<_> =
                (1..).zip(rows).map(|(seq, (row, at))| told(row, seq, at)).collect();
            let mut found = Vec::new();
            visit(&connection, 0, i64::MAX, |row| {
                found.push(format!("{row:?}"));
                Ok(())
            })
            .unwrap();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn unpacking_in_slices_leaves_the_log_whole(
            pieces in prop::collection::vec(any_piece(any_entry()), 0..6),
            min_rows in 1_u64..8,
        ) {
            let connection = store(&pieces);
            let end: i64 = pieces.iter().map(|(rows, _)| rows.len() as i64).sum();
            let mut settled = 0;
            while settled < end {
                let whole_to = unpack(&connection, None, (settled, end), min_rows).unwrap();
                let rows: i64 = connection
                    .query_row("SELECT count(*) FROM change WHERE seq > ?1", [settled], |row| row.get(0))
                    .unwrap();
                prop_assert_eq!(rows, whole_to - settled);
                prop_assert!(rows > 0);
                // As settling does: a slice that may end within what was unpacked.
                settled = whole_to.min(settled + min_rows as i64);
            }
            let packed: i64 =
                connection.query_row("SELECT count(*) FROM captured_block", [], |row| row.get(0)).unwrap();
            prop_assert_eq!(packed, 0);
        }

        #[test]
        fn damaged_blocks_are_an_error_and_never_a_panic(
            piece in any_piece(prop_oneof![any_entry(), any_unjoined()]),
            at in any::<prop::sample::Index>(),
            byte: u8,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut block = Packer::default();
            piece.0.iter().for_each(|row| block.push(row, piece.1));
            let mut packed = block.packed;
            if !packed.is_empty() {
                let place = at.index(packed.len());
                packed[place] = byte;
                packed.truncate(cut.index(packed.len()) + 1);
            }
            for row in Rows::new(&packed, 1) {
                if let Err(error) = row {
                    prop_assert_eq!(error.kind(), LedgerErrorKind::Damaged);
                }
            }
        }
    }
}
