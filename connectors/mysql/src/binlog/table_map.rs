//! The description of a table that precedes its rows
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Table__map__event.html>).

use super::DecodeError;
use super::metadata::Metadata;
use crate::wire::fields::Fields;

/// Types of columns as the log numbers them.
pub(crate) mod kind {
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP2: u8 = 17;
    pub(crate) const DATETIME2: u8 = 18;
    pub(crate) const TIME2: u8 = 19;
    pub(crate) const MARIA_BLOB_COMPRESSED: u8 = 140;
    pub(crate) const MARIA_VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const DECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// A column as the log describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnType {
    /// The type that counts: enumerations and sets are logged under the type of strings.
    pub(crate) kind: u8,
    /// What the type needs beside it: for strings the longest length in bytes, for enumerations and sets the bytes of
    /// a value, for times the digits of the fraction, for decimals precision and scale, for blobs the bytes of a length.
    pub(crate) meta: u16,
}

impl ColumnType {
    fn read(kind: u8, fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let meta = match kind {
            kind::FLOAT
            | kind::DOUBLE
            | kind::TIMESTAMP2
            | kind::DATETIME2
            | kind::TIME2
            | kind::BLOB
            | kind::GEOMETRY
            | kind::JSON
            | kind::VECTOR
            | kind::MARIA_BLOB_COMPRESSED => u16::from(fields.u8()?),
            kind::VARCHAR | kind::MARIA_VARCHAR_COMPRESSED | kind::VAR_STRING => fields.u16()?,
            kind::BIT | kind::DECIMAL => u16::from_be_bytes(fields.array()?),
            kind::STRING | kind::ENUM | kind::SET => {
                let [real, length] = fields.array()?;
                return Ok(Self::of_string(real, length));
            }
            kind::TINY
            | kind::SHORT
            | kind::LONG
            | kind::TIMESTAMP
            | kind::LONGLONG
            | kind::INT24
            | kind::DATE
            | kind::TIME
            | kind::DATETIME
            | kind::YEAR
            | kind::NEWDATE => 0,
            other => return Err(DecodeError::UnknownType(other)),
        };
        Ok(Self { kind, meta })
    }

    /// Two bits of the length hide, inverted, in the type.
    fn of_string(real: u8, length: u8) -> Self {
        let high = u16::from(!real & 0x30) << 4;
        Self { kind: real | 0x30, meta: high | u16::from(length) }
    }
}

/// A table as an event describes it.
#[derive(Debug, Clone)]
pub(crate) struct TableMap<'a> {
    /// The number under which row events name it.
    pub(crate) id: u64,
    /// Its database.
    pub(crate) database: &'a [u8],
    /// Its name.
    pub(crate) table: &'a [u8],
    rest: Fields<'a>,
}

impl<'a> TableMap<'a> {
    /// Reads number and name.
    ///
    /// # Errors
    /// When the bytes are too few.
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields(body);
        let id = fields.uint(6)?;
        let _flags = fields.u16()?;
        let length = usize::from(fields.u8()?);
        let database = fields.bytes(length)?;
        let _zero = fields.u8()?;
        let length = usize::from(fields.u8()?);
        let table = fields.bytes(length)?;
        let _zero = fields.u8()?;
        Ok(Self { id, database, table, rest: fields })
    }

    /// Reads the columns, and what the server tells beside them.
    ///
    /// # Errors
    /// When a type is not known or the bytes are too few.
    pub(crate) fn columns(&self) -> Result<(Vec<ColumnType>, Metadata), DecodeError> {
        let mut fields = self.rest;
        let count = fields.length()?;
        let kinds = fields.bytes(count)?;
        let mut types = Fields(fields.counted()?);
        let columns: Vec<ColumnType> =
            kinds.iter().map(|kind| ColumnType::read(*kind, &mut types)).collect::<Result<_, _>>()?;
        let _nullable = fields.bytes(count.div_ceil(8))?;
        let metadata = Metadata::read(&columns, fields)?;
        Ok((columns, metadata))
    }
}

/// The number of the table that a row or table event is about.
pub(crate) fn table_id(body: &[u8]) -> Result<u64, DecodeError> {
    Ok(Fields(body).uint(6)?)
}
