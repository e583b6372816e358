//! What the server's catalogue says about the configured tables.

use change::{Scope, SourceError, SourceErrorKind, TableScope};

mod collations;
mod column;
mod key;
mod look_up;
mod unique;

pub(crate) use collations::Collations;
pub(crate) use column::Column;
pub(crate) use look_up::look_up;
pub(crate) use unique::{expect_parents, unique_index};

use crate::config::MysqlConfig;
use crate::name::quote_ident;
use crate::value_text::Kind as ValueKind;
use crate::wire::Connection;
use change::nearest::suggestion;

/// What kind of object bears the table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A table, whose changes are logged.
    Ordinary,
    /// A table that keeps its rows' history; a delete is logged as the row's last update
    /// (<https://mariadb.com/docs/server/reference/sql-structure/temporal-tables/system-versioned-tables>).
    Versioned,
    /// Something whose changes the log does not carry, in words.
    Unfit(&'static str),
}

/// The configured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its database, as the server spells it.
    pub(crate) database: String,
    /// Its name, as the server spells it.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// What stores its rows, such as `InnoDB`; empty for a view.
    pub(crate) engine: String,
    /// Whether what stores its rows knows transactions.
    pub(crate) transactional: bool,
    /// All its columns that we may see, in table order.
    pub(crate) columns: Vec<Column>,
    /// The indexes of the mapped columns in [`Table::columns`], in [`TableScope`] order.
    pub(crate) mapped: Vec<usize>,
    /// The indexes of the columns that tell its rows apart, in the order of the key's own index: the primary key,
    /// else a unique index without NULL; none where there is neither.
    pub(crate) key: Vec<usize>,
    /// The name of the key's index; empty where there is none.
    pub(crate) key_name: String,
    /// Rows by the server's own statistics.
    pub(crate) rows_estimate: Option<u64>,
}

impl Table {
    /// Its name as SQL takes it.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.database), quote_ident(&self.name))
    }

    /// The mapped columns, in [`TableScope`] order.
    pub(crate) fn mapped_columns(&self) -> impl Iterator<Item = &Column> {
        self.mapped.iter().filter_map(|index| self.columns.get(*index))
    }

    /// The key's columns, in the order of the key's index.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|index| self.columns.get(*index))
    }

    /// How the texts of the mapped columns are to be read, in [`TableScope`] order.
    ///
    /// # Errors
    /// A schema error that names every mapped column of a type that no record can carry, and why.
    pub(crate) fn mapped_kinds(&self) -> Result<Vec<ValueKind>, SourceError> {
        let mut kinds = Vec::with_capacity(self.mapped.len());
        let mut faults = Vec::new();
        for column in self.mapped_columns() {
            match column.kind() {
                Ok(kind) => kinds.push(kind),
                Err(unfit) => faults.push(format!("column {}: {}", quote_ident(&column.name), unfit.what)),
            }
        }
        if faults.is_empty() {
            return Ok(kinds);
        }
        let context = format!("{} cannot be captured: {}", self.quoted(), faults.join("; "));
        Err(SourceError::new(SourceErrorKind::Schema, context)
            .with_hint("run `bitacora check`: it prints what mends each of them"))
    }
}

/// A mapped column that the table does not have, and existing ones with a similar name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingColumn {
    /// The name as the configuration has it.
    pub(crate) name: String,
    /// What may have been meant.
    pub(crate) similar: Vec<String>,
}

/// What a look into the catalogue found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The table, of any kind, with the mapped columns that it has.
    Found {
        /// The table.
        table: Box<Table>,
        /// The mapped columns that it lacks.
        missing: Vec<MissingColumn>,
    },
    /// No such table, or none that we may see: the catalogue shows only what the user has a right to.
    Absent {
        /// The database looked into.
        database: String,
        /// The name looked for.
        name: String,
        /// Existing names that may have been meant, quoted for the configuration.
        similar: Vec<String>,
    },
}

/// All configured tables, by their numbers, fit for capture as far as the catalogue tells.
///
/// # Errors
/// A schema error for the first that there is not, that is not a table, that lacks mapped columns, or in which a row of
/// another could have two parents; a configuration error for one that is configured twice.
pub(crate) fn tables(
    connection: &mut Connection,
    config: &MysqlConfig,
    scope: &Scope,
) -> Result<Vec<Table>, SourceError> {
    let mut tables: Vec<Table> = Vec::with_capacity(scope.tables.len());
    for one in &scope.tables {
        let table = table(connection, config, one)?;
        if tables.iter().any(|known| known.quoted() == table.quoted()) {
            let context = format!("table {} is configured twice, expected once", table.quoted());
            return Err(SourceError::new(SourceErrorKind::Configuration, context));
        }
        expect_parents(connection, (one, &table))?;
        tables.push(table);
    }
    Ok(tables)
}

/// Rows of all tables by the server's own statistics; `None` where they have none of one.
pub(crate) fn rows_estimate(tables: &[Table]) -> Option<u64> {
    tables
        .iter()
        .map(|table| table.rows_estimate)
        .try_fold(0_u64, |sum, rows| Some(sum.saturating_add(rows?)))
}

/// Names of tables as a message lists them.
pub(crate) fn listed<'a>(tables: impl IntoIterator<Item = &'a Table>) -> String {
    tables.into_iter().map(Table::quoted).collect::<Vec<_>>().join(", ")
}

/// A configured table, fit for capture as far as the catalogue tells.
///
/// # Errors
/// A schema error when there is no such table, it is not a table, or it lacks mapped columns.
pub(crate) fn table(
    connection: &mut Connection,
    config: &MysqlConfig,
    scope: &TableScope,
) -> Result<Table, SourceError> {
    match look_up(connection, config, scope)? {
        Lookup::Absent { database, name, similar } => Err(absent(&database, &name, &similar)),
        Lookup::Found { table, missing } => {
            if let Kind::Unfit(what) = table.kind {
                let context = format!("{} is {what}, expected a table", table.quoted());
                return Err(SourceError::new(SourceErrorKind::Schema, context)
                    .with_hint("name the table that holds the rows under [source] table"));
            }
            if missing.is_empty() {
                return Ok(*table);
            }
            Err(lacking(&table, &missing))
        }
    }
}

fn absent(database: &str, name: &str, similar: &[String]) -> SourceError {
    let context = format!(
        "table {}.{} does not exist, or our user may not see it",
        quote_ident(database),
        quote_ident(name)
    );
    let hint = suggestion(similar).unwrap_or_else(|| {
        "names are taken literally, case included: compare [source] table with the server's own spelling, and \
         run `bitacora setup` for the rights that are missing"
            .to_owned()
    });
    SourceError::new(SourceErrorKind::Schema, context).with_hint(hint)
}

fn lacking(table: &Table, missing: &[MissingColumn]) -> SourceError {
    let names: Vec<String> = missing.iter().map(|column| quote_ident(&column.name)).collect();
    let context =
        format!("table {} has no column {}, or our user may not see it", table.quoted(), names.join(", "));
    let offers: Vec<String> = missing.iter().filter_map(|column| suggestion(&column.similar)).collect();
    let hint = if offers.is_empty() {
        let all: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        format!("the columns that it may see are {}", all.join(", "))
    } else {
        offers.join(" ")
    };
    SourceError::new(SourceErrorKind::Schema, context).with_hint(hint)
}
