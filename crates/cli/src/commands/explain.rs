//! `bitacora explain`.

use chrono::{DateTime, SecondsFormat};
use ledger::{LedgerReader, LifeEvent};
use serde_json::json;

use super::Context;
use super::flush::status_name;
use crate::args::ExplainArgs;
use crate::config::Secrets;
use crate::exit::{Exit, Failure};
use crate::terminal::{printable, say};

/// Tells the whole life of one request, from the ledger alone.
pub(crate) async fn explain(context: &Context, args: ExplainArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Spared)?;
    let dir = config.ledger.dir.clone();
    let id = args.request_id.clone();
    // Reading the whole ledger takes its time: not on a thread that others wait for.
    let life = tokio::task::spawn_blocking(move || LedgerReader::open(&dir)?.queries().explain(&id))
        .await
        .map_err(|error| Failure::new("read the ledger").caused_by(&error))??;
    if args.json {
        let events: Vec<_> = life.iter().map(as_json).collect();
        let document = json!({"version": 1, "request_id": args.request_id, "events": events});
        say(&format!("{document:#}"))?;
    } else if life.is_empty() {
        say(&format!(
            "the ledger knows nothing of request {}: it was not changed since capture began, or it was opened before {}, or its records were acknowledged more than {} days ago",
            printable(&args.request_id),
            config.backfill.from,
            config.ledger.keep_days
        ))?;
    } else {
        say(&format!("request {}", printable(&args.request_id)))?;
        for event in &life {
            say(&as_text(event))?;
        }
    }
    Ok(if life.is_empty() { Exit::Failed } else { Exit::Done })
}

fn as_text(event: &LifeEvent) -> String {
    let status = event.status_id.map_or_else(|| "no known status".into(), status_name);
    let changed = event.modified_at.map(|at| format!(", changed {}", moment(at))).unwrap_or_default();
    let mut text = format!("  {status}{changed}, {}", event.origin.as_str());
    if let Some(service) = &event.service_id {
        text.push_str(&format!(", service {}", printable(service)));
    }
    let mut line = |words: String| text.push_str(&format!("\n      {words}"));
    if let Some(position) = &event.position {
        line(format!("in the log at {position}"));
    }
    if let Some(committed) = event.committed_at {
        line(format!("committed {}", moment(committed)));
    }
    if let Some(captured) = event.captured_at {
        line(format!("captured {}", moment(captured)));
    }
    if let Some(batch) = event.batch {
        let sent = event.sent_at.map_or_else(String::new, |at| format!(", first sent {}", moment(at)));
        let flush = event.flush.map(|flush| format!(" of flush {flush}")).unwrap_or_default();
        line(format!("in batch {batch}{flush}{sent}"));
    }
    match (event.acknowledged_at, &event.reason) {
        (Some(at), _) => line(format!("acknowledged {}", moment(at))),
        (None, Some(reason)) => line(format!("{}: {}", event.state.as_str(), printable(reason))),
        (None, None) => line(event.state.as_str().into()),
    }
    text
}

fn as_json(event: &LifeEvent) -> serde_json::Value {
    json!({
        "service_id": event.service_id,
        "status_id": event.status_id,
        "opening_date": event.opening_at.map(moment),
        "last_modified_date": event.modified_at.map(moment),
        "position": event.position.as_ref().map(|position| position.as_str()),
        "committed_at": event.committed_at.map(moment),
        "captured_at": event.captured_at.map(moment),
        "origin": event.origin.as_str(),
        "state": event.state.as_str(),
        "batch": event.batch,
        "flush": event.flush,
        "sent_at": event.sent_at.map(moment),
        "acknowledged_at": event.acknowledged_at.map(moment),
        "reason": event.reason,
    })
}

/// A moment as results tell it.
pub(crate) fn moment(at: i64) -> String {
    DateTime::from_timestamp_micros(at)
        .map_or_else(|| at.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
