//! Everything that capture needs of the server, looked at in one go.
//!
//! No finding keeps another from being made: an operator mends the server once, not once per finding.

use std::error::Error;

use change::{Finding, Inspection, SourceError, SourceErrorKind, TableScope};

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
    scope: &'a TableScope,
    server: &'a Server,
    rights: &'a Rights,
    /// Our account as statements name it.
    account: &'a str,
}

/// Looks at every prerequisite, and reads up to `sample_rows` rows of the mapped columns. Blocks.
pub(crate) fn inspect(config: &MysqlConfig, scope: &TableScope, sample_rows: u32) -> Inspection {
    let mut inspection = Inspection::default();
    if let Err(error) = config.validate() {
        inspection.findings.push(refusal("configuration", "the connector cannot start with it", &error));
        return inspection;
    }
    let mut connection = match Connection::open(config) {
        Ok(connection) => connection,
        Err(error) => {
            let why = "without a connection nothing is captured, and nothing else can be checked";
            inspection.findings.push(refusal("connection", why, &error));
            return inspection;
        }
    };
    inspection.findings.push(Finding::pass(
        "connection",
        format!("{} lets \"{}\" into \"{}\"", config.address(), config.user, config.database),
    ));
    let known = server::ask(&mut connection)
        .and_then(|server| Ok((server, rights::ask(&mut connection, &config.database)?)));
    match known {
        Ok((server, rights)) => {
            let account = rights::account(config, Some(&server));
            let subject = Subject { config, scope, server: &server, rights: &rights, account: &account };
            look(&subject, &mut connection, sample_rows, &mut inspection);
        }
        Err(error) => inspection.findings.push(unanswered("server", &error)),
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
    match catalog::look_up(connection, subject.config, subject.scope) {
        Ok(Lookup::Found { table, missing }) => {
            findings.extend(end.and_then(|end| log::filter(subject, &end, &table.database)));
            findings.extend(table::shape(subject, &table, &missing));
            if missing.is_empty() && !matches!(table.kind, Kind::Unfit(_)) {
                look_at_table(subject, connection, &table, findings);
                match sample::read(connection, &table, sample_rows) {
                    Ok(rows) => inspection.samples = vec![rows],
                    Err(error) => findings.push(unanswered("sample", &error)),
                }
            }
        }
        Ok(Lookup::Absent { database, name, similar }) => {
            findings.extend(end.and_then(|end| log::filter(subject, &end, &database)));
            add(findings, "table", table::absent(subject, (&database, &name), &similar));
        }
        Err(error) => findings.push(unanswered("table", &error)),
    }
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
            findings.push(unanswered("log_end", &error));
            None
        }
    }
}

fn look_at_table(
    subject: &Subject<'_>,
    connection: &mut Connection,
    table: &Table,
    findings: &mut Vec<Finding>,
) {
    findings.extend(columns::findings(subject, table));
    findings.push(log::row_image(subject, table));
    findings.push(access::lock(subject, table));
    add(findings, "select", access::table(subject, connection, table));
    add(findings, "request_id", table::uniqueness(connection, table).map(|finding| vec![finding]));
    add(findings, "foreign_key", foreign_key::findings(subject, connection, table));
}

fn add(findings: &mut Vec<Finding>, code: &'static str, found: Result<Vec<Finding>, SourceError>) {
    match found {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(unanswered(code, &error)),
    }
}

/// A finding for what the server refused.
fn refusal(code: &'static str, why: &str, error: &SourceError) -> Finding {
    let finding = Finding::error(code, full_text(error), why);
    match error.hint() {
        Some(hint) => finding.mended_by(hint),
        None => finding,
    }
}

/// A finding for what could not be found out. A missing right is no less serious than what it hides.
fn unanswered(code: &'static str, error: &SourceError) -> Finding {
    let why = match error.kind() {
        SourceErrorKind::Unreachable | SourceErrorKind::Busy => {
            "this could not be checked now: run the check again"
        }
        _ => "this could not be checked, and may hide what stands in the way",
    };
    refusal(code, why, error)
}

/// An error with its causes, for a reader who sees no chain.
fn full_text(error: &SourceError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}
