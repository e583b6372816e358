//! The questions to the catalogue.

use change::nearest::nearest;
use change::{SourceError, TableScope};

use super::{Column, Lookup, MissingColumn, Table};
use crate::client::{Client, Param};
use crate::name::{configured_part, parse_table_name};

/// How many tables are compared with a name that does not exist.
const TABLES_MAX: i64 = 2000;

/// Looks the table up without judging it.
///
/// # Errors
/// When the name cannot be read, or the catalogue cannot.
pub(crate) async fn look_up(client: &mut Client, scope: &TableScope) -> Result<Lookup, SourceError> {
    let (schema, name) = parse_table_name(&scope.table)?;
    let Some(entry) = entry(client, &schema, &name).await? else {
        let similar = similar_tables(client, &schema, &name).await?;
        return Ok(Lookup::Absent { schema, name, similar });
    };
    let columns = columns(client, entry.object_id).await?;
    let find = |wanted: &str| columns.iter().position(|column| column.name == wanted);
    let missing = scope
        .columns
        .iter()
        .filter(|wanted| find(wanted).is_none())
        .map(|wanted| MissingColumn {
            name: wanted.clone(),
            similar: nearest(wanted, columns.iter().map(|column| column.name.as_str())),
        })
        .collect();
    let mapped = scope.columns.iter().filter_map(|wanted| find(wanted)).collect();
    let key = key(client, entry.object_id, &columns).await?;
    let table = Table {
        schema,
        name,
        object_id: entry.object_id,
        history: entry.history,
        tracked: entry.tracked,
        columns,
        mapped,
        key,
    };
    Ok(Lookup::Found { table: Box::new(table), missing })
}

/// What the catalogue has about the table as a whole.
struct Entry {
    object_id: i64,
    tracked: bool,
    history: bool,
}

async fn entry(client: &mut Client, schema: &str, name: &str) -> Result<Option<Entry>, SourceError> {
    let sql = "SELECT s.name, t.name, t.object_id, t.is_tracked_by_cdc, t.temporal_type FROM sys.tables AS t \
               JOIN sys.schemas AS s ON s.schema_id = t.schema_id WHERE s.name = @P1 AND t.name = @P2";
    let params = [Param::from(schema), Param::from(name)];
    for row in client.rows("read the table's entry in the catalogue", sql, &params).await? {
        // The catalogue's own comparison may ignore case.
        if row.text(0)? == schema && row.text(1)? == name {
            return Ok(Some(Entry {
                object_id: row.number(2)?,
                tracked: row.flag(3)?,
                history: row.flag(4)?,
            }));
        }
    }
    Ok(None)
}

/// The columns of a table, in its own order; a type that stands for another is resolved.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) async fn columns(client: &mut Client, object_id: i64) -> Result<Vec<Column>, SourceError> {
    let sql = "SELECT c.name, c.column_id, t.name, c.max_length, c.precision, c.scale, c.collation_name, \
               c.is_nullable, c.is_computed FROM sys.columns AS c \
               LEFT JOIN sys.types AS t ON t.user_type_id = c.system_type_id \
               WHERE c.object_id = @P1 ORDER BY c.column_id";
    let rows =
        client.rows("read the table's columns in the catalogue", sql, &[Param::from(object_id)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Column {
                name: row.text(0)?,
                column_id: row.number(1)?,
                type_name: row.optional_text(2)?.unwrap_or_default().to_lowercase(),
                max_length: row.number(3)?,
                precision: row.number(4)?,
                scale: row.number(5)?,
                collation: row.optional_text(6)?.map(str::to_owned),
                nullable: row.flag(7)?,
                computed: row.flag(8)?,
            })
        })
        .collect()
}

/// The columns of the primary key, else of the narrowest unique index that covers all rows and has no NULL.
async fn key(client: &mut Client, object_id: i64, columns: &[Column]) -> Result<Vec<usize>, SourceError> {
    let sql = "SELECT i.index_id, i.is_primary_key, c.column_id FROM sys.indexes AS i \
               JOIN sys.index_columns AS c ON c.object_id = i.object_id AND c.index_id = i.index_id \
               WHERE i.object_id = @P1 AND i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 \
               AND c.key_ordinal > 0 ORDER BY i.index_id, c.key_ordinal";
    let rows = client.rows("read the table's keys in the catalogue", sql, &[Param::from(object_id)]).await?;
    let mut keys: Vec<(i64, bool, Vec<usize>)> = Vec::new();
    for row in &rows {
        let (index, primary, column) = (row.number(0)?, row.flag(1)?, row.number(2)?);
        if keys.last().is_none_or(|(last, ..)| *last != index) {
            keys.push((index, primary, Vec::new()));
        }
        // A column that we may not see has no place: its index does not tell rows apart for us.
        let place = columns.iter().position(|known| known.column_id == column).unwrap_or(usize::MAX);
        if let Some((.., places)) = keys.last_mut() {
            places.push(place);
        }
    }
    let usable = |places: &[usize]| {
        places.iter().all(|place| columns.get(*place).is_some_and(|column| !column.nullable))
    };
    keys.retain(|(.., places)| usable(places));
    keys.sort_by_key(|(_, primary, places)| (!primary, places.len()));
    Ok(keys.into_iter().next().map(|(.., places)| places).unwrap_or_default())
}

/// About how many rows the tables have together; `None` where the server does not say.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) async fn rows_estimate(client: &mut Client, tables: &[Table]) -> Result<Option<u64>, SourceError> {
    let numbers: Vec<String> = tables.iter().map(|table| table.object_id.to_string()).collect();
    // The table itself is index 0 or 1; other indexes count the same rows again
    // (https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-partitions-transact-sql).
    let sql = format!(
        "SELECT SUM(p.rows) FROM sys.partitions AS p WHERE p.index_id IN (0, 1) AND p.object_id IN ({})",
        numbers.join(", ")
    );
    let rows = client.rows("ask how many rows the tables have", &sql, &[]).await?;
    let sum = rows.first().map(|row| row.optional_number(0)).transpose()?.flatten();
    Ok(sum.and_then(|sum| u64::try_from(sum).ok()))
}

/// Existing names that are close, as the configuration would spell them.
async fn similar_tables(client: &mut Client, schema: &str, name: &str) -> Result<Vec<String>, SourceError> {
    let sql = "SELECT TOP (@P1) s.name, t.name FROM sys.tables AS t \
               JOIN sys.schemas AS s ON s.schema_id = t.schema_id WHERE t.is_ms_shipped = 0 ORDER BY t.name";
    let rows = client.rows("look for tables with a similar name", sql, &[Param::from(TABLES_MAX)]).await?;
    let mut spelt = Vec::with_capacity(rows.len());
    for row in &rows {
        spelt.push(format!("{}.{}", configured_part(&row.text(0)?), configured_part(&row.text(1)?)));
    }
    let wanted = format!("{}.{}", configured_part(schema), configured_part(name));
    Ok(nearest(&wanted, spelt.iter().map(String::as_str)))
}
