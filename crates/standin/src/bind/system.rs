//! The views through which a server tells about itself.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/catalog-views-transact-sql>

use super::Facts;
use crate::engine::catalog::{Table, same};
use crate::sql::datatype::{Length, SqlType};
use crate::sql::error::SqlError;
use crate::sql::stored::store;
use crate::sql::value::Value;

const INT: SqlType = SqlType::Int;
const BIT: SqlType = SqlType::Bit;
const NAME: SqlType = SqlType::NAME;
const MOMENT: SqlType = SqlType::DateTime;

/// A view's columns and rows.
pub(crate) struct View {
    pub(crate) columns: &'static [(&'static str, SqlType)],
    rows: Vec<Vec<Value>>,
}

impl View {
    /// A SELECT that answers the rows.
    pub(crate) fn sql(&self) -> String {
        let names = |of: &dyn Fn(usize) -> String| -> String {
            let list: Vec<String> = (1..=self.columns.len()).map(of).collect();
            list.join(", ")
        };
        if self.rows.is_empty() {
            return format!("SELECT {} WHERE 0", names(&|at| format!("NULL AS c{at}")));
        }
        let row = |row: &Vec<Value>| {
            let cells: Vec<String> = row.iter().map(literal).collect();
            format!("({})", cells.join(", "))
        };
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        format!("SELECT {} FROM (VALUES {})", names(&|at| format!("column{at} AS c{at}")), rows.join(", "))
    }
}

fn literal(value: &Value) -> String {
    match store(value) {
        rusqlite::types::Value::Null => "NULL".to_owned(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Real(number) => format!("{number:?}"),
        rusqlite::types::Value::Text(text) => format!("'{}'", text.replace('\'', "''").replace('\0', "")),
        rusqlite::types::Value::Blob(bytes) => format!("x'{}'", crate::sql::format::hex(&bytes)),
    }
}

fn text(text: &str) -> Value {
    Value::from(text)
}

fn int(number: i64) -> Value {
    Value::Int(number)
}

fn flag(truth: bool) -> Value {
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
    if same(database, "msdb") && same(schema, "dbo") {
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
        "databases" => databases(facts),
        "database_recovery_status" => recovery(facts),
        "schemas" => schemas(facts),
        "tables" => tables(facts),
        "objects" => objects(facts),
        "columns" => columns(facts),
        "types" => types(),
        "indexes" => indexes(facts),
        "index_columns" => index_columns(facts),
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
        ]
    };
    let mut rows = vec![row(("tempdb", 2, None)), row(("model", 3, None)), row(("msdb", 4, None))];
    for database in facts.server.databases() {
        rows.push(row((&database.name, database.id, Some(&database.catalog()))));
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

fn schemas(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[("name", NAME), ("schema_id", INT), ("principal_id", INT)];
    let catalog = facts.database.catalog();
    let mut rows: Vec<_> =
        catalog.schemas.iter().map(|(id, name)| vec![text(name), int(*id), int(1)]).collect();
    rows.push(vec![text("sys"), int(4), int(4)]);
    made(COLUMNS, rows)
}

/// The tables that the reader has any right to.
fn visible(facts: &Facts<'_>) -> Vec<Table> {
    let catalog = facts.database.catalog();
    let any = |table: &&Table| {
        let place = (table.schema.as_str(), table.name.as_str());
        ["SELECT", "INSERT", "UPDATE", "DELETE", "VIEW DEFINITION"]
            .iter()
            .any(|right| facts.principal.may(&catalog, right, place.0, place.1))
            || table
                .columns
                .iter()
                .any(|column| facts.principal.may_column(&catalog, "SELECT", place, Some(&column.name)))
    };
    catalog.tables.values().filter(any).cloned().collect()
}

fn schema_id(facts: &Facts<'_>, name: &str) -> Value {
    facts.database.catalog().schema_id(name).map_or(Value::Null, Value::Int)
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-tables-transact-sql>
fn tables(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("object_id", INT),
        ("schema_id", INT),
        ("type", SqlType::Text { unicode: false, fixed: true, length: Length::Limited(2) }),
        ("create_date", MOMENT),
        ("modify_date", MOMENT),
        ("is_ms_shipped", BIT),
        ("is_tracked_by_cdc", BIT),
        ("temporal_type", SqlType::TinyInt),
    ];
    let catalog = facts.database.catalog();
    let rows = visible(facts).into_iter().map(|table| {
        vec![
            text(&table.name),
            int(table.id),
            schema_id(facts, &table.schema),
            text("U "),
            Value::DateTime(table.created_at),
            Value::DateTime(table.created_at),
            flag(table.system),
            flag(catalog.instances_of(table.id).next().is_some()),
            int(0),
        ]
    });
    made(COLUMNS, rows.collect())
}

fn objects(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("object_id", INT),
        ("schema_id", INT),
        ("type", SqlType::Text { unicode: false, fixed: true, length: Length::Limited(2) }),
        ("type_desc", NAME),
        ("is_ms_shipped", BIT),
    ];
    let rows = visible(facts).into_iter().map(|table| {
        let schema = schema_id(facts, &table.schema);
        vec![text(&table.name), int(table.id), schema, text("U "), text("USER_TABLE"), flag(table.system)]
    });
    made(COLUMNS, rows.collect())
}

/// `system_type_id` of a type.
fn type_id(of: SqlType) -> i64 {
    match of {
        SqlType::Bit => 104,
        SqlType::TinyInt => 48,
        SqlType::SmallInt => 52,
        SqlType::BigInt => 127,
        SqlType::Decimal { .. } => 106,
        SqlType::SmallMoney => 122,
        SqlType::Money => 60,
        SqlType::Real => 59,
        SqlType::Float => 62,
        SqlType::Date => 40,
        SqlType::Time(_) => 41,
        SqlType::SmallDateTime => 58,
        SqlType::DateTime => 61,
        SqlType::DateTime2(_) => 42,
        SqlType::DateTimeOffset(_) => 43,
        SqlType::UniqueIdentifier => 36,
        SqlType::Text { unicode: true, fixed: true, .. } => 239,
        SqlType::Text { unicode: true, fixed: false, .. } => 231,
        SqlType::Text { unicode: false, fixed: true, .. } => 175,
        SqlType::Text { unicode: false, fixed: false, .. } => 167,
        SqlType::Bytes { fixed: true, .. } => 173,
        SqlType::Bytes { fixed: false, .. } => 165,
        SqlType::Variant => 98,
        SqlType::Null | SqlType::Int => 56,
    }
}

/// `max_length`, `precision` and `scale` as `sys.columns` tells them.
fn sizes(of: SqlType) -> (i64, i64, i64) {
    let length = |length: Length, width: i64| match length {
        Length::Limited(length) => i64::from(length) * width,
        Length::Max => -1,
    };
    match of {
        SqlType::Text { unicode, length: limit, .. } => (length(limit, if unicode { 2 } else { 1 }), 0, 0),
        SqlType::Bytes { length: limit, .. } => (length(limit, 1), 0, 0),
        SqlType::Decimal { precision, scale } => {
            let width = match precision {
                0..=9 => 5,
                10..=19 => 9,
                20..=28 => 13,
                _ => 17,
            };
            (width, i64::from(precision), i64::from(scale))
        }
        SqlType::DateTime2(scale) => (8, 20 + i64::from(scale), i64::from(scale)),
        SqlType::DateTimeOffset(scale) => (10, 27 + i64::from(scale), i64::from(scale)),
        SqlType::Time(scale) => (5, 9 + i64::from(scale), i64::from(scale)),
        SqlType::Date => (3, 10, 0),
        SqlType::DateTime => (8, 23, 3),
        SqlType::SmallDateTime => (4, 16, 0),
        SqlType::UniqueIdentifier => (16, 0, 0),
        SqlType::BigInt => (8, 19, 0),
        SqlType::SmallInt => (2, 5, 0),
        SqlType::TinyInt => (1, 3, 0),
        SqlType::Bit => (1, 1, 0),
        SqlType::Money => (8, 19, 4),
        SqlType::SmallMoney => (4, 10, 4),
        SqlType::Float => (8, 53, 0),
        SqlType::Real => (4, 24, 0),
        _ => (4, 10, 0),
    }
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-columns-transact-sql>
fn columns(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("object_id", INT),
        ("name", NAME),
        ("column_id", INT),
        ("system_type_id", SqlType::TinyInt),
        ("user_type_id", INT),
        ("max_length", SqlType::SmallInt),
        ("precision", SqlType::TinyInt),
        ("scale", SqlType::TinyInt),
        ("collation_name", NAME),
        ("is_nullable", BIT),
        ("is_identity", BIT),
        ("is_computed", BIT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for column in &table.columns {
            let (length, precision, scale) = sizes(column.of);
            let collation =
                if column.of.is_text() { text("SQL_Latin1_General_CP1_CI_AS") } else { Value::Null };
            rows.push(vec![
                int(table.id),
                text(&column.name),
                int(column.id),
                int(type_id(column.of)),
                int(type_id(column.of)),
                int(length),
                int(precision),
                int(scale),
                collation,
                flag(column.nullable),
                flag(column.identity.is_some()),
                int(0),
            ]);
        }
    }
    made(COLUMNS, rows)
}

fn types() -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("system_type_id", SqlType::TinyInt),
        ("user_type_id", INT),
        ("schema_id", INT),
        ("is_user_defined", BIT),
    ];
    let names = [
        "bit",
        "tinyint",
        "smallint",
        "int",
        "bigint",
        "decimal",
        "smallmoney",
        "money",
        "real",
        "float",
        "date",
        "time",
        "smalldatetime",
        "datetime",
        "datetime2",
        "datetimeoffset",
        "uniqueidentifier",
        "nchar",
        "nvarchar",
        "char",
        "varchar",
        "binary",
        "varbinary",
    ];
    let rows = names.into_iter().filter_map(|name| {
        let id = type_id(SqlType::parse(name, &[]).ok()?);
        Some(vec![text(name), int(id), int(id), int(4), int(0)])
    });
    made(COLUMNS, rows.collect())
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-indexes-transact-sql>
fn indexes(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("object_id", INT),
        ("name", NAME),
        ("index_id", INT),
        ("type", SqlType::TinyInt),
        ("type_desc", NAME),
        ("is_unique", BIT),
        ("is_primary_key", BIT),
        ("is_unique_constraint", BIT),
        ("is_disabled", BIT),
        ("has_filter", BIT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for index in &table.indexes {
            let clustered = index.id == 1;
            rows.push(vec![
                int(table.id),
                text(&index.name),
                int(index.id),
                int(if clustered { 1 } else { 2 }),
                text(if clustered { "CLUSTERED" } else { "NONCLUSTERED" }),
                flag(index.unique),
                flag(index.primary),
                flag(index.constraint),
                int(0),
                int(0),
            ]);
        }
    }
    made(COLUMNS, rows)
}

fn index_columns(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("object_id", INT),
        ("index_id", INT),
        ("index_column_id", INT),
        ("column_id", INT),
        ("key_ordinal", SqlType::TinyInt),
        ("is_included_column", BIT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for index in &table.indexes {
            for (at, column) in (1..).zip(&index.columns) {
                rows.push(vec![int(table.id), int(index.id), int(at), int(*column), int(at), int(0)]);
            }
        }
    }
    made(COLUMNS, rows)
}

fn key_constraints(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("schema_id", INT),
        ("parent_object_id", INT),
        ("type", SqlType::Text { unicode: false, fixed: true, length: Length::Limited(2) }),
        ("type_desc", NAME),
        ("unique_index_id", INT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for index in table.indexes.iter().filter(|index| index.primary || index.constraint) {
            let (short, long) =
                if index.primary { ("PK", "PRIMARY_KEY_CONSTRAINT") } else { ("UQ", "UNIQUE_CONSTRAINT") };
            let schema = schema_id(facts, &table.schema);
            rows.push(vec![text(&index.name), schema, int(table.id), text(short), text(long), int(index.id)]);
        }
    }
    made(COLUMNS, rows)
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
    ];
    let row = |name: &str, running: bool| {
        let (status, title) = if running { (4, "Running") } else { (1, "Stopped") };
        vec![text(name), int(2), text("Automatic"), int(status), text(title), int(i64::from(running) * 1000)]
    };
    let agent = facts.server.agent_is_on();
    made(COLUMNS, vec![row("SQL Server (MSSQLSERVER)", true), row("SQL Server Agent (MSSQLSERVER)", agent)])
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

fn schema_tables(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("TABLE_CATALOG", NAME),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("TABLE_TYPE", SqlType::varchar(10)),
    ];
    let rows = visible(facts).into_iter().map(|table| {
        vec![text(&facts.database.name), text(&table.schema), text(&table.name), text("BASE TABLE")]
    });
    made(COLUMNS, rows.collect())
}

fn schema_columns(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("TABLE_CATALOG", NAME),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("COLUMN_NAME", NAME),
        ("ORDINAL_POSITION", INT),
        ("IS_NULLABLE", SqlType::varchar(3)),
        ("DATA_TYPE", NAME),
        ("CHARACTER_MAXIMUM_LENGTH", INT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for (at, column) in (1..).zip(&table.columns) {
            let length = match column.of {
                SqlType::Text { length, .. } | SqlType::Bytes { length, .. } => match length {
                    Length::Limited(length) => int(i64::from(length)),
                    Length::Max => int(-1),
                },
                _ => Value::Null,
            };
            rows.push(vec![
                text(&facts.database.name),
                text(&table.schema),
                text(&table.name),
                text(&column.name),
                int(at),
                text(if column.nullable { "YES" } else { "NO" }),
                text(column.of.name()),
                length,
            ]);
        }
    }
    made(COLUMNS, rows)
}
