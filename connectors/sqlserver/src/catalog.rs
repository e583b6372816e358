//! What the server's catalogue says about the configured tables.

use change::nearest::suggestion;
use change::{Scope, SourceError, SourceErrorKind, TableScope};

mod column;
mod look_up;
mod unique;

pub(crate) use column::Column;
pub(crate) use look_up::{columns, look_up, rows_estimate};
pub(crate) use unique::{expect_parents, numbers_of, unique_index};

use crate::client::Client;
use crate::name::quote_ident;
use crate::value::Kind;

/// A configured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its schema, as the server spells it.
    pub(crate) schema: String,
    /// Its name, as the server spells it.
    pub(crate) name: String,
    /// Its number in the database.
    pub(crate) object_id: i64,
    /// Whether the server keeps its rows' history apart
    /// (<https://learn.microsoft.com/en-us/sql/relational-databases/tables/temporal-tables>).
    pub(crate) history: bool,
    /// Whether any capture instance has it.
    pub(crate) tracked: bool,
    /// All its columns that we may see, in table order.
    pub(crate) columns: Vec<Column>,
    /// The indexes of the mapped columns in [`Table::columns`], in [`TableScope`] order.
    pub(crate) mapped: Vec<usize>,
    /// The indexes of the columns that tell its rows apart, in the order of the key's own index: the primary key,
    /// else a unique index without NULL; none where there is neither.
    pub(crate) key: Vec<usize>,
}

impl Table {
    /// Its name as SQL takes it.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }

    /// The mapped columns, in [`TableScope`] order.
    pub(crate) fn mapped_columns(&self) -> impl Iterator<Item = &Column> {
        self.mapped.iter().filter_map(|index| self.columns.get(*index))
    }

    /// The key's columns, in the order of the key's index.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|index| self.columns.get(*index))
    }

    /// How the cells of the mapped columns are to be read, in [`TableScope`] order.
    ///
    /// # Errors
    /// A schema error that names every mapped column that no record can carry, and why.
    pub(crate) fn mapped_kinds(&self) -> Result<Vec<Kind>, SourceError> {
        let mut kinds = Vec::with_capacity(self.mapped.len());
        let mut faults = Vec::new();
        for column in self.mapped_columns() {
            match column.kind() {
                Ok(kind) => kinds.push(kind),
                Err(unfit) => faults.push(format!("column {}: {unfit}", quote_ident(&column.name))),
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
    /// The table with the mapped columns that it has.
    Found {
        /// The table.
        table: Box<Table>,
        /// The mapped columns that it lacks.
        missing: Vec<MissingColumn>,
    },
    /// No such table, or none that we may see: the catalogue shows only what the user has a right to
    /// (<https://learn.microsoft.com/en-us/sql/relational-databases/security/metadata-visibility-configuration>).
    Absent {
        /// The schema looked into.
        schema: String,
        /// The name looked for.
        name: String,
        /// Existing names that may have been meant, quoted for the configuration.
        similar: Vec<String>,
    },
}

/// All configured tables, by their numbers, fit for capture as far as the catalogue tells.
///
/// # Errors
/// A schema error for the first that there is not, that lacks mapped columns, or in which a row of another could have two
/// parents; a configuration error for one that is configured twice.
pub(crate) async fn tables(client: &mut Client, scope: &Scope) -> Result<Vec<Table>, SourceError> {
    let mut tables: Vec<Table> = Vec::with_capacity(scope.tables.len());
    for one in &scope.tables {
        let table = table(client, one).await?;
        if tables.iter().any(|known| known.object_id == table.object_id) {
            let context = format!("table {} is configured twice, expected once", table.quoted());
            return Err(SourceError::new(SourceErrorKind::Configuration, context));
        }
        expect_parents(client, (one, &table)).await?;
        tables.push(table);
    }
    Ok(tables)
}

/// Names of tables as a message lists them.
pub(crate) fn listed<'a>(tables: impl IntoIterator<Item = &'a Table>) -> String {
    tables.into_iter().map(Table::quoted).collect::<Vec<_>>().join(", ")
}

/// A configured table, fit for capture as far as the catalogue tells.
///
/// # Errors
/// A schema error when there is no such table, or it lacks mapped columns.
pub(crate) async fn table(client: &mut Client, scope: &TableScope) -> Result<Table, SourceError> {
    match look_up(client, scope).await? {
        Lookup::Absent { schema, name, similar } => Err(absent(&schema, &name, &similar)),
        Lookup::Found { table, missing } if missing.is_empty() => Ok(*table),
        Lookup::Found { table, missing } => Err(lacking(&table, &missing)),
    }
}

fn absent(schema: &str, name: &str, similar: &[String]) -> SourceError {
    let context = format!(
        "table {}.{} does not exist, or our user may not see it",
        quote_ident(schema),
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

#[cfg(test)]
pub(crate) mod tests {
    use super::column::tests::column;
    use super::*;

    /// A table with all its columns mapped, and the first as its key.
    pub(crate) fn table(columns: &[(&str, &str)]) -> Table {
        Table {
            schema: "dbo".to_owned(),
            name: "solicitudes".to_owned(),
            object_id: 7,
            history: false,
            tracked: true,
            columns: columns.iter().map(|(name, type_name)| column(name, type_name, 40)).collect(),
            mapped: (0..columns.len()).collect(),
            key: vec![0],
        }
    }

    #[test]
    fn every_unfit_column_is_named_at_once() {
        let table = table(&[("id", "int"), ("foto", "image"), ("forma", "xml")]);
        let error = table.mapped_kinds().unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Schema);
        assert!(error.to_string().contains("[foto]") && error.to_string().contains("[forma]"), "{error}");
    }
}
