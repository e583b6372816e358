//! `bitacora status`.

use std::sync::Arc;

use chrono::Utc;
use ledger::{Ledger, LedgerErrorKind, LedgerReader};
use pipeline::{Health, Status, TableStatus};

use super::Context;
use crate::args::StatusArgs;
use crate::config::{Config, Secrets};
use crate::control::Client;
use crate::daemon::tables;
use crate::exit::{Exit, Failure};
use crate::terminal::{batches, count, counted, say};

/// Shows the state: the daemon's when one runs, else what the ledger holds.
pub(crate) async fn status(context: &Context, args: StatusArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Spared)?;
    let status = read(&config).await?;
    if args.json {
        let text = serde_json::to_string_pretty(&status)
            .map_err(|error| Failure::new("write the status as JSON").caused_by(&error))?;
        say(&text)?;
    } else {
        show(&status)?;
    }
    Ok(Exit::Done)
}

async fn read(config: &Config) -> Result<Status, Failure> {
    let dir = &config.ledger.dir;
    let reader = LedgerReader::open(dir)?;
    let engine = config.source.engine.name();
    let stopped = Health::default().view();
    match Ledger::open(dir, "bitacora status") {
        // Nobody else writes: what waits to be compared is settled now, so that the counts are exact.
        Ok(mut ledger) => {
            // A configuration that does not fit the ledger is for the daemon to refuse: the state is shown all the same.
            let fits = ledger.declare_tables(Arc::new(tables(config)?)).is_ok();
            while fits && ledger.settle(50_000)?.more {}
            Ok(pipeline::status(&ledger, engine, &stopped, Utc::now())?)
        }
        Err(error) if error.kind() == LedgerErrorKind::Held => match Client::find(dir) {
            Some(daemon) => daemon.status().await,
            None => Ok(pipeline::status(reader.queries(), engine, &stopped, Utc::now())?),
        },
        Err(error) => Err(error.into()),
    }
}

fn show(status: &Status) -> Result<(), Failure> {
    let unknown = || "unknown".to_owned();
    let source = &status.source;
    let mut lines = vec![
        ("state", format!("{:?}", source.state).to_lowercase()),
        ("position", source.position.clone().unwrap_or_else(unknown)),
        ("lag", source.lag_seconds.map_or_else(unknown, |lag| format!("{lag:.1} s"))),
        (
            "log kept",
            source
                .retention_hours
                .map_or_else(|| "without a known limit".into(), |hours| format!("for {hours:.1} h more")),
        ),
        ("captured", format!("{} row changes", count(status.captured_changes))),
        (
            "delta",
            format!("{} records{}", count(status.delta.records), since(status.delta.oldest_at.as_deref())),
        ),
        ("next flush", status.flush.next_at.clone().unwrap_or_else(|| "no daemon runs".into())),
        ("last flush", last_flush(status)),
        (
            "backfill",
            format!(
                "{}: {} rows read, {} records acknowledged, {} waiting",
                status.backfill.state,
                count(status.backfill.rows),
                count(status.backfill.records),
                count(status.backfill.waiting)
            ),
        ),
        (
            "quarantine",
            format!("{} rows, {} records", count(status.quarantine.rows), count(status.quarantine.records)),
        ),
    ];
    if status.quarantine.waiting > 0 {
        lines.push(("waiting", format!("{} for a parent", counted(status.quarantine.waiting, "row"))));
    }
    if status.tables.len() > 1 {
        for table in &status.tables {
            lines.push(("table", table_line(table)));
        }
    }
    if let Some(error) = &source.last_error {
        lines.push(("last error", error.clone()));
    }
    for (name, value) in lines {
        say(&format!("{name:<13}{value}"))?;
    }
    for gap in &status.gaps {
        let repaired =
            gap.repaired_at.as_deref().map_or("being repaired".into(), |at| format!("repaired at {at}"));
        let from = gap.from.as_deref().unwrap_or("unknown");
        say(&format!(
            "{:<13}log lost after {from}, found at {}, {repaired}, {} records sent for it: {}",
            "gap",
            gap.found_at,
            count(gap.records),
            gap.reason
        ))?;
    }
    for alert in &status.alerts {
        say(&format!("{:<13}{}: {}", "ALERT", alert.code, alert.what))?;
        if let Some(hint) = &alert.hint {
            say(&format!("{:<13}hint: {hint}", ""))?;
        }
    }
    Ok(())
}

/// What there is of one table among several.
fn table_line(table: &TableStatus) -> String {
    let mut told = format!(
        "{}: {} copied, {} to be sent",
        table.table,
        counted(table.copied, "row"),
        counted(table.delta, "record")
    );
    for (what, number) in [("waiting for a parent", table.waiting), ("in quarantine", table.quarantine)] {
        if number > 0 {
            told.push_str(&format!(", {} {what}", count(number)));
        }
    }
    told
}

fn since(oldest: Option<&str>) -> String {
    oldest.map(|oldest| format!(", the oldest captured at {oldest}")).unwrap_or_default()
}

fn last_flush(status: &Status) -> String {
    let Some(last) = &status.flush.last else { return "none yet".into() };
    let result = last.result.as_deref().unwrap_or("not finished");
    let at = last.finished_at.as_deref().unwrap_or(&last.started_at);
    let why = last.error.as_deref().map(|error| format!(" ({error})")).unwrap_or_default();
    let (records, batches) = (counted(last.records, "record"), batches(last.batches));
    format!("{result} at {at}: {records} in {batches}{why}")
}
