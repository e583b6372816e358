//! The statements that make a database ready, and running them.

use change::{Scope, SourceError, SourceErrorKind, Statement, TableScope};

use crate::catalog::{self, Table, parse_table_name, quote_ident, quote_literal};
use crate::config::PostgresConfig;
use crate::server::Server;
use crate::session::{self, Session};
use crate::{publication, rights, server};

/// The statements that are still missing, those that need least rights first.
///
/// Where the server does not let us in, as before the role exists, all of them are returned, in a form
/// that finds out by itself what depends on the server.
///
/// # Errors
/// When the table's name cannot be read, or the server lets us in but cannot be asked.
pub(crate) async fn statements(
    config: &PostgresConfig,
    scope: &Scope,
) -> Result<Vec<Statement>, SourceError> {
    config.validate()?;
    match session::connect(config).await {
        Ok(session) => missing(&session, config, scope).await,
        Err(error) => everything(config, scope, &error),
    }
}

/// Runs the statements one after the other, with this configuration's role.
///
/// # Errors
/// At the first statement that the server refuses; those before it have taken effect.
pub(crate) async fn apply(config: &PostgresConfig, statements: &[Statement]) -> Result<(), SourceError> {
    let session = session::connect(config).await?;
    for statement in statements {
        session.execute(&format!("run {}", statement.sql), &statement.sql).await?;
    }
    Ok(())
}

async fn missing(
    session: &Session,
    config: &PostgresConfig,
    scope: &Scope,
) -> Result<Vec<Statement>, SourceError> {
    let server = server::ask(session).await?;
    let mut statements = Vec::new();
    let tables = catalog::tables(session, scope).await?;
    for table in &tables {
        table_statements(session, config, table, &mut statements).await?;
    }
    publication_statements(session, config, (&tables, scope), &mut statements).await?;
    if !server.role.may_replicate {
        statements.push(rights::grant_replication(config, &server));
    }
    settings_statements(&server, slot_exists(session, config).await?, &mut statements);
    Ok(statements)
}

async fn table_statements(
    session: &Session,
    config: &PostgresConfig,
    table: &Table,
    statements: &mut Vec<Statement>,
) -> Result<(), SourceError> {
    let held = rights::ask(session, table).await?;
    let usage = rights::grant_usage(config, &table.schema);
    if !held.uses_schema && !statements.contains(&usage) {
        statements.push(usage);
    }
    if !held.unreadable.is_empty() {
        statements.push(rights::grant_select(config, table));
    }
    for leaf in table.leaves_without_identity() {
        let why = "the application's own updates of the table would fail once a publication publishes \
            them: the table needs a primary key first, which only its owner can choose";
        let sql = format!("-- {}", publication::identity_mend(&leaf.quoted));
        statements.push(Statement { why: why.to_owned(), sql });
    }
    Ok(())
}

async fn publication_statements(
    session: &Session,
    config: &PostgresConfig,
    (tables, scope): (&[Table], &Scope),
    statements: &mut Vec<Statement>,
) -> Result<(), SourceError> {
    let Some(found) = publication::examine_all(session, config, tables).await? else {
        if tables.iter().all(|table| table.leaves_without_identity().next().is_none()) {
            statements.push(Statement {
                why: "tells the server which tables and columns to send".to_owned(),
                sql: publication::statement(session.version(), &config.publication, tables),
            });
        }
        return Ok(());
    };
    for ((publication, table), scope) in found.iter().zip(tables).zip(&scope.tables) {
        for fault in publication.faults(session.version(), table, scope) {
            let statement = Statement { why: fault.what, sql: fault.mend };
            // What is wrong with the publication as a whole is found with each table.
            if !statements.contains(&statement) {
                statements.push(statement);
            }
        }
    }
    Ok(())
}

fn settings_statements(server: &Server, slot_exists: bool, statements: &mut Vec<Statement>) {
    if server.setting("wal_level") != Some("logical") && !server.awaits_restart("wal_level") {
        statements.push(rights::set_wal_level(server));
    }
    // One more than are taken: the slot, and the connection that reads it.
    for (name, used) in [
        ("max_replication_slots", server.slots_used + i64::from(!slot_exists)),
        ("max_wal_senders", server.senders_used + 1),
    ] {
        let short = server.number(name).is_some_and(|limit| limit < used);
        if short && !server.awaits_restart(name) && !(slot_exists && name == "max_wal_senders") {
            statements.push(rights::raise(server, name, used + 4));
        }
    }
}

async fn slot_exists(session: &Session, config: &PostgresConfig) -> Result<bool, SourceError> {
    let sql = "SELECT FROM pg_replication_slots WHERE slot_name = $1";
    Ok(!session.query("look for the slot", sql, &[&config.slot]).await?.is_empty())
}

/// The whole set, for a server that could not be asked.
fn everything(
    config: &PostgresConfig,
    scope: &Scope,
    reason: &SourceError,
) -> Result<Vec<Statement>, SourceError> {
    let user = quote_ident(&config.user);
    let role = Statement {
        why: format!(
            "the server could not be asked ({reason}), so this is the whole set, to be run in database {} \
             by an administrator; a role that may log in and read the log, and nothing else. pg_hba.conf \
             must admit it to the database{}",
            quote_ident(&config.database),
            if config.password.is_some() { "; the password is given as its SCRAM verifier" } else { "" }
        ),
        sql: match &config.password {
            Some(password) => {
                let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
                format!("CREATE ROLE {user} LOGIN REPLICATION PASSWORD {}", quote_literal(&verifier))
            }
            None => format!("CREATE ROLE {user} LOGIN REPLICATION"),
        },
    };
    let connect = Statement {
        why: "lets the role into the database".to_owned(),
        sql: format!("GRANT CONNECT ON DATABASE {} TO {user}", quote_ident(&config.database)),
    };
    let level = Statement {
        why:
            "the log carries rows only at this level; it takes effect when the server restarts, and managed \
              services have a parameter of their own for it"
                .to_owned(),
        sql: "ALTER SYSTEM SET wal_level = logical".to_owned(),
    };
    let mut statements = vec![role, connect];
    for (place, table) in scope.tables.iter().enumerate() {
        let (schema, name) = parse_table_name(&table.table)?;
        let usage = rights::grant_usage(config, &schema);
        if !statements.contains(&usage) {
            statements.push(usage);
        }
        let quoted = format!("{}.{}", quote_ident(&schema), quote_ident(&name));
        statements.push(table_block(config, table, &quoted, place == 0)?);
    }
    statements.push(level);
    Ok(statements)
}

/// One statement that grants reading and publishes the columns that this server and table need: the mapped ones, the
/// primary key and the replica identity. The first table's makes the publication, the others' add to it.
fn table_block(
    config: &PostgresConfig,
    scope: &TableScope,
    table: &str,
    is_first: bool,
) -> Result<Statement, SourceError> {
    const TAG: &str = "$bitacora$";
    let mapped: Vec<String> = scope.columns.iter().map(|column| quote_literal(column)).collect();
    let sql = format!(
        "DO {TAG}
DECLARE
  target  regclass := {target};
  mapped  text[] := ARRAY[{mapped}]::text[];
  columns text;
  listed  text;
BEGIN
  SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
    FROM pg_attribute a
   WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped
     AND (a.attname::text = ANY (mapped) OR EXISTS (
           SELECT FROM pg_index i WHERE i.indrelid = target AND (i.indisprimary OR i.indisreplident)
              AND a.attnum = ANY (i.indkey::int2[])));
  EXECUTE format('GRANT SELECT (%s) ON %s TO %I', columns, target, {user});
  -- Before version 15 there are no column lists, and REPLICA IDENTITY FULL needs every column.
  listed := CASE WHEN current_setting('server_version_num')::int < 150000 OR EXISTS (
      SELECT FROM pg_class c WHERE c.relreplident = 'f'
         AND (c.oid = target OR c.oid IN (SELECT relid FROM pg_partition_tree(target))))
    THEN '' ELSE format(' (%s)', columns) END;
  {publish}, {publication}, target, listed);
END {TAG}",
        publish = if is_first {
            "EXECUTE format('CREATE PUBLICATION %I FOR TABLE %s%s WITH (publish = ''insert, update, delete, truncate'', '
    'publish_via_partition_root = true)'"
        } else {
            "EXECUTE format('ALTER PUBLICATION %I ADD TABLE %s%s'"
        },
        target = quote_literal(table),
        mapped = mapped.join(", "),
        user = quote_literal(&config.user),
        publication = quote_literal(&config.publication),
    );
    // A name that ends the block's own quotes could smuggle a statement in.
    if sql.matches(TAG).count() != 2 {
        return Err(SourceError::new(
            SourceErrorKind::Configuration,
            format!("a name in the [source] part contains {TAG}, which is reserved here"),
        ));
    }
    Ok(Statement {
        why: "lets the role read the mapped columns and the key, and tells the server to send these only"
            .to_owned(),
        sql,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use trust::TlsMode;

    use super::*;

    fn config() -> PostgresConfig {
        PostgresConfig {
            host: "db1".to_owned(),
            port: 5432,
            database: "tramites".to_owned(),
            user: "bitacora".to_owned(),
            password: Some("s3cret".to_owned()),
            tls: TlsMode::VerifyFull,
            tls_ca: None::<PathBuf>,
            slot: "bitacora".to_owned(),
            publication: "bitacora".to_owned(),
        }
    }

    fn scope(column: &str) -> TableScope {
        TableScope {
            table: "vu.Solicitudes".to_owned(),
            columns: vec![column.to_owned()],
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        }
    }

    fn unreachable() -> SourceError {
        SourceError::new(SourceErrorKind::Unreachable, "nothing listens at db1:5432")
    }

    #[test]
    fn the_whole_set_is_given_when_the_server_cannot_be_asked_and_says_so() {
        let statements = everything(&config(), &scope("Estado d'hoy").into(), &unreachable()).unwrap();
        let first = statements.first().unwrap();
        assert!(first.why.contains("nothing listens at db1:5432"), "{}", first.why);
        let all: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        let all = all.join("\n");
        assert!(!all.contains("s3cret"), "the password must not be shown");
        for part in [
            "CREATE ROLE \"bitacora\" LOGIN REPLICATION PASSWORD 'SCRAM-SHA-256$4096:",
            "GRANT CONNECT ON DATABASE \"tramites\" TO \"bitacora\"",
            "GRANT USAGE ON SCHEMA \"vu\" TO \"bitacora\"",
            "target  regclass := '\"vu\".\"Solicitudes\"'",
            "ARRAY['Estado d''hoy']",
            "ALTER SYSTEM SET wal_level = logical",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_the_block() {
        let error = everything(&config(), &scope("x$bitacora$; DROP").into(), &unreachable()).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Configuration);
    }
}
