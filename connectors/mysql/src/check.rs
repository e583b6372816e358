//! Everything that capture needs of the server, looked at in one go.
//!
//! No finding keeps another from being made: an operator mends the server once, not once per finding.

use std::collections::BTreeSet;

use change::{Finding, Inspection, Row, Scope, SourceError, TableScope};

use crate::catalog::{self, Kind, Lookup, Table};
use crate::config::MysqlConfig;
use crate::log_end::{LogEnd, log_end};
use crate::rights::{self, Rights};
use crate::server::{self, Server};
use crate::wire::Connection;

mod access;
mod columns;
mod connection;
mod foreign_key;
mod keeping;
mod log;
mod replica;
mod sample;
mod table;

/// What the checks compare with.
struct Subject<'a> {
    config: &'a MysqlConfig,
    scope: &'a Scope,
    server: &'a Server,
    rights: &'a Rights,
    /// Our account as statements name it.
    account: &'a str,
}

/// Looks at every prerequisite, and reads up to `sample_rows` rows of each table's mapped columns. Blocks.
pub(crate) fn inspect(config: &MysqlConfig, scope: &Scope, sample_rows: u32) -> Inspection {
    let mut inspection = Inspection::default();
    if let Err(error) = config.validate() {
        inspection.findings.push(Finding::refused(
            "configuration",
            "the connector cannot start with it",
            &error,
        ));
        return inspection;
    }
    let mut connection = match Connection::open(config) {
        Ok(connection) => connection,
        Err(error) => {
            let why = "without a connection nothing is captured, and nothing else can be checked";
            inspection.findings.push(Finding::refused("connection", why, &error));
            return inspection;
        }
    };
    inspection.findings.push(Finding::pass(
        "connection",
        format!("{} lets \"{}\" into \"{}\"", config.address(), config.user, config.database),
    ));
    let known = server::ask(&mut connection).and_then(|server| Ok((server, rights::ask(&mut connection)?)));
    match known {
        Ok((server, rights)) => {
            let account = rights::account(config, Some(&server));
            let subject = Subject { config, scope, server: &server, rights: &rights, account: &account };
            look(&subject, &mut connection, sample_rows, &mut inspection);
        }
        Err(error) => inspection.findings.push(Finding::unanswered("server", &error)),
    }
    connection.terminate();
    inspection
}

fn look(subject: &Subject<'_>, connection: &mut Connection, sample_rows: u32, inspection: &mut Inspection) {
    let findings = &mut inspection.findings;
    add(findings, "connection", connection::findings(subject, connection));
    findings.extend(access::log(subject));
    findings.extend(log::findings(subject));
    findings.extend(keeping::findings(subject));
    let end = end_of_log(subject, connection, findings);
    add(findings, "replica", replica::findings(subject, connection));
    let looked: Vec<Looked<'_>> = subject
        .scope
        .tables
        .iter()
        .map(|scope| Looked { scope, found: catalog::look_up(connection, subject.config, scope) })
        .collect();
    look_at_all(subject, &looked, end.as_ref(), findings);
    for one in &looked {
        let rows = look_at_table(subject, connection, (one, sample_rows), findings);
        inspection.samples.push(rows);
    }
}

/// A configured table, and what the catalogue says of it.
struct Looked<'a> {
    scope: &'a TableScope,
    found: Result<Lookup, SourceError>,
}

impl Looked<'_> {
    /// The table, where it has all that is mapped.
    fn fit(&self) -> Option<&Table> {
        match &self.found {
            Ok(Lookup::Found { table, missing })
                if missing.is_empty() && !matches!(table.kind, Kind::Unfit(_)) =>
            {
                Some(table)
            }
            _ => None,
        }
    }

    /// The database that it is in, or should be.
    fn database(&self) -> Option<&str> {
        match &self.found {
            Ok(Lookup::Found { table, .. }) => Some(&table.database),
            Ok(Lookup::Absent { database, .. }) => Some(database),
            Err(_) => None,
        }
    }
}

/// What is the server's business, and depends on which tables are read of it.
fn look_at_all(
    subject: &Subject<'_>,
    looked: &[Looked<'_>],
    end: Option<&LogEnd>,
    findings: &mut Vec<Finding>,
) {
    if let Some(end) = end {
        let databases: BTreeSet<&str> = looked.iter().filter_map(Looked::database).collect();
        findings.extend(databases.into_iter().map(|database| log::filter(subject, end, database)));
    }
    let fit: Vec<&Table> = looked.iter().filter_map(Looked::fit).collect();
    if fit.is_empty() {
        return;
    }
    findings.extend(table::twice(&fit));
    findings.push(log::row_image(subject, &fit));
    findings.extend(access::locks(subject, &fit));
    findings.extend(foreign_key::logged(subject));
}

/// Asks for the log's end, where it makes sense to.
fn end_of_log(
    subject: &Subject<'_>,
    connection: &mut Connection,
    findings: &mut Vec<Finding>,
) -> Option<LogEnd> {
    if !subject.server.is_on("log_bin") || !subject.rights.sees_log {
        return None;
    }
    match log_end(connection) {
        Ok(end) => Some(end),
        Err(error) => {
            findings.push(Finding::unanswered("log_end", &error));
            None
        }
    }
}

/// What there is to say of one table, and some of its rows.
fn look_at_table(
    subject: &Subject<'_>,
    connection: &mut Connection,
    (looked, sample_rows): (&Looked<'_>, u32),
    findings: &mut Vec<Finding>,
) -> Vec<Row> {
    let scope = looked.scope;
    match &looked.found {
        Ok(Lookup::Found { table, missing }) => {
            findings.extend(table::shape(subject, (scope, table), missing));
        }
        Ok(Lookup::Absent { database, name, similar }) => {
            add(findings, "table", table::absent(subject, scope, (database, name), similar));
        }
        Err(error) => findings.push(Finding::unanswered("table", error)),
    }
    let Some(table) = looked.fit() else { return Vec::new() };
    findings.extend(columns::findings(subject, table));
    add(findings, "select", access::table(subject, connection, (scope, table)));
    findings.extend(parents(connection, (scope, table)));
    add(findings, "request_id", table::uniqueness(connection, (scope, table)));
    if foreign_key::logged(subject).is_none() {
        add(findings, "foreign_key", foreign_key::findings(connection, (scope, table)));
    }
    sample::read(connection, table, sample_rows).unwrap_or_else(|error| {
        findings.push(Finding::unanswered("sample", &error));
        Vec::new()
    })
}

/// Whether one row at most is the parent of another table's row; nothing where none is.
fn parents(connection: &mut Connection, (scope, table): (&TableScope, &Table)) -> Option<Finding> {
    if scope.parent_keys.is_empty() {
        return None;
    }
    let asked = catalog::expect_parents(connection, (scope, table));
    Some(Finding::of_parents(&table.quoted(), asked))
}

fn add(findings: &mut Vec<Finding>, code: &'static str, found: Result<Vec<Finding>, SourceError>) {
    match found {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::unanswered(code, &error)),
    }
}
