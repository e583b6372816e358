//! Everything that capture needs of the server, looked at in one go.
//!
//! No finding keeps another from being made: an operator mends the server once, not once per finding.

use std::error::Error;

use change::{Finding, Inspection, SourceError, SourceErrorKind, TableScope};

use crate::catalog::{self, Lookup, Table};
use crate::config::PostgresConfig;
use crate::server::{self, Server};
use crate::session::{self, Session};

mod access;
mod connection;
mod log;
mod publishing;
mod sample;
mod slot;
mod table;

/// What the checks ask and compare with.
struct Subject<'a> {
    session: &'a Session,
    config: &'a PostgresConfig,
    scope: &'a TableScope,
    server: &'a Server,
}

/// Looks at every prerequisite, and reads up to `sample_rows` rows of the mapped columns.
pub(crate) async fn inspect(config: &PostgresConfig, scope: &TableScope, sample_rows: u32) -> Inspection {
    let mut inspection = Inspection::default();
    if let Err(error) = config.validate() {
        inspection.findings.push(refusal("configuration", "the connector cannot start with it", &error));
        return inspection;
    }
    let session = match session::connect(config).await {
        Ok(session) => session,
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
    let server = match server::ask(&session).await {
        Ok(server) => server,
        Err(error) => {
            inspection.findings.push(unanswered("server", &error));
            return inspection;
        }
    };
    let subject = Subject { session: &session, config, scope, server: &server };
    look(&subject, sample_rows, &mut inspection).await;
    inspection
}

async fn look(subject: &Subject<'_>, sample_rows: u32, inspection: &mut Inspection) {
    let findings = &mut inspection.findings;
    add(findings, "connection", connection::findings(subject).await);
    findings.extend(log::findings(subject));
    findings.extend(access::replication(subject).await);
    match catalog::look_up(subject.session, subject.scope).await {
        Ok(Lookup::Found { table, missing }) => {
            findings.extend(table::shape(subject, &table, &missing));
            if missing.is_empty() && !matches!(table.kind, catalog::Kind::Unfit(_)) {
                look_at_table(subject, &table, findings).await;
                let sampled = sample::read(subject, &table, sample_rows).await;
                add(
                    findings,
                    "sample",
                    sampled.map(|(found, rows)| {
                        inspection.samples = vec![rows];
                        found
                    }),
                );
            }
        }
        Ok(Lookup::Absent { schema, name, similar }) => {
            findings.push(table::absent(&schema, &name, &similar));
        }
        Err(error) => findings.push(unanswered("table", &error)),
    }
    add(&mut inspection.findings, "slot", slot::findings(subject).await);
}

async fn look_at_table(subject: &Subject<'_>, table: &Table, findings: &mut Vec<Finding>) {
    add(findings, "select", access::table(subject, table).await);
    add(findings, "request_id", table::uniqueness(subject, table).await.map(|finding| vec![finding]));
    add(findings, "publication", publishing::findings(subject, table).await);
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
        // The server's own message is part of ours already, and the library's words add nothing to it.
        if !text.contains(&more)
            && more != "db error"
            && !more.starts_with("ERROR: ")
            && !more.starts_with("FATAL: ")
        {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}
