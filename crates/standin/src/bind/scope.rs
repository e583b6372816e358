//! Which columns a name can mean.

use sqlparser::ast::Ident;

use super::Typed;
use crate::engine::catalog::same;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;

/// A column of a table or subquery in FROM.
#[derive(Debug, Clone)]
pub(crate) struct SourceColumn {
    pub(crate) name: String,
    /// SQLite's name of it.
    pub(crate) stored: String,
    pub(crate) of: SqlType,
    pub(crate) nullable: bool,
    /// The reader lacks the right to it.
    pub(crate) denied: bool,
}

/// A table or subquery in FROM.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// By which names it can be called: an alias, or the table's name with and without its schema.
    pub(crate) names: Vec<Vec<String>>,
    /// SQLite's name of it.
    pub(crate) alias: String,
    pub(crate) columns: Vec<SourceColumn>,
    /// The table's number, where it is a table.
    pub(crate) table: Option<i64>,
}

impl Source {
    pub(crate) fn is_called(&self, name: &[String]) -> bool {
        self.names.iter().any(|known| {
            // A longer name than the known one may say the database, too.
            let skip = name.len().saturating_sub(known.len());
            known.len() <= name.len() && known.iter().zip(name.iter().skip(skip)).all(|(a, b)| same(a, b))
                || known.len() > name.len()
                    && known.iter().rev().zip(name.iter().rev()).all(|(a, b)| same(a, b))
                    && !name.is_empty()
        })
    }

    fn column(&self, name: &str) -> Option<&SourceColumn> {
        self.columns.iter().find(|column| same(&column.name, name))
    }
}

/// The sources of one SELECT, and of those around it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope<'p> {
    pub(crate) sources: &'p [Source],
    pub(crate) outer: Option<&'p Scope<'p>>,
}

impl Scope<'_> {
    /// The column of that name.
    ///
    /// # Errors
    /// 207 and 4104 when there is none, 209 when there are several, 230 when the reader lacks the right.
    pub(crate) fn column(&self, name: &[Ident]) -> Result<Typed, SqlError> {
        let parts: Vec<String> = name.iter().map(|part| part.value.clone()).collect();
        let Some((column, qualifier)) = parts.split_last() else { return Err(SqlError::syntax("")) };
        let mut found = self
            .sources
            .iter()
            .filter(|source| qualifier.is_empty() || source.is_called(qualifier))
            .filter_map(|source| Some((source, source.column(column)?)));
        let first = found.next();
        if first.is_some() && found.next().is_some() {
            return Err(SqlError::new(209, 16, 1, format!("Ambiguous column name '{column}'.")));
        }
        if let Some((source, column)) = first {
            if column.denied {
                let table = source.names.first().map(|name| name.join(".")).unwrap_or_default();
                return Err(SqlError::new(
                    230,
                    14,
                    1,
                    format!(
                        "The SELECT permission was denied on the column '{}' of the object '{table}'.",
                        column.name
                    ),
                ));
            }
            return Ok(Typed {
                sql: format!("{}.{}", source.alias, column.stored),
                of: column.of,
                nullable: column.nullable,
                constant: None,
            });
        }
        match self.outer {
            Some(outer) => outer.column(name),
            None if qualifier.is_empty() => Err(SqlError::invalid_column(column)),
            None => {
                let message =
                    format!("The multi-part identifier \"{}\" could not be bound.", parts.join("."));
                Err(SqlError::new(4104, 16, 1, message))
            }
        }
    }
}
