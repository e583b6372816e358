//! What our user may do, and the statements that give it what it lacks.

use change::{SourceError, SourceErrorKind, Statement};

use crate::catalog::{Column, Table};
use crate::config::MysqlConfig;
use crate::flavour::Flavour;
use crate::name::quote_ident;
use crate::server::Server;
use crate::wire::Connection;

/// What a grant on the whole server names.
const EVERYTHING: &str = "*.*";

/// What our user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Open the log.
    pub(crate) reads_log: bool,
    /// Ask where the log ends and which files it has.
    pub(crate) sees_log: bool,
    /// Everything, or the right to give itself everything.
    pub(crate) is_superuser: bool,
    /// Lock tables of these: all, or those of databases whose name fits a pattern, as the server lists them.
    locks: Vec<String>,
}

impl Rights {
    /// Whether it may lock tables of the database.
    pub(crate) fn locks(&self, database: &str) -> bool {
        self.locks.iter().any(|object| object == EVERYTHING || covers(object, database))
    }
}

/// What our user may do with the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TableRights {
    /// The mapped and key columns that it may not read.
    pub(crate) unreadable: Vec<String>,
    /// Whether the catalogue shows it all columns.
    pub(crate) sees_all: bool,
}

/// Asks what our user may do, roles included.
///
/// # Errors
/// When the connection breaks.
pub(crate) fn ask(connection: &mut Connection) -> Result<Rights, SourceError> {
    let context = "ask what our user may do";
    let mut sql = "SHOW GRANTS".to_owned();
    if !connection.flavour().is_mariadb() {
        // What a role gives is listed only where the role is named.
        let roles = connection.query(context, "SELECT CURRENT_ROLE()")?;
        if let Some(roles) = roles.into_iter().flatten().flatten().next().filter(|roles| roles != "NONE") {
            sql = format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}");
        }
    }
    let lines: Vec<String> = connection.query(context, &sql)?.into_iter().flatten().flatten().collect();
    Ok(read(&lines))
}

fn read(lines: &[String]) -> Rights {
    let mut rights = Rights::default();
    for grant in lines.iter().filter_map(|line| Grant::read(line)) {
        let has = |privilege: &str| grant.has(privilege);
        if has("LOCK TABLES") {
            rights.locks.push(grant.object.to_owned());
        }
        if grant.object == EVERYTHING {
            rights.reads_log |= has("REPLICATION SLAVE");
            rights.sees_log |= has("REPLICATION CLIENT") || has("BINLOG MONITOR") || has("SUPER");
            rights.is_superuser |= has("SUPER") || has("CREATE USER");
        }
    }
    rights
}

/// A line of `SHOW GRANTS`.
struct Grant<'a> {
    privileges: &'a str,
    object: &'a str,
}

impl<'a> Grant<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (privileges, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
        let (object, _) = rest.split_once(" TO ")?;
        Some(Self { privileges, object })
    }

    fn has(&self, privilege: &str) -> bool {
        self.privileges.starts_with("ALL PRIVILEGES")
            || self.privileges.split(',').any(|held| held.trim() == privilege)
    }
}

/// Whether a grant on `object` is one on all of the database. `%` and `_` in its name stand for any characters unless a
/// backslash is before them (<https://dev.mysql.com/doc/refman/8.4/en/grant.html#grant-quoting>).
fn covers(object: &str, database: &str) -> bool {
    let Some(pattern) = object.strip_suffix(".*") else { return false };
    let pattern = pattern.trim_matches('`').replace("``", "`");
    matches(pattern.as_bytes(), database.as_bytes())
}

/// Whether `name` is one of those that `pattern` stands for.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // The beginnings of the name that the pattern's beginning stands for, by length: work stays small whatever the
    // pattern is.
    let mut reached = vec![false; name.len() + 1];
    if let Some(nothing) = reached.first_mut() {
        *nothing = true;
    }
    let mut pattern = pattern.iter();
    while let Some(byte) = pattern.next() {
        if *byte == b'%' {
            let first = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
            reached.iter_mut().skip(first).for_each(|reached| *reached = true);
            continue;
        }
        let wanted = match byte {
            b'_' => None,
            b'\\' => Some(pattern.next().unwrap_or(byte)),
            other => Some(other),
        };
        let step = |(before, found): (&bool, &u8)| *before && wanted.is_none_or(|wanted| wanted == found);
        reached = std::iter::once(false).chain(reached.iter().zip(name).map(step)).collect();
    }
    reached.last().is_some_and(|whole| *whole)
}

/// Finds out by trying which of the needed columns our user may read, and whether it sees the whole table.
///
/// # Errors
/// When the connection breaks.
pub(crate) fn ask_table(connection: &mut Connection, table: &Table) -> Result<TableRights, SourceError> {
    let context = format!("try to read {}", table.quoted());
    let mut rights = TableRights::default();
    for column in needed_columns(table) {
        let sql = format!("SELECT {} FROM {} LIMIT 0", quote_ident(&column.name), table.quoted());
        if is_refused(connection.execute(&context, &sql))? {
            rights.unreadable.push(column.name.clone());
        }
    }
    // The catalogue leaves out columns on which a user has no right, and this statement is refused then.
    let context = format!("try to see the definition of {}", table.quoted());
    let sql = format!("SHOW CREATE TABLE {}", table.quoted());
    rights.sees_all = !is_refused(connection.execute(&context, &sql))?;
    Ok(rights)
}

fn is_refused(tried: Result<(), SourceError>) -> Result<bool, SourceError> {
    match tried {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == SourceErrorKind::Permission => Ok(true),
        Err(error) => Err(error),
    }
}

/// The columns that snapshots read: the mapped ones and the key, each once, in table order.
pub(crate) fn needed_columns(table: &Table) -> Vec<&Column> {
    let needed = |place: &usize| table.mapped.contains(place) || table.key.contains(place);
    table.columns.iter().zip(0..).filter(|(_, place)| needed(place)).map(|(column, _)| column).collect()
}

/// Our account as statements name it: as the server knows it, or as it would be made.
pub(crate) fn account(config: &MysqlConfig, server: Option<&Server>) -> String {
    let known = server.and_then(|server| server.account.rsplit_once('@'));
    let (user, host) = known.unwrap_or((&config.user, "%"));
    format!("{}@{}", quote_ident(user), quote_ident(host))
}

/// The statement that lets our user read the columns that snapshots need, and no others.
pub(crate) fn grant_select(account: &str, table: &str, columns: &[&str]) -> Statement {
    let columns: Vec<String> = columns.iter().map(|column| quote_ident(column)).collect();
    Statement {
        why: "the first copy of the table, repairs and audits read the mapped columns and the key; with REFERENCES the \
              catalogue shows the other columns' names and types, which the log's rows are checked against, and not \
              their content"
            .to_owned(),
        sql: format!("GRANT SELECT ({}), REFERENCES ON {table} TO {account}", columns.join(", ")),
    }
}

/// The statement that lets our user open the log and ask about it.
pub(crate) fn grant_log(account: &str, flavour: &Flavour) -> Statement {
    let monitor = if flavour.is_mariadb() { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
    Statement {
        why: "only a user with these rights can read the log and ask where it ends; they are rights to the whole server"
            .to_owned(),
        sql: format!("GRANT REPLICATION SLAVE, {monitor} ON *.* TO {account}"),
    }
}

/// The statement that lets our user lock the database's tables for the moment in which an exact copy begins. MariaDB needs none.
pub(crate) fn grant_lock(account: &str, database: &str) -> Statement {
    // In a grant's database these two stand for any characters.
    let database = database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%");
    Statement {
        why: "a copy exactly as of a position in the log begins under a lock of some milliseconds; without the right, \
              the table is copied in pages, which takes longer"
            .to_owned(),
        sql: format!("GRANT LOCK TABLES ON {}.* TO {account}", quote_ident(&database)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(lines: &[&str]) -> Rights {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        read(&lines)
    }

    #[test]
    fn rights_are_read_from_what_the_server_lists() {
        assert_eq!(rights(&["GRANT USAGE ON *.* TO `b`@`%`"]), Rights::default());
        let held = rights(&[
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `b`@`%`",
            "GRANT LOCK TABLES ON `mi\\_base`.* TO `b`@`%`",
            "GRANT SELECT (`a`, `b`), REFERENCES ON `mi_base`.`t` TO `b`@`%`",
        ]);
        assert!(held.reads_log && held.sees_log && !held.is_superuser && held.locks("mi_base"));
        let all = rights(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]);
        assert!(all.reads_log && all.sees_log && all.is_superuser && all.locks("mi_base"));
    }

    #[test]
    fn a_right_with_a_similar_name_is_another_right() {
        let held = rights(&["GRANT REPLICATION SLAVE ADMIN, BINLOG MONITOR ON *.* TO `b`@`%`"]);
        assert_eq!(held, Rights { sees_log: true, ..Rights::default() });
    }

    #[test]
    fn a_grant_on_a_pattern_of_databases_counts() {
        for (object, covered) in [
            ("`mi_base`.*", true),
            ("`mi%`.*", true),
            ("`mi\\_base`.*", true),
            ("`mi\\_%`.*", true),
            ("`otra`.*", false),
            ("`mi\\%`.*", false),
            ("`mi_base`.`t`", false),
        ] {
            let line = format!("GRANT LOCK TABLES ON {object} TO `b`@`%`");
            assert_eq!(rights(&[&line]).locks("mi_base"), covered, "{object}");
        }
    }
}
