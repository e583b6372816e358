//! What a server tells about a table beside its columns' types, as far as `binlog_row_metadata` lets it
//! (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html#sysvar_binlog_row_metadata>).

use super::DecodeError;
use super::table_map::{ColumnType, kind};
use crate::wire::fields::Fields;

const SIGNEDNESS: u8 = 1;
const DEFAULT_CHARSET: u8 = 2;
const COLUMN_CHARSET: u8 = 3;
const COLUMN_NAME: u8 = 4;
const SET_MEMBERS: u8 = 5;
const ENUM_MEMBERS: u8 = 6;
const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;

/// What the server told; every list has one entry per column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The columns' names.
    pub(crate) names: Option<Vec<String>>,
    /// Whether a number is unsigned; `None` for other columns.
    pub(crate) unsigned: Option<Vec<Option<bool>>>,
    /// The number of a text's collation; `None` for other columns.
    pub(crate) collations: Option<Vec<Option<u16>>>,
    /// The members of enumerations and sets, in the column's own character set.
    pub(crate) members: Vec<Option<Vec<Vec<u8>>>>,
}

impl Metadata {
    /// Reads what is there. What is not known is left out: it describes and carries nothing.
    ///
    /// # Errors
    /// When a part disagrees with the columns.
    pub(crate) fn read(columns: &[ColumnType], mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut metadata = Self { members: vec![None; columns.len()], ..Self::default() };
        let mut collations = vec![None; columns.len()];
        let mut told = false;
        while !fields.0.is_empty() {
            let part = fields.u8()?;
            let content = Fields(fields.counted()?);
            match part {
                SIGNEDNESS => metadata.unsigned = Some(signedness(columns, content)?),
                DEFAULT_CHARSET | ENUM_AND_SET_DEFAULT_CHARSET => {
                    default_collations(&mut collations, &chosen(columns, part), content)?;
                    told = true;
                }
                COLUMN_CHARSET | ENUM_AND_SET_COLUMN_CHARSET => {
                    column_collations(&mut collations, &chosen(columns, part), content)?;
                    told = true;
                }
                COLUMN_NAME => metadata.names = Some(names(columns.len(), content)?),
                SET_MEMBERS => members(&mut metadata.members, columns, kind::SET, content)?,
                ENUM_MEMBERS => members(&mut metadata.members, columns, kind::ENUM, content)?,
                _ => {}
            }
        }
        metadata.collations = told.then_some(collations);
        Ok(metadata)
    }
}

/// Whether a part of the metadata is about each column.
fn chosen(columns: &[ColumnType], part: u8) -> Vec<bool> {
    let is_choice = |column: &ColumnType| matches!(column.kind, kind::ENUM | kind::SET);
    let is_text = |column: &ColumnType| {
        matches!(
            column.kind,
            kind::STRING
                | kind::VAR_STRING
                | kind::VARCHAR
                | kind::BLOB
                | kind::MARIA_BLOB_COMPRESSED
                | kind::MARIA_VARCHAR_COMPRESSED
        )
    };
    let choices = matches!(part, ENUM_AND_SET_DEFAULT_CHARSET | ENUM_AND_SET_COLUMN_CHARSET);
    columns.iter().map(|column| if choices { is_choice(column) } else { is_text(column) }).collect()
}

fn is_number(column: &ColumnType) -> bool {
    matches!(
        column.kind,
        kind::TINY
            | kind::SHORT
            | kind::INT24
            | kind::LONG
            | kind::LONGLONG
            | kind::DECIMAL
            | kind::FLOAT
            | kind::DOUBLE
            | kind::YEAR
    )
}

/// One bit per number, the first in the highest bit.
fn signedness(columns: &[ColumnType], mut content: Fields<'_>) -> Result<Vec<Option<bool>>, DecodeError> {
    let numbers = columns.iter().filter(|column| is_number(column)).count();
    let bits = content.bytes(numbers.div_ceil(8))?;
    let mut next = 0;
    let mut bit = || {
        let byte = bits.get(next / 8).copied().unwrap_or_default();
        next += 1;
        byte & (0x80 >> ((next - 1) % 8)) != 0
    };
    Ok(columns.iter().map(|column| is_number(column).then(&mut bit)).collect())
}

/// One collation for all, then pairs of a text's number and its own collation.
fn default_collations(
    collations: &mut [Option<u16>],
    chosen: &[bool],
    mut content: Fields<'_>,
) -> Result<(), DecodeError> {
    let default = collation(&mut content)?;
    let mut own = Vec::new();
    while !content.0.is_empty() {
        own.push((content.length()?, collation(&mut content)?));
    }
    let texts = collations.iter_mut().zip(chosen).filter(|(_, chosen)| **chosen);
    let mut own = own.into_iter().peekable();
    for (index, (slot, _)) in texts.enumerate() {
        *slot = Some(own.next_if(|(of, _)| *of == index).map_or(default, |(_, collation)| collation));
    }
    Ok(())
}

fn column_collations(
    collations: &mut [Option<u16>],
    chosen: &[bool],
    mut content: Fields<'_>,
) -> Result<(), DecodeError> {
    for (slot, _) in collations.iter_mut().zip(chosen).filter(|(_, chosen)| **chosen) {
        *slot = Some(collation(&mut content)?);
    }
    Ok(())
}

fn collation(content: &mut Fields<'_>) -> Result<u16, DecodeError> {
    u16::try_from(content.length()?).map_err(|_| DecodeError::Truncated)
}

fn names(count: usize, mut content: Fields<'_>) -> Result<Vec<String>, DecodeError> {
    (0..count).map(|_| Ok(content.counted_text()?)).collect()
}

fn members(
    lists: &mut [Option<Vec<Vec<u8>>>],
    columns: &[ColumnType],
    wanted: u8,
    mut content: Fields<'_>,
) -> Result<(), DecodeError> {
    for (list, _) in lists.iter_mut().zip(columns).filter(|(_, column)| column.kind == wanted) {
        let count = content.length()?;
        // Each takes a byte at least.
        if count > content.0.len() {
            return Err(DecodeError::Truncated);
        }
        let members: Result<Vec<Vec<u8>>, DecodeError> =
            (0..count).map(|_| Ok(content.counted()?.to_vec())).collect();
        *list = Some(members?);
    }
    Ok(())
}
