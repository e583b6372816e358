//! Some rows of the table, for the mapping to be tried on.

use change::{Row, SourceError, Value};

use crate::catalog::Table;
use crate::name::quote_ident;
use crate::wire::Connection;

/// Reads up to `limit` rows: the oldest and the newest by key, because a table's habits change over the years.
pub(super) fn read(connection: &mut Connection, table: &Table, limit: u32) -> Result<Vec<Row>, SourceError> {
    // A column that cannot be read as anything has a finding of its own.
    let Ok(kinds) = table.mapped_kinds() else { return Ok(Vec::new()) };
    let context = format!("read rows of {} to try the mapping on", table.quoted());
    let columns: Vec<String> = table.mapped_columns().map(|column| quote_ident(&column.name)).collect();
    let key: Vec<String> = table.key_columns().map(|column| quote_ident(&column.name)).collect();
    let select = |order: &str, rows: u32| {
        let select = format!("SELECT {} FROM {}", columns.join(", "), table.quoted());
        if key.is_empty() {
            return format!("{select} LIMIT {rows}");
        }
        let order: Vec<String> = key.iter().map(|column| format!("{column}{order}")).collect();
        format!(
            "{select} FORCE INDEX ({}) ORDER BY {} LIMIT {rows}",
            quote_ident(&table.key_name),
            order.join(", ")
        )
    };
    let mut rows = Vec::new();
    let old = if key.is_empty() { limit } else { limit / 2 };
    for (order, wanted) in [("", old), (" DESC", limit - old)] {
        if wanted == 0 {
            continue;
        }
        connection.for_each_row(&context, &select(order, wanted), |cells| {
            let cell = |(kind, place)| {
                let kind: &crate::value_text::Kind = kind;
                cells.get(place).map_or(Value::Null, |text| kind.read(text))
            };
            let row = Row::new(kinds.iter().zip(0..).map(cell).collect());
            // A small table's oldest rows are its newest too.
            if !rows.contains(&row) {
                rows.push(row);
            }
            Ok(())
        })?;
    }
    Ok(rows)
}
