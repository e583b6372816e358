//! Changes that the server makes by itself.

use std::collections::BTreeMap;

use change::{Finding, SourceError, TableScope};

use super::Subject;
use crate::catalog::Table;
use crate::name::{quote_ident, quote_literal};
use crate::wire::Connection;

const CODE: &str = "foreign_key";

/// What a foreign key does to our rows when the row that they refer to changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Follows {
    columns: Vec<String>,
    on_update: String,
    on_delete: String,
}

impl Follows {
    /// Which of our rows' changes it makes without a word in the log, in SQL's words.
    fn silent(&self, is_mapped: impl Fn(&str) -> bool, deletes_count: bool) -> Vec<String> {
        let touches = self.columns.iter().any(|column| is_mapped(column));
        let mut silent = Vec::new();
        if touches && ["CASCADE", "SET NULL"].contains(&self.on_update.as_str()) {
            silent.push(format!("ON UPDATE {}", self.on_update));
        }
        let deletes = self.on_delete == "CASCADE" && deletes_count;
        if deletes || touches && self.on_delete == "SET NULL" {
            silent.push(format!("ON DELETE {}", self.on_delete));
        }
        silent
    }
}

/// What a foreign key of InnoDB's does is not logged
/// (<https://dev.mysql.com/doc/refman/8.4/en/innodb-and-mysql-replication.html>), unless the server carries it out
/// above the engine, as newer ones do.
pub(super) fn logged(subject: &Subject<'_>) -> Option<Finding> {
    let logs = subject.server.setting("innodb_native_foreign_keys") == "OFF";
    logs.then(|| Finding::pass(CODE, "the server logs what foreign keys do"))
}

/// What foreign keys of the table do without a word in the log.
pub(super) fn findings(
    connection: &mut Connection,
    (scope, table): (&TableScope, &Table),
) -> Result<Vec<Finding>, SourceError> {
    let is_mapped = |name: &str| table.mapped_columns().any(|column| column.name == name);
    let mut findings = Vec::new();
    for (name, key) in keys(connection, table)? {
        let silent = key.silent(is_mapped, scope.keys);
        if silent.is_empty() {
            continue;
        }
        findings.push(
            Finding::warning(
                CODE,
                format!("foreign key {} of {} has {}", quote_ident(&name), table.quoted(), silent.join(" and ")),
                "the server does not log what a foreign key changes by itself: such changes are found only by an audit",
            )
            .mended_by(format!(
                "ALTER TABLE {} DROP FOREIGN KEY {}, and add it again with RESTRICT once the application makes these \
                 changes itself",
                table.quoted(),
                quote_ident(&name)
            )),
        );
    }
    if findings.is_empty() {
        let what =
            format!("no foreign key of {} changes mapped columns without a word in the log", table.quoted());
        findings.push(Finding::pass(CODE, what));
    }
    Ok(findings)
}

fn keys(connection: &mut Connection, table: &Table) -> Result<BTreeMap<String, Follows>, SourceError> {
    let context = "read the table's foreign keys in the catalogue";
    let place = |alias: &str, schema: &str| {
        format!(
            "{alias}.{schema} = {} AND {alias}.TABLE_NAME = {}",
            quote_literal(&table.database),
            quote_literal(&table.name)
        )
    };
    let sql = format!(
        "SELECT r.CONSTRAINT_NAME, r.UPDATE_RULE, r.DELETE_RULE, k.COLUMN_NAME
           FROM information_schema.REFERENTIAL_CONSTRAINTS r
           JOIN information_schema.KEY_COLUMN_USAGE k
             ON k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME
            AND k.TABLE_NAME = r.TABLE_NAME
          WHERE {} AND {}",
        place("r", "CONSTRAINT_SCHEMA"),
        place("k", "TABLE_SCHEMA"),
    );
    let mut keys: BTreeMap<String, Follows> = BTreeMap::new();
    for row in connection.query(context, &sql)? {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || cells.next().unwrap_or_default();
        let key = keys.entry(next()).or_default();
        (key.on_update, key.on_delete) = (next(), next());
        key.columns.push(next());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(on_update: &str, on_delete: &str, mapped: bool, deletes_count: bool) -> Vec<String> {
        let key = Follows {
            columns: vec!["estado".to_owned()],
            on_update: on_update.to_owned(),
            on_delete: on_delete.to_owned(),
        };
        key.silent(|_| mapped, deletes_count)
    }

    #[test]
    fn only_what_changes_mapped_columns_or_reported_deletes_counts() {
        assert_eq!(silent("CASCADE", "RESTRICT", true, false), ["ON UPDATE CASCADE"]);
        assert_eq!(silent("NO ACTION", "SET NULL", true, false), ["ON DELETE SET NULL"]);
        assert_eq!(silent("CASCADE", "CASCADE", false, true), ["ON DELETE CASCADE"]);
        assert!(silent("CASCADE", "CASCADE", false, false).is_empty());
        assert!(silent("RESTRICT", "NO ACTION", true, true).is_empty());
    }
}
