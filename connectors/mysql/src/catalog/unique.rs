//! Whether the server sees to it that no two rows are alike in some columns.

use change::{SourceError, TableScope};

use super::Table;
use crate::name::{quote_ident, quote_literal};
use crate::wire::Connection;

/// The narrowest unique index of the table that consists of some of these columns only.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) fn unique_index<'a>(
    connection: &mut Connection,
    table: &Table,
    columns: impl Iterator<Item = &'a str>,
) -> Result<Option<String>, SourceError> {
    let columns: Vec<String> = columns.map(quote_literal).collect();
    let sql = format!(
        "SELECT INDEX_NAME FROM information_schema.STATISTICS
          WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND NON_UNIQUE = 0
          GROUP BY INDEX_NAME
         HAVING SUM(CASE WHEN COLUMN_NAME IN ({}) THEN 0 ELSE 1 END) = 0
          ORDER BY COUNT(*) LIMIT 1",
        quote_literal(&table.database),
        quote_literal(&table.name),
        columns.join(", ")
    );
    let found = connection.query("read the table's unique indexes", &sql)?;
    Ok(found.into_iter().flatten().flatten().next())
}

/// Refuses a parent of which a row could have two.
///
/// # Errors
/// A schema error where no unique index keeps parents apart.
pub(crate) fn expect_parents(
    connection: &mut Connection,
    (scope, table): (&TableScope, &Table),
) -> Result<(), SourceError> {
    for key in &scope.parent_keys {
        if unique_index(connection, table, key.iter().map(String::as_str))?.is_none() {
            let columns = key.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
            let mend = format!("ALTER TABLE {} ADD UNIQUE ({columns})", table.quoted());
            return Err(SourceError::parents_alike(&table.quoted(), &columns, &mend));
        }
    }
    Ok(())
}
