//! Rows that mean something only together with others: parents, and rows that are joined to them.

use change::{Operation, Row, RowKey};
use rusqlite::{Connection, params};

use crate::cells::{pack_row, unpack_row};
use crate::declared::ShapeId;
use crate::error::LedgerError;
use crate::packing::{pack_length, text, unpack_length};

/// A captured row as the log tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjoined {
    /// Which columns it was captured with.
    pub shape: ShapeId,
    /// What happened to it; `None` where all rows of the table went at once.
    pub operation: Option<Operation>,
    /// The row as it became; as it was, if it was deleted and the log tells so much.
    pub row: Option<Row>,
    /// The row as it was before an update, where the log tells so much and it is a parent.
    pub former: Option<Row>,
    /// Whether it is joined to parents, and becomes a record then.
    pub is_child: bool,
}

/// Set beside the operation in the byte of a row that is joined.
const CHILD: u8 = 0x80;

impl Unjoined {
    /// All parents of a table, which was captured with these columns, went at once.
    #[must_use]
    pub fn emptied(shape: ShapeId) -> Self {
        Self { shape, operation: None, row: None, former: None, is_child: false }
    }

    pub(crate) fn pack(&self, packed: &mut Vec<u8>) {
        pack_length(packed, self.shape as usize);
        let operation = match self.operation {
            Some(Operation::Insert) => 0,
            Some(Operation::Update) => 1,
            Some(Operation::Delete) => 2,
            None => 3,
        };
        packed.push(if self.is_child { operation | CHILD } else { operation });
        for row in [&self.row, &self.former] {
            packed.push(u8::from(row.is_some()));
            if let Some(row) = row {
                pack_row(packed, row);
            }
        }
    }

    /// Reads a row, and what follows it; `None` where the bytes are no such row.
    pub(crate) fn unpack(packed: &[u8]) -> Option<(Self, &[u8])> {
        let (shape, rest) = unpack_length(packed)?;
        let (operation, rest) = rest.split_first()?;
        let is_child = operation & CHILD != 0;
        let operation = match operation & !CHILD {
            0 => Some(Operation::Insert),
            1 => Some(Operation::Update),
            2 => Some(Operation::Delete),
            3 => None,
            _ => return None,
        };
        let (row, rest) = optional_row(rest)?;
        let (former, rest) = optional_row(rest)?;
        Some((Self { shape: shape.try_into().ok()?, operation, row, former, is_child }, rest))
    }
}

fn optional_row(packed: &[u8]) -> Option<(Option<Row>, &[u8])> {
    match packed.split_first()? {
        (0, rest) => Some((None, rest)),
        (1, rest) => unpack_row(rest).map(|(row, rest)| (Some(row), rest)),
        _ => None,
    }
}

/// Copied rows that are not joined yet, packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnjoinedRows {
    packed: Vec<u8>,
    count: usize,
}

impl UnjoinedRows {
    /// Adds a row that was read with these columns, and its key.
    pub fn push(&mut self, shape: ShapeId, row: &Row, row_key: Option<&RowKey>) {
        pack_length(&mut self.packed, shape as usize);
        pack_row(&mut self.packed, row);
        let key = row_key.map(RowKey::as_str);
        pack_length(&mut self.packed, key.map_or(0, |key| key.len() + 1));
        self.packed.extend_from_slice(key.unwrap_or_default().as_bytes());
        self.count += 1;
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the rows of `other` behind these.
    pub fn append(&mut self, other: &Self) {
        self.packed.extend_from_slice(&other.packed);
        self.count += other.count;
    }
}

/// Stores `rows` as one block under ids from `first_id` on; returns the id of the last row.
pub(crate) fn append(
    connection: &Connection,
    rows: &UnjoinedRows,
    first_id: i64,
) -> Result<i64, LedgerError> {
    let last_id = first_id - 1 + i64::try_from(rows.count).unwrap_or(i64::MAX - first_id);
    if !rows.is_empty() {
        let sql = "INSERT INTO staged_block(last_id, first_id, rows, is_unjoined) VALUES(?1, ?2, ?3, 1)";
        connection.prepare_cached(sql)?.execute(params![last_id, first_id, rows.packed])?;
    }
    Ok(last_id)
}

/// A copied row.
#[derive(Debug)]
pub(crate) struct CopiedRow {
    pub(crate) shape: ShapeId,
    pub(crate) row: Row,
    pub(crate) row_key: Option<String>,
}

impl CopiedRow {
    /// Reads a row of a block, and what follows it; `None` where the bytes are no such row.
    pub(crate) fn unpack(packed: &[u8]) -> Option<(Self, &[u8])> {
        let (shape, rest) = unpack_length(packed)?;
        let (row, rest) = unpack_row(rest)?;
        let (length, rest) = unpack_length(rest)?;
        let (row_key, rest) = match length.checked_sub(1) {
            Some(length) => text(rest, length).map(|(key, rest)| (Some(key.to_owned()), rest))?,
            None => (None, rest),
        };
        Some((Self { shape: shape.try_into().ok()?, row, row_key }, rest))
    }
}
