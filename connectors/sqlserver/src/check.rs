//! Everything that capture needs of the server, looked at in one go.
//!
//! No finding keeps another from being made: an operator mends the server once, not once per finding.

use change::{Finding, Inspection, Row, Scope, SourceError, TableScope};

use crate::catalog::{self, Lookup, Table};
use crate::client::Client;
use crate::config::{Mode, SqlServerConfig};
use crate::poll::only_table;
use crate::server::{self, Server};

mod access;
mod capture;
mod columns;
mod connection;
mod database;
mod instances;
mod keeping;
mod poll;
mod sample;
mod table;

/// What the checks compare with.
struct Subject<'a> {
    config: &'a SqlServerConfig,
    scope: &'a Scope,
    server: &'a Server,
}

impl Subject<'_> {
    /// Whether changes are learnt of by scans of the table.
    fn polls(&self) -> bool {
        matches!(self.config.mode, Mode::Poll { .. })
    }
}

/// Looks at every prerequisite, and reads up to `sample_rows` rows of each table's mapped columns.
pub(crate) async fn inspect(config: &SqlServerConfig, scope: &Scope, sample_rows: u32) -> Inspection {
    let mut inspection = Inspection::default();
    if let Err(error) = config.validate() {
        inspection.findings.push(Finding::refused(
            "configuration",
            "the connector cannot start with it",
            &error,
        ));
        return inspection;
    }
    let mut client = match Client::open(config).await {
        Ok(client) => client,
        Err(error) => {
            let why = "without a connection nothing is captured, and nothing else can be checked";
            inspection.findings.push(Finding::refused("connection", why, &error));
            return inspection;
        }
    };
    let address = SqlServerConfig::address(&config.host, config.port);
    let what = format!("{address} lets \"{}\" into \"{}\"", config.user, config.database);
    inspection.findings.push(Finding::pass("connection", what));
    match server::ask(&mut client).await {
        Ok(server) => {
            let subject = Subject { config, scope, server: &server };
            look(&subject, &mut client, sample_rows, &mut inspection).await;
        }
        Err(error) => inspection.findings.push(Finding::unanswered("server", &error)),
    }
    inspection
}

async fn look(subject: &Subject<'_>, client: &mut Client, sample_rows: u32, inspection: &mut Inspection) {
    let findings = &mut inspection.findings;
    findings.extend(connection::version(subject));
    add(findings, "tls", connection::encryption(subject, client).await);
    findings.push(connection::clock(subject.server));
    findings.push(database::rights(subject));
    findings.push(database::snapshots(subject.server));
    if subject.polls() {
        findings.push(poll::guarantee());
        if let Err(error) = only_table(subject.scope) {
            findings.push(Finding::refused("mode", "the connector cannot start with it", &error));
        }
    } else {
        findings.push(database::capture(subject));
        findings.extend(database::durability(subject.server));
        if subject.server.captures {
            add(findings, "log_end", database::log_end(subject, client).await);
            add(findings, "capture", capture::findings(subject, client).await);
            add(findings, "log_retention", keeping::findings(subject, client).await);
        }
    }
    let mut seen: Vec<i64> = Vec::new();
    let mut fit: Vec<(&TableScope, Table)> = Vec::new();
    for scope in &subject.scope.tables {
        let mut rows = Vec::new();
        if let Some(table) = look_up(subject, client, scope, findings).await {
            if seen.contains(&table.object_id) {
                findings.push(table::twice(&table));
            }
            seen.push(table.object_id);
            rows = look_at_table(subject, client, (&table, sample_rows), findings).await;
            findings.extend(parents(client, (scope, &table)).await);
            add(findings, "request_id", table::uniqueness(client, (scope, &table)).await);
            fit.push((scope, table));
        }
        inspection.samples.push(rows);
    }
    if !subject.polls() && subject.server.captures && !fit.is_empty() {
        add(findings, "capture_instance", instances::findings(subject, client, &fit).await);
    }
}

/// The table, where it has all that is mapped.
async fn look_up(
    subject: &Subject<'_>,
    client: &mut Client,
    scope: &TableScope,
    findings: &mut Vec<Finding>,
) -> Option<Table> {
    match catalog::look_up(client, scope).await {
        Ok(Lookup::Found { table, missing }) => {
            findings.extend(table::shape(subject, (scope, &table), &missing));
            missing.is_empty().then_some(*table)
        }
        Ok(Lookup::Absent { schema, name, similar }) => {
            findings.push(table::absent(subject, (&schema, &name), &similar));
            None
        }
        Err(error) => {
            findings.push(Finding::unanswered("table", &error));
            None
        }
    }
}

/// What there is to say of one table, its capture apart, and some of its rows.
async fn look_at_table(
    subject: &Subject<'_>,
    client: &mut Client,
    (table, sample_rows): (&Table, u32),
    findings: &mut Vec<Finding>,
) -> Vec<Row> {
    findings.extend(columns::findings(table));
    add(findings, "select", access::table(subject, client, table).await);
    if let Mode::Poll { modified_column, .. } = &subject.config.mode {
        add(findings, "modified_column", poll::column(client, table, modified_column).await);
    }
    sample::read(client, table, sample_rows).await.unwrap_or_else(|error| {
        findings.push(Finding::unanswered("sample", &error));
        Vec::new()
    })
}

/// Whether one row at most is the parent of another table's row; nothing where none is.
async fn parents(client: &mut Client, (scope, table): (&TableScope, &Table)) -> Option<Finding> {
    if scope.parent_keys.is_empty() {
        return None;
    }
    let asked = catalog::expect_parents(client, (scope, table)).await;
    Some(Finding::of_parents(&table.quoted(), asked))
}

fn add(findings: &mut Vec<Finding>, code: &'static str, found: Result<Vec<Finding>, SourceError>) {
    match found {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::unanswered(code, &error)),
    }
}
