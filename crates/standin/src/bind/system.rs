//! The views through which a server tells about itself.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/catalog-views-transact-sql>

use super::Facts;
use super::objects::{
    columns, index_columns, indexes, key_constraints, objects, partitions, schema_columns, schema_tables,
    schemas, tables, types,
};
use crate::engine::catalog::same;
use crate::engine::database::Database;
use crate::engine::principals::Principal;
use crate::sql::datatype::{Length, SqlType};
use crate::sql::error::SqlError;
use crate::sql::stored::store;
use crate::sql::value::Value;

pub(super) const INT: SqlType = SqlType::Int;
pub(super) const BIT: SqlType = SqlType::Bit;
pub(super) const NAME: SqlType = SqlType::NAME;
pub(super) const MOMENT: SqlType = SqlType::DateTime;

/// A view's columns and rows.
pub(crate) struct View {
    pub(crate) columns: &'static [(&'static str, SqlType)],
    rows: Vec<Vec<Value>>,
}

impl View {
    /// A SELECT that answers the rows.
    pub(crate) fn sql(&self) -> String {
        let names: Vec<String> = (1..=self.columns.len()).map(|at| format!("c{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        rows_sql(&names, self.rows.iter().map(|row| row.iter().map(|value| cell(&store(value))).collect()))
    }
}

/// A SELECT that answers these rows, each of as many texts of SQLite as there are `names`.
pub(super) fn rows_sql(names: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<String> = rows.map(|cells| format!("({})", cells.join(", "))).collect();
    let list = |of: &dyn Fn(usize, &str) -> String| -> String {
        let list: Vec<String> = (1..).zip(names).map(|(at, name)| of(at, name)).collect();
        list.join(", ")
    };
    if rows.is_empty() {
        return format!("SELECT {} WHERE 0", list(&|_, name| format!("NULL AS {name}")));
    }
    let columns = list(&|at, name| format!("column{at} AS {name}"));
    format!("SELECT {columns} FROM (VALUES {})", rows.join(", "))
}

/// SQLite's text for a stored value.
pub(super) fn cell(stored: &rusqlite::types::Value) -> String {
    match stored {
        rusqlite::types::Value::Null => "NULL".to_owned(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Real(number) => format!("{number:?}"),
        rusqlite::types::Value::Text(text) => format!("'{}'", text.replace('\'', "''").replace('\0', "")),
        rusqlite::types::Value::Blob(bytes) => format!("x'{}'", crate::sql::format::hex(bytes)),
    }
}

pub(super) fn text(text: &str) -> Value {
    Value::from(text)
}

pub(super) fn int(number: i64) -> Value {
    Value::Int(number)
}

pub(super) fn flag(truth: bool) -> Value {
    Value::from(truth)
}

/// The view of that name; `None` when there is none.
///
/// # Errors
/// 297 and 300 for views that the reader has no right to; 208 for a view that is not modelled.
pub(crate) fn view(
    facts: &Facts<'_>,
    database: &str,
    schema: &str,
    name: &str,
) -> Result<Option<View>, SqlError> {
    let name = name.to_lowercase();
    let azure = facts.server.is_azure();
    if azure && same(schema, "cdc") && name == "cdc_jobs" {
        return may_select((facts.database, facts.principal), (schema, &name)).map(|()| Some(jobs(facts)));
    }
    if same(database, "msdb") && same(schema, "dbo") {
        if azure {
            let message = format!(
                "Reference to database and/or server name in 'msdb.dbo.{name}' is not supported in this version of SQL Server."
            );
            return Err(SqlError::new(40_515, 15, 1, message));
        }
        let msdb = facts.server.database(database).ok_or_else(|| SqlError::invalid_object(database))?;
        let reader = crate::session::principal(&msdb, facts.login, facts.principal.sysadmin)?;
        may_select((&msdb, &reader), (schema, &name))?;
        return match name.as_str() {
            "cdc_jobs" => Ok(Some(jobs(facts))),
            "restorehistory" => Ok(Some(restores(facts))),
            _ => Err(SqlError::invalid_object(format!("msdb.dbo.{name}"))),
        };
    }
    if same(schema, "information_schema") {
        return match name.as_str() {
            "tables" => Ok(Some(schema_tables(facts))),
            "columns" => Ok(Some(schema_columns(facts))),
            _ => Err(SqlError::invalid_object(format!("INFORMATION_SCHEMA.{name}"))),
        };
    }
    if !same(schema, "sys") {
        return Ok(None);
    }
    Ok(Some(match name.as_str() {
        "dm_server_services" | "database_recovery_status" if azure => {
            return Err(SqlError::invalid_object(format!("sys.{name}")));
        }
        "databases" => databases(facts),
        "database_recovery_status" => recovery(facts),
        "schemas" => schemas(facts),
        "tables" => tables(facts),
        "objects" => objects(facts),
        "columns" => columns(facts),
        "types" => types(),
        "indexes" => indexes(facts),
        "index_columns" => index_columns(facts),
        "partitions" => partitions(facts)?,
        "key_constraints" => key_constraints(facts),
        "database_principals" => principals(facts),
        "database_role_members" => members(facts),
        "dm_server_services" => {
            server_right(facts, "VIEW SERVER STATE")?;
            services(facts)
        }
        "dm_cdc_log_scan_sessions" => {
            database_right(facts)?;
            facts.server.scan_sessions(&facts.database.name)
        }
        "dm_cdc_errors" => {
            database_right(facts)?;
            facts.server.capture_errors(&facts.database.name)
        }
        _ => return Err(SqlError::invalid_object(format!("sys.{name}"))),
    }))
}

pub(crate) const fn made(columns: &'static [(&'static str, SqlType)], rows: Vec<Vec<Value>>) -> View {
    View { columns, rows }
}

fn may_select(
    (database, principal): (&Database, &Principal),
    (schema, name): (&str, &str),
) -> Result<(), SqlError> {
    if principal.may(&database.catalog(), "SELECT", schema, name) {
        return Ok(());
    }
    Err(SqlError::denied("SELECT", name, &database.name, schema))
}

fn server_right(facts: &Facts<'_>, permission: &str) -> Result<(), SqlError> {
    if facts.may_server(permission) {
        return Ok(());
    }
    Err(SqlError::new(
        300,
        14,
        1,
        format!("{permission} permission was denied on object 'server', database 'master'."),
    ))
}

fn database_right(facts: &Facts<'_>) -> Result<(), SqlError> {
    let catalog = facts.database.catalog();
    let named = ["VIEW DATABASE STATE", "VIEW DATABASE PERFORMANCE STATE"];
    if named.iter().any(|right| facts.principal.may_database(&catalog, right))
        || facts.may_server("VIEW SERVER STATE")
    {
        return Ok(());
    }
    let message = format!("VIEW DATABASE STATE permission denied in database '{}'.", facts.database.name);
    Err(SqlError::new(262, 14, 1, message))
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-databases-transact-sql>
fn databases(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("database_id", INT),
        ("create_date", MOMENT),
        ("compatibility_level", SqlType::TinyInt),
        ("collation_name", NAME),
        ("is_read_only", BIT),
        ("state", SqlType::TinyInt),
        ("state_desc", NAME),
        ("snapshot_isolation_state", SqlType::TinyInt),
        ("snapshot_isolation_state_desc", NAME),
        ("is_read_committed_snapshot_on", BIT),
        ("recovery_model", SqlType::TinyInt),
        ("recovery_model_desc", NAME),
        ("service_broker_guid", SqlType::UniqueIdentifier),
        ("is_cdc_enabled", BIT),
        ("delayed_durability", INT),
    ];
    let row = |(name, id, catalog): (&str, i64, Option<&crate::engine::catalog::Catalog>)| {
        let snapshot = catalog.is_none_or(|catalog| catalog.snapshot_isolation);
        vec![
            text(name),
            int(id),
            Value::DateTime(catalog.map_or(0, |catalog| catalog.created_at)),
            int(160),
            text("SQL_Latin1_General_CP1_CI_AS"),
            int(0),
            int(0),
            text("ONLINE"),
            int(i64::from(snapshot)),
            text(if snapshot { "ON" } else { "OFF" }),
            flag(catalog.is_some_and(|catalog| catalog.read_committed_snapshot)),
            int(1),
            text("FULL"),
            Value::Guid(catalog.map_or([0; 16], |catalog| catalog.broker)),
            flag(catalog.is_some_and(|catalog| catalog.cdc_enabled)),
            int(0),
        ]
    };
    let mut rows = vec![row(("tempdb", 2, None)), row(("model", 3, None))];
    // On Azure this view counts the databases of all servers, and DB_ID() does not.
    let more = if facts.server.is_azure() { 100 } else { 0 };
    for database in facts.server.databases() {
        rows.push(row((&database.name, database.id + more, Some(&database.catalog()))));
    }
    made(COLUMNS, rows)
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-database-recovery-status-transact-sql>
fn recovery(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("database_id", INT),
        ("database_guid", SqlType::UniqueIdentifier),
        ("family_guid", SqlType::UniqueIdentifier),
        ("recovery_fork_guid", SqlType::UniqueIdentifier),
    ];
    let rows = facts.server.databases().into_iter().map(|database| {
        let catalog = database.catalog();
        vec![
            int(database.id),
            Value::Guid(catalog.broker),
            Value::Guid(catalog.broker),
            Value::Guid(catalog.recovery_fork),
        ]
    });
    made(COLUMNS, rows.collect())
}

/// The one row of `sys.dm_db_log_stats` for the present database.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-dynamic-management-views/sys-dm-db-log-stats-transact-sql>
///
/// # Errors
/// 300 without the right to see it: of the server, although it tells of one database; on Azure of the database.
pub(crate) fn log_stats(facts: &Facts<'_>) -> Result<View, SqlError> {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("database_id", INT),
        ("recovery_model", SqlType::nvarchar(60)),
        ("log_min_lsn", SqlType::nvarchar(24)),
        ("log_end_lsn", SqlType::nvarchar(24)),
    ];
    if facts.server.is_azure() {
        database_right(facts)?;
    } else if !facts.may_server("VIEW SERVER PERFORMANCE STATE") {
        server_right(facts, "VIEW SERVER STATE")?;
    }
    let lsn = |record: i64| {
        let digits = crate::sql::format::hex(&crate::engine::lsn::of(record)).to_lowercase();
        let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
        Value::Text(format!("{}:{}:{}", part(0, 8), part(8, 16), part(16, 20)))
    };
    let end = facts.database.last_record();
    Ok(made(COLUMNS, vec![vec![int(facts.database.id), text("FULL"), lsn(0), lsn(end)]]))
}

fn principals(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("principal_id", INT),
        ("type", SqlType::Text { unicode: false, fixed: true, length: Length::Limited(1) }),
        ("type_desc", NAME),
    ];
    let catalog = facts.database.catalog();
    let users =
        catalog.users.iter().map(|user| vec![text(&user.name), int(user.id), text("S"), text("SQL_USER")]);
    let roles = catalog
        .roles
        .iter()
        .map(|role| vec![text(&role.name), int(role.id), text("R"), text("DATABASE_ROLE")]);
    made(COLUMNS, users.chain(roles).collect())
}

fn members(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[("role_principal_id", INT), ("member_principal_id", INT)];
    let catalog = facts.database.catalog();
    let mut rows = Vec::new();
    for user in &catalog.users {
        for role in catalog.roles.iter().filter(|role| user.roles.iter().any(|name| same(name, &role.name))) {
            rows.push(vec![int(role.id), int(user.id)]);
        }
    }
    made(COLUMNS, rows)
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-dynamic-management-views/sys-dm-server-services-transact-sql>
fn services(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("servicename", SqlType::nvarchar(256)),
        ("startup_type", INT),
        ("startup_type_desc", SqlType::nvarchar(256)),
        ("status", INT),
        ("status_desc", SqlType::nvarchar(256)),
        ("process_id", INT),
        ("filename", SqlType::nvarchar(256)),
    ];
    let row = |name: &str, running: bool, file: &str| {
        let (status, title) = if running { (4, "Running") } else { (1, "Stopped") };
        let process = int(i64::from(running) * 1000);
        vec![text(name), int(2), text("Automatic"), int(status), text(title), process, text(file)]
    };
    let agent = row(
        &facts.server.options.agent_service,
        facts.server.agent_is_on(),
        r#""C:\MSSQL\Binn\SQLAGENT.EXE" -i MSSQLSERVER"#,
    );
    let server = row("SQL Server (MSSQLSERVER)", true, r#""C:\MSSQL\Binn\sqlservr.exe" -sMSSQLSERVER"#);
    made(COLUMNS, vec![server, agent])
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/dbo-cdc-jobs-transact-sql>
fn jobs(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("database_id", INT),
        ("job_type", SqlType::nvarchar(20)),
        ("job_id", SqlType::UniqueIdentifier),
        ("maxtrans", INT),
        ("maxscans", INT),
        ("continuous", BIT),
        ("pollinginterval", SqlType::BigInt),
        ("retention", SqlType::BigInt),
        ("threshold", SqlType::BigInt),
    ];
    let mut rows = Vec::new();
    for database in facts.server.databases() {
        let catalog = database.catalog();
        let job = |kind: &str, number: u8, settings: [i64; 6]| {
            let mut id = catalog.broker;
            id.iter_mut().for_each(|byte| *byte ^= number);
            let mut row = vec![int(database.id), text(kind), Value::Guid(id)];
            row.extend(settings.map(Value::Int));
            row
        };
        if let Some((transactions, scans, continuous, interval)) = catalog.jobs.capture {
            rows.push(job("capture", 1, [transactions, scans, i64::from(continuous), interval, 0, 0]));
        }
        if let Some((retention, threshold)) = catalog.jobs.cleanup {
            rows.push(job("cleanup", 2, [0, 0, 0, 0, retention, threshold]));
        }
    }
    made(COLUMNS, rows)
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/restorehistory-transact-sql>
fn restores(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("restore_history_id", INT),
        ("restore_date", MOMENT),
        ("destination_database_name", NAME),
        ("restore_type", SqlType::Text { unicode: false, fixed: true, length: Length::Limited(1) }),
    ];
    let rows = (1..)
        .zip(facts.server.restores())
        .map(|(number, (at, name))| vec![int(number), Value::DateTime(at), text(&name), text("D")]);
    made(COLUMNS, rows.collect())
}
