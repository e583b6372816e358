//! What our role may read of the table, and the statements that give it what it lacks.

use change::{SourceError, Statement};

use crate::catalog::{Column, Table, quote_ident};
use crate::config::PostgresConfig;
use crate::server::{Host, Server};
use crate::session::{Session, sql_error};

/// What our role may do with the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Whether it may look into the schema at all.
    pub(crate) uses_schema: bool,
    /// The mapped and key columns that it may not read.
    pub(crate) unreadable: Vec<String>,
    /// Whether it owns the table, or is a member of the role that does.
    pub(crate) owns_table: bool,
}

/// Asks what our role may do with the table.
///
/// # Errors
/// When the connection breaks.
pub(crate) async fn ask(session: &Session, table: &Table) -> Result<Rights, SourceError> {
    let context = "ask what our role may do with the table";
    let numbers: Vec<i16> = needed_columns(table).iter().map(|column| column.attnum).collect();
    let sql = "SELECT has_schema_privilege(c.relnamespace, 'USAGE'),
                      pg_has_role(c.relowner, 'USAGE'),
                      coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
                         WHERE a.attrelid = c.oid AND a.attnum = ANY ($2)
                           AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')), '{}')
                 FROM pg_class c WHERE c.oid = $1";
    let row = session.query_one(context, sql, &[&table.oid, &numbers]).await?;
    let read = || -> Result<Rights, tokio_postgres::Error> {
        Ok(Rights { uses_schema: row.try_get(0)?, owns_table: row.try_get(1)?, unreadable: row.try_get(2)? })
    };
    read().map_err(|error| sql_error(context, error))
}

/// The columns that snapshots read: the mapped ones and the key, each once, in table order.
pub(crate) fn needed_columns(table: &Table) -> Vec<&Column> {
    let needed = |column: &&Column| {
        table.columns.iter().chain(&table.key).any(|wanted| wanted.attnum == column.attnum)
    };
    table.all_columns.iter().filter(needed).collect()
}

/// The statement that lets our role look into the schema.
pub(crate) fn grant_usage(config: &PostgresConfig, schema: &str) -> Statement {
    Statement {
        why: "names in the schema cannot be looked up without it".to_owned(),
        sql: format!("GRANT USAGE ON SCHEMA {} TO {}", quote_ident(schema), quote_ident(&config.user)),
    }
}

/// The statement that lets our role read the columns that snapshots need, and no others.
pub(crate) fn grant_select(config: &PostgresConfig, table: &Table) -> Statement {
    let columns: Vec<String> = needed_columns(table).iter().map(|column| quote_ident(&column.name)).collect();
    Statement {
        why: "the first copy of the table, repairs and audits read the mapped columns and the key".to_owned(),
        sql: format!(
            "GRANT SELECT ({}) ON {} TO {}",
            columns.join(", "),
            table.quoted(),
            quote_ident(&config.user)
        ),
    }
}

/// The statement that lets our role open replication connections.
pub(crate) fn grant_replication(config: &PostgresConfig, server: &Server) -> Statement {
    let user = quote_ident(&config.user);
    Statement {
        why: "only a role with this right can read the log".to_owned(),
        sql: match server.host {
            Host::Rds => format!("GRANT rds_replication TO {user}"),
            Host::Own | Host::CloudSql | Host::Azure => format!("ALTER ROLE {user} REPLICATION"),
        },
    }
}

/// The statement that makes the server log what logical decoding needs. It takes a restart to work.
pub(crate) fn set_wal_level(server: &Server) -> Statement {
    let sql = match server.host {
        Host::Own => "ALTER SYSTEM SET wal_level = logical",
        Host::Rds => "-- in the instance's parameter group: rds.logical_replication = 1, then reboot it",
        Host::CloudSql => {
            "-- among the instance's flags: cloudsql.logical_decoding = on; it restarts by itself"
        }
        Host::Azure => "-- among the server parameters: wal_level = logical, then restart the server",
    };
    Statement {
        why: "the log carries rows only at this level; it takes effect when the server restarts".to_owned(),
        sql: sql.to_owned(),
    }
}

/// The statement that raises a setting that is read only at the server's start.
pub(crate) fn raise(server: &Server, name: &str, value: i64) -> Statement {
    let sql = match server.host {
        Host::Own => format!("ALTER SYSTEM SET {name} = {value}"),
        Host::Rds | Host::CloudSql | Host::Azure => {
            format!("-- in the service's console: {name} = {value}, then restart the server")
        }
    };
    Statement { why: format!("all of {name} are taken; it takes effect when the server restarts"), sql }
}
