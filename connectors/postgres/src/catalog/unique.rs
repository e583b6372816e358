//! Whether the server sees to it that no two rows are alike in some columns.

use change::{SourceError, TableScope};

use super::Table;
use crate::name::quote_ident;
use crate::session::{Session, sql_error};

/// The narrowest unique index of the table that covers all rows and consists of some of these columns only.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) async fn unique_index<'a>(
    session: &Session,
    table: &Table,
    columns: impl Iterator<Item = &'a str>,
) -> Result<Option<String>, SourceError> {
    let context = "read the table's unique indexes";
    let number =
        |name| table.all_columns.iter().find(|column| column.name == name).map(|column| column.attnum);
    let numbers: Vec<i16> = columns.filter_map(number).collect();
    let sql = "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                  AND (SELECT bool_and(k.attnum = ANY ($2)) FROM unnest(i.indkey::int2[]) WITH ORDINALITY
                         AS k(attnum, place) WHERE k.place <= i.indnkeyatts)
                ORDER BY i.indnkeyatts LIMIT 1";
    let rows = session.query(context, sql, &[&table.oid, &numbers]).await?;
    rows.first().map(|row| row.try_get(0).map_err(|error| sql_error(context, error))).transpose()
}

/// Refuses a parent of which a row could have two.
///
/// # Errors
/// A schema error where no unique index keeps parents apart.
pub(crate) async fn expect_parents(
    session: &Session,
    (scope, table): (&TableScope, &Table),
) -> Result<(), SourceError> {
    for key in &scope.parent_keys {
        if unique_index(session, table, key.iter().map(String::as_str)).await?.is_none() {
            let columns = key.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
            let mend = format!("CREATE UNIQUE INDEX CONCURRENTLY ON {} ({columns})", table.quoted());
            return Err(SourceError::parents_alike(&table.quoted(), &columns, &mend));
        }
    }
    Ok(())
}
