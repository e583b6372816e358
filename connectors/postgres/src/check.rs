//! Everything that capture needs of the server, looked at in one go.
//!
//! No finding keeps another from being made: an operator mends the server once, not once per finding.

use change::{Finding, Inspection, Row, Scope, SourceError, TableScope};

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
    server: &'a Server,
}

/// Looks at every prerequisite, and reads up to `sample_rows` rows of the mapped columns of each table.
pub(crate) async fn inspect(config: &PostgresConfig, scope: &Scope, sample_rows: u32) -> Inspection {
    let mut inspection = Inspection::default();
    if let Err(error) = config.validate() {
        inspection.findings.push(Finding::refused(
            "configuration",
            "the connector cannot start with it",
            &error,
        ));
        return inspection;
    }
    let session = match session::connect(config).await {
        Ok(session) => session,
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
    let server = match server::ask(&session).await {
        Ok(server) => server,
        Err(error) => {
            inspection.findings.push(Finding::unanswered("server", &error));
            return inspection;
        }
    };
    let subject = Subject { session: &session, config, server: &server };
    look(&subject, scope, sample_rows, &mut inspection).await;
    inspection
}

async fn look(subject: &Subject<'_>, scope: &Scope, sample_rows: u32, inspection: &mut Inspection) {
    let findings = &mut inspection.findings;
    add(findings, "connection", connection::findings(subject).await);
    findings.extend(log::findings(subject));
    findings.extend(access::replication(subject).await);
    let mut tables = Vec::with_capacity(scope.tables.len());
    for wanted in &scope.tables {
        let (table, rows) = look_at_table(subject, wanted, sample_rows, findings).await;
        inspection.samples.push(rows);
        tables.extend(table.map(|table| (table, wanted)));
    }
    if !tables.is_empty() {
        add(findings, "publication", publishing::findings(subject, &tables).await);
    }
    add(findings, "slot", slot::findings(subject).await);
}

/// The table, if it can be captured, and some of its rows.
async fn look_at_table(
    subject: &Subject<'_>,
    scope: &TableScope,
    sample_rows: u32,
    findings: &mut Vec<Finding>,
) -> (Option<Table>, Vec<Row>) {
    let nothing = (None, Vec::new());
    let (table, missing) = match catalog::look_up(subject.session, scope).await {
        Ok(Lookup::Found { table, missing }) => (*table, missing),
        Ok(Lookup::Absent { schema, name, similar }) => {
            findings.push(table::absent(&schema, &name, &similar));
            return nothing;
        }
        Err(error) => {
            findings.push(Finding::unanswered("table", &error));
            return nothing;
        }
    };
    findings.extend(table::shape(subject, scope, &table, &missing));
    if !missing.is_empty() || matches!(table.kind, catalog::Kind::Unfit(_)) {
        return nothing;
    }
    add(findings, "select", access::table(subject, &table).await);
    findings.extend(parents(subject.session, (scope, &table)).await);
    add(findings, "request_id", table::uniqueness(subject, (scope, &table)).await);
    match sample::read(subject, &table, sample_rows).await {
        Ok((found, rows)) => {
            findings.extend(found);
            (Some(table), rows)
        }
        Err(error) => {
            findings.push(Finding::unanswered("sample", &error));
            (Some(table), Vec::new())
        }
    }
}

/// Whether one row at most is the parent of another table's row; nothing where none is.
async fn parents(session: &Session, (scope, table): (&TableScope, &Table)) -> Option<Finding> {
    if scope.parent_keys.is_empty() {
        return None;
    }
    let asked = catalog::expect_parents(session, (scope, table)).await;
    Some(Finding::of_parents(&table.quoted(), asked))
}

fn add(findings: &mut Vec<Finding>, code: &'static str, found: Result<Vec<Finding>, SourceError>) {
    match found {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::unanswered(code, &error)),
    }
}
