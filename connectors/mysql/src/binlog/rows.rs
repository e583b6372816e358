//! Row events
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Rows__event.html>).

use std::borrow::Cow;

use change::Operation;

use super::DecodeError;
use super::event::kind;
use super::inflate::inflate;
use super::table_map::table_id;
use crate::wire::fields::Fields;

/// What a type of row event means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowsKind {
    /// What happened to the rows.
    pub(crate) operation: Operation,
    /// Whether updates may carry parts of JSON columns.
    pub(crate) partial: bool,
    /// Whether more may stand between the header and the columns.
    extra: bool,
    compressed: bool,
}

impl RowsKind {
    /// The meaning of an event's type; `None` for other events.
    pub(crate) fn of(event: u8) -> Option<Self> {
        let (operation, extra, compressed) = match event {
            kind::WRITE_ROWS_V1 => (Operation::Insert, false, false),
            kind::UPDATE_ROWS_V1 => (Operation::Update, false, false),
            kind::DELETE_ROWS_V1 => (Operation::Delete, false, false),
            kind::WRITE_ROWS => (Operation::Insert, true, false),
            kind::UPDATE_ROWS | kind::PARTIAL_UPDATE_ROWS => (Operation::Update, true, false),
            kind::DELETE_ROWS => (Operation::Delete, true, false),
            kind::MARIA_WRITE_ROWS_COMPRESSED_V1 => (Operation::Insert, false, true),
            kind::MARIA_UPDATE_ROWS_COMPRESSED_V1 => (Operation::Update, false, true),
            kind::MARIA_DELETE_ROWS_COMPRESSED_V1 => (Operation::Delete, false, true),
            kind::MARIA_WRITE_ROWS_COMPRESSED => (Operation::Insert, true, true),
            kind::MARIA_UPDATE_ROWS_COMPRESSED => (Operation::Update, true, true),
            kind::MARIA_DELETE_ROWS_COMPRESSED => (Operation::Delete, true, true),
            _ => return None,
        };
        Some(Self { operation, partial: event == kind::PARTIAL_UPDATE_ROWS, extra, compressed })
    }
}

/// Which columns an image has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present<'a> {
    bits: &'a [u8],
    /// How many there are.
    pub(crate) count: usize,
}

impl<'a> Present<'a> {
    fn read(fields: &mut Fields<'a>, columns: usize) -> Result<Self, DecodeError> {
        let bits = fields.bytes(columns.div_ceil(8))?;
        let present = Self { bits, count: 0 };
        let count = (0..columns).filter(|column| present.has(*column)).count();
        Ok(Self { bits, count })
    }

    /// Whether it has this one.
    #[inline]
    pub(crate) fn has(&self, column: usize) -> bool {
        self.bits.get(column / 8).is_some_and(|byte| byte >> (column % 8) & 1 == 1)
    }
}

/// The rows of one event.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    /// How many columns each row has.
    pub(crate) columns: usize,
    /// The columns of the first image: the row as it was, or as it came into being.
    pub(crate) first: Present<'a>,
    /// The columns of an update's second image.
    pub(crate) second: Option<Present<'a>>,
    /// The rows.
    pub(crate) bytes: Cow<'a, [u8]>,
}

/// The number of the table, and whether this is the statement's end without any row.
pub(crate) fn table_of(body: &[u8]) -> Result<u64, DecodeError> {
    table_id(body)
}

impl<'a> Rows<'a> {
    /// Reads what precedes the rows, and inflates them where they are compressed.
    ///
    /// # Errors
    /// When the bytes are too few or cannot be inflated.
    pub(crate) fn read(kind: RowsKind, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields(body);
        let _table = fields.uint(6)?;
        let _flags = fields.u16()?;
        if kind.extra {
            let length = usize::from(fields.u16()?);
            // The length counts itself.
            fields.bytes(length.checked_sub(2).ok_or(DecodeError::Truncated)?)?;
        }
        let columns = fields.length()?;
        let first = Present::read(&mut fields, columns)?;
        let second = match kind.operation {
            Operation::Update => Some(Present::read(&mut fields, columns)?),
            Operation::Insert | Operation::Delete => None,
        };
        let bytes = if kind.compressed { Cow::Owned(inflate(fields.0)?) } else { Cow::Borrowed(fields.0) };
        Ok(Self { columns, first, second, bytes })
    }
}
