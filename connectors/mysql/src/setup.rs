//! The statements that make a database ready, and running them.

use std::collections::BTreeSet;

use change::{Scope, SourceError, Statement, TableScope};

use crate::catalog::{self, Kind, Lookup};
use crate::config::MysqlConfig;
use crate::name::{parse_table_name, quote_ident, quote_literal};
use crate::rights::{self, Rights};
use crate::server::{self, Server};
use crate::wire::Connection;

/// What stands for the password in what is printed.
const PASSWORD: &str = "<password>";

/// The log is kept for a week at least, in seconds.
const KEPT_SECONDS: u64 = 7 * 86_400;

/// The statements that are still missing, those that need least rights first. Blocks.
///
/// Where the server does not let us in, as before the user exists, all of them are returned, in a form that finds out
/// by itself what depends on the server.
///
/// # Errors
/// When a table's name cannot be read, or the server lets us in but cannot be asked.
pub(crate) fn statements(config: &MysqlConfig, scope: &Scope) -> Result<Vec<Statement>, SourceError> {
    config.validate()?;
    match Connection::open(config) {
        Ok(mut connection) => {
            let statements = missing(&mut connection, config, scope);
            connection.terminate();
            statements
        }
        Err(error) => everything(config, scope, &error),
    }
}

/// Runs the statements one after the other, with this configuration's user. Blocks.
///
/// # Errors
/// At the first statement that the server refuses; those before it have taken effect.
pub(crate) fn apply(config: &MysqlConfig, statements: &[Statement]) -> Result<(), SourceError> {
    let mut connection = Connection::open(config)?;
    // What is to be done outside the server is printed as a comment.
    for statement in statements.iter().filter(|statement| !statement.sql.starts_with("--")) {
        connection.execute(&format!("run {}", statement.sql), &statement.sql)?;
    }
    connection.terminate();
    Ok(())
}

fn missing(
    connection: &mut Connection,
    config: &MysqlConfig,
    scope: &Scope,
) -> Result<Vec<Statement>, SourceError> {
    let server = server::ask(connection)?;
    let databases = databases(config, scope)?;
    let held = rights::ask(connection)?;
    let account = rights::account(config, Some(&server));
    let mut statements = Vec::new();
    for table in &scope.tables {
        statements.extend(table_statements(connection, config, table, (&held, &account))?);
    }
    if !server.flavour.is_mariadb() {
        let locked = databases.iter().filter(|database| !held.locks(database));
        statements.extend(locked.map(|database| rights::grant_lock(&account, database)));
    }
    if !(held.reads_log && held.sees_log) {
        statements.push(rights::grant_log(&account, &server.flavour));
    }
    settings(&server, &mut statements);
    Ok(statements)
}

/// The databases that the tables are in.
fn databases(config: &MysqlConfig, scope: &Scope) -> Result<BTreeSet<String>, SourceError> {
    let names = scope.tables.iter().map(|table| parse_table_name(&table.table, &config.database));
    names.map(|name| name.map(|(database, _)| database)).collect()
}

fn table_statements(
    connection: &mut Connection,
    config: &MysqlConfig,
    scope: &TableScope,
    (held, account): (&Rights, &str),
) -> Result<Vec<Statement>, SourceError> {
    match catalog::look_up(connection, config, scope)? {
        Lookup::Found { table, missing } if missing.is_empty() && !matches!(table.kind, Kind::Unfit(_)) => {
            let may = rights::ask_table(connection, &table)?;
            if !may.sees_all {
                // The key may be among what the catalogue hides.
                return grants(config, scope, account);
            }
            if may.unreadable.is_empty() {
                return Ok(Vec::new());
            }
            let columns: Vec<&str> =
                rights::needed_columns(&table).iter().map(|column| column.name.as_str()).collect();
            Ok(vec![rights::grant_select(account, &table.quoted(), &columns)])
        }
        Lookup::Found { table, .. } if rights::ask_table(connection, &table)?.sees_all => {
            // Says why the table will not do.
            catalog::table(connection, config, scope).map(|_| Vec::new())
        }
        Lookup::Absent { .. } if held.is_superuser => {
            catalog::table(connection, config, scope).map(|_| Vec::new())
        }
        _ => grants(config, scope, account),
    }
}

/// Settings that keep the log readable and long enough.
fn settings(server: &Server, statements: &mut Vec<Statement>) {
    let mut add = |why: &str, name: &str, value: &str, dynamic: bool| {
        let sql = server.set(name, value, dynamic);
        let sql = if sql.starts_with("SET ") { sql } else { format!("-- {sql}") };
        statements.push(Statement { why: why.to_owned(), sql });
    };
    if !server.is_on("log_bin") {
        add("without a log no change can be captured", "log_bin", "binlog", false);
        return;
    }
    for (name, value, why) in [
        ("binlog_format", "ROW", "the log must hold rows; sessions that are open keep their format"),
        ("binlog_row_image", "FULL", "the log must hold whole rows; sessions that are open keep their image"),
        (
            "binlog_row_metadata",
            "FULL",
            "the log then tells the columns' names, and their changes do no harm",
        ),
    ] {
        if server.setting(name) != value {
            add(why, name, value, true);
        }
    }
    if server.number("server_id") == Some(0) {
        add("a server without a number lets nobody read its log", "server_id", "1", true);
    }
    if server.log_seconds().is_some_and(|seconds| seconds < KEPT_SECONDS) {
        let why = "whoever stands still for longer finds the log gone";
        add(why, "binlog_expire_logs_seconds", &KEPT_SECONDS.to_string(), true);
    }
}

/// The whole set, for a server that could not be asked. Every statement works on both products.
fn everything(
    config: &MysqlConfig,
    scope: &Scope,
    reason: &SourceError,
) -> Result<Vec<Statement>, SourceError> {
    let databases = databases(config, scope)?;
    let account = rights::account(config, None);
    let identified = match &config.password {
        Some(_) => format!(" IDENTIFIED BY '{PASSWORD}'"),
        None => String::new(),
    };
    let password = if config.password.is_some() {
        format!("; put the password of the [source] part in place of {PASSWORD}")
    } else {
        String::new()
    };
    let mut statements = vec![Statement {
        why: format!(
            "the server could not be asked ({reason}), so this is the whole set, to be run by an administrator; a user \
             that may come from anywhere: write the connector's address in place of % to narrow that{password}"
        ),
        sql: format!("CREATE USER IF NOT EXISTS {account}{identified}"),
    }];
    for table in &scope.tables {
        statements.extend(grants(config, table, &account)?);
    }
    statements.extend(databases.iter().map(|database| rights::grant_lock(&account, database)));
    statements.push(Statement {
        why: "only a user with these rights can read the log and ask where it ends; they are rights to the whole server"
            .to_owned(),
        sql: format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {account}"),
    });
    for (name, value) in
        [("binlog_format", "ROW"), ("binlog_row_image", "FULL"), ("binlog_row_metadata", "FULL")]
    {
        statements.push(Statement {
            why: "the log must hold whole rows, with their columns' names; add the setting to the server's option file \
                  too, for its next start"
                .to_owned(),
            sql: format!("SET GLOBAL {name} = '{value}'"),
        });
    }
    Ok(statements)
}

/// [`grants`] as one script.
///
/// # Errors
/// When the table's name cannot be read.
pub(crate) fn grant_script(
    config: &MysqlConfig,
    scope: &TableScope,
    account: &str,
) -> Result<String, SourceError> {
    let statements: Vec<String> =
        grants(config, scope, account)?.into_iter().map(|statement| statement.sql).collect();
    Ok(statements.join("; "))
}

/// Lets our user read the mapped columns and the key, which the statements look up by themselves: our user does not
/// see them yet.
fn grants(config: &MysqlConfig, scope: &TableScope, account: &str) -> Result<Vec<Statement>, SourceError> {
    let (database, name) = parse_table_name(&scope.table, &config.database)?;
    let mapped: Vec<String> = scope.columns.iter().map(|column| quote_literal(column)).collect();
    let of_table = |alias: &str| {
        format!(
            "{alias}.TABLE_SCHEMA = {} AND {alias}.TABLE_NAME = {}",
            quote_literal(&database),
            quote_literal(&name)
        )
    };
    let object = format!("{}.{}", quote_ident(&database), quote_ident(&name));
    let compose = format!(
        "SET @bitacora_grant = (
  SELECT CONCAT('GRANT SELECT (',
           GROUP_CONCAT(CONCAT('`', REPLACE(c.COLUMN_NAME, '`', '``'), '`') ORDER BY c.ORDINAL_POSITION SEPARATOR ', '),
           '), REFERENCES ON ', {object}, ' TO ', {account})
    FROM information_schema.COLUMNS c
   WHERE {columns}
     AND (c.COLUMN_NAME IN ({mapped})
       OR EXISTS (SELECT 1 FROM information_schema.STATISTICS s
                   WHERE {indexes} AND s.COLUMN_NAME = c.COLUMN_NAME AND s.NON_UNIQUE = 0)))",
        object = quote_literal(&object),
        account = quote_literal(account),
        columns = of_table("c"),
        indexes = of_table("s"),
        mapped = mapped.join(", "),
    );
    let statement = |why: &str, sql: String| Statement { why: why.to_owned(), sql };
    Ok(vec![
        statement(
            "the list of columns that the next statement makes must not be cut off",
            "SET SESSION group_concat_max_len = 1000000".to_owned(),
        ),
        statement(
            "finds the mapped columns and those of unique keys; with REFERENCES the catalogue shows the other columns' \
             names and types, and not their content",
            compose,
        ),
        statement("makes a statement of it", "PREPARE bitacora_grant FROM @bitacora_grant".to_owned()),
        statement("lets the user read these columns, and no others", "EXECUTE bitacora_grant".to_owned()),
        statement("leaves nothing behind", "DEALLOCATE PREPARE bitacora_grant".to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use change::SourceErrorKind;
    use trust::TlsMode;

    use super::*;

    fn config() -> MysqlConfig {
        MysqlConfig {
            host: "db1".to_owned(),
            port: 3306,
            database: "tramites".to_owned(),
            user: "bitacora".to_owned(),
            password: Some("s3cret".to_owned()),
            tls: TlsMode::VerifyFull,
            tls_ca: None,
            server_id: None,
        }
    }

    fn scope(column: &str) -> TableScope {
        TableScope {
            table: "Solicitudes".to_owned(),
            columns: vec![column.to_owned()],
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        }
    }

    #[test]
    fn the_whole_set_is_given_when_the_server_cannot_be_asked_and_says_so() {
        let reason = SourceError::new(SourceErrorKind::Unreachable, "nothing listens at db1:3306");
        let statements = everything(&config(), &scope("Estado d'hoy").into(), &reason).unwrap();
        let first = statements.first().unwrap();
        assert!(first.why.contains("nothing listens at db1:3306"), "{}", first.why);
        let all: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        let all = all.join("\n");
        assert!(!all.contains("s3cret"), "the password must not be shown");
        for part in [
            "CREATE USER IF NOT EXISTS `bitacora`@`%` IDENTIFIED BY '<password>'",
            "' TO ', '`bitacora`@`%`'",
            "IN ('Estado d''hoy')",
            "GRANT LOCK TABLES ON `tramites`.* TO `bitacora`@`%`",
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `bitacora`@`%`",
            "SET GLOBAL binlog_row_metadata = 'FULL'",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
    }

    #[test]
    fn only_settings_that_are_wrong_are_changed() {
        let wrong = server::tests::server(
            "9.7.4",
            &[
                ("log_bin", "ON"),
                ("binlog_format", "ROW"),
                ("binlog_row_image", "MINIMAL"),
                ("binlog_row_metadata", "FULL"),
                ("server_id", "1"),
                ("binlog_expire_logs_seconds", "3600"),
            ],
        );
        let mut statements = Vec::new();
        settings(&wrong, &mut statements);
        let sql: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        assert_eq!(
            sql,
            ["SET PERSIST binlog_row_image = 'FULL'", "SET PERSIST binlog_expire_logs_seconds = 604800"]
        );
    }
}
