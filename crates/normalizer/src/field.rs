//! Where one field of a record is taken from, and how its cell is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use change::{Row, Text, Value};
use chrono_tz::Tz;

use crate::catalogue::STATUS_ID_MAX;
use crate::derived::{Lookup, Template};
use crate::rejection::Complaint;
use crate::time;
use crate::zone::Zone;

/// Where an id or a status is taken from, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The same for every row.
    Value(String),
    /// A column's value.
    Column {
        /// The column's name, taken literally.
        column: String,
        /// What each value of the column stands for; without it the value stands for itself.
        map: Option<BTreeMap<String, String>>,
    },
    /// What the values of one or several columns stand for.
    Mapped {
        /// The columns' names, taken literally.
        columns: Vec<String>,
        /// What each value stands for. The values of several columns are joined by `|` in the order of the columns;
        /// NULL is joined as an empty text, and a `|` or `\` inside a value has a `\` before it.
        map: BTreeMap<String, String>,
        /// What every value stands for that is not listed; without it such a row is rejected.
        other: Option<String>,
    },
    /// A text with the values of columns in it: `{anio}-{numero}`. Only for ids.
    Template(String),
}

/// Where a time is taken from, as configured.
///
/// # When clocks change
/// A local time that occurs twice, in autumn, means the earlier instant. One that never occurs, in spring,
/// is shifted forward by the gap: 02:30 in a gap of one hour means the instant that the clocks call 03:30.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeField {
    /// The same for every row, as ISO 8601.
    Value(String),
    /// A column's value.
    Column {
        /// The column's name, taken literally.
        column: String,
        /// The zone of times that carry none.
        time_zone: Option<Tz>,
    },
    /// When the change was committed; for rows of a snapshot, when it was taken.
    CommitTime,
}

/// The cells of a row by column, with the row's former state to fall back on where the log left a cell out
/// because the change did not touch it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cells<'a> {
    pub(crate) columns: &'a [String],
    pub(crate) row: &'a Row,
    pub(crate) before: Option<&'a Row>,
}

impl<'a> Cells<'a> {
    /// The cell of the column at `index`, which is `Unchanged` only if the former state does not tell it either.
    pub(crate) fn cell(&self, index: usize) -> Option<&'a Value> {
        match self.row.get(index) {
            Some(Value::Unchanged) => {
                self.before.and_then(|before| before.get(index)).or(Some(&Value::Unchanged))
            }
            found => found,
        }
    }

    /// What `read` makes of the cell, which is neither NULL nor left out nor unusable.
    pub(crate) fn read<T>(
        &self,
        index: usize,
        read: impl FnOnce(&'a Value) -> Result<T, Complaint>,
    ) -> Result<T, Complaint> {
        match self.cell(index) {
            None => Err(Complaint::missing_column()),
            Some(Value::Null) => Err(Complaint::null()),
            Some(Value::Unchanged) => Err(Complaint::unlogged()),
            Some(Value::Unusable(words)) => Err(Complaint::unusable(words)),
            Some(cell) => read(cell),
        }
        .map_err(|complaint| complaint.in_columns(self, &[index]))
    }

    /// The cell, which may be NULL, and is neither left out nor unusable.
    pub(crate) fn logged(&self, index: usize) -> Result<&'a Value, Complaint> {
        match self.cell(index) {
            Some(Value::Null) => Ok(&Value::Null),
            _ => self.read(index, Ok),
        }
    }

    /// Whether the log left the cell out.
    fn was_left_out(&self, index: usize) -> bool {
        matches!(self.cell(index), Some(Value::Unchanged))
    }
}

/// What the values of a column stand for.
#[derive(Debug, Clone)]
pub(crate) struct ValueMap<T> {
    by_text: BTreeMap<Box<str>, T>,
    /// The listed values that are written as an integer is, so that integers need not be written out to be
    /// looked up.
    by_integer: BTreeMap<i64, T>,
}

impl<T: Clone> ValueMap<T> {
    pub(crate) fn new(entries: impl IntoIterator<Item = (Box<str>, T)>) -> Self {
        let by_text: BTreeMap<Box<str>, T> = entries.into_iter().collect();
        let by_integer = by_text
            .iter()
            .filter_map(|(text, meaning)| {
                let integer: i64 = text.parse().ok()?;
                (integer.to_string() == **text).then(|| (integer, meaning.clone()))
            })
            .collect();
        Self { by_text, by_integer }
    }

    pub(crate) fn meaning(&self, cell: &Value) -> Option<&T> {
        match cell {
            Value::Text(text) => self.by_text.get(&**text),
            Value::Int(integer) => self.by_integer.get(integer),
            Value::Bool(true) => self.by_text.get("true"),
            Value::Bool(false) => self.by_text.get("false"),
            _ => None,
        }
    }

    /// What this very text stands for.
    pub(crate) fn listed(&self, text: &str) -> Option<&T> {
        self.by_text.get(text)
    }
}

/// Where an id is taken from, ready for use.
#[derive(Debug, Clone)]
pub(crate) enum IdSource {
    Constant(Text),
    Column(usize),
    Mapped(Lookup<Text>),
    Template(Template),
}

/// An id as it was found: nothing is copied before it is known to be needed.
#[derive(Debug)]
pub(crate) enum Id<'a> {
    Listed(&'a Text),
    Text(&'a str),
    Integer(i64),
    Composed(Text),
}

impl PartialEq for Id<'_> {
    /// Ids are equal when their texts are.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one == other,
            (Self::Integer(integer), id) | (id, Self::Integer(integer)) => {
                id.text().is_some_and(|text| integer.to_string() == text)
            }
            (one, other) => one.text() == other.text(),
        }
    }
}

impl Id<'_> {
    /// The text, unless it must be written first.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Listed(id) => Some(id),
            Self::Text(text) => Some(text),
            Self::Composed(text) => Some(text),
            Self::Integer(_) => None,
        }
    }
}

impl IdSource {
    pub(crate) fn read<'a>(&'a self, cells: &Cells<'a>) -> Result<Id<'a>, Complaint> {
        match self {
            Self::Constant(id) => Ok(Id::Listed(id)),
            Self::Column(index) => cells.read(*index, plain_id),
            Self::Mapped(lookup) => lookup.read(cells).map(Id::Listed),
            Self::Template(template) => template.fill(cells).map(Id::Composed),
        }
    }

    /// Whether it is taken from the column at `index`.
    pub(crate) fn is_from(&self, index: usize) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Column(column) => *column == index,
            Self::Mapped(lookup) => lookup.indexes.contains(&index),
            Self::Template(template) => template.indexes().any(|column| column == index),
        }
    }
}

fn plain_id(cell: &Value) -> Result<Id<'_>, Complaint> {
    match cell {
        Value::Text(text) if text.trim_ascii().is_empty() => Err(Complaint::empty()),
        Value::Text(text) => Ok(Id::Text(text)),
        Value::Int(integer) => Ok(Id::Integer(*integer)),
        Value::Bool(true) => Ok(Id::Text("true")),
        Value::Bool(false) => Ok(Id::Text("false")),
        _ => Err(Complaint::not_an_id(cell)),
    }
}

impl From<Id<'_>> for Text {
    fn from(id: Id<'_>) -> Self {
        match id {
            Id::Listed(id) => id.clone(),
            Id::Text(text) => text.into(),
            Id::Integer(integer) => integer.to_string().into(),
            Id::Composed(text) => text,
        }
    }
}

/// Where the status is taken from, ready for use.
#[derive(Debug, Clone)]
pub(crate) enum StatusSource {
    Constant(u8),
    Column(usize),
    Mapped(Lookup<u8>),
}

impl StatusSource {
    pub(crate) fn read(&self, cells: &Cells<'_>) -> Result<u8, Complaint> {
        match self {
            Self::Constant(id) => Ok(*id),
            Self::Column(index) => cells.read(*index, plain_status),
            Self::Mapped(lookup) => lookup.read(cells).copied(),
        }
    }

    /// Whether the log left all of the status out because the change did not touch it.
    pub(crate) fn was_left_out(&self, cells: &Cells<'_>) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Column(index) => cells.was_left_out(*index),
            Self::Mapped(lookup) => lookup.indexes.iter().all(|index| cells.was_left_out(*index)),
        }
    }

    /// Whether it is taken from the column at `index`.
    pub(crate) fn is_from(&self, index: usize) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Column(column) => *column == index,
            Self::Mapped(lookup) => lookup.indexes.contains(&index),
        }
    }
}

fn plain_status(cell: &Value) -> Result<u8, Complaint> {
    let id = match cell {
        Value::Int(integer) => u8::try_from(*integer).ok(),
        Value::Text(text) => text.trim_ascii().parse().ok(),
        _ => None,
    };
    id.filter(|id| is_status(*id)).ok_or_else(|| Complaint::not_a_status(cell))
}

/// Whether the catalogue has this id.
pub(crate) fn is_status(id: u8) -> bool {
    (1..=STATUS_ID_MAX).contains(&id)
}

/// Where a time is taken from, ready for use.
#[derive(Debug, Clone)]
pub(crate) enum TimeSource {
    Constant(i64),
    Column { index: usize, zone: Option<Arc<Zone>> },
    CommitTime,
}

impl TimeSource {
    /// The time in microseconds since the epoch, UTC; `committed_at` likewise.
    pub(crate) fn read(&self, cells: &Cells<'_>, committed_at: i64) -> Result<i64, Complaint> {
        match self {
            Self::Constant(at) => Ok(*at),
            Self::Column { index, zone } => cells.read(*index, |cell| time::moment(cell, zone.as_deref())),
            Self::CommitTime => time::writable(committed_at),
        }
    }

    /// Whether it is taken from the column at `column`.
    pub(crate) fn is_from(&self, column: usize) -> bool {
        matches!(self, Self::Column { index, .. } if *index == column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(source: &IdSource, cell: Value) -> Result<String, &'static str> {
        let row = Row::new(vec![cell]);
        let cells = Cells { columns: &[], row: &row, before: None };
        source.read(&cells).map(|id| Text::from(id).to_string()).map_err(|complaint| complaint.code())
    }

    fn status(source: &StatusSource, cell: Value) -> Result<u8, &'static str> {
        let row = Row::new(vec![cell]);
        let cells = Cells { columns: &[], row: &row, before: None };
        source.read(&cells).map_err(|complaint| complaint.code())
    }

    fn refused_everywhere() -> [(Value, &'static str); 3] {
        [
            (Value::Null, "null_value"),
            (Value::Unchanged, "unlogged_value"),
            (Value::Unusable("infinity".into()), "unusable_value"),
        ]
    }

    #[test]
    fn ids_are_equal_when_their_texts_are() {
        let listed = Text::from("7");
        let sevens = || [Id::Listed(&listed), Id::Text("7"), Id::Integer(7), Id::Composed("7".into())];
        for one in sevens() {
            for other in sevens() {
                assert_eq!(one, other);
            }
            for other in [Id::Text("07"), Id::Integer(8)] {
                assert_ne!(one, other);
                assert_ne!(other, one);
            }
        }
    }

    #[test]
    fn an_id_without_a_map_stands_for_itself() {
        let plain = IdSource::Column(0);
        for (cell, expected) in [
            (Value::text("REQ-001"), Ok("REQ-001")),
            (Value::text(" 7 "), Ok(" 7 ")),
            (Value::Int(-42), Ok("-42")),
            (Value::Bool(false), Ok("false")),
            (Value::text(""), Err("empty_value")),
            (Value::text("  "), Err("empty_value")),
            (Value::Date(1), Err("not_an_id")),
            (Value::Local(1), Err("not_an_id")),
            (Value::Instant(1), Err("not_an_id")),
        ] {
            assert_eq!(id(&plain, cell.clone()), expected.map(str::to_owned), "{cell:?}");
        }
        for (cell, code) in refused_everywhere() {
            assert_eq!(id(&plain, cell), Err(code));
        }
    }

    #[test]
    fn an_id_with_a_map_is_one_of_the_listed() {
        let listed = [("LIC", "101"), ("7", "107"), ("007", "207"), ("true", "301"), ("", "401")];
        let map = ValueMap::new(listed.map(|(value, meaning)| (value.into(), meaning.into())));
        let mapped = IdSource::Mapped(Lookup { indexes: Box::new([0]), map, other: None });
        for (cell, expected) in [
            (Value::text("LIC"), Ok("101")),
            (Value::text("lic"), Err("not_in_map")),
            (Value::text("LIC "), Err("not_in_map")),
            (Value::Int(7), Ok("107")),
            (Value::text("7"), Ok("107")),
            (Value::text("007"), Ok("207")),
            (Value::Int(8), Err("not_in_map")),
            (Value::Bool(true), Ok("301")),
            (Value::Bool(false), Err("not_in_map")),
            (Value::text(""), Ok("401")),
            (Value::Date(7), Err("not_in_map")),
        ] {
            assert_eq!(id(&mapped, cell.clone()), expected.map(str::to_owned), "{cell:?}");
        }
        for (cell, code) in refused_everywhere() {
            assert_eq!(id(&mapped, cell), Err(code));
        }
    }

    #[test]
    fn a_status_without_a_map_is_an_id_of_the_catalogue() {
        let plain = StatusSource::Column(0);
        for (cell, expected) in [
            (Value::Int(1), Ok(1)),
            (Value::Int(21), Ok(21)),
            (Value::Int(0), Err("not_a_status")),
            (Value::Int(22), Err("not_a_status")),
            (Value::Int(-1), Err("not_a_status")),
            (Value::Int(257), Err("not_a_status")),
            (Value::Int(i64::MAX), Err("not_a_status")),
            (Value::text("9"), Ok(9)),
            (Value::text("09 "), Ok(9)),
            (Value::text("9.0"), Err("not_a_status")),
            (Value::text("RECIBIDA"), Err("not_a_status")),
            (Value::text(""), Err("not_a_status")),
            (Value::Bool(true), Err("not_a_status")),
            (Value::Date(9), Err("not_a_status")),
        ] {
            assert_eq!(status(&plain, cell.clone()), expected, "{cell:?}");
        }
        for (cell, code) in refused_everywhere() {
            assert_eq!(status(&plain, cell), Err(code));
        }
    }

    #[test]
    fn a_column_that_the_row_does_not_carry_is_named() {
        let columns = ["servicio".to_owned(), "estado".to_owned()];
        let row = Row::new(vec![Value::Int(1)]);
        let cells = Cells { columns: &columns, row: &row, before: None };
        let complaint = StatusSource::Column(1).read(&cells).unwrap_err();
        assert_eq!(
            complaint.about("status_id").reject(None).reason,
            "column \"estado\" of status_id is mapped, and the row does not carry it"
        );
    }
}
