//! What is copied of a table: the statements, and how their rows are read.

use std::str;

use change::{Days, Row, TableScope, Value, copied_rows};

use super::condition::Columns;
use crate::catalog::{Kind as TableKind, Table};
use crate::copy_binary::Layout;
use crate::copy_text::{CopiedCell, cells};
use crate::name::{quote_ident, quote_literal};
use crate::value::Kind;

/// What is copied, and how its rows are read.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    /// The table's number in the scope.
    pub(super) table: u16,
    /// The statement up to where conditions would follow.
    select: String,
    /// What leaves rows out that are too old or do not count; empty for nothing.
    filter: Option<String>,
    kinds: Vec<Kind>,
    /// How the mapped columns are read in binary format; `None` where one of them is not known in it.
    layouts: Option<Vec<Layout>>,
    /// The key's columns, which follow the mapped ones.
    pub(super) key: Vec<String>,
    pub(super) keys_wanted: bool,
}

impl Copied {
    /// Works out what to copy. Pages need the key to go on from; other copies only where it is asked for. `pages` says
    /// that pages are wanted, and the only days of opening to read, if there are any.
    pub(crate) fn new(number: u16, table: &Table, scope: &TableScope, pages: Option<&[Days]>) -> Self {
        let key: Vec<String> = if pages.is_some() || scope.keys {
            table.key.iter().map(|column| quote_ident(&column.name)).collect()
        } else {
            Vec::new()
        };
        let mapped = table.columns.iter().map(|column| quote_ident(&column.name));
        let columns: Vec<String> = mapped.chain(key.iter().cloned()).collect();
        // Rows of children by inheritance are in the log under the children's names: they are not the table's.
        let only = if table.kind == TableKind::Partitioned { "" } else { "ONLY " };
        Self {
            table: number,
            select: format!("SELECT {} FROM {only}{}", columns.join(", "), table.quoted()),
            filter: copied_rows(scope, pages.unwrap_or_default(), &Columns(&table.all_columns)),
            kinds: table.columns.iter().map(|column| Kind::of(column.base_type_oid)).collect(),
            layouts: table.columns.iter().map(|column| Layout::of(column.base_type_oid)).collect(),
            keys_wanted: scope.keys && !key.is_empty(),
            key,
        }
    }

    /// The statement that copies everything.
    pub(super) fn whole(&self) -> String {
        let condition = self.filter.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        let format = if self.binary().is_some() { " (FORMAT binary)" } else { "" };
        format!("COPY ({}{condition}) TO STDOUT{format}", self.select)
    }

    /// How a copy of everything is read in binary format. Keys are texts, to be equal to those in the log.
    pub(super) fn binary(&self) -> Option<&[Layout]> {
        self.layouts.as_deref().filter(|_| self.key.is_empty())
    }

    /// The statement that copies one page.
    pub(super) fn page(&self, after: Option<&[String]>, rows: u32) -> String {
        let key = self.key.join(", ");
        let mut conditions: Vec<String> = self.filter.iter().cloned().collect();
        if let Some(after) = after {
            // The texts take the types of the columns that they are compared with.
            let literals: Vec<String> = after.iter().map(|text| quote_literal(text)).collect();
            conditions.push(format!("({key}) > ({})", literals.join(", ")));
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        format!("COPY ({}{condition} ORDER BY {key} LIMIT {rows}) TO STDOUT", self.select)
    }

    /// Reads one copied row: the row, its key's columns where they were copied, and about its bytes.
    pub(super) fn row(&self, line: &[u8]) -> Option<(Row, Option<Vec<String>>, usize)> {
        let mut cells = cells(line);
        let mut row = Vec::with_capacity(self.kinds.len());
        for kind in &self.kinds {
            row.push(match cells.next()? {
                Some(text) => kind.read(&text),
                None => Value::Null,
            });
        }
        let key = (!self.key.is_empty()).then(|| {
            let column = |cell: CopiedCell<'_>| Some(str::from_utf8(cell?.as_ref()).ok()?.to_owned());
            cells.by_ref().take(self.key.len()).map(column).collect::<Option<Vec<_>>>()
        });
        if cells.next().is_some() {
            return None;
        }
        let bytes = line.len() + row.len() * size_of::<Value>();
        Some((Row::new(row), key.flatten(), bytes))
    }
}
