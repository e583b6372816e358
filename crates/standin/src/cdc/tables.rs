//! The tables of the schema `cdc`, and the log that fills them.

use rusqlite::Connection;

use crate::engine::catalog::{Catalog, Column, Index, Instance, Table};
use crate::sql::datatype::{Length, SqlType};
use crate::sql::error::SqlError;

const INT: SqlType = SqlType::Int;
const NAME: SqlType = SqlType::NAME;
const LSN: SqlType = SqlType::LSN;

/// Name and columns of a table; columns are numbered from 1 in this order.
type Layout = (&'static str, &'static [(&'static str, SqlType)]);

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/change-data-capture-tables-transact-sql>
const LAYOUTS: &[Layout] = &[
    (
        "change_tables",
        &[
            ("object_id", INT),
            ("version", INT),
            ("source_object_id", INT),
            ("capture_instance", NAME),
            ("start_lsn", LSN),
            ("end_lsn", LSN),
            ("supports_net_changes", SqlType::Bit),
            ("has_drop_pending", SqlType::Bit),
            ("role_name", NAME),
            ("index_name", NAME),
            ("filegroup_name", NAME),
            ("create_date", SqlType::DateTime),
            ("partition_switch", SqlType::Bit),
        ],
    ),
    (
        "captured_columns",
        &[
            ("object_id", INT),
            ("column_name", NAME),
            ("column_id", INT),
            ("column_type", NAME),
            ("column_ordinal", INT),
            ("is_computed", SqlType::Bit),
        ],
    ),
    (
        "lsn_time_mapping",
        &[
            ("start_lsn", LSN),
            ("tran_begin_time", SqlType::DateTime),
            ("tran_end_time", SqlType::DateTime),
            ("tran_id", SqlType::varbinary(10)),
            ("tran_begin_lsn", LSN),
        ],
    ),
    (
        "ddl_history",
        &[
            ("source_object_id", INT),
            ("object_id", INT),
            ("required_column_update", SqlType::Bit),
            ("ddl_command", SqlType::Text { unicode: true, fixed: false, length: Length::Max }),
            ("ddl_lsn", LSN),
            ("ddl_time", SqlType::DateTime),
        ],
    ),
    (
        "index_columns",
        &[("object_id", INT), ("column_name", NAME), ("index_ordinal", SqlType::TinyInt), ("column_id", INT)],
    ),
];

/// Adds the tables that a database has once it is enabled.
pub(crate) fn add(catalog: &mut Catalog, created_at: i64) -> Vec<Table> {
    let mut added = Vec::new();
    for (name, columns) in LAYOUTS {
        let columns = columns.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect();
        added.push(system_table(catalog, name, columns, created_at));
    }
    added
}

fn system_table(
    catalog: &mut Catalog,
    name: &str,
    columns: Vec<(String, SqlType)>,
    created_at: i64,
) -> Table {
    let column = |(id, (name, of)): (i64, (String, SqlType))| Column {
        id,
        name,
        of,
        nullable: true,
        identity: None,
        default: None,
    };
    let table = Table {
        id: catalog.new_object(),
        schema: "cdc".to_owned(),
        name: name.to_owned(),
        columns: (1..).zip(columns).map(column).collect(),
        indexes: Vec::new(),
        system: true,
        created_at,
    };
    catalog.tables.insert(table.id, table.clone());
    table
}

/// Adds the change table of an instance: what tells the change, the captured columns, and the command last.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql>
pub(crate) fn add_change_table(
    catalog: &mut Catalog,
    instance: &str,
    captured: &[(i64, String, SqlType)],
    created_at: i64,
) -> Table {
    let mut columns: Vec<(String, SqlType)> = [
        ("__$start_lsn", LSN),
        ("__$end_lsn", LSN),
        ("__$seqval", LSN),
        ("__$operation", INT),
        ("__$update_mask", SqlType::varbinary(128)),
    ]
    .map(|(name, of)| (name.to_owned(), of))
    .into();
    columns.extend(captured.iter().map(|(_, name, of)| (name.clone(), *of)));
    columns.push(("__$command_id".to_owned(), INT));
    let mut table = system_table(catalog, &format!("{instance}_CT"), columns, created_at);
    let last = i64::try_from(table.columns.len()).unwrap_or(0);
    table.indexes.push(Index {
        id: 1,
        name: format!("{instance}_CT_clustered_idx"),
        unique: false,
        primary: false,
        constraint: false,
        columns: vec![1, last, 3, 4],
    });
    for column in table.columns.iter_mut().filter(|column| matches!(column.id, 1 | 3 | 4)) {
        column.nullable = false;
    }
    catalog.tables.insert(table.id, table.clone());
    table
}

/// Takes the number of the command out of a change table's definition; it is stored all the same.
pub(crate) fn hide_commands(catalog: &mut Catalog, change_table: &Table) {
    let Some(table) = catalog.tables.get_mut(&change_table.id) else { return };
    let Some(command) = table.columns.pop() else { return };
    for index in &mut table.indexes {
        index.columns.retain(|column| *column != command.id);
    }
}

/// Makes the tables of SQLite for a table of the server.
///
/// # Errors
/// What SQLite answers.
pub(crate) fn store(connection: &Connection, table: &Table) -> Result<(), SqlError> {
    let stored = table.stored();
    let columns: Vec<String> = table.columns.iter().map(stored_column).collect();
    connection.execute_batch(&format!(
        "CREATE TABLE {stored}(_rid INTEGER PRIMARY KEY, _xmin INTEGER NOT NULL, _xmax INTEGER NOT NULL DEFAULT 0, {})",
        columns.join(", ")
    ))?;
    for index in &table.indexes {
        store_index(connection, table, index)?;
    }
    Ok(())
}

/// A column as SQLite declares it: without a type, so that nothing is converted.
pub(crate) fn stored_column(column: &Column) -> String {
    let collation = if column.of.is_text() { " COLLATE MSCI" } else { "" };
    format!("c{}{collation}", column.id)
}

/// Makes SQLite's index.
///
/// # Errors
/// What SQLite answers.
pub(crate) fn store_index(connection: &Connection, table: &Table, index: &Index) -> Result<(), SqlError> {
    let columns: Vec<String> = index.columns.iter().map(|id| format!("c{id}")).collect();
    let sql =
        format!("CREATE INDEX i{}_{} ON {}({})", table.id, index.id, table.stored(), columns.join(", "));
    Ok(connection.execute_batch(&sql)?)
}

/// Makes the log of an instance: what its transactions did and the capture has not read yet.
///
/// # Errors
/// What SQLite answers.
pub(crate) fn store_log(connection: &Connection, instance: &Instance) -> Result<(), SqlError> {
    let log = format!("log{}", instance.change_table);
    let columns: Vec<String> = (1..=instance.columns.len()).map(|at| format!("v{at}")).collect();
    Ok(connection.execute_batch(&format!(
        "CREATE TABLE {log}(n INTEGER PRIMARY KEY, tran INTEGER, op INTEGER, seq INTEGER, mask BLOB, cmd INTEGER, {});
         CREATE INDEX {log}_tran ON {log}(tran);",
        columns.join(", ")
    ))?)
}
