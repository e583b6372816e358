//! One row of a small answer.

use change::{SourceError, SourceErrorKind};
use tiberius::ColumnData;

use crate::lsn::Lsn;

/// The cells of a row, by their places.
#[derive(Debug)]
pub(crate) struct Answer {
    context: &'static str,
    row: tiberius::Row,
}

impl Answer {
    pub(super) fn new(context: &'static str, row: tiberius::Row) -> Self {
        Self { context, row }
    }

    /// The cell as it came; `None` where there is none.
    pub(crate) fn cell(&self, place: usize) -> Option<&ColumnData<'static>> {
        self.row.get_column_data(place).ok()
    }

    /// A text; `None` for NULL.
    ///
    /// # Errors
    /// A protocol error when the cell holds something else.
    pub(crate) fn optional_text(&self, place: usize) -> Result<Option<&str>, SourceError> {
        match self.cell(place) {
            Some(ColumnData::String(text)) => Ok(text.as_deref()),
            _ => Err(self.unexpected(place, "text")),
        }
    }

    /// A text, which must not be NULL.
    ///
    /// # Errors
    /// A protocol error when the cell holds something else.
    pub(crate) fn text(&self, place: usize) -> Result<String, SourceError> {
        self.optional_text(place)?.map(str::to_owned).ok_or_else(|| self.unexpected(place, "text"))
    }

    /// A whole number of any width, or a bit; `None` for NULL.
    ///
    /// # Errors
    /// A protocol error when the cell holds something else.
    pub(crate) fn optional_number(&self, place: usize) -> Result<Option<i64>, SourceError> {
        match self.cell(place) {
            Some(ColumnData::U8(number)) => Ok(number.map(i64::from)),
            Some(ColumnData::I16(number)) => Ok(number.map(i64::from)),
            Some(ColumnData::I32(number)) => Ok(number.map(i64::from)),
            Some(ColumnData::I64(number)) => Ok(*number),
            Some(ColumnData::Bit(truth)) => Ok(truth.map(i64::from)),
            _ => Err(self.unexpected(place, "a number")),
        }
    }

    /// A whole number, which must not be NULL.
    ///
    /// # Errors
    /// A protocol error when the cell holds something else.
    pub(crate) fn number(&self, place: usize) -> Result<i64, SourceError> {
        self.optional_number(place)?.ok_or_else(|| self.unexpected(place, "a number"))
    }

    /// Whether a number is there and not 0.
    ///
    /// # Errors
    /// A protocol error when the cell holds something else.
    pub(crate) fn flag(&self, place: usize) -> Result<bool, SourceError> {
        Ok(self.optional_number(place)?.is_some_and(|number| number != 0))
    }

    /// A log sequence number; `None` for NULL.
    ///
    /// # Errors
    /// A protocol error when the cell holds something else.
    pub(crate) fn optional_lsn(&self, place: usize) -> Result<Option<Lsn>, SourceError> {
        match self.cell(place) {
            Some(ColumnData::Binary(None)) => Ok(None),
            Some(ColumnData::Binary(Some(bytes))) => match Lsn::from_bytes(bytes) {
                Some(lsn) => Ok(Some(lsn)),
                None => Err(self.unexpected(place, "ten bytes")),
            },
            _ => Err(self.unexpected(place, "ten bytes")),
        }
    }

    /// The error for a cell that is not as the documentation has it; what it holds is not told.
    pub(crate) fn unexpected(&self, place: usize, expected: &str) -> SourceError {
        let context = format!("{}: column {} of the answer is not {expected}", self.context, place + 1);
        SourceError::new(SourceErrorKind::Protocol, context)
    }
}
