//! From a logged row to the mapped columns.

use std::borrow::Cow;

use change::{Row, RowKey, SourceError, SourceErrorKind, Value};

use crate::binlog::DecodeError;
use crate::binlog::cell::{Encoding, Extent, Reader};
use crate::binlog::familiar::{Familiar, same};
use crate::binlog::metadata::Metadata;
use crate::binlog::rows::Present;
use crate::binlog::table_map::{ColumnType, kind};
use crate::catalog::{Collations, Column, Table};
use crate::value_text::row_key;
use crate::wire::fields::Fields;

mod told;

use told::Told;

/// How the rows of one description of the table are read.
#[derive(Debug)]
pub(crate) struct Layout {
    steps: Vec<Step>,
    /// The steps through a row that has all columns and no NULL, as nearly all have.
    whole: Vec<Step>,
    /// How each wanted cell is read; `None` for a key column that the log's rows lack.
    readers: Vec<Option<Reader>>,
    mapped: usize,
    /// The places of the key's columns among the wanted cells; `None` where no keys are asked for.
    key: Option<Vec<usize>>,
    names: Vec<String>,
    documents: usize,
    by_place: bool,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    extent: Extent,
    /// Its place among the wanted cells.
    wanted: Option<usize>,
}

/// A wanted cell in the log's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot<'a> {
    /// The image lacks it.
    Absent,
    /// SQL NULL.
    Null,
    /// What it holds.
    Bytes(&'a [u8]),
}

/// One image of a row.
#[derive(Debug)]
pub(crate) struct Image {
    /// The mapped columns.
    pub(crate) row: Row,
    /// Its key, where keys are asked for and all its columns are there, unless it is that of the image before.
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
        (columns, metadata): (&[ColumnType], &Metadata),
        collations: &Collations,
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
        let mut readers = Vec::with_capacity(wanted.len());
        for (cell, index) in wanted.iter().enumerate() {
            readers.push(None);
            let place = places.get(*index).copied().flatten();
            let logged = place.and_then(|place| Some((place, *columns.get(place)?)));
            let column = table.columns.get(*index);
            let (Some((place, logged)), Some(column)) = (logged, column) else {
                // Key columns beside the mapped ones may be hidden from the catalogue's reader.
                continue;
            };
            let reader = Told { column, logged, metadata, place, collations }.reader()?;
            if let (Some(step), Some(slot)) = (steps.get_mut(place), readers.last_mut()) {
                step.wanted = Some(cell);
                *slot = Some(reader);
            }
        }
        let documents = columns.iter().filter(|column| column.kind == kind::JSON).count();
        let names = table.mapped_columns().map(|column| column.name.clone()).collect();
        let (mapped, by_place) = (table.mapped.len(), metadata.names.is_none());
        let whole = merged(&steps);
        Ok(Self { steps, whole, readers, mapped, key, names, documents, by_place })
    }

    /// Whether columns were told apart by their place alone.
    pub(crate) fn is_by_place(&self) -> bool {
        self.by_place
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
        let cells = wanted.filter_map(|(_, step)| step.wanted);
        cells.filter_map(|cell| self.names.get(cell)).map(|name| format!("`{name}`")).collect()
    }

    /// Finds the wanted cells of one image, and takes it off the front.
    ///
    /// # Errors
    /// When the bytes are not a row of this layout.
    pub(crate) fn locate<'a>(
        &self,
        fields: &mut Fields<'a>,
        present: &Present<'_>,
        slots: &mut Vec<Slot<'a>>,
    ) -> Result<(), DecodeError> {
        slots.clear();
        slots.resize(self.readers.len(), Slot::Absent);
        let nulls = fields.bytes(present.count.div_ceil(8))?;
        let any_null = nulls.iter().any(|byte| *byte != 0);
        let all = present.count == self.steps.len();
        if all && !any_null {
            for step in &self.whole {
                let found = step.extent.take(fields)?;
                if let Some(slot) = step.wanted.and_then(|cell| slots.get_mut(cell)) {
                    *slot = Slot::Bytes(found);
                }
            }
            return Ok(());
        }
        let mut seen = 0;
        for (place, step) in self.steps.iter().enumerate() {
            if !all && !present.has(place) {
                continue;
            }
            let null = any_null && nulls.get(seen / 8).is_some_and(|byte| byte >> (seen % 8) & 1 == 1);
            seen += 1;
            let found = if null { Slot::Null } else { Slot::Bytes(step.extent.take(fields)?) };
            if let Some(slot) = step.wanted.and_then(|cell| slots.get_mut(cell)) {
                *slot = found;
            }
        }
        Ok(())
    }

    /// Reads the wanted cells of an image; `like` is the image before it, most of which an update leaves as it was, and
    /// `familiar` knows texts that were read before.
    ///
    /// # Errors
    /// When a cell has not the bytes that its type needs.
    pub(crate) fn image(
        &self,
        slots: &[Slot<'_>],
        like: Option<(&[Slot<'_>], &Image)>,
        familiar: &mut Familiar,
    ) -> Result<Image, DecodeError> {
        let mut cells = Vec::with_capacity(self.mapped);
        let mut bytes = self.mapped * size_of::<Value>();
        let mut complete = true;
        for (index, (slot, reader)) in slots.iter().zip(&self.readers).take(self.mapped).enumerate() {
            let value = match (slot, reader) {
                (Slot::Null, _) => Value::Null,
                (Slot::Bytes(cell), Some(reader)) => {
                    bytes += cell.len();
                    let read_before = like.and_then(|(earlier, image)| match earlier.get(index) {
                        Some(Slot::Bytes(earlier)) if same(earlier, cell) => image.row.get(index),
                        _ => None,
                    });
                    match (read_before, reader) {
                        (Some(value), _) => value.clone(),
                        (None, Reader::Text(Encoding::Utf8)) => familiar.text(cell),
                        (None, reader) => reader.read(cell)?,
                    }
                }
                (Slot::Absent, _) | (_, None) => {
                    complete = false;
                    Value::Unchanged
                }
            };
            cells.push(value);
        }
        let key = self.key_of(slots, like.map(|(earlier, _)| earlier), &cells)?;
        Ok(Image { row: Row::new(cells), key, complete, bytes })
    }

    /// The key of an image; `None` where it lacks a part, and where the image before has the same.
    fn key_of(
        &self,
        slots: &[Slot<'_>],
        earlier: Option<&[Slot<'_>]>,
        cells: &[Value],
    ) -> Result<Option<RowKey>, DecodeError> {
        let Some(key) = &self.key else { return Ok(None) };
        if earlier.is_some_and(|earlier| key.iter().all(|cell| slots.get(*cell) == earlier.get(*cell))) {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(key.len());
        for cell in key {
            values.push(match (cells.get(*cell), slots.get(*cell), self.readers.get(*cell)) {
                (Some(value), Some(Slot::Null | Slot::Bytes(_)), _) => Cow::Borrowed(value),
                (None, Some(Slot::Null), _) => Cow::Owned(Value::Null),
                (None, Some(Slot::Bytes(bytes)), Some(Some(reader))) => Cow::Owned(reader.read(bytes)?),
                _ => return Ok(None),
            });
        }
        Ok((!values.is_empty()).then(|| row_key(values.iter().map(AsRef::as_ref))))
    }
}

/// The steps with neighbours in one that nobody wants and whose length is known.
fn merged(steps: &[Step]) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        match (merged.last_mut(), step) {
            (
                Some(Step { extent: Extent::Fixed(before), wanted: None }),
                Step { extent: Extent::Fixed(count), wanted: None },
            ) => *before += count,
            _ => merged.push(*step),
        }
    }
    merged
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
