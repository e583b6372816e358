//! Noting in the ledger which tables are configured, with which columns and parents.

use std::collections::BTreeMap;
use std::sync::Arc;

use normalizer::{Mirror, Rows, Table, Tables};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Declared, Inner, ShapeId, StoredMirror, StoredShape, tables_json};
use crate::error::{LedgerError, LedgerErrorKind};
use crate::table_id::TableId;

/// Notes the tables and tells what is known by which number.
pub(crate) fn declare(transaction: &Transaction<'_>, tables: Arc<Tables>) -> Result<Declared, LedgerError> {
    let mut ids = Vec::with_capacity(tables.tables().len());
    for table in tables.tables() {
        ids.push(declare_table(transaction, &tables, table)?);
    }
    let mut shapes = Vec::with_capacity(ids.len());
    for (table, id) in tables.tables().iter().zip(&ids) {
        shapes.push(declare_shape(transaction, *id, &table.columns)?);
    }
    let mut mirrors = Vec::with_capacity(tables.mirrors().len());
    for mirror in tables.mirrors() {
        let id = ids.get(usize::from(mirror.table)).copied().unwrap_or_default();
        mirrors.push(declare_mirror(transaction, id, mirror)?);
    }
    forget_unconfigured(transaction, &ids, &mirrors)?;
    let stored_shapes = stored_shapes(transaction, &tables, &ids)?;
    Ok(Declared(Arc::new(Inner { tables, ids, shapes, stored_shapes, mirrors })))
}

fn declare_table(
    transaction: &Transaction<'_>,
    tables: &Tables,
    table: &Table,
) -> Result<TableId, LedgerError> {
    let history = table.mapped.as_ref().is_some_and(|mapped| mapped.mapping.rows() == Rows::History);
    let find = |sql: &str| {
        let found = transaction.query_row(sql, [&table.name], |row| Ok((row.get(0)?, row.get(1)?)));
        found.optional()
    };
    let is_first_mapped = tables.mapped().next().is_some_and(|(_, first, _)| first.name == table.name);
    let mut found: Option<(TableId, bool)> = find("SELECT id, is_history FROM source_table WHERE name = ?1")?;
    if found.is_none() && is_first_mapped {
        found = find("SELECT id, is_history FROM source_table WHERE name IS NULL AND ?1 <> ''")?;
    }
    let Some((id, was_history)) = found else {
        let sql = "INSERT INTO source_table(name, is_history) VALUES(?1, ?2)";
        transaction.execute(sql, params![table.name, history])?;
        return Ok(TableId::from_number(transaction.last_insert_rowid()));
    };
    if was_history != history && table.mapped.is_some() && is_filled(transaction, id)? {
        let word = |history| if history { "history" } else { "requests" };
        let message = format!(
            "the ledger was filled with rows = \"{}\" of table \"{}\", and the configuration says rows = \"{}\"",
            word(was_history),
            table.name,
            word(history)
        );
        return Err(LedgerError::new(LedgerErrorKind::OtherRows, message));
    }
    let history = if table.mapped.is_some() { history } else { was_history };
    let sql = "UPDATE source_table SET name = ?2, is_history = ?3 WHERE id = ?1";
    transaction.execute(sql, params![id, table.name, history])?;
    Ok(id)
}

/// Whether rows of the table were captured or copied.
fn is_filled(connection: &Connection, table: TableId) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS(SELECT 1 FROM source_table WHERE id = ?1 AND is_copied) \
               OR EXISTS(SELECT 1 FROM change WHERE table_id = ?1) OR EXISTS(SELECT 1 FROM captured_block)";
    Ok(connection.query_row(sql, [table], |row| row.get(0))?)
}

fn json(columns: &[String]) -> String {
    serde_json::Value::from(columns.to_vec()).to_string()
}

fn from_json(text: &str) -> Result<Vec<String>, LedgerError> {
    serde_json::from_str(text).map_err(|error| {
        LedgerError::caused_by(LedgerErrorKind::Damaged, "a stored list of columns cannot be read", error)
    })
}

fn declare_shape(
    connection: &Connection,
    table: TableId,
    columns: &[String],
) -> Result<ShapeId, LedgerError> {
    let columns = json(columns);
    let insert = "INSERT INTO shape(table_id, columns) VALUES(?1, ?2) ON CONFLICT DO NOTHING";
    connection.execute(insert, params![table, columns])?;
    let find = "SELECT id FROM shape WHERE table_id = ?1 AND columns = ?2";
    Ok(connection.query_row(find, params![table, columns], |row| row.get(0))?)
}

fn stored_shapes(
    connection: &Connection,
    tables: &Tables,
    ids: &[TableId],
) -> Result<BTreeMap<ShapeId, StoredShape>, LedgerError> {
    let mut statement = connection.prepare("SELECT id, table_id, columns FROM shape")?;
    let mut rows = statement.query([])?;
    let mut shapes = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (id, table_id): (ShapeId, TableId) = (row.get(0)?, row.get(1)?);
        let columns = from_json(&row.get::<_, String>(2)?)?;
        let number = (0..).zip(ids).find(|(_, id)| **id == table_id).map(|(number, _)| number);
        let present = number.and_then(|number| tables.table(number));
        let place = |column: &String| columns.iter().position(|stored| stored == column);
        let places = present.map(|table| table.columns.iter().map(place).collect()).unwrap_or_default();
        shapes.insert(id, StoredShape { table_id, table: number, places });
    }
    Ok(shapes)
}

/// What is stored of a parent stays as long as it holds the columns that are joined now. Otherwise it is forgotten, and
/// the table is copied again.
fn declare_mirror(
    connection: &Connection,
    table: TableId,
    mirror: &Mirror,
) -> Result<StoredMirror, LedgerError> {
    let key_columns = json(&mirror.key_columns);
    let found: Option<(i64, String)> = connection
        .query_row(
            "SELECT id, columns FROM mirror WHERE table_id = ?1 AND key_columns = ?2",
            params![table, key_columns],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let (id, stored) = match found {
        Some((id, columns)) => {
            let stored = from_json(&columns)?;
            let holds_all = mirror.columns.iter().all(|column| stored.contains(column));
            if holds_all {
                (id, stored)
            } else {
                connection.execute(
                    "UPDATE mirror SET columns = ?2 WHERE id = ?1",
                    params![id, json(&mirror.columns)],
                )?;
                connection.execute("DELETE FROM parent WHERE mirror_id = ?1", [id])?;
                must_be_copied(connection, table)?;
                (id, mirror.columns.clone())
            }
        }
        None => {
            let insert = "INSERT INTO mirror(table_id, key_columns, columns) VALUES(?1, ?2, ?3)";
            connection.execute(insert, params![table, key_columns, json(&mirror.columns)])?;
            let id = connection.last_insert_rowid();
            must_be_copied(connection, table)?;
            (id, mirror.columns.clone())
        }
    };
    let in_stored = |column: &String| stored.iter().position(|known| known == column).unwrap_or_default();
    let in_present = |column: &String| mirror.columns.iter().position(|known| known == column);
    let places = mirror.columns.iter().map(in_stored).collect();
    Ok(StoredMirror { id, places, stored: stored.iter().map(in_present).collect() })
}

/// Nobody hears of tables and parents that are not configured any more: when they come back, they are copied anew.
fn forget_unconfigured(
    connection: &Connection,
    ids: &[TableId],
    mirrors: &[StoredMirror],
) -> Result<(), LedgerError> {
    let configured = tables_json(ids);
    let away = "UPDATE source_table SET is_copied = 0 \
                WHERE name IS NOT NULL AND id NOT IN (SELECT value FROM json_each(?1))";
    connection.execute(away, [configured])?;
    let kept: Vec<i64> = mirrors.iter().map(|mirror| mirror.id).collect();
    let kept = serde_json::Value::from(kept).to_string();
    for sql in [
        "UPDATE mirror SET columns = '[]' WHERE id NOT IN (SELECT value FROM json_each(?1))",
        "DELETE FROM parent WHERE mirror_id NOT IN (SELECT value FROM json_each(?1))",
        "DELETE FROM parent_key WHERE mirror_id NOT IN (SELECT value FROM json_each(?1))",
    ] {
        connection.execute(sql, [&kept])?;
    }
    Ok(())
}

fn must_be_copied(connection: &Connection, table: TableId) -> Result<(), LedgerError> {
    connection.execute("UPDATE source_table SET is_copied = 0 WHERE id = ?1", [table])?;
    Ok(())
}
