//! Whether the server sees to it that no two rows are alike in some columns.

use change::{SourceError, TableScope};

use super::Table;
use crate::client::{Client, Param};
use crate::name::quote_ident;

/// A unique index of the table that covers all rows and consists of some of the columns with these numbers only.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) async fn unique_index(
    client: &mut Client,
    table: &Table,
    columns: &[i64],
) -> Result<Option<String>, SourceError> {
    let sql = "SELECT i.name, c.column_id FROM sys.indexes AS i \
               JOIN sys.index_columns AS c ON c.object_id = i.object_id AND c.index_id = i.index_id \
               WHERE i.object_id = @P1 AND i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 \
               AND c.key_ordinal > 0 ORDER BY i.index_id";
    let rows = client.rows("read the table's unique indexes", sql, &[Param::from(table.object_id)]).await?;
    let mut indexes: Vec<(String, bool)> = Vec::new();
    for row in &rows {
        let (name, column) = (row.optional_text(0)?.unwrap_or_default().to_owned(), row.number(1)?);
        let belongs = columns.contains(&column);
        match indexes.last_mut().filter(|(last, _)| *last == name) {
            Some((_, all)) => *all &= belongs,
            None => indexes.push((name, belongs)),
        }
    }
    Ok(indexes.into_iter().find(|(_, all)| *all).map(|(name, _)| name))
}

/// Refuses a parent of which a row could have two.
///
/// # Errors
/// A schema error where no unique index keeps parents apart.
pub(crate) async fn expect_parents(
    client: &mut Client,
    (scope, table): (&TableScope, &Table),
) -> Result<(), SourceError> {
    for key in &scope.parent_keys {
        if unique_index(client, table, &numbers_of(table, key)).await?.is_none() {
            let columns = key.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
            let mend = format!("ALTER TABLE {} ADD UNIQUE ({columns})", table.quoted());
            return Err(SourceError::parents_alike(&table.quoted(), &columns, &mend));
        }
    }
    Ok(())
}

/// The server's numbers of these columns.
pub(crate) fn numbers_of(table: &Table, columns: &[String]) -> Vec<i64> {
    let number = |name: &String| {
        table.columns.iter().find(|column| column.name == *name).map(|column| column.column_id)
    };
    columns.iter().filter_map(number).collect()
}
