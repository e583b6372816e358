//! Why a row cannot become a status change, in words for the operator.

use std::fmt;

use change::{Literal, Value};

use crate::RequestKey;
use crate::field::Cells;

/// The most characters of an offending value that a reason repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// A row that cannot be mapped, and why. It is a value and never the end of a stream: the row goes to
/// quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A stable name of the reason, such as `not_in_map`; [`rejection_hint`] says what to do about it.
    pub code: &'static str,
    /// The field of the mapping, such as `status_id`; empty where none is to blame.
    pub field: &'static str,
    /// What is wrong, for the operator; names the column and may repeat its value, so it is shown but
    /// never logged.
    pub reason: String,
    /// The request, where the row still tells which it is.
    pub request: Option<RequestKey>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

/// What an operator can do about rejections with this code; `None` for a code that no rejection has.
#[must_use]
pub fn rejection_hint(code: &str) -> Option<&'static str> {
    Code::ALL.into_iter().find(|known| known.name() == code).map(Code::hint)
}

/// The kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Null,
    Empty,
    Unlogged,
    Unusable,
    NotInMap,
    NotAStatus,
    NotAnId,
    NotATime,
    NoTimeZone,
    YearOutOfRange,
    MissingColumn,
    NoRow,
    UnknownDeletedRow,
    DamagedRow,
    UnfitForWhere,
    MissingParent,
    MissingTable,
}

impl Code {
    const ALL: [Self; 17] = [
        Self::Null,
        Self::Empty,
        Self::Unlogged,
        Self::Unusable,
        Self::NotInMap,
        Self::NotAStatus,
        Self::NotAnId,
        Self::NotATime,
        Self::NoTimeZone,
        Self::YearOutOfRange,
        Self::MissingColumn,
        Self::NoRow,
        Self::UnknownDeletedRow,
        Self::DamagedRow,
        Self::UnfitForWhere,
        Self::MissingParent,
        Self::MissingTable,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Null => "null_value",
            Self::Empty => "empty_value",
            Self::Unlogged => "unlogged_value",
            Self::Unusable => "unusable_value",
            Self::NotInMap => "not_in_map",
            Self::NotAStatus => "not_a_status",
            Self::NotAnId => "not_an_id",
            Self::NotATime => "not_a_time",
            Self::NoTimeZone => "no_time_zone",
            Self::YearOutOfRange => "year_out_of_range",
            Self::MissingColumn => "missing_column",
            Self::NoRow => "no_row",
            Self::UnknownDeletedRow => "unknown_deleted_row",
            Self::DamagedRow => "damaged_row",
            Self::UnfitForWhere => "unfit_for_where",
            Self::MissingParent => "missing_parent",
            Self::MissingTable => "missing_table",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Null | Self::Empty | Self::Unusable => {
                "give the row a value in the database; the change that does so is captured by itself"
            }
            Self::Unlogged => {
                "make the database log whole rows (`bitacora check` prints how), then change the row once"
            }
            Self::NotInMap => "add the value to the field's map, then run `bitacora quarantine retry`",
            Self::NotAStatus => {
                "map the column's values to ids from 1 to 21, then run `bitacora quarantine retry`"
            }
            Self::NotAnId => {
                "map the field to a column of integers or text, then run `bitacora quarantine retry`"
            }
            Self::NotATime => {
                "map the field to a column of dates or times, or correct the text, \
                 then run `bitacora quarantine retry`"
            }
            Self::NoTimeZone => {
                "add `time_zone` to the field in [mapping], then run `bitacora quarantine retry`"
            }
            Self::YearOutOfRange => "correct the year in the database",
            Self::MissingColumn => {
                "the mapping names a column that it did not name when the row was set aside: \
                 change the row once, so that it is captured anew"
            }
            Self::NoRow | Self::DamagedRow => "change the row once, so that it is captured anew",
            Self::UnfitForWhere => {
                "compare the column with a value of its own kind in `[source] where`, \
                 then run `bitacora quarantine retry`"
            }
            Self::MissingParent => "insert the row that it belongs to, then run `bitacora quarantine retry`",
            Self::MissingTable => {
                "configure the table again, then run `bitacora quarantine retry`, or discard the row"
            }
            Self::UnknownDeletedRow => {
                "the row is gone, so report the request's end by other means and discard the item"
            }
        }
    }
}

/// What is wrong with one field of a row, before it is known which request the row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    code: Code,
    field: &'static str,
    /// The column or columns, where such are to blame, as a reason names them.
    columns: Option<String>,
    what: String,
}

impl Complaint {
    fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, field: "", columns: None, what: what.into() }
    }

    pub(crate) fn null() -> Self {
        Self::new(Code::Null, "is NULL, expected a value")
    }

    pub(crate) fn all_null() -> Self {
        Self::new(Code::Null, "are all NULL, expected a value")
    }

    pub(crate) fn empty() -> Self {
        Self::new(Code::Empty, "is empty, expected a value")
    }

    pub(crate) fn unlogged() -> Self {
        Self::new(Code::Unlogged, "was left out of the log, because the change did not touch it")
    }

    pub(crate) fn unusable(words: &str) -> Self {
        Self::new(Code::Unusable, format!("holds {}, which no record can carry", cut(words)))
    }

    pub(crate) fn not_in_map(cell: &Value) -> Self {
        Self::new(Code::NotInMap, format!("holds {}, which is not in the map", described(cell)))
    }

    /// The joined values of several columns are not listed.
    pub(crate) fn joined_not_in_map(joined: &str) -> Self {
        let what = format!("hold \"{}\" together, which is not in the map", cut(joined));
        Self::new(Code::NotInMap, what)
    }

    /// One of several columns holds a time, or another kind of value that is not joined.
    pub(crate) fn joined_unfit() -> Self {
        Self::new(Code::NotInMap, "hold a value that no key of the map can name")
    }

    pub(crate) fn not_a_status(cell: &Value) -> Self {
        Self::new(Code::NotAStatus, format!("holds {}, expected a status id from 1 to 21", described(cell)))
    }

    pub(crate) fn not_an_id(cell: &Value) -> Self {
        Self::new(Code::NotAnId, format!("holds {}, expected an integer or a text", described(cell)))
    }

    pub(crate) fn not_a_time(cell: &Value) -> Self {
        let what = format!("holds {}, expected a time such as 2025-06-13T08:00:00Z", described(cell));
        Self::new(Code::NotATime, what)
    }

    pub(crate) fn no_time_zone() -> Self {
        Self::new(Code::NoTimeZone, "holds a time without zone, and the mapping names no time_zone for it")
    }

    pub(crate) fn year_out_of_range() -> Self {
        Self::new(Code::YearOutOfRange, "holds a time outside the years 0001 to 9999")
    }

    pub(crate) fn unfit_for_where(cell: &Value, literal: &Literal) -> Self {
        let other = match literal {
            Literal::Text(text) => format!("the text '{}'", cut(text)),
            Literal::Number(number) => format!("the number {}", cut(number)),
            Literal::Bool(truth) => format!("the truth value {truth}"),
        };
        let what = format!("holds {}, which cannot be compared with {other}", described(cell));
        Self::new(Code::UnfitForWhere, what)
    }

    pub(crate) fn missing_column() -> Self {
        Self::new(Code::MissingColumn, "is mapped, and the row does not carry it")
    }

    pub(crate) fn no_row() -> Self {
        Self::new(Code::NoRow, "the log carries no row for the change")
    }

    pub(crate) fn unknown_deleted_row() -> Self {
        Self::new(
            Code::UnknownDeletedRow,
            "the log tells neither the key nor the columns of a row that was deleted",
        )
    }

    pub(crate) fn missing_parent(reason: &str) -> Self {
        Self::new(Code::MissingParent, reason)
    }

    pub(crate) fn missing_table(table: &str) -> Self {
        Self::new(Code::MissingTable, format!("table \"{table}\" is not mapped any more"))
    }

    pub(crate) fn damaged_row(why: impl fmt::Display) -> Self {
        Self::new(Code::DamagedRow, format!("the stored row cannot be read: {why}"))
    }

    /// The same complaint about this field.
    pub(crate) fn about(mut self, field: &'static str) -> Self {
        self.field = field;
        self
    }

    /// The same complaint about this column.
    pub(crate) fn in_column(mut self, column: &str) -> Self {
        self.columns = Some(format!("column \"{column}\""));
        self
    }

    /// The same complaint about the columns at these places, as far as their names are known.
    pub(crate) fn in_columns(mut self, cells: &Cells<'_>, indexes: &[usize]) -> Self {
        let named: Vec<String> =
            indexes.iter().filter_map(|index| Some(format!("\"{}\"", cells.columns.get(*index)?))).collect();
        self.columns = match &*named {
            [] => None,
            [one] => Some(format!("column {one}")),
            several => Some(format!("columns {}", several.join(", "))),
        };
        self
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> &'static str {
        self.code.name()
    }

    /// The rejection of the row, with the request it is about where that is known.
    pub(crate) fn reject(self, request: Option<RequestKey>) -> Rejection {
        let reason = match (self.columns, self.field) {
            (Some(columns), field) => format!("{columns} of {field} {}", self.what),
            (None, "") => self.what,
            (None, field) => format!("{field} {}", self.what),
        };
        Rejection { code: self.code.name(), field: self.field, reason, request }
    }
}

/// A value as a reason shows it.
fn described(cell: &Value) -> String {
    match cell {
        Value::Null => "NULL".into(),
        Value::Unchanged => "nothing, because the log left it out".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Text(text) => format!("\"{}\"", cut(text)),
        Value::Local(_) => "a time without zone".into(),
        Value::Instant(_) => "a time".into(),
        Value::Date(_) => "a date".into(),
        Value::Unusable(words) => cut(words),
    }
}

/// The beginning of a text, and three dots where something is missing.
fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_field_column_and_value() {
        let rejection = Complaint::not_in_map(&Value::text("ARCHIVADA"))
            .about("status_id")
            .in_column("estado")
            .reject(None);
        assert_eq!(
            rejection.to_string(),
            "column \"estado\" of status_id holds \"ARCHIVADA\", which is not in the map"
        );
        assert_eq!((rejection.code, rejection.field), ("not_in_map", "status_id"));
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let reason = Complaint::not_in_map(&Value::text("ñ".repeat(1000))).reject(None).reason;
        assert!(reason.contains(&format!("\"{}...\"", "ñ".repeat(QUOTED_CHARS_MAX))), "{reason}");
    }

    #[test]
    fn every_code_is_distinct_and_has_a_hint() {
        let mut names: Vec<&str> = Code::ALL.into_iter().map(Code::name).collect();
        assert!(names.iter().all(|name| rejection_hint(name).is_some_and(|hint| !hint.is_empty())));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert_eq!(rejection_hint("no_such_code"), None);
    }
}
