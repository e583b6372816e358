//! `bitacora check`: everything that must be right before the first row is captured, all at once.

mod ledger_folder;
mod report;
mod sample;
mod services;
mod settings;

use change::{Finding, Row, Source};
use chrono::{DateTime, Utc};
use normalizer::Tables;

use crate::alerting;
use crate::args::CheckArgs;
use crate::config::{Config, ConfigError, Secrets};
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::terminal;

use super::Context;
use report::Report;

/// Rows that the mapping is tried on: enough to meet most values of a status column.
const SAMPLE_ROWS: u32 = 1000;

/// Looks at everything, prints what was found, and fails if anything stands in the way.
pub(crate) async fn check(context: &Context, args: &CheckArgs) -> Result<Exit, Failure> {
    let config = match Config::load(&context.global.config, Secrets::Needed) {
        Ok(config) => config,
        Err(error) if args.json => {
            terminal::say(&Report::of_bad_configuration(mistakes(&error)).json())?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let mut report = look_at(&config).await?;
    if args.alerts {
        report.add("Alerts", alerting::trial(&config).await);
    }
    terminal::say(&if args.json { report.json() } else { report.text() })?;
    Ok(if report.is_ok() { Exit::Done } else { Exit::Failed })
}

async fn look_at(config: &Config) -> Result<Report, Failure> {
    let tables = daemon::tables(config)?;
    let source = daemon::source(config, &tables);
    let delivery = daemon::delivery(config)?;
    // Both wait for somebody else's machine, so they wait together.
    let ask = async {
        match delivery.probe().await {
            Ok(found) => (Ok(found), delivery.services().await),
            Err(fault) => (Err(fault), None),
        }
    };
    let (inspection, (probe, listed)) = tokio::join!(source.check(SAMPLE_ROWS), ask);
    let now = Utc::now();
    let mut report = Report::default();
    report.add("Configuration", settings::look_at(config));
    let unreadable = inspection.findings.iter().any(|finding| finding.severity == change::Severity::Error);
    let is_reached = probe.is_ok();
    report.add("Database", inspection.findings);
    report.add("Mapping", tried(&tables, &inspection.samples, unreadable, now));
    let mut endpoint = vec![endpoint(probe)];
    if is_reached {
        let used = services::used(&config.tables, &tables, &inspection.samples, now);
        endpoint.push(services::look_at(&used, listed.as_ref()));
    }
    report.add("Endpoint", endpoint);
    report.add("Ledger", ledger_folder::look_at(&config.ledger));
    report.add("Schedule", settings::times(config, now));
    Ok(report)
}

/// The mapping of each table, tried on its sample rows.
fn tried(tables: &Tables, samples: &[Vec<Row>], unreadable: bool, now: DateTime<Utc>) -> Vec<Finding> {
    let several = tables.mapped().nth(1).is_some();
    let mut found = Vec::new();
    for (number, table, mapped) in tables.mapped() {
        let rows = sample::rows(tables, samples, number);
        let of = |finding: Finding| match several {
            true => Finding { what: format!("table {}: {}", table.name, finding.what), ..finding },
            false => finding,
        };
        found.extend(sample::look_at(&mapped.mapping, &rows, unreadable, now).into_iter().map(of));
    }
    found
}

fn endpoint(probe: Result<delivery::ProbeReport, delivery::Fault>) -> Finding {
    const WHY: &str = "nothing can be delivered; what is captured waits in the ledger";
    match probe {
        Ok(found) => {
            let elapsed = terminal::span(found.elapsed);
            let what = format!("{} answered {} within {elapsed}", found.address, found.status);
            match found.doubt {
                None => Finding::pass("endpoint", what),
                Some(doubt) => mended(Finding::warning("endpoint", what, doubt.message), doubt.hint),
            }
        }
        Err(fault) => mended(Finding::error("endpoint", fault.message, WHY), fault.hint),
    }
}

fn mended(finding: Finding, mend: Option<String>) -> Finding {
    match mend {
        Some(mend) => finding.mended_by(mend),
        None => finding,
    }
}

fn mistakes(error: &ConfigError) -> Vec<Finding> {
    const WHY: &str = "nothing can start with this configuration";
    let ConfigError::Invalid { path, problems } = error else {
        return vec![Finding::error("configuration", error.to_string(), WHY).mended_by(error.hint())];
    };
    let finding = |problem: &crate::config::Problem| {
        let what = format!("{}:{}: {}: {}", path.display(), problem.line, problem.key, problem.message);
        mended(Finding::error("configuration", what, WHY), problem.hint.clone())
    };
    problems.iter().map(finding).collect()
}
