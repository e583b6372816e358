//! Rows of a table with the columns of the row that they belong to, its parent.
//!
//! The parent is found by the values of its key. They are compared as text, so that a child's integer finds a
//! parent's decimal; case, accents and blanks count, whatever the database's collation.

use change::{Condition, Row, Value};

use crate::mapping::{Mapping, Rows};

/// What a row is joined to, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinConfig {
    /// The parent's table.
    pub table: String,
    /// Which column of the row holds which column of the parent: child first.
    pub on: Vec<(String, String)>,
    /// Columns of the parent that the mapping names as if they stood in the row. Others, and those that both tables
    /// have, are named with the table before them, such as `solicitudes.fecha`.
    pub columns: Vec<String>,
}

impl JoinConfig {
    /// The parent's column that the mapping means by `name`, if it means one.
    pub(crate) fn column<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.columns.iter().any(|column| column == name) {
            return Some(name);
        }
        let last = self.table.rsplit('.').next().unwrap_or_default();
        [self.table.as_str(), last]
            .into_iter()
            .filter(|table| !table.is_empty())
            .find_map(|table| name.strip_prefix(table)?.strip_prefix('.'))
            .filter(|column| !column.is_empty())
    }
}

/// A parent of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Which of [`crate::Tables::mirrors`] knows the parents.
    pub mirror: usize,
    /// Where the captured row holds the parent's key.
    pub(crate) key: Vec<usize>,
    /// Why a row without its parent is rejected: it names tables and columns, and no values.
    pub(crate) reason: String,
}

impl Join {
    /// The key of the parent of `row`; `None` where the row has none, because a part is NULL or was not told.
    #[must_use]
    pub fn key_of(&self, row: &Row) -> Option<String> {
        key_text(row, &self.key)
    }
}

/// What must be known of a parent's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The parent's number.
    pub table: u16,
    /// The columns of its key.
    pub key_columns: Vec<String>,
    /// The columns that are joined.
    pub columns: Vec<String>,
    pub(crate) key: Vec<usize>,
    pub(crate) cells: Vec<usize>,
}

impl Mirror {
    /// The key of a captured row of the parent; `None` where a part of it is NULL or was not told.
    #[must_use]
    pub fn key_of(&self, row: &Row) -> Option<String> {
        key_text(row, &self.key)
    }

    /// The joined cells of a captured row of the parent, in the order of [`Mirror::columns`].
    #[must_use]
    pub fn cells_of(&self, row: &Row) -> Row {
        Row::new(self.cells.iter().map(|index| row.get(*index).cloned().unwrap_or(Value::Null)).collect())
    }
}

/// Where a joined row takes a mapped cell from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The captured row.
    Own(usize),
    /// A parent, by the place of its join, and the place among the joined cells.
    Parent(usize, usize),
}

/// How a table's rows become records.
#[derive(Debug, Clone)]
pub struct Mapped {
    /// What the joined row means.
    pub mapping: Mapping,
    /// The parents; none for rows that stand for themselves.
    pub joins: Vec<Join>,
    pub(crate) cells: Vec<Origin>,
}

impl Mapped {
    /// The column of the captured row that tells when a request was opened, if it is one of its own.
    #[must_use]
    pub fn own_opening_column(&self) -> Option<&str> {
        self.mapping.opening_column().filter(|column| self.is_own(column))
    }

    /// What the condition asks of the captured row alone.
    #[must_use]
    pub fn own_condition(&self) -> Option<Condition> {
        let is_own = |condition: &Condition| {
            let mut own = true;
            condition.for_each_column(&mut |column| own &= self.is_own(column));
            own
        };
        match self.mapping.condition()? {
            condition if is_own(condition) => Some(condition.clone()),
            Condition::And(parts) => {
                let own: Vec<Condition> = parts.iter().filter(|part| is_own(part)).cloned().collect();
                (!own.is_empty()).then_some(Condition::And(own))
            }
            _ => None,
        }
    }

    /// The columns of the captured row that tell which request it is, where each request has one row: none where rows are
    /// status changes, or where a parent tells a part of it.
    #[must_use]
    pub fn request_columns(&self) -> Vec<String> {
        if self.mapping.rows() == Rows::History || self.request_is_joined() {
            return Vec::new();
        }
        let columns = self.mapping.columns().iter().enumerate();
        let told = columns.filter(|(index, _)| self.mapping.is_of_request(*index));
        told.map(|(_, column)| column.clone()).collect()
    }

    /// Whether a parent says of which request, or service, a row is.
    #[must_use]
    pub fn request_is_joined(&self) -> bool {
        self.joined_cells().any(|index| self.mapping.is_of_request(index))
    }

    /// Whether a parent says which status a row tells of.
    #[must_use]
    pub fn status_is_joined(&self) -> bool {
        self.joined_cells().any(|index| self.mapping.is_of_status(index))
    }

    /// The places of the cells that come from parents.
    fn joined_cells(&self) -> impl Iterator<Item = usize> {
        let cells = self.cells.iter().enumerate();
        cells.filter(|(_, origin)| matches!(origin, Origin::Parent(..))).map(|(index, _)| index)
    }

    fn is_own(&self, column: &str) -> bool {
        let found = self.mapping.columns().iter().zip(&self.cells).find(|(name, _)| *name == column);
        matches!(found, Some((_, Origin::Own(_))))
    }

    /// The row as the mapping reads it. `parents` are the cells of each join's parent, in the order of the joins; what
    /// comes from one that is missing is left out.
    #[must_use]
    pub fn joined(&self, row: &Row, parents: &[Option<&Row>]) -> Row {
        let cell = |origin: &Origin| match origin {
            Origin::Own(index) => row.get(*index),
            Origin::Parent(join, index) => parents.get(*join).and_then(|parent| parent.as_ref()?.get(*index)),
        };
        Row::new(self.cells.iter().map(|origin| cell(origin).cloned().unwrap_or(Value::Unchanged)).collect())
    }
}

/// Between the parts of a key, as in the keys of rows.
const SEPARATOR: char = '\u{1f}';

fn key_text(row: &Row, indexes: &[usize]) -> Option<String> {
    let mut text = String::new();
    for (place, index) in indexes.iter().enumerate() {
        if place > 0 {
            text.push(SEPARATOR);
        }
        match row.get(*index)? {
            Value::Null | Value::Unchanged | Value::Unusable(_) => return None,
            Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => text.push_str(&value.to_string()),
            Value::Text(value) => text.push_str(value),
            Value::Local(micros) | Value::Instant(micros) => text.push_str(&micros.to_string()),
            Value::Date(days) => text.push_str(&days.to_string()),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parents_column_is_named_plainly_or_with_its_table() {
        let join = JoinConfig {
            table: "tramites.solicitudes".into(),
            on: vec![("solicitud_id".into(), "id".into())],
            columns: vec!["numero".into()],
        };
        assert_eq!(join.column("numero"), Some("numero"));
        assert_eq!(join.column("solicitudes.fecha"), Some("fecha"));
        assert_eq!(join.column("tramites.solicitudes.fecha"), Some("fecha"));
        assert_eq!(join.column("fecha"), None);
        assert_eq!(join.column("solicitudes."), None);
        assert_eq!(join.column("solicitudesfecha"), None);
    }

    #[test]
    fn keys_are_compared_as_text_and_a_key_with_null_in_it_is_none() {
        let key = |cells: &[Value]| key_text(&Row::new(cells.to_vec()), &[0, 1]);
        let written = key(&[Value::text("7"), Value::text("a")]);
        assert_eq!(key(&[Value::Int(7), Value::text("a")]), written);
        assert_eq!(written.as_deref(), Some("7\u{1f}a"));
        for part in [Value::Null, Value::Unchanged, Value::Unusable("infinity".into())] {
            assert_eq!(key(&[Value::Int(7), part]), None);
        }
        assert_eq!(key(&[Value::Int(7)]), None);
    }
}
