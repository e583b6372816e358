//! What the server says a table looks like, and how the mapped columns are picked from its rows.

use std::collections::HashMap;
use std::str;

use change::{Row, RowKey, SourceError, SourceErrorKind, Value};

use crate::catalog::Table;
use crate::decode::{Cell, DecodeError, Relation, Tuple};
use crate::value::Kind;

/// A column that rows are to carry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    name: String,
    type_oid: u32,
    kind: Kind,
}

/// A configured table, as far as its changes are concerned.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The table's number in the scope.
    table: u16,
    schema: String,
    name: String,
    columns: Vec<Wanted>,
    /// The key's columns where changes must carry keys.
    key: Option<Vec<String>>,
}

impl Target {
    /// What to look for in the log.
    pub(crate) fn new(number: u16, table: &Table, keys: bool) -> Self {
        let wanted = |column: &crate::catalog::Column| Wanted {
            name: column.name.clone(),
            type_oid: column.type_oid,
            kind: Kind::of(column.base_type_oid),
        };
        let key = table.key.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        Self {
            table: number,
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: table.columns.iter().map(wanted).collect(),
            key: Some(key).filter(|key| keys && !key.is_empty()),
        }
    }

    /// Whether the relation bears the table's name.
    pub(crate) fn is_named_by(&self, relation: &Relation<'_>) -> bool {
        // The protocol abbreviates this one schema.
        let schema = if relation.schema.is_empty() { "pg_catalog" } else { relation.schema };
        self.schema == schema && self.name == relation.name
    }

    /// Works out where a relation's tuples hold what is wanted.
    ///
    /// # Errors
    /// A schema error when a mapped column is not among the relation's.
    pub(crate) fn layout(&self, relation: &Relation<'_>) -> Result<Layout, SourceError> {
        let columns = relation.columns().collect::<Result<Vec<_>, _>>()?;
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let mut picks = Vec::with_capacity(self.columns.len());
        for (into, wanted) in self.columns.iter().enumerate() {
            let at = place(&wanted.name).ok_or_else(|| self.lacks(&wanted.name))?;
            let type_oid = columns.get(at).map_or(wanted.type_oid, |column| column.type_oid);
            // Only the catalogue can resolve a domain, and it may have changed since the log was written.
            let kind = if type_oid == wanted.type_oid { wanted.kind } else { Kind::of(type_oid) };
            if kind != wanted.kind {
                tracing::warn!(column = wanted.name, type_oid, "mapped column changes its type in the log");
            }
            picks.push(Pick { at, into, kind });
        }
        picks.sort_by_key(|pick| pick.at);
        let key = self.key.as_ref().and_then(|key| key.iter().map(|name| place(name)).collect());
        Ok(Layout { table: self.table, width: columns.len(), picks, key })
    }

    fn lacks(&self, column: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::Schema,
            format!(
                "the log's changes of table \"{}\".\"{}\" do not carry the mapped column \"{column}\"",
                self.schema, self.name
            ),
        )
        .with_hint(
            "add the column to the publication's column list (`bitacora setup` prints the statement), or map the \
             column that took its place; if the log from before the change must be given up, drop the slot: what \
             differs is then found by a new snapshot",
        )
    }
}

/// Where a tuple holds a mapped column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pick {
    at: usize,
    into: usize,
    kind: Kind,
}

/// Where a relation's tuples hold what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    table: u16,
    width: usize,
    /// In the order in which a tuple is walked.
    picks: Vec<Pick>,
    /// Where the key's columns are, in key order.
    key: Option<Vec<usize>>,
}

impl Layout {
    /// The number of the table in the scope.
    pub(crate) fn table(&self) -> u16 {
        self.table
    }

    /// The mapped columns of a tuple, and about how many bytes they take.
    pub(crate) fn row(&self, tuple: &Tuple<'_>) -> Result<(Row, usize), DecodeError> {
        self.expect_width(tuple)?;
        let mut row = vec![Value::Null; self.picks.len()];
        let mut bytes = row.len() * size_of::<Value>();
        let mut cells = tuple.cells();
        let mut walked = 0;
        for pick in &self.picks {
            let cell = cells.nth(pick.at - walked).ok_or(DecodeError::Truncated)??;
            walked = pick.at + 1;
            let Some(slot) = row.get_mut(pick.into) else { continue };
            *slot = match cell {
                Cell::Null => Value::Null,
                Cell::Unchanged => Value::Unchanged,
                Cell::Text(text) => {
                    bytes += text.len();
                    pick.kind.read(text)
                }
            };
        }
        Ok((Row::new(row), bytes))
    }

    /// The key of a tuple; `None` where keys are not asked for or the tuple does not tell it. What the tuple
    /// leaves out as unchanged is taken from the row as it was.
    pub(crate) fn key(
        &self,
        tuple: &Tuple<'_>,
        was: Option<&Tuple<'_>>,
    ) -> Result<Option<RowKey>, DecodeError> {
        let Some(places) = &self.key else { return Ok(None) };
        let mut texts = vec![None; places.len()];
        for tuple in was.into_iter().chain([tuple]) {
            self.expect_width(tuple)?;
            for (at, cell) in tuple.cells().enumerate() {
                let told = match cell? {
                    Cell::Unchanged => continue,
                    Cell::Null => None,
                    Cell::Text(bytes) => str::from_utf8(bytes).ok(),
                };
                let sought = texts.iter_mut().zip(places).filter(|(_, place)| **place == at);
                sought.for_each(|(text, _)| *text = told);
            }
        }
        let texts: Option<Vec<&str>> = texts.into_iter().collect();
        Ok(texts.map(RowKey::from_columns))
    }

    /// A tuple of another width would be read into the wrong columns.
    fn expect_width(&self, tuple: &Tuple<'_>) -> Result<(), DecodeError> {
        if tuple.len() == self.width {
            return Ok(());
        }
        Err(DecodeError::Width { actual: tuple.len(), expected: self.width })
    }
}

/// The relations that this connection has told of, by oid.
#[derive(Debug, Default)]
pub(crate) struct Relations(HashMap<u32, Option<Layout>>);

impl Relations {
    /// Remembers a relation, in place of what was known of it; `None` for a table that is not ours.
    pub(crate) fn remember(&mut self, oid: u32, layout: Option<Layout>) {
        self.0.insert(oid, layout);
    }

    /// Takes back what was known of a relation.
    pub(crate) fn forget(&mut self, oid: u32) {
        self.0.remove(&oid);
    }

    /// The layout of a configured table, `None` for another table.
    ///
    /// # Errors
    /// When the server has not told of the relation, which it must do first.
    pub(crate) fn layout(&self, oid: u32) -> Result<Option<&Layout>, DecodeError> {
        self.0.get(&oid).map(Option::as_ref).ok_or(DecodeError::UnknownRelation(oid))
    }

    /// The number of the configured table that bears the oid, or that it is a partition of.
    pub(crate) fn table(&self, oid: u32) -> Option<u16> {
        self.0.get(&oid)?.as_ref().map(Layout::table)
    }
}
