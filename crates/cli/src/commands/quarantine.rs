//! `bitacora quarantine`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use ledger::{Ledger, LedgerReader, QuarantineItem, TableId};
use pipeline::{LedgerThread, RetryReport, retry_quarantine};
use serde_json::json;

use super::Context;
use crate::args::{
    QuarantineAction, QuarantineArgs, QuarantineDiscardArgs, QuarantineKind, QuarantineListArgs,
};
use crate::config::{Config, Secrets};
use crate::daemon::{Access, reach, tables};
use crate::exit::{Exit, Failure};
use crate::terminal::{count, counted, printable, say};

/// Shows, retries or discards what was put aside.
pub(crate) async fn quarantine(context: &Context, args: QuarantineArgs) -> Result<Exit, Failure> {
    match args.action {
        QuarantineAction::List(args) => list(&context.config(Secrets::Spared)?, &args),
        QuarantineAction::Retry => retry(&context.config(Secrets::Spared)?).await,
        QuarantineAction::Discard(args) => discard(&context.config(Secrets::Spared)?, args).await,
    }
}

fn list(config: &Config, args: &QuarantineListArgs) -> Result<Exit, Failure> {
    let reader = LedgerReader::open(&config.ledger.dir)?;
    let counts = reader.queries().quarantine_counts()?;
    let kind = args.kind.map(|kind| match kind {
        QuarantineKind::Rows => ledger::QuarantineKind::Row,
        QuarantineKind::Records => ledger::QuarantineKind::Record,
    });
    let items = reader.queries().quarantine(kind, args.after, args.limit)?;
    let names = reader.queries().table_names()?;
    if args.json {
        let items: Vec<_> = items.iter().map(|item| as_json(item, &names)).collect();
        let document = json!({"version": 1, "rows": counts.rows, "records": counts.records, "items": items});
        say(&format!("{document:#}"))?;
        return Ok(Exit::Done);
    }
    let nothing = counts.rows + counts.records == 0;
    if nothing {
        say("nothing is in quarantine")?;
        return Ok(Exit::Done);
    }
    for item in &items {
        say(&as_text(item, &names))?;
    }
    say(&format!(
        "{} that could not be mapped, {} that the dashboard refuses",
        counted(counts.rows, "row"),
        counted(counts.records, "record")
    ))?;
    if let Some(last) = items.last().filter(|_| (items.len() as u64) == u64::from(args.limit)) {
        say(&format!("more: bitacora quarantine list --after {}", last.id))?;
    }
    Ok(Exit::Done)
}

fn as_text(item: &QuarantineItem, names: &BTreeMap<TableId, String>) -> String {
    let request = item.request_id.as_deref().unwrap_or("unknown");
    let mut text = format!(
        "#{} {} of request {}, {}: {} ({})",
        item.id,
        item.kind.as_str(),
        printable(request),
        moment(item.at),
        printable(&item.reason),
        item.code
    );
    if let Some(table) = names.get(&item.table).filter(|name| names.len() > 1 && !name.is_empty()) {
        text.push_str(&format!("\n    table: {}", printable(table)));
    }
    if let Some(row) = &item.row {
        text.push_str(&format!("\n    row: {}", printable(&normalizer::readable_row(row))));
    }
    if let Some(hint) = normalizer::rejection_hint(&item.code) {
        text.push_str(&format!("\n    hint: {hint}"));
    }
    text
}

fn as_json(item: &QuarantineItem, names: &BTreeMap<TableId, String>) -> serde_json::Value {
    let row = item.row.as_deref().and_then(|row| serde_json::from_str::<serde_json::Value>(row).ok());
    json!({
        "id": item.id,
        "kind": item.kind.as_str(),
        "table": names.get(&item.table),
        "service_id": item.service_id,
        "request_id": item.request_id,
        "status_id": item.status_id,
        "code": item.code,
        "reason": item.reason,
        "hint": normalizer::rejection_hint(&item.code),
        "row": row,
        "position": item.position.as_ref().map(|position| position.as_str()),
        "at": moment(item.at),
    })
}

fn moment(at: i64) -> String {
    DateTime::from_timestamp_micros(at)
        .map_or_else(|| "at an unknown time".into(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

async fn retry(config: &Config) -> Result<Exit, Failure> {
    let report = match reach(config, "bitacora quarantine retry")? {
        Access::Daemon(daemon) => daemon.retry_quarantine().await?,
        Access::Alone(ledger) => {
            let mut ledger = *ledger;
            let declared = ledger.declare_tables(Arc::new(tables(config)?))?;
            let thread = LedgerThread::start(ledger)?;
            retry_quarantine(&thread, &declared).await?
        }
    };
    tell(&report)?;
    Ok(if report.still_rejected > 0 { Exit::Quarantine } else { Exit::Done })
}

fn tell(report: &RetryReport) -> Result<(), Failure> {
    let RetryReport { mapped, before_floor, left_out, still_rejected, records } = *report;
    if mapped + before_floor + left_out + still_rejected + records == 0 {
        return say("nothing is in quarantine");
    }
    say(&format!(
        "{} mapped, {} sent again; they leave with the next flush",
        counted(mapped, "row"),
        counted(records, "record")
    ))?;
    if before_floor > 0 {
        say(&format!("{} turned out to be older than the first day to send", counted(before_floor, "row")))?;
    }
    if left_out > 0 {
        say(&format!("{} turned out not to meet `[source] where`", counted(left_out, "row")))?;
    }
    if still_rejected > 0 {
        say(&format!(
            "{} still cannot be mapped and stay: see `bitacora quarantine list` for their present reasons",
            counted(still_rejected, "row")
        ))?;
    }
    Ok(())
}

async fn discard(config: &Config, args: QuarantineDiscardArgs) -> Result<Exit, Failure> {
    let ids = (!args.all).then_some(args.ids);
    let asked = ids.as_ref().map(|ids| ids.len() as u64);
    let discarded = match reach(config, "bitacora quarantine discard")? {
        Access::Daemon(daemon) => daemon.discard_quarantine(ids).await?,
        Access::Alone(mut ledger) => discard_alone(&mut ledger, ids.as_deref())?,
    };
    say(&format!("{} discarded for good", counted(discarded, "item")))?;
    match asked {
        Some(asked) if discarded < asked => Err(Failure::new(format!(
            "{} of the given numbers are not in quarantine",
            count(asked - discarded)
        ))
        .with_hint("see `bitacora quarantine list`")),
        _ => Ok(Exit::Done),
    }
}

fn discard_alone(ledger: &mut Ledger, ids: Option<&[i64]>) -> Result<u64, Failure> {
    let which = ids.map_or(ledger::Discard::All, ledger::Discard::Items);
    Ok(ledger.discard(which, chrono::Utc::now().timestamp_micros())?)
}
