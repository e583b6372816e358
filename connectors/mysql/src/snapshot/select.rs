//! What is copied: the statement, and how its rows are read.

use change::{Days, Row, RowKey, Scope, SourceError, SourceErrorKind, TableScope, Value, copied_rows};

use super::condition::Columns;
use super::cursor::{self, KeyPart};
use crate::catalog::{Column, Table};
use crate::name::quote_ident;
use crate::value_text::{Kind, row_key};
use crate::wire::Cells;

/// What is copied, and how its rows are read.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    /// The table's number.
    pub(super) number: u16,
    /// The columns to select: the mapped ones, the key's as values where keys are wanted, and the key's as the next
    /// page needs them.
    columns: String,
    table: String,
    index: String,
    /// What leaves rows out that are too old or do not count; empty for nothing.
    filter: Option<String>,
    kinds: Vec<Kind>,
    key_kinds: Vec<Kind>,
    parts: Vec<KeyPart>,
}

/// One copied row.
pub(super) struct CopiedRow {
    pub(super) row: Row,
    pub(super) key: Option<RowKey>,
    /// Where the next page would start; empty where pages are not wanted.
    pub(super) kept: Vec<String>,
    /// About how much memory it takes.
    pub(super) bytes: usize,
}

impl Copied {
    /// Works out what to copy of each table. Pages need the key to go on from; keys are copied as values where the scope
    /// asks.
    ///
    /// # Errors
    /// A schema error for a mapped column that no record can carry.
    pub(super) fn all(tables: &[Table], scope: &Scope) -> Result<Vec<Self>, SourceError> {
        let numbered = scope.numbered().zip(tables);
        numbered.map(|((number, scope), table)| Self::new(number, table, scope, None)).collect()
    }

    /// The same of one table; `pages` says that pages are wanted, and the only days of opening to read, if there are any.
    ///
    /// # Errors
    /// As for [`Copied::all`].
    pub(super) fn new(
        number: u16,
        table: &Table,
        scope: &TableScope,
        pages: Option<&[Days]>,
    ) -> Result<Self, SourceError> {
        let kinds = table.mapped_kinds()?;
        let key_columns: Vec<&Column> = table.key_columns().collect();
        let valued: Vec<&Column> = if scope.keys { key_columns.clone() } else { Vec::new() };
        let parts: Vec<KeyPart> = if pages.is_some() {
            key_columns.iter().map(|column| KeyPart::of(column)).collect()
        } else {
            Vec::new()
        };
        let columns: Vec<String> = table
            .mapped_columns()
            .chain(valued.iter().copied())
            .map(|column| quote_ident(&column.name))
            .chain(parts.iter().map(KeyPart::expression))
            .collect();
        Ok(Self {
            number,
            columns: columns.join(", "),
            table: table.quoted(),
            index: quote_ident(&table.key_name),
            filter: copied_rows(scope, pages.unwrap_or_default(), &Columns(&table.columns)),
            kinds,
            key_kinds: valued.iter().filter_map(|column| column.key_kind()).collect(),
            parts,
        })
    }

    /// The statement that copies everything.
    pub(super) fn whole(&self) -> String {
        let condition = self.filter.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        format!("SELECT {} FROM {}{condition}", self.columns, self.table)
    }

    /// The statement that copies one page. The index is named, because a wrong guess of the server's would sort the
    /// whole table for every page.
    pub(super) fn page(&self, kept: Option<&[String]>, rows: u32) -> String {
        let mut conditions: Vec<String> = self.filter.iter().cloned().collect();
        conditions.extend(kept.map(|kept| cursor::after(&self.parts, kept)));
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        format!(
            "SELECT {} FROM {} FORCE INDEX ({}){condition} ORDER BY {} LIMIT {rows}",
            self.columns,
            self.table,
            self.index,
            cursor::order(&self.parts)
        )
    }

    pub(super) fn parts(&self) -> &[KeyPart] {
        &self.parts
    }

    /// Reads one copied row.
    ///
    /// # Errors
    /// A protocol error when it has the wrong number of cells.
    pub(super) fn row(&self, cells: &Cells<'_>) -> Result<CopiedRow, SourceError> {
        let (mapped, valued) = (self.kinds.len(), self.key_kinds.len());
        if cells.len() != mapped + valued + self.parts.len() {
            return Err(SourceError::new(
                SourceErrorKind::Protocol,
                format!(
                    "copy of the table: a row has {} cells, expected {}",
                    cells.len(),
                    mapped + valued + self.parts.len()
                ),
            ));
        }
        let mut bytes = 0;
        let mut read = |kind: &Kind, place: usize| match cells.get(place) {
            Some(text) => {
                bytes += text.len();
                kind.read(text)
            }
            None => Value::Null,
        };
        let row: Vec<Value> = self.kinds.iter().zip(0..).map(|(kind, place)| read(kind, place)).collect();
        let key: Vec<Value> =
            self.key_kinds.iter().zip(mapped..).map(|(kind, place)| read(kind, place)).collect();
        let kept: Option<Vec<String>> = self
            .parts
            .iter()
            .zip(mapped + valued..)
            .map(|(part, place)| part.keep(cells.get(place)?))
            .collect();
        let kept = kept.ok_or_else(|| {
            SourceError::new(SourceErrorKind::Protocol, "copy of the table: a row has an unreadable key")
        })?;
        Ok(CopiedRow {
            bytes: bytes + (row.len() + key.len()) * size_of::<Value>(),
            row: Row::new(row),
            key: (valued > 0).then(|| row_key(&key)),
            kept,
        })
    }
}
