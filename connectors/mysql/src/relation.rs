//! From a logged row to the mapped columns.

use change::{Row, RowKey, SourceError, SourceErrorKind, Value};

use crate::binlog::DecodeError;
use crate::binlog::cell::{Encoding, Extent, Reader, digits, text};
use crate::binlog::metadata::{self, Metadata};
use crate::binlog::rows::Present;
use crate::binlog::table_map::{ColumnType, kind};
use crate::catalog::{Column, Table};
use crate::value_text::{Kind, row_key};
use crate::wire::fields::Fields;

/// How the rows of one description of the table are read.
#[derive(Debug)]
pub(crate) struct Layout {
    steps: Vec<Step>,
    mapped: usize,
    /// The places of the key's columns among the wanted cells; `None` where no keys are asked for.
    key: Option<Vec<usize>>,
    wanted: usize,
    names: Vec<String>,
    documents: usize,
}

#[derive(Debug)]
struct Step {
    extent: Extent,
    wanted: Option<(usize, Reader)>,
}

/// One image of a row.
#[derive(Debug)]
pub(crate) struct Image {
    /// The mapped columns.
    pub(crate) row: Row,
    /// Its key, where keys are asked for and all its columns are there.
    pub(crate) key: Option<RowKey>,
    /// Whether all mapped columns are there.
    pub(crate) complete: bool,
    /// About how many bytes it takes.
    pub(crate) bytes: usize,
}

impl Layout {
    /// Fits the log's description of the table to the catalogue's. By name where the log tells names; else by place,
    /// when number and types agree: columns are never shifted.
    ///
    /// # Errors
    /// A schema error that says what differs; a protocol error for types that are not known.
    pub(crate) fn new(
        table: &Table,
        keys: bool,
        columns: &[ColumnType],
        metadata: &Metadata,
    ) -> Result<Self, SourceError> {
        let places = match &metadata.names {
            Some(names) => by_name(table, names)?,
            None => by_place(table, columns)?,
        };
        let mut wanted: Vec<usize> = table.mapped.clone();
        let key = keys.then(|| {
            table
                .key
                .iter()
                .map(|index| {
                    wanted.iter().position(|other| other == index).unwrap_or_else(|| {
                        wanted.push(*index);
                        wanted.len() - 1
                    })
                })
                .collect()
        });
        let mut steps = Vec::with_capacity(columns.len());
        for column in columns {
            steps.push(Step { extent: Extent::of(*column)?, wanted: None });
        }
        for (cell, index) in wanted.iter().enumerate() {
            let place = places.get(*index).copied().flatten();
            let logged = place.and_then(|place| Some((place, *columns.get(place)?)));
            let column = table.columns.get(*index);
            let (Some((place, logged)), Some(column)) = (logged, column) else {
                // Key columns beside the mapped ones may be hidden from the catalogue's reader.
                continue;
            };
            let reader = Told { column, logged, metadata, place }.reader()?;
            if let Some(step) = steps.get_mut(place) {
                step.wanted = Some((cell, reader));
            }
        }
        let documents = columns.iter().filter(|column| column.kind == kind::JSON).count();
        let names = table.mapped_columns().map(|column| column.name.clone()).collect();
        Ok(Self { steps, mapped: table.mapped.len(), key, wanted: wanted.len(), names, documents })
    }

    /// How many columns the log's rows have.
    pub(crate) fn width(&self) -> usize {
        self.steps.len()
    }

    /// How many JSON columns there are.
    pub(crate) fn documents(&self) -> usize {
        self.documents
    }

    /// The mapped columns that none of these images has.
    pub(crate) fn missing(&self, images: &[&Present<'_>]) -> Vec<String> {
        let wanted =
            self.steps.iter().enumerate().filter(|(place, _)| !images.iter().any(|image| image.has(*place)));
        let cells = wanted.filter_map(|(_, step)| step.wanted.as_ref().map(|(cell, _)| *cell));
        cells.filter_map(|cell| self.names.get(cell)).map(|name| format!("`{name}`")).collect()
    }

    /// Takes one image off the front.
    ///
    /// # Errors
    /// When the bytes are not a row of this layout.
    pub(crate) fn image(&self, fields: &mut Fields<'_>, present: &Present<'_>) -> Result<Image, DecodeError> {
        let nulls = fields.bytes(present.count.div_ceil(8))?;
        let mut cells = vec![Value::Unchanged; self.wanted];
        let mut bytes = self.wanted * size_of::<Value>();
        let mut seen = 0;
        let mut found = 0;
        for (place, step) in self.steps.iter().enumerate() {
            if !present.has(place) {
                continue;
            }
            let null = nulls.get(seen / 8).is_some_and(|byte| byte >> (seen % 8) & 1 == 1);
            seen += 1;
            let value = match (&step.wanted, null) {
                (None, true) => continue,
                (None, false) => {
                    step.extent.take(fields)?;
                    continue;
                }
                (Some(_), true) => Value::Null,
                (Some((_, reader)), false) => {
                    let cell = step.extent.take(fields)?;
                    bytes += cell.len();
                    reader.read(cell)?
                }
            };
            if let Some((cell, _)) = &step.wanted
                && let Some(slot) = cells.get_mut(*cell)
            {
                found += usize::from(*cell < self.mapped);
                *slot = value;
            }
        }
        let key = self.key.as_ref().and_then(|key| key_of(key, &cells));
        cells.truncate(self.mapped);
        Ok(Image { row: Row::new(cells), key, complete: found == self.mapped, bytes })
    }
}

fn key_of(key: &[usize], cells: &[Value]) -> Option<RowKey> {
    let values: Option<Vec<&Value>> =
        key.iter().map(|cell| cells.get(*cell).filter(|value| **value != Value::Unchanged)).collect();
    values.filter(|values| !values.is_empty()).map(|values| row_key(values.iter().copied()))
}

/// The log's place of every column of the catalogue.
fn by_name(table: &Table, names: &[String]) -> Result<Vec<Option<usize>>, SourceError> {
    // Column names are the same whatever their case.
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let places: Vec<Option<usize>> = table
        .columns
        .iter()
        .map(|column| lower.iter().position(|name| *name == column.name.to_lowercase()))
        .collect();
    for index in &table.mapped {
        if places.get(*index).copied().flatten().is_none() {
            let name = table.columns.get(*index).map(|column| column.name.as_str()).unwrap_or_default();
            return Err(differs(
                table,
                &format!("the log's rows have no column `{name}`; they have {}", names.join(", ")),
            ));
        }
    }
    Ok(places)
}

/// Every column of the catalogue at its own place, when the log's types are those of the catalogue.
fn by_place(table: &Table, columns: &[ColumnType]) -> Result<Vec<Option<usize>>, SourceError> {
    if columns.len() != table.columns.len() {
        return Err(differs(
            table,
            &format!("the log's rows have {} columns, the table has {}", columns.len(), table.columns.len()),
        ));
    }
    for (column, logged) in table.columns.iter().zip(columns) {
        if !is_type(column, *logged) {
            return Err(differs(
                table,
                &format!(
                    "column `{}` is {}, and the log's type {} is not",
                    column.name, column.column_type, logged.kind
                ),
            ));
        }
    }
    Ok((0..columns.len()).map(Some).collect())
}

/// Whether the log's type can be that of the catalogue's column.
fn is_type(column: &Column, logged: ColumnType) -> bool {
    let kinds: &[u8] = match column.data_type.as_str() {
        "tinyint" => &[kind::TINY],
        "smallint" => &[kind::SHORT],
        "mediumint" => &[kind::INT24],
        "int" => &[kind::LONG],
        "bigint" => &[kind::LONGLONG],
        "float" => &[kind::FLOAT],
        "double" => &[kind::DOUBLE],
        "decimal" => &[kind::DECIMAL],
        "year" => &[kind::YEAR],
        "date" => &[kind::DATE, kind::NEWDATE],
        "time" => &[kind::TIME2, kind::TIME],
        "datetime" => &[kind::DATETIME2, kind::DATETIME],
        "timestamp" => &[kind::TIMESTAMP2, kind::TIMESTAMP],
        "bit" => &[kind::BIT],
        "enum" => &[kind::ENUM],
        "set" => &[kind::SET],
        "char" | "binary" | "uuid" | "inet4" | "inet6" => &[kind::STRING],
        "varchar" | "varbinary" => &[kind::VARCHAR, kind::VAR_STRING, kind::MARIA_VARCHAR_COMPRESSED],
        // Types that are still to come.
        other if !other.ends_with("blob") && !other.ends_with("text") => {
            return !matches!(
                logged.kind,
                kind::TINY..=kind::LONG | kind::LONGLONG | kind::STRING | kind::VARCHAR
            );
        }
        _ => &[kind::BLOB, kind::JSON, kind::MARIA_BLOB_COMPRESSED],
    };
    kinds.contains(&logged.kind)
}

fn differs(table: &Table, what: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Schema, format!("table {}: {what}", table.quoted())).with_hint(
        "if the mapping's columns are still right, go on with a new snapshot; with binlog_row_metadata = FULL the log \
         tells names, and changes of other columns do not matter",
    )
}

/// All that is known about a wanted column.
struct Told<'a> {
    column: &'a Column,
    logged: ColumnType,
    metadata: &'a Metadata,
    place: usize,
}

impl Told<'_> {
    fn reader(&self) -> Result<Reader, SourceError> {
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

    fn charset(&self) -> Option<String> {
        let collations = self.metadata.collations.as_ref();
        let told = collations.and_then(|list| list.get(self.place).copied().flatten());
        told.and_then(metadata::charset).or_else(|| self.column.charset.clone())
    }

    fn encoding(&self) -> Option<Encoding> {
        match self.charset()?.as_str() {
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
