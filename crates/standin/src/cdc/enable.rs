//! Enabling and disabling, for a database and for a table.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-enable-table-transact-sql>

use rusqlite::{Connection, params};

use super::tables;
use crate::engine::catalog::{Catalog, Instance, Jobs, Table, same};
use crate::engine::database::Database;
use crate::engine::versions::TranId;
use crate::sql::error::SqlError;

/// What `sys.sp_cdc_enable_table` is told.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) instance: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) net_changes: Option<bool>,
    pub(crate) columns: Option<String>,
    pub(crate) index: Option<String>,
    /// Is the change table one that numbers no commands, as it was made before there was such a column?
    pub(crate) without_commands: bool,
}

/// The capture job's and the clean-up job's defaults.
const CAPTURE: (i64, i64, bool, i64) = (500, 10, true, 5);
const CLEANUP: (i64, i64) = (4320, 5000);

/// `sys.sp_cdc_enable_db`
///
/// # Errors
/// 22905 when it is enabled already, 22906 when the schema is in use.
pub(crate) fn database(database: &Database, connection: &Connection, now: i64) -> Result<(), SqlError> {
    let added = database.change_catalog(connection, |catalog| {
        if catalog.cdc_enabled {
            let message = format!("The database '{}' is already enabled for Change Data Capture. Ensure that the correct database context is set and retry the operation.", database.name);
            return Err(SqlError::new(22_905, 16, 1, message));
        }
        if catalog.schema_id("cdc").is_some() {
            let message = format!("The database '{}' cannot be enabled for Change Data Capture because a database user named 'cdc' or a schema named 'cdc' already exists in the current database.", database.name);
            return Err(SqlError::new(22_906, 16, 1, message));
        }
        catalog.cdc_enabled = true;
        let schema = catalog.schemas.iter().map(|(id, _)| *id).max().unwrap_or(4).max(4) + 1;
        catalog.schemas.push((schema, "cdc".to_owned()));
        Ok(tables::add(catalog, now))
    })?;
    for table in &added {
        tables::store(connection, table)?;
    }
    Ok(())
}

/// `sys.sp_cdc_disable_db`: everything of change data capture goes.
///
/// # Errors
/// What SQLite answers.
pub(crate) fn disable_database(database: &Database, connection: &Connection) -> Result<(), SqlError> {
    let (instances, gone) = database.change_catalog(connection, |catalog| {
        let gone: Vec<Table> = catalog.tables.values().filter(|table| table.system).cloned().collect();
        catalog.tables.retain(|_, table| !table.system);
        catalog.schemas.retain(|(_, name)| name != "cdc");
        catalog.cdc_enabled = false;
        catalog.jobs = Jobs { capture: None, cleanup: None };
        Ok((std::mem::take(&mut catalog.instances), gone))
    })?;
    for table in gone {
        connection.execute_batch(&format!("DROP TABLE {}", table.stored()))?;
    }
    for instance in instances {
        connection.execute_batch(&format!("DROP TABLE log{}", instance.change_table))?;
    }
    Ok(())
}

/// `sys.sp_cdc_enable_table`; the caller's transaction is `tran`.
///
/// # Errors
/// 22901 and the 229xx for arguments that do not fit the table.
pub(crate) fn table(
    database: &Database,
    connection: &Connection,
    wanted: &Wanted,
    (tran, now): (TranId, i64),
) -> Result<(), SqlError> {
    let record = database.next_record();
    let (instance, change_table, source) = database.change_catalog(connection, |catalog| {
        let source = source(catalog, &database.name, wanted)?;
        let name = wanted.instance.clone().unwrap_or_else(|| format!("{}_{}", source.schema, source.name));
        if name.chars().count() > 100 {
            let message = format!("The capture instance name '{name}' exceeds the length limit of 100 characters. Specify a name that satisfies the length constraint.");
            return Err(SqlError::new(22_927, 16, 1, message));
        }
        if catalog.instance(&name).is_some() {
            let message = format!("Could not create a capture instance because the capture instance name '{name}' already exists in the current database. Specify an explicit unique name for the parameter @capture_instance.");
            return Err(SqlError::new(22_926, 16, 1, message));
        }
        if catalog.instances_of(source.id).count() >= 2 {
            let message = format!("Could not create capture instance because two capture instances already exist for source table '{}'. A table can have at most two capture instances. If the current tracking options are not appropriate, disable change tracking for the obsolete instance by using sys.sp_cdc_disable_table and retry the operation.", source.full_name());
            return Err(SqlError::new(22_962, 16, 1, message));
        }
        let key = key(&source, wanted.index.as_deref());
        let net_changes = wanted.net_changes.unwrap_or(!key.is_empty());
        if net_changes && key.is_empty() {
            let message = format!("The parameter @supports_net_changes is set to 1, but the source table '{}' does not have a primary key defined and no alternate unique index has been specified.", source.full_name());
            return Err(SqlError::new(22_939, 16, 1, message));
        }
        let columns = captured(&source, wanted.columns.as_deref(), &key, net_changes)?;
        let change_table = tables::add_change_table(catalog, &name, &columns, now);
        if wanted.without_commands {
            tables::hide_commands(catalog, &change_table);
        }
        if let Some(role) = &wanted.role {
            ensure_role(catalog, role);
        }
        let instance = Instance {
            name,
            change_table: change_table.id,
            source: source.id,
            columns,
            key,
            net_changes,
            enabled_record: record,
            role: wanted.role.clone(),
        };
        if catalog.instances.is_empty() {
            catalog.jobs = Jobs { capture: Some(CAPTURE), cleanup: Some(CLEANUP) };
        }
        catalog.instances.push(instance.clone());
        Ok((instance, change_table, source))
    })?;
    tables::store(connection, &change_table)?;
    tables::store_log(connection, &instance)?;
    describe(database, connection, &instance, &source, (tran, now))
}

fn source(catalog: &Catalog, database: &str, wanted: &Wanted) -> Result<Table, SqlError> {
    if !catalog.cdc_enabled {
        let message = format!(
            "The database '{database}' is not enabled for Change Data Capture. Ensure that the correct database context is set and retry the operation. To report on the databases enabled for Change Data Capture, query the is_cdc_enabled column in the sys.databases catalog view."
        );
        return Err(SqlError::new(22_901, 16, 1, message));
    }
    catalog.table(&wanted.schema, &wanted.table).filter(|table| !table.system).cloned().ok_or_else(|| {
        let message = format!("Source table '{}.{}' does not exist in the current database. Ensure that the correct database context is set. Specify a valid schema and table name for the database.", wanted.schema, wanted.table);
        SqlError::new(22_931, 16, 1, message)
    })
}

/// The columns that tell a row: those of the index that was named, or of the primary key.
fn key(source: &Table, index: Option<&str>) -> Vec<String> {
    let index = match index {
        Some(name) => source.indexes.iter().find(|index| index.unique && same(&index.name, name)),
        None => source.primary(),
    };
    let name =
        |id: &i64| source.columns.iter().find(|column| column.id == *id).map(|column| column.name.clone());
    index.map(|index| index.columns.iter().filter_map(name).collect()).unwrap_or_default()
}

type Captured = Vec<(i64, String, crate::sql::datatype::SqlType)>;

fn captured(source: &Table, list: Option<&str>, key: &[String], net: bool) -> Result<Captured, SqlError> {
    let all = || source.columns.iter().map(|column| (column.id, column.name.clone(), column.of)).collect();
    let Some(list) = list else { return Ok(all()) };
    let names: Vec<&str> = list.split(',').map(|name| name.trim().trim_matches(['[', ']', '"'])).collect();
    for name in &names {
        if source.column(name).is_none() {
            let message = format!(
                "The identified column list specified by @captured_column_list contains the column '{name}' that is not part of the source table."
            );
            return Err(SqlError::new(22_938, 16, 1, message));
        }
    }
    if net && let Some(missing) = key.iter().find(|key| !names.iter().any(|name| same(name, key))) {
        let message = format!(
            "The captured column list must include the columns of the unique index; '{missing}' is missing."
        );
        return Err(SqlError::new(22_942, 16, 1, message));
    }
    Ok(source
        .columns
        .iter()
        .filter(|column| names.iter().any(|name| same(name, &column.name)))
        .map(|column| (column.id, column.name.clone(), column.of))
        .collect())
}

/// The gating role is made when there is none of that name.
fn ensure_role(catalog: &mut Catalog, role: &str) {
    if !catalog.roles.iter().any(|known| same(&known.name, role)) {
        let id = catalog
            .users
            .iter()
            .map(|user| user.id)
            .chain(catalog.roles.iter().map(|role| role.id).filter(|id| *id < 16_384))
            .max()
            .unwrap_or(5)
            .max(5)
            + 1;
        catalog.roles.push(crate::engine::principals::Role { id, name: role.to_owned() });
    }
}

/// Writes the rows of the catalog's tables.
fn describe(
    database: &Database,
    connection: &Connection,
    instance: &Instance,
    source: &Table,
    (tran, now): (TranId, i64),
) -> Result<(), SqlError> {
    let catalog = database.catalog();
    let stored = |name: &str| catalog.table("cdc", name).map(Table::stored).unwrap_or_default();
    let index = source.primary().filter(|_| !instance.key.is_empty()).map(|index| index.name.clone());
    connection.execute(
        &format!("INSERT INTO {}(_xmin, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13) VALUES(?1, ?2, 0, ?3, ?4, NULL, NULL, ?5, 0, ?6, ?7, NULL, ?8, 1)", stored("change_tables")),
        params![tran, instance.change_table, instance.source, instance.name, instance.net_changes, instance.role, index, now],
    )?;
    for (ordinal, (id, name, of)) in (1i64..).zip(&instance.columns) {
        connection.execute(
            &format!(
                "INSERT INTO {}(_xmin, c1, c2, c3, c4, c5, c6) VALUES(?1, ?2, ?3, ?4, ?5, ?6, 0)",
                stored("captured_columns")
            ),
            params![tran, instance.change_table, name, id, of.name(), ordinal],
        )?;
    }
    for (ordinal, name) in (1i64..).zip(&instance.key) {
        let id = source.column(name).map_or(0, |column| column.id);
        connection.execute(
            &format!(
                "INSERT INTO {}(_xmin, c1, c2, c3, c4) VALUES(?1, ?2, ?3, ?4, ?5)",
                stored("index_columns")
            ),
            params![tran, instance.change_table, name, ordinal, id],
        )?;
    }
    Ok(())
}

/// `sys.sp_cdc_disable_table`: the instance and its change table go.
///
/// # Errors
/// 22920 when there is no such instance.
pub(crate) fn disable_table(
    database: &Database,
    connection: &Connection,
    (schema, name, instance): (&str, &str, &str),
    tran: TranId,
) -> Result<(), SqlError> {
    let gone = database.change_catalog(connection, |catalog| {
        let source = catalog.table(schema, name).map(|table| table.id);
        let matches = |known: &Instance| {
            Some(known.source) == source && (same(instance, "all") || same(&known.name, instance))
        };
        let gone: Vec<Instance> = catalog.instances.iter().filter(|known| matches(known)).cloned().collect();
        if gone.is_empty() {
            let message = format!(
                "The named capture instance {instance} does not exist for database '{}'.",
                database.name
            );
            return Err(SqlError::new(22_920, 16, 1, message));
        }
        catalog.instances.retain(|known| !gone.iter().any(|one| one.change_table == known.change_table));
        for one in &gone {
            catalog.tables.remove(&one.change_table);
        }
        Ok(gone)
    })?;
    let catalog = database.catalog();
    for one in gone {
        for name in ["change_tables", "captured_columns", "index_columns"] {
            if let Some(table) = catalog.table("cdc", name) {
                connection.execute(
                    &format!("UPDATE {} SET _xmax = ?1 WHERE c1 = ?2 AND _xmax = 0", table.stored()),
                    params![tran, one.change_table],
                )?;
            }
        }
        connection.execute_batch(&format!("DROP TABLE t{0}; DROP TABLE log{0};", one.change_table))?;
    }
    Ok(())
}

/// Notes a change of a captured table's columns.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-ddl-history-transact-sql>
///
/// # Errors
/// What SQLite answers.
pub(crate) fn note_ddl(
    database: &Database,
    connection: &Connection,
    (table, command): (i64, &str),
    (tran, now): (TranId, i64),
) -> Result<(), SqlError> {
    let catalog = database.catalog();
    let Some(history) = catalog.table("cdc", "ddl_history").map(Table::stored) else { return Ok(()) };
    let lsn = crate::engine::lsn::of(database.next_record()).to_vec();
    for instance in catalog.instances_of(table) {
        connection.execute(
            &format!(
                "INSERT INTO {history}(_xmin, c1, c2, c3, c4, c5, c6) VALUES(?1, ?2, ?3, 0, ?4, ?5, ?6)"
            ),
            params![tran, table, instance.change_table, command, lsn, now],
        )?;
    }
    Ok(())
}
