//! The statements that copy the table, and the rows that they answer.

use change::{Days, Row, RowKey, Scope, SourceError, SourceErrorKind, TableScope, Value, copied_rows};
use tiberius::ColumnData;

use super::condition::Columns;
use super::cursor::{self, KeyPart};
use crate::catalog::{Column, Table};
use crate::client::Param;
use crate::value::{Kind, row_key};

/// What is copied, and how its rows are read.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    /// The table's number.
    pub(super) number: u16,
    /// The expressions to select: the mapped columns, the key's as values where keys are wanted, and the key's as the next
    /// page needs them.
    select: String,
    table: String,
    /// What leaves old rows out, and those that do not count; `None` for nothing.
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
    /// Works out what to copy of all tables, each as a whole.
    ///
    /// # Errors
    /// A schema error for a mapped column that no record can carry.
    pub(super) fn all(tables: &[Table], scope: &Scope) -> Result<Vec<Self>, SourceError> {
        let numbered = scope.numbered().zip(tables);
        numbered.map(|((number, scope), table)| Self::new(number, table, scope, (Vec::new(), &[]))).collect()
    }

    /// Works out what to copy of one table; pages need `parts` of the key to go on from, and are told the only days of
    /// opening to read, if there are any.
    ///
    /// # Errors
    /// As for [`Copied::all`].
    pub(super) fn new(
        number: u16,
        table: &Table,
        scope: &TableScope,
        (parts, opened): (Vec<KeyPart>, &[Days]),
    ) -> Result<Self, SourceError> {
        let kinds = table.mapped_kinds()?;
        let key: Option<Vec<(&Column, Kind)>> =
            table.key_columns().map(|column| Some((column, column.kind().ok()?))).collect();
        let key = key.filter(|_| scope.keys).unwrap_or_default();
        let select: Vec<String> = table
            .mapped_columns()
            .chain(key.iter().map(|(column, _)| *column))
            .map(Column::expression)
            .chain(parts.iter().map(KeyPart::expression))
            .collect();
        Ok(Self {
            number,
            select: select.join(", "),
            table: table.quoted(),
            filter: copied_rows(scope, opened, &Columns(&table.columns)),
            kinds,
            key_kinds: key.iter().map(|(_, kind)| *kind).collect(),
            parts,
        })
    }

    /// The statement that copies everything.
    pub(super) fn whole(&self) -> String {
        let condition = self.filter.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        format!("SELECT {} FROM {}{condition}", self.select, self.table)
    }

    /// The statement that copies one page, and its parameters.
    pub(super) fn page(&self, kept: Option<&[String]>, rows: u32) -> (String, Vec<Param>) {
        let mut params = vec![Param::from(i64::from(rows))];
        let mut conditions: Vec<String> = self.filter.iter().cloned().collect();
        if let Some(kept) = kept {
            conditions.push(format!("({})", cursor::after(&self.parts, params.len() + 1)));
            params.extend(kept.iter().map(|part| Param::from(part.as_str())));
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let order = cursor::order(&self.parts);
        let sql = format!("SELECT TOP (@P1) {} FROM {}{condition} ORDER BY {order}", self.select, self.table);
        (sql, params)
    }

    pub(super) fn parts(&self) -> &[KeyPart] {
        &self.parts
    }

    /// Reads one copied row.
    ///
    /// # Errors
    /// A protocol error when it has the wrong number of cells, or an unreadable key.
    pub(super) fn row(&self, row: &tiberius::Row) -> Result<CopiedRow, SourceError> {
        let (mapped, valued) = (self.kinds.len(), self.key_kinds.len());
        let fault = |what: &str| {
            SourceError::new(SourceErrorKind::Protocol, format!("copy of the table: a row has {what}"))
        };
        if row.len() != mapped + valued + self.parts.len() {
            return Err(fault("another number of cells than was asked for"));
        }
        let mut bytes = 0;
        let mut values = Vec::with_capacity(mapped + valued);
        for (kind, (_, cell)) in self.kinds.iter().chain(&self.key_kinds).zip(row.cells()) {
            let value = kind.read(cell);
            bytes += size_of::<Value>() + if let Value::Text(text) = &value { text.len() } else { 0 };
            values.push(value);
        }
        let key = values.split_off(mapped.min(values.len()));
        let mut kept = Vec::with_capacity(self.parts.len());
        for (_, cell) in row.cells().skip(mapped + valued) {
            match cell {
                ColumnData::String(Some(text)) => kept.push(text.to_string()),
                _ => return Err(fault("an unreadable key")),
            }
        }
        Ok(CopiedRow { row: Row::new(values), key: (valued > 0).then(|| row_key(&key)), kept, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::table;

    fn scope() -> TableScope {
        TableScope {
            table: "dbo.solicitudes".to_owned(),
            columns: vec!["id".to_owned(), "abierta".to_owned()],
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        }
    }

    #[test]
    fn a_page_begins_after_the_last_key() {
        let table = table(&[("id", "int"), ("abierta", "datetime")]);
        let parts = cursor::parts(&table, "").unwrap();
        let copied = Copied::new(0, &table, &scope(), (parts, &[])).unwrap();
        let (first, params) = copied.page(None, 10);
        assert!(first.ends_with("FROM [dbo].[solicitudes] ORDER BY [id]") && params.len() == 1, "{first}");
        let (next, params) = copied.page(Some(&["7".to_owned()]), 10);
        assert!(next.contains("WHERE ([id] > CONVERT(int, @P2, 0)) ORDER BY [id]"), "{next}");
        assert_eq!(params.len(), 2);
    }
}
