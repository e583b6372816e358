//! The statements that make a database ready, and running them.

use change::{Scope, SourceError, Statement, TableScope};

use crate::catalog::{self, Lookup, Table};
use crate::client::Client;
use crate::config::{Mode, SqlServerConfig};
use crate::instance::{self, Instance, Layout};
use crate::jobs::{self, Jobs, Known};
use crate::name::{parse_table_name, quote_ident, quote_literal};
use crate::rights::{self, GATING_ROLE, Place};
use crate::server::{self, Kind, Server};

/// What stands for the password in what is printed.
const PASSWORD: &str = "<password>";

/// Changes are kept for a week, in minutes.
const KEPT_MINUTES: i64 = 7 * 1440;

/// The statements that are still missing, in the order in which they must be run.
///
/// Where the server does not let us in, or does not show us the table, all of them are returned, in a form that finds
/// out by itself what depends on the database.
///
/// # Errors
/// When the table's name cannot be read, or the server lets us in but cannot be asked.
pub(crate) async fn statements(
    config: &SqlServerConfig,
    scope: &Scope,
) -> Result<Vec<Statement>, SourceError> {
    config.validate()?;
    let mut client = match Client::open(config).await {
        Ok(client) => client,
        Err(error) => {
            return everything(
                config,
                scope,
                (place_of(config), &format!("the server could not be asked ({error})")),
            );
        }
    };
    let server = server::ask(&mut client).await?;
    let mut tables = Vec::with_capacity(scope.tables.len());
    for one in &scope.tables {
        match catalog::look_up(&mut client, one).await? {
            Lookup::Found { table, missing } if missing.is_empty() => tables.push((one, *table)),
            // Says why the table will not do.
            _ if server.is_owner || server.is_sysadmin => {
                catalog::table(&mut client, one).await?;
            }
            _ => {
                return everything(config, scope, (server.place(), "our user does not see all tables whole"));
            }
        }
    }
    missing(&mut client, config, &server, &tables).await
}

/// Runs the statements one after the other, with this configuration's user.
///
/// # Errors
/// At the first statement that the server refuses; those before it have taken effect.
pub(crate) async fn apply(config: &SqlServerConfig, statements: &[Statement]) -> Result<(), SourceError> {
    let mut client = Client::open(config).await?;
    for statement in statements {
        client.run("run a statement of the setup", &statement.sql).await?;
    }
    Ok(())
}

async fn missing(
    client: &mut Client,
    config: &SqlServerConfig,
    server: &Server,
    tables: &[(&TableScope, Table)],
) -> Result<Vec<Statement>, SourceError> {
    let mut statements = Vec::new();
    let owner = server.is_owner || server.is_sysadmin;
    for (_, table) in tables {
        let columns: Vec<&str> =
            rights::needed_columns(table).iter().map(|column| column.name.as_str()).collect();
        if !rights::unreadable(client, table).await?.is_empty() {
            statements.push(rights::grant_select(&server.user, table, &columns));
        }
    }
    if matches!(config.mode, Mode::Capture) {
        if !server.captures {
            statements.push(enable_database());
        }
        capture_statements(client, config, (server, tables), &mut statements).await?;
    }
    if !server.allows_snapshot && !server.is_read_only {
        statements.push(allow_snapshots(&quote_ident(&server.database)));
    }
    if !owner {
        let insight = rights::insight(client).await?;
        if !insight.database {
            statements.push(rights::grant_database_insight(&server.user));
        }
        if !insight.server && server.kind != Kind::AzureDatabase {
            statements.push(rights::grant_server_insight(&config.user, &server.database));
        }
    }
    Ok(statements)
}

/// Whatever has to do with the capture of the tables; the database captures, or will when it gets here.
async fn capture_statements(
    client: &mut Client,
    config: &SqlServerConfig,
    (server, tables): (&Server, &[(&TableScope, Table)]),
    statements: &mut Vec<Statement>,
) -> Result<(), SourceError> {
    let hidden = server.captures && !rights::unreadable_captures(client, &[]).await?.is_empty();
    let named = wanted_name(config, tables.len());
    let mut change_tables = Vec::new();
    for (scope, table) in tables {
        let name = named.clone().unwrap_or_else(|| free_name(table, &[]));
        if !server.captures {
            statements.push(capture_table(table, Some(&name)));
            change_tables.push(change_table(&name));
        } else if hidden {
            // Which instances there are cannot be seen: the statement asks for itself.
            let enable = enable_table(table, Some(&name));
            statements.push(capture_unless_captured(&table.quoted(), &enable));
            change_tables.push(change_table(&name));
        } else {
            let instances = instance::list(client, table).await?;
            change_tables.extend(instances.iter().map(|one| one.change_table.clone()));
            if !serves(client, table, scope, &instances).await? {
                let taken: Vec<&str> = instances.iter().map(|one| one.name.as_str()).collect();
                let name = if taken.contains(&name.as_str()) { free_name(table, &taken) } else { name };
                statements.push(capture_table(table, Some(&name)));
                change_tables.push(change_table(&name));
            }
        }
    }
    let owner = server.is_owner || server.is_sysadmin;
    if hidden || !owner && !rights::unreadable_captures(client, &change_tables).await?.is_empty() {
        statements.extend(may_read(&server.user, &change_tables));
    }
    let jobs = if server.captures { jobs::jobs(client).await? } else { Known::Told(Jobs::default()) };
    let kept = jobs.told().and_then(|jobs| jobs.keeps_minutes);
    if !server.captures || kept.is_some_and(|minutes| minutes < KEPT_MINUTES) {
        statements.push(keep_for_a_week());
    }
    // Where nothing captures yet, it cannot be known. An owner of the database could not grant this to itself.
    if !owner && (!server.captures || jobs.told().is_none()) {
        statements.push(rights::grant_jobs(&config.user, &server.place()));
    }
    Ok(())
}

/// The configured name of the instance, which can be that of one table only.
fn wanted_name(config: &SqlServerConfig, tables: usize) -> Option<String> {
    config.capture_instance.clone().filter(|_| tables == 1)
}

/// Whether one of the instances has all that is needed.
async fn serves(
    client: &mut Client,
    table: &Table,
    scope: &TableScope,
    instances: &[Instance],
) -> Result<bool, SourceError> {
    for instance in instances {
        if let Ok(layout) = Layout::look_up(client, table, scope.keys, instance).await?
            && (!scope.keys || !layout.key_kinds.is_empty())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The change table of an instance that does not exist yet.
fn change_table(instance: &str) -> String {
    format!("[cdc].{}", quote_ident(&format!("{instance}_CT")))
}

fn enable_database() -> Statement {
    Statement {
        why: "lets the database capture changes; as a member of sysadmin (on Azure SQL Database: of db_owner; on Amazon \
              RDS: EXEC msdb.dbo.rds_cdc_enable_db with the database's name)"
            .to_owned(),
        sql: "EXEC sys.sp_cdc_enable_db".to_owned(),
    }
}

/// The statement that captures the key and the mapped columns of the table
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-enable-table-transact-sql>).
pub(crate) fn enable_table(table: &Table, instance: Option<&str>) -> String {
    let columns: Vec<String> =
        rights::needed_columns(table).iter().map(|column| quote_ident(&column.name)).collect();
    enable_columns((&table.schema, &table.name), instance, &quote_literal(&columns.join(", ")))
}

/// A name for another capture instance of the table, beside those that are `taken`
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-enable-table-transact-sql>).
pub(crate) fn free_name(table: &Table, taken: &[&str]) -> String {
    let default = format!("{}_{}", table.schema, table.name);
    // A table has two at the most.
    let others = (2..=4).map(|number| format!("{default}_{number}"));
    let is_free = |name: &String| !taken.iter().any(|known| known.eq_ignore_ascii_case(name));
    std::iter::once(default.clone()).chain(others).find(is_free).unwrap_or(default)
}

/// `columns` is an expression.
fn enable_columns((schema, name): (&str, &str), instance: Option<&str>, columns: &str) -> String {
    let named =
        instance.map(|name| format!(", @capture_instance = {}", quote_literal(name))).unwrap_or_default();
    format!(
        "EXEC sys.sp_cdc_enable_table @source_schema = {}, @source_name = {}{named}, @role_name = {}, \
         @supports_net_changes = 0, @captured_column_list = {columns}",
        quote_literal(schema),
        quote_literal(name),
        quote_literal(GATING_ROLE)
    )
}

const WHY_CAPTURE: &str = "captures the key and the mapped columns of the table and nothing else; the role guards the \
                           capture's functions";

fn capture_table(table: &Table, instance: Option<&str>) -> Statement {
    Statement { why: WHY_CAPTURE.to_owned(), sql: enable_table(table, instance) }
}

fn capture_unless_captured(quoted: &str, enable: &str) -> Statement {
    Statement {
        why: WHY_CAPTURE.to_owned(),
        sql: format!(
            "IF NOT EXISTS (SELECT 1 FROM cdc.change_tables WHERE source_object_id = OBJECT_ID({})) {enable}",
            quote_literal(quoted)
        ),
    }
}

fn may_read(user: &str, change_tables: &[String]) -> [Statement; 2] {
    [
        Statement {
            why: "lets the user call the capture's functions, which the role guards".to_owned(),
            sql: format!(
                "IF USER_ID({}) IS NULL CREATE ROLE {role}; ALTER ROLE {role} ADD MEMBER {}",
                quote_literal(GATING_ROLE),
                quote_ident(user),
                role = quote_ident(GATING_ROLE)
            ),
        },
        rights::grant_captures(user, change_tables),
    ]
}

fn keep_for_a_week() -> Statement {
    Statement {
        why: "keeps changes for a week, so that nothing is lost over a long holiday; the setting is the database's"
            .to_owned(),
        sql: format!("EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = {KEPT_MINUTES}"),
    }
}

/// `database` is quoted, or CURRENT.
fn allow_snapshots(database: &str) -> Statement {
    Statement {
        why: "lets copies of the table be read as of one moment, without waiting for writers or holding them up; the \
              server keeps versions of changed rows in tempdb for it"
            .to_owned(),
        sql: format!("ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION ON"),
    }
}

/// The whole set, for a server that could not be asked.
fn everything(
    config: &SqlServerConfig,
    scope: &Scope,
    (place, reason): (Place<'_>, &str),
) -> Result<Vec<Statement>, SourceError> {
    let user = &config.user;
    let mut statements = user_statements(config, place, reason);
    let captures = matches!(config.mode, Mode::Capture);
    if captures {
        let enable = enable_database();
        let off = "IF EXISTS (SELECT 1 FROM sys.databases WHERE name = DB_NAME() AND is_cdc_enabled = 0)";
        statements.push(Statement { why: enable.why, sql: format!("{off} {}", enable.sql) });
    }
    let named = wanted_name(config, scope.tables.len());
    let mut change_tables = Vec::new();
    for one in &scope.tables {
        let (schema, name) = parse_table_name(&one.table)?;
        let table = format!("{}.{}", quote_ident(&schema), quote_ident(&name));
        let instance = named.clone().unwrap_or_else(|| format!("{schema}_{name}"));
        let enable = enable_columns((&schema, &name), Some(&instance), "@columns");
        statements.push(table_block(config, one, &table, captures.then_some(enable.as_str())));
        change_tables.push(change_table(&instance));
    }
    if captures {
        statements.extend(may_read(user, &change_tables));
        statements.push(keep_for_a_week());
        statements.push(rights::grant_jobs(user, &place));
        statements.push(rights::grant_database_insight(user));
        if let Place::Server(database) = place {
            statements.push(rights::grant_server_insight(user, database));
        }
    }
    statements.push(allow_snapshots("CURRENT"));
    Ok(statements)
}

/// Where a server that could not be asked is, as its name tells.
fn place_of(config: &SqlServerConfig) -> Place<'_> {
    if is_azure(&config.host) { Place::Azure } else { Place::Server(&config.database) }
}

/// Whether a server that could not be asked is one of Azure SQL Database, as its name tells. A managed instance has one
/// more part in its name, and is a server like others
/// (<https://learn.microsoft.com/en-us/azure/azure-sql/database/connectivity-architecture>).
fn is_azure(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let clouds = [".database.windows.net", ".database.usgovcloudapi.net", ".database.chinacloudapi.cn"];
    let server = clouds.iter().find_map(|cloud| host.strip_suffix(cloud));
    server.is_some_and(|server| !server.contains('.'))
}

/// Lets us into the database: with a login, or where no other database can be gone to, with a user that has a password.
fn user_statements(config: &SqlServerConfig, place: Place<'_>, reason: &str) -> Vec<Statement> {
    let (user, literal) = (quote_ident(&config.user), quote_literal(&config.user));
    let why = format!(
        "{reason}, so this is the whole set, to be run in database {} by an administrator; put the password of the \
         [source] part in place of {PASSWORD}",
        quote_ident(&config.database)
    );
    let create = |what: &str| format!("CREATE {what} {user} WITH PASSWORD = N'{PASSWORD}'");
    match place {
        Place::Azure => {
            vec![Statement { why, sql: format!("IF USER_ID({literal}) IS NULL {}", create("USER")) }]
        }
        Place::Server(_) => vec![
            Statement { why, sql: format!("IF SUSER_ID({literal}) IS NULL {}", create("LOGIN")) },
            Statement {
                why: "lets the login into the database".to_owned(),
                sql: format!("IF USER_ID({literal}) IS NULL CREATE USER {user} FOR LOGIN {user}"),
            },
        ],
    }
}

/// One statement that adds the key's columns, which only the database knows, to the mapped ones, captures them, and lets
/// the user read them.
fn table_block(config: &SqlServerConfig, scope: &TableScope, table: &str, enable: Option<&str>) -> Statement {
    let quoted: Vec<String> = scope.columns.iter().map(|column| quote_ident(column)).collect();
    let literals: Vec<String> = scope.columns.iter().map(|column| quote_literal(column)).collect();
    let object = quote_literal(table);
    let capture = enable.map_or_else(String::new, |enable| {
        let absent = "IF NOT EXISTS (SELECT 1 FROM cdc.change_tables WHERE source_object_id = OBJECT_ID(";
        format!("{absent}{object}))\n  {enable};\n")
    });
    let sql = format!(
        "DECLARE @columns nvarchar(max) = {mapped}, @column int = 0;
WHILE @column IS NOT NULL
BEGIN
  SELECT @column = MIN(c.column_id) FROM sys.indexes AS i
    JOIN sys.index_columns AS c ON c.object_id = i.object_id AND c.index_id = i.index_id
   WHERE i.object_id = OBJECT_ID({object}) AND i.is_primary_key = 1 AND c.column_id > @column;
  IF @column IS NOT NULL AND COL_NAME(OBJECT_ID({object}), @column) NOT IN ({names})
    SET @columns = @columns + N', ' + QUOTENAME(COL_NAME(OBJECT_ID({object}), @column));
END;
{capture}EXEC (N'GRANT SELECT (' + @columns + {on})",
        mapped = quote_literal(&quoted.join(", ")),
        names = literals.join(", "),
        on = quote_literal(&format!(") ON {table} TO {}", quote_ident(&config.user))),
    );
    let why = match enable {
        Some(_) => format!("{WHY_CAPTURE}; and lets the user read them, for copies, repairs and audits"),
        None => "lets the user read the mapped columns and the key, and nothing else".to_owned(),
    };
    Statement { why, sql }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    fn scope(column: &str) -> TableScope {
        TableScope {
            table: "vu.Solicitudes".to_owned(),
            columns: vec!["numero".to_owned(), column.to_owned()],
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        }
    }

    fn script(config: &SqlServerConfig, column: &str) -> String {
        let place = place_of(config);
        let statements = everything(config, &scope(column).into(), (place, "nobody answers")).unwrap();
        assert!(statements.first().unwrap().why.contains("nobody answers"));
        let all: Vec<String> = statements.into_iter().map(|statement| statement.sql).collect();
        all.join(";\n")
    }

    #[test]
    fn the_whole_set_is_given_when_the_server_cannot_be_asked() {
        let all = script(&config(), "Estado d'hoy]");
        assert!(!all.contains("s3cret"), "the password must not be shown");
        for part in [
            "IF SUSER_ID(N'bitacora') IS NULL CREATE LOGIN [bitacora] WITH PASSWORD = N'<password>'",
            "is_cdc_enabled = 0) EXEC sys.sp_cdc_enable_db",
            "OBJECT_ID(N'[vu].[Solicitudes]')",
            "@columns nvarchar(max) = N'[numero], [Estado d''hoy]]]'",
            "NOT IN (N'numero', N'Estado d''hoy]')",
            "@capture_instance = N'vu_Solicitudes', @role_name = N'bitacora_lector', @supports_net_changes = 0",
            "GRANT SELECT ON [cdc].[vu_Solicitudes_CT] TO [bitacora]",
            "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
    }

    #[test]
    fn on_azure_nothing_is_done_in_another_database() {
        let azure = SqlServerConfig { host: "Oficina.database.windows.net".to_owned(), ..config() };
        let all = script(&azure, "estado");
        assert!(!all.contains("LOGIN") && !all.contains("USE [") && !all.contains("SERVER STATE"), "{all}");
        for part in [
            "IF USER_ID(N'bitacora') IS NULL CREATE USER [bitacora] WITH PASSWORD = N'<password>'",
            "GRANT SELECT ON [cdc].[cdc_jobs] TO [bitacora]",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
    }

    #[test]
    fn a_managed_instance_is_a_server_like_others() {
        for (host, azure) in [
            ("oficina.database.windows.net", true),
            ("oficina.database.usgovcloudapi.net.", true),
            ("oficina.a1b2c3.database.windows.net", false),
            ("oficina.public.a1b2c3.database.windows.net", false),
            ("database.windows.net", false),
            ("10.1.2.3", false),
        ] {
            assert_eq!(is_azure(host), azure, "{host}");
        }
        let managed = SqlServerConfig { host: "oficina.a1b2c3.database.windows.net".to_owned(), ..config() };
        assert!(
            script(&managed, "estado").contains("USE [msdb]; IF USER_ID(N'bitacora') IS NULL CREATE USER")
        );
    }

    #[test]
    fn another_instance_gets_a_name_that_none_has() {
        let table = catalog::tests::table(&[("id", "int")]);
        assert_eq!(free_name(&table, &[]), "dbo_solicitudes");
        assert_eq!(free_name(&table, &["DBO_solicitudes", "dbo_solicitudes_2"]), "dbo_solicitudes_3");
    }

    #[test]
    fn scans_of_the_table_need_no_capture() {
        let mode = Mode::Poll { modified_column: "m".to_owned(), overlap: std::time::Duration::ZERO };
        let all = script(&SqlServerConfig { mode, ..config() }, "estado");
        assert!(!all.contains("cdc"), "{all}");
        assert!(all.contains("GRANT SELECT ("), "{all}");
    }
}
