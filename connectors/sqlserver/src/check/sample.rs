//! Some rows of a table, for the mapping to be tried on.

use change::{Row, SourceError, Value};

use crate::catalog::Table;
use crate::client::{Client, Param};
use crate::name::quote_ident;

/// Reads up to `limit` rows: the oldest and the newest by key, because a table's habits change over the years.
pub(super) async fn read(client: &mut Client, table: &Table, limit: u32) -> Result<Vec<Row>, SourceError> {
    // A column that cannot be read as anything has a finding of its own.
    let Ok(kinds) = table.mapped_kinds() else { return Ok(Vec::new()) };
    let columns: Vec<String> = table.mapped_columns().map(|column| column.expression()).collect();
    let key: Vec<String> = table.key_columns().map(|column| quote_ident(&column.name)).collect();
    let old = if key.is_empty() { limit } else { limit / 2 };
    let mut rows: Vec<Row> = Vec::new();
    for (order, wanted) in [("", old), (" DESC", limit - old)] {
        if wanted == 0 {
            continue;
        }
        let mut sql = format!("SELECT TOP (@P1) {} FROM {}", columns.join(", "), table.quoted());
        if !key.is_empty() {
            let order: Vec<String> = key.iter().map(|column| format!("{column}{order}")).collect();
            sql.push_str(&format!(" ORDER BY {}", order.join(", ")));
        }
        let context = "read rows of the table to try the mapping on";
        for answer in client.rows(context, &sql, &[Param::Int(i64::from(wanted))]).await? {
            let cell = |(kind, place): (&crate::value::Kind, usize)| {
                answer.cell(place).map_or(Value::Null, |cell| kind.read(cell))
            };
            let row = Row::new(kinds.iter().zip(0..).map(cell).collect());
            // A small table's oldest rows are its newest too.
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    Ok(rows)
}
