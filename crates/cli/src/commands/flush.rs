//! `bitacora flush`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use ledger::{LedgerReader, Queries};
use pipeline::{DeliveryProgress, FlushReport, FlushResult};

use super::Context;
use crate::args::FlushArgs;
use crate::config::{Config, Secrets};
use crate::daemon::{Access, courier, reach};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::terminal::{Table, batches, count, counted, say, span};

/// Sends the delta, through the daemon when there is one.
pub(crate) async fn flush(context: &Context, args: FlushArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Needed)?;
    if args.dry_run {
        return dry_run(&config);
    }
    let mut shown = Progress::start("flush", "records");
    let (report, aside) = match reach(&config, "bitacora flush")? {
        Access::Daemon(daemon) => {
            let report = daemon.flush(|progress| shown.update(progress.records, None, "")).await?;
            let quarantine = daemon.status().await?.quarantine;
            (report, quarantine.rows + quarantine.records)
        }
        Access::Alone(ledger) => {
            let (courier, ledger) = courier(&config, *ledger, &context.stop)?;
            let shown = std::sync::Mutex::new(&mut shown);
            let tell = |progress: DeliveryProgress| {
                if let Ok(mut shown) = shown.lock() {
                    shown.update(progress.records, None, "");
                }
            };
            let report = courier.flush(&tell).await?;
            let counts = ledger.call(|ledger| ledger.quarantine_counts()).await?;
            (report, counts.rows + counts.records)
        }
    };
    shown.finish();
    match conclude("flush", &report)? {
        Exit::Done if aside > 0 => Ok(Exit::Quarantine),
        exit => Ok(exit),
    }
}

/// Says how a delivery ended, and with which exit status.
pub(crate) fn conclude(what: &str, report: &FlushReport) -> Result<Exit, Failure> {
    let delivered =
        format!("{} in {} acknowledged", counted(report.records, "record"), batches(report.batches));
    let why = report.error.clone().unwrap_or_default();
    match report.result {
        FlushResult::Acknowledged => {
            say(&format!("{what}: {delivered}{}", time(report)))?;
            Ok(Exit::Done)
        }
        FlushResult::Partial => {
            let aside = counted(report.quarantined, "record");
            say(&format!(
                "{what}: {delivered}; {aside} refused and kept in quarantine (bitacora quarantine list)"
            ))?;
            Ok(Exit::Quarantine)
        }
        FlushResult::Failed => Err(Failure::new(format!("the {what} gave up: {why}"))
            .for_the_data(format!("{delivered}; the rest waits in the ledger and goes with the next {what}"))
            .with_hint_opt(report.hint.clone())),
        FlushResult::Halted => Err(Failure::new(format!("the {what} was halted: {why}"))
            .for_the_data(format!("{delivered}; the rest waits in the ledger and goes with the next {what}"))
            .with_hint_opt(report.hint.clone())),
        FlushResult::Interrupted if report.waiting_until.is_some() => {
            let opens = report.waiting_until.and_then(DateTime::from_timestamp_micros);
            let opens =
                opens.map(|opens| opens.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default();
            Err(Failure::new(format!("the {what} waits: the window of deliveries is closed until {opens}"))
                .for_the_data(format!("{delivered}; the rest waits in the ledger"))
                .with_hint(format!(
                    "a running daemon goes on by itself then; without one, run `bitacora {what}` again"
                )))
        }
        FlushResult::Interrupted => Err(Failure::new(format!("the {what} was stopped on its way"))
            .for_the_data(format!("{delivered}; the rest waits in the ledger"))
            .with_hint(format!("run `bitacora {what}` again: it goes on where it stopped"))),
    }
}

/// What the time went into: who waits for the endpoint cannot make a delivery faster at this end.
fn time(report: &FlushReport) -> String {
    if report.batches == 0 || report.seconds <= 0.0 {
        return String::new();
    }
    let share = (100.0 * report.waited_seconds / report.seconds).clamp(0.0, 100.0);
    let taken = span(Duration::from_secs_f64(report.seconds.max(0.0)));
    format!(" in {taken}, {share:.0} % of it waiting for the endpoint")
}

fn dry_run(config: &Config) -> Result<Exit, Failure> {
    let reader = LedgerReader::open(&config.ledger.dir)?;
    let ledger = reader.queries();
    let delta = ledger.delta()?;
    let batches = delta.records.div_ceil(u64::from(config.delivery.batch_size));
    say(&format!(
        "a flush now would send {} in at least {batches} POSTs to {}; nothing was sent",
        counted(delta.records, "record"),
        config.delivery.url
    ))?;
    if delta.records > 0 {
        for (name, counts) in [("service", ledger.delta_by_service()?), ("status", by_status(ledger)?)] {
            let mut table = Table::new(&[name, "records>"]);
            for (name, records) in counts {
                table.row([name, count(records)]);
            }
            say(&table.render())?;
        }
    }
    Ok(Exit::Done)
}

fn by_status(ledger: &Queries) -> Result<BTreeMap<String, u64>, Failure> {
    Ok(ledger.delta_by_status()?.into_iter().map(|(id, records)| (status_name(id), records)).collect())
}

/// A status with its name in the common catalogue.
pub(crate) fn status_name(id: u8) -> String {
    normalizer::status(id).map_or_else(|| id.to_string(), |status| format!("{id} {}", status.name))
}
