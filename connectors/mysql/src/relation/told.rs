//! What log and catalogue tell about a column.

use change::{SourceError, SourceErrorKind, Value};

use crate::binlog::cell::{Encoding, Reader, digits, text};
use crate::binlog::metadata::Metadata;
use crate::binlog::table_map::{ColumnType, kind};
use crate::catalog::{Collations, Column};
use crate::value_text::Kind;

/// All that is known about a wanted column.
pub(super) struct Told<'a> {
    pub(super) column: &'a Column,
    pub(super) logged: ColumnType,
    pub(super) metadata: &'a Metadata,
    pub(super) place: usize,
    pub(super) collations: &'a Collations,
}

impl Told<'_> {
    /// How its cells are read.
    ///
    /// # Errors
    /// A schema error when the log has it as another type than the catalogue.
    pub(super) fn reader(&self) -> Result<Reader, SourceError> {
        let unreadable = |what: &str| {
            SourceError::new(
                SourceErrorKind::Schema,
                format!("column `{}` is {} {what}", self.column.name, self.column.column_type),
            )
        };
        let kind = self.column.key_kind().ok_or_else(|| unreadable("which no record can carry"))?;
        let mismatch = || unreadable(&format!("and was logged as type {}", self.logged.kind));
        let reader = match (self.logged.kind, kind) {
            (kind::YEAR, Kind::Int) => Reader::Year,
            (kind::TINY, Kind::Int) => self.integer(1),
            (kind::SHORT, Kind::Int) => self.integer(2),
            (kind::INT24, Kind::Int) => self.integer(3),
            (kind::LONG, Kind::Int) => self.integer(4),
            (kind::LONGLONG, Kind::Int) => self.integer(8),
            (kind::DECIMAL, Kind::Decimal) => {
                let (whole, scale) = digits(self.logged.meta);
                Reader::Decimal(whole, scale)
            }
            (kind::ENUM, Kind::Text) => Reader::Enum(self.members().ok_or_else(mismatch)?),
            (kind::SET, Kind::Text) => Reader::Set(self.members().ok_or_else(mismatch)?),
            (kind::STRING, Kind::Text) if self.column.data_type == "uuid" => Reader::Uuid,
            (kind::STRING | kind::VARCHAR | kind::VAR_STRING | kind::BLOB, Kind::Text) => {
                Reader::Text(self.encoding().ok_or_else(|| {
                    unreadable(
                        "in a character set that is not known, expected utf8mb4, utf8mb3, ascii or latin1",
                    )
                })?)
            }
            (kind::STRING | kind::VARCHAR | kind::VAR_STRING, Kind::PaddedBytes) => {
                Reader::Bytes { padded: true }
            }
            (kind::STRING | kind::VARCHAR | kind::VAR_STRING, Kind::Bytes) => Reader::Bytes { padded: false },
            (kind::DATE | kind::NEWDATE, Kind::Date) => Reader::Date,
            (kind::DATETIME2, Kind::Local)
            | (kind::TIMESTAMP2, Kind::Instant)
            | (kind::TIME2, Kind::Text) => Reader::Temporal(self.logged),
            // The old formats tell no digits; with a fraction they have another width than their type says.
            (kind::DATETIME, Kind::Local) | (kind::TIMESTAMP, Kind::Instant) | (kind::TIME, Kind::Text)
                if !self.column.column_type.contains('(') =>
            {
                Reader::Temporal(self.logged)
            }
            _ => return Err(mismatch()),
        };
        Ok(reader)
    }

    fn integer(&self, width: usize) -> Reader {
        let told = self.metadata.unsigned.as_ref().and_then(|list| list.get(self.place).copied().flatten());
        if told.unwrap_or(self.column.unsigned) { Reader::Unsigned(width) } else { Reader::Signed(width) }
    }

    /// The character set when the row was logged. A number that the server does not know tells none: the catalogue's
    /// word of today is no substitute for it.
    fn charset(&self) -> Option<&str> {
        let told = self.metadata.collations.as_ref();
        match told.and_then(|list| list.get(self.place).copied().flatten()) {
            Some(number) => self.collations.charset(number),
            None => self.column.charset.as_deref(),
        }
    }

    fn encoding(&self) -> Option<Encoding> {
        match self.charset()? {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Some(Encoding::Utf8),
            "latin1" => Some(Encoding::Latin1),
            _ => None,
        }
    }

    /// The members' names: the log's, which are those of its own time, else the catalogue's.
    fn members(&self) -> Option<Vec<Box<str>>> {
        let Some(logged) = self.metadata.members.get(self.place).and_then(Option::as_ref) else {
            return Some(self.column.members()?.into_iter().map(Into::into).collect());
        };
        let encoding = self.encoding()?;
        let name = |member: &Vec<u8>| match text(member, encoding) {
            Value::Text(name) => Some(name.as_str().into()),
            _ => None,
        };
        logged.iter().map(name).collect()
    }
}
