//! The messages of `pgoutput`, protocol version 1, read in place
//! (<https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>).
//!
//! Nothing is copied: a message borrows the bytes that it was read from, and a tuple is walked only as far as
//! its reader asks.

use std::str;

use change::{SourceError, SourceErrorKind};

use crate::position::Lsn;

/// Microseconds between the Unix epoch and 2000-01-01, from which the server counts.
const SERVER_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The bytes end too early.
    #[error("message ends in the middle of a field")]
    Truncated,
    /// A name is not UTF-8, which the session demands.
    #[error("name is not UTF-8")]
    NotUtf8,
    /// A message of a newer protocol, or of one that we did not ask for.
    #[error("unknown message type {0:#04x}")]
    UnknownMessage(u8),
    /// A message about a transaction that is still open, although streaming of them is off.
    #[error("message type {0:#04x} streams an open transaction, which was not asked for")]
    Streamed(u8),
    /// A part of a row change that the protocol does not have.
    #[error("unknown tuple kind {0:#04x}")]
    UnknownTuple(u8),
    /// A cell of a kind that the protocol does not have, or binary although text was asked for.
    #[error("unknown cell kind {0:#04x}")]
    UnknownCell(u8),
    /// A row of a table that no message has described.
    #[error("row of relation {0}, which was never described")]
    UnknownRelation(u32),
    /// A row with more or fewer cells than its table has columns.
    #[error("row of {actual} cells in a relation of {expected} columns")]
    Width {
        /// Cells in the row.
        actual: usize,
        /// Columns in the relation.
        expected: usize,
    },
    /// A row change or commit outside a transaction, or a transaction within another.
    #[error("message out of order: {0}")]
    OutOfOrder(&'static str),
}

impl From<DecodeError> for SourceError {
    fn from(fault: DecodeError) -> Self {
        Self::new(SourceErrorKind::Protocol, format!("the log cannot be decoded: {fault}"))
            .with_hint("the server may be newer than this connector: look for a newer connector")
            .caused_by(fault)
    }
}

/// Big-endian fields, taken off the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn lsn(&mut self) -> Result<Lsn, DecodeError> {
        self.u64().map(Lsn)
    }

    /// A moment of the server, in microseconds since the Unix epoch.
    fn moment(&mut self) -> Result<i64, DecodeError> {
        Ok(self.array().map(i64::from_be_bytes)?.saturating_add(SERVER_EPOCH_MICROS))
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// Text up to a zero byte, which is taken off too.
    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(DecodeError::Truncated)?;
        let text = self.bytes(end)?;
        self.u8()?;
        str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)
    }
}

/// One message.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// A transaction begins; it is committed already.
    Begin {
        /// Where its commit record starts.
        commit_lsn: Lsn,
        /// When it committed, in microseconds since the epoch.
        committed_at: i64,
    },
    /// The transaction is complete.
    Commit {
        /// Where its commit record ends: from here on the log is still to be read.
        end_lsn: Lsn,
    },
    /// What a table looked like to the changes that follow.
    Relation(Relation<'a>),
    /// A row came into being.
    Insert {
        /// The table's oid.
        relation: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row was altered.
    Update {
        /// The table's oid.
        relation: u32,
        /// What is told of the row as it was.
        old: Option<Old<'a>>,
        /// The row as it became.
        new: Tuple<'a>,
    },
    /// A row went away.
    Delete {
        /// The table's oid.
        relation: u32,
        /// What is told of it.
        old: Old<'a>,
    },
    /// Tables were emptied at once.
    Truncate(RelationIds<'a>),
    /// A message without meaning for us: the transaction's origin, a type's name, an application's message.
    Aside,
}

/// What is told of a row as it was.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Old<'a> {
    /// The columns of its replica identity; the others read as NULL.
    Key(Tuple<'a>),
    /// All its columns.
    Row(Tuple<'a>),
}

/// A table's layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relation<'a> {
    /// The table's oid.
    pub(crate) oid: u32,
    /// Its schema; empty for `pg_catalog`.
    pub(crate) schema: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    column_count: u16,
    columns: Fields<'a>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelationColumn<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its declared type.
    pub(crate) type_oid: u32,
}

impl<'a> Relation<'a> {
    /// The columns in the order of a tuple's cells.
    pub(crate) fn columns(&self) -> impl Iterator<Item = Result<RelationColumn<'a>, DecodeError>> + use<'a> {
        let mut fields = self.columns;
        (0..self.column_count).map(move |_| {
            let _flags = fields.u8()?;
            let name = fields.text()?;
            let type_oid = fields.u32()?;
            let _modifier = fields.u32()?;
            Ok(RelationColumn { name, type_oid })
        })
    }
}

/// Oids of tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RelationIds<'a>(&'a [u8]);

impl RelationIds<'_> {
    /// One oid after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.as_chunks::<4>().0.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

/// The cells of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuple<'a> {
    count: u16,
    cells: Fields<'a>,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// A wide value that the change left as it was, and that the log does not repeat.
    Unchanged,
    /// The value's text.
    Text(&'a [u8]),
}

impl<'a> Tuple<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        let count = fields.u16()?;
        Ok(Self { count, cells: *fields })
    }

    /// How many cells the row claims to have.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// The cells from the first on.
    pub(crate) fn cells(&self) -> Cells<'a> {
        Cells { left: self.count, fields: self.cells }
    }

    /// The fields that follow the row.
    fn after(&self) -> Result<Fields<'a>, DecodeError> {
        let mut cells = self.cells();
        for cell in cells.by_ref() {
            cell?;
        }
        Ok(cells.fields)
    }
}

/// Walks the cells of a [`Tuple`].
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    left: u16,
    fields: Fields<'a>,
}

impl<'a> Cells<'a> {
    fn cell(&mut self) -> Result<Cell<'a>, DecodeError> {
        match self.fields.u8()? {
            b'n' => Ok(Cell::Null),
            b'u' => Ok(Cell::Unchanged),
            b't' => {
                let length = self.fields.u32()?;
                let length = usize::try_from(length).map_err(|_| DecodeError::Truncated)?;
                self.fields.bytes(length).map(Cell::Text)
            }
            other => Err(DecodeError::UnknownCell(other)),
        }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let cell = self.cell();
        if cell.is_err() {
            self.left = 0;
        }
        Some(cell)
    }
}

/// Reads one message.
///
/// # Errors
/// When the bytes are not a whole message of protocol version 1 without streaming.
pub(crate) fn message(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut fields = Fields(bytes);
    match fields.u8()? {
        b'B' => {
            let commit_lsn = fields.lsn()?;
            let committed_at = fields.moment()?;
            let _xid = fields.u32()?;
            Ok(Message::Begin { commit_lsn, committed_at })
        }
        b'C' => {
            let _flags = fields.u8()?;
            let _commit_lsn = fields.lsn()?;
            let end_lsn = fields.lsn()?;
            let _committed_at = fields.moment()?;
            Ok(Message::Commit { end_lsn })
        }
        b'R' => relation(fields),
        b'I' => {
            let relation = fields.u32()?;
            expect_new(&mut fields)?;
            Ok(Message::Insert { relation, new: Tuple::read(&mut fields)? })
        }
        b'U' => update(fields),
        b'D' => {
            let relation = fields.u32()?;
            let kind = fields.u8()?;
            Ok(Message::Delete { relation, old: old(kind, &mut fields)? })
        }
        b'T' => {
            let count = usize::try_from(fields.u32()?).map_err(|_| DecodeError::Truncated)?;
            let _options = fields.u8()?;
            let bytes = count.checked_mul(4).ok_or(DecodeError::Truncated)?;
            Ok(Message::Truncate(RelationIds(fields.bytes(bytes)?)))
        }
        b'O' | b'Y' | b'M' => Ok(Message::Aside),
        streamed @ (b'S' | b'E' | b'c' | b'A') => Err(DecodeError::Streamed(streamed)),
        unknown => Err(DecodeError::UnknownMessage(unknown)),
    }
}

fn relation(mut fields: Fields<'_>) -> Result<Message<'_>, DecodeError> {
    let oid = fields.u32()?;
    let schema = fields.text()?;
    let name = fields.text()?;
    let _identity = fields.u8()?;
    let column_count = fields.u16()?;
    let relation = Relation { oid, schema, name, column_count, columns: fields };
    relation.columns().try_for_each(|column| column.map(drop))?;
    Ok(Message::Relation(relation))
}

fn update(mut fields: Fields<'_>) -> Result<Message<'_>, DecodeError> {
    let relation = fields.u32()?;
    let first = fields.u8()?;
    if first == b'N' {
        return Ok(Message::Update { relation, old: None, new: Tuple::read(&mut fields)? });
    }
    let old = old(first, &mut fields)?;
    let (Old::Key(tuple) | Old::Row(tuple)) = old;
    let mut fields = tuple.after()?;
    expect_new(&mut fields)?;
    Ok(Message::Update { relation, old: Some(old), new: Tuple::read(&mut fields)? })
}

fn old<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Old<'a>, DecodeError> {
    match kind {
        b'K' => Tuple::read(fields).map(Old::Key),
        b'O' => Tuple::read(fields).map(Old::Row),
        other => Err(DecodeError::UnknownTuple(other)),
    }
}

fn expect_new(fields: &mut Fields<'_>) -> Result<(), DecodeError> {
    match fields.u8()? {
        b'N' => Ok(()),
        other => Err(DecodeError::UnknownTuple(other)),
    }
}
