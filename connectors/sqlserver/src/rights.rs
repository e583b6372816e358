//! What our user may do, and the statements that grant what it may not.

use change::{SourceError, Statement};

use crate::catalog::{Column, Table};
use crate::client::Client;
use crate::name::{quote_ident, quote_literal};

/// The role that guards the functions of an instance that `setup` makes: whoever is no member of it learns nothing
/// through them.
pub(crate) const GATING_ROLE: &str = "bitacora_lector";

/// The tables of `cdc` that are read beside the change table.
const CAPTURE_TABLES: [&str; 3] =
    ["[cdc].[change_tables]", "[cdc].[lsn_time_mapping]", "[cdc].[ddl_history]"];

/// Columns that copies read: the key's and the mapped ones, each once.
pub(crate) fn needed_columns(table: &Table) -> Vec<&Column> {
    let mut columns: Vec<&Column> = Vec::new();
    for column in table.key_columns().chain(table.mapped_columns()) {
        if !columns.iter().any(|known| known.name == column.name) {
            columns.push(column);
        }
    }
    columns
}

/// The needed columns that our user may not read.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn unreadable(client: &mut Client, table: &Table) -> Result<Vec<String>, SourceError> {
    let columns = needed_columns(table);
    let name = quote_literal(&table.quoted());
    let asked: Vec<String> = columns
        .iter()
        .map(|column| {
            // https://learn.microsoft.com/en-us/sql/t-sql/functions/has-perms-by-name-transact-sql
            let column = quote_literal(&column.name);
            format!("HAS_PERMS_BY_NAME({name}, N'OBJECT', N'SELECT', {column}, N'COLUMN')")
        })
        .collect();
    let sql = format!("SELECT {}", asked.join(", "));
    let rows = client.rows("ask which columns may be read", &sql, &[]).await?;
    let mut found = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        let may = rows.first().map_or(Ok(false), |row| row.flag(place))?;
        if !may {
            found.push(column.name.clone());
        }
    }
    Ok(found)
}

/// The tables of `cdc` that our user may not read, quoted; `change_tables` are those of the instances.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn unreadable_captures(
    client: &mut Client,
    change_tables: &[String],
) -> Result<Vec<String>, SourceError> {
    let names: Vec<String> =
        CAPTURE_TABLES.iter().map(|name| (*name).to_owned()).chain(change_tables.iter().cloned()).collect();
    let asked: Vec<String> = names
        .iter()
        .map(|name| format!("HAS_PERMS_BY_NAME({}, N'OBJECT', N'SELECT')", quote_literal(name)))
        .collect();
    let sql = format!("SELECT {}", asked.join(", "));
    let rows = client.rows("ask which tables of the capture may be read", &sql, &[]).await?;
    let mut found = Vec::new();
    for (place, name) in names.into_iter().enumerate() {
        if !rows.first().map_or(Ok(false), |row| row.flag(place))? {
            found.push(name);
        }
    }
    Ok(found)
}

/// Whether our user may see how the server's capture is doing: errors and scans, and the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Insight {
    /// The database's state.
    pub(crate) database: bool,
    /// The server's state.
    pub(crate) server: bool,
}

/// Asks for [`Insight`]. Servers from 2022 on have narrower rights for the same.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn insight(client: &mut Client) -> Result<Insight, SourceError> {
    let sql = "SELECT HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DATABASE STATE'), \
               HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DATABASE PERFORMANCE STATE'), \
               HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER STATE'), \
               HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER SECURITY STATE')";
    let rows = client.rows("ask what may be seen of the capture", sql, &[]).await?;
    let flag = |place: usize| rows.first().map_or(Ok(false), |row| row.flag(place));
    Ok(Insight { database: flag(0)? || flag(1)?, server: flag(2)? || flag(3)? })
}

/// Lets `user` read columns of the table.
pub(crate) fn grant_select(user: &str, table: &Table, columns: &[&str]) -> Statement {
    let columns: Vec<String> = columns.iter().map(|column| quote_ident(column)).collect();
    Statement {
        why: "lets the user read the mapped columns and the key, for copies, repairs and audits".to_owned(),
        sql: format!("GRANT SELECT ({}) ON {} TO {}", columns.join(", "), table.quoted(), quote_ident(user)),
    }
}

/// Lets `user` read what was captured; `change_tables` are quoted.
pub(crate) fn grant_captures(user: &str, change_tables: &[String]) -> Statement {
    let names = CAPTURE_TABLES.iter().map(|name| (*name).to_owned()).chain(change_tables.iter().cloned());
    let grants: Vec<String> =
        names.map(|name| format!("GRANT SELECT ON {name} TO {}", quote_ident(user))).collect();
    Statement {
        why: "lets the user read what is captured of this table, and nothing of other tables".to_owned(),
        sql: grants.join("; "),
    }
}

/// Lets `user` see how the capture is doing.
pub(crate) fn grant_database_insight(user: &str) -> Statement {
    Statement {
        why: "lets the user see the capture's errors, so that silence is told from a failing capture"
            .to_owned(),
        sql: format!("GRANT VIEW DATABASE STATE TO {}", quote_ident(user)),
    }
}

/// Lets the user see the capture's jobs: for how long changes are kept, and whether the jobs are there. They are in `msdb`,
/// where each login is a guest with next to no rights; on Azure in the database itself.
pub(crate) fn grant_jobs(login: &str, server: &Place<'_>) -> Statement {
    let user = quote_ident(login);
    let why =
        "lets the login see the capture's jobs: for how long changes are kept, and whether a job is missing";
    let sql = match server {
        Place::Azure => format!("GRANT SELECT ON [cdc].[cdc_jobs] TO {user}"),
        Place::Server(database) => format!(
            "USE [msdb]; IF USER_ID({}) IS NULL CREATE USER {user} FOR LOGIN {user}; \
             GRANT SELECT ON [dbo].[cdc_jobs] TO {user}; USE {}",
            quote_literal(login),
            quote_ident(database)
        ),
    };
    Statement { why: why.to_owned(), sql }
}

/// Where the database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// In Azure SQL Database, where there is no other database to go to.
    Azure,
    /// On a server with others; its name.
    Server(&'a str),
}

/// Lets the login see whether the agent runs, and where the log ends.
pub(crate) fn grant_server_insight(login: &str, database: &str) -> Statement {
    Statement {
        why: "lets the login see where the log ends, so that the first copy is exact, and whether SQL Server Agent runs, \
              so that silence is told from a stopped agent; it is a right to look at the whole server, and may be left out"
            .to_owned(),
        sql: format!(
            "USE [master]; GRANT VIEW SERVER STATE TO {}; USE {}",
            quote_ident(login),
            quote_ident(database)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::table;

    #[test]
    fn each_needed_column_is_granted_once_and_names_cannot_break_out() {
        let mut table = table(&[("id", "int"), ("esta]do", "tinyint")]);
        table.key = vec![0];
        let names: Vec<&str> = needed_columns(&table).iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "esta]do"]);
        let granted = grant_select("u]x", &table, &["id", "esta]do"]);
        assert_eq!(granted.sql, "GRANT SELECT ([id], [esta]]do]) ON [dbo].[solicitudes] TO [u]]x]");
    }
}
