//! `bitacora audit`.

mod report;

use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use change::SourceErrorKind;
use chrono::Utc;
use ledger::{Audit, LedgerErrorKind, Repair, RepairAt};
use pipeline::{Auditor, Comparison, Deliveries, PipelineError};
use tokio_util::sync::CancellationToken;

use self::report::Report;
use super::Context;
use super::backfill::midnight;
use crate::args::AuditArgs;
use crate::config::{Config, Secrets};
use crate::control::Client;
use crate::daemon::{Access, Daemon, Mode, capture_settings, mapping, reach, source};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;

/// How often the keeper of the ledger is asked to settle what was captured.
const SETTLE_EVERY: Duration = Duration::from_millis(300);

/// Repairs that are asked for at once.
const REPAIRS_AT_ONCE: u32 = 500;

/// Compares, through the daemon's ledger when there is one.
pub(crate) async fn audit(context: &Context, args: AuditArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Needed)?;
    outside(&config, args.month)?;
    let log_lost = CancellationToken::new();
    let mut keeper = match reach(&config, "bitacora audit")? {
        Access::Daemon(client) => Keeper::Daemon(client),
        Access::Alone(ledger) => {
            // Begun here, a first copy of the table would be all that there is to compare with.
            if ledger.checkpoint()?.is_none() {
                return Err(nothing_known());
            }
            let mode = Mode { deliveries: Deliveries::None, fail_fast: true, from: None };
            let daemon = Daemon::start(&config, *ledger, mode, &context.stop).await?;
            Keeper::Alone { daemon: Box::new(daemon), log_lost: log_lost.clone() }
        }
    };
    let result = compare_and_repair(&config, &args, &mut keeper, (log_lost, &context.stop)).await;
    if let Keeper::Alone { daemon, .. } = keeper {
        daemon.pipeline.shut_down().await;
    }
    result
}

async fn compare_and_repair(
    config: &Config,
    args: &AuditArgs,
    keeper: &mut Keeper,
    (log_lost, stop): (CancellationToken, &CancellationToken),
) -> Result<Exit, Failure> {
    let comparison = compare(config, args.month, keeper, (log_lost.clone(), stop)).await?;
    let mapping = mapping(config)?;
    let mut report = Report {
        months: &comparison.months,
        is_history: comparison.desk.is_history(),
        position: comparison.position.as_ref().map(|position| position.as_str()),
        log_lost: log_lost.is_cancelled(),
        rejected_rows: comparison.rejected_rows,
        reports_deletions: mapping.deletion_status().is_some(),
        repaired: None,
    };
    if args.repair {
        report.repaired = Some(repair(&comparison, keeper).await?);
    }
    if args.json {
        report.say_json(&comparison.desk)?
    } else {
        report.say_text(&comparison.desk)?
    }
    Ok(report.exit())
}

/// A month before the floor holds nothing that anybody is told of.
fn outside(config: &Config, month: Option<u32>) -> Result<(), Failure> {
    let floor = config.backfill.from;
    let Some(month) =
        month.filter(|month| *month < pipeline::month_of(midnight(config, floor), config.schedule.zone))
    else {
        return Ok(());
    };
    let name = super::backfill::month_name(month);
    Err(Failure::usage(format!("--month {name} is before [backfill] from, which is {floor}"))
        .for_the_data("nothing opened before that day is ever sent; nothing was read now")
        .with_hint(format!("use the month of {floor} or a later one")))
}

fn nothing_known() -> Failure {
    Failure::new("nothing has been captured yet, so there is nothing to compare the database with")
        .for_the_data("nothing was read and nothing was sent")
        .with_hint("run `bitacora run`, or `bitacora backfill`, and the audit when the table has been copied")
}

/// Who holds the ledger, and captures.
enum Keeper {
    Daemon(Client),
    Alone { daemon: Box<Daemon>, log_lost: CancellationToken },
}

impl Keeper {
    /// Settles what was captured, so that it can be compared.
    async fn settle(&self) -> Result<(), Failure> {
        match self {
            // Exact to the moment, for which the daemon settles.
            Self::Daemon(client) => client.status().await.map(|_| ()),
            Self::Alone { daemon, .. } => Ok(daemon.pipeline.requests().settle().await?),
        }
    }

    async fn repair(&self, repairs: Vec<Repair>, at: RepairAt) -> Result<u64, Failure> {
        match self {
            Self::Daemon(client) => client.repair(&repairs, &at).await,
            Self::Alone { daemon, .. } => Ok(daemon.pipeline.requests().repair(repairs, at).await?),
        }
    }

    /// Waits until the capture fails. That the log was lost is no failure: then there is nothing to capture.
    async fn failed(&mut self) -> Failure {
        let Self::Alone { daemon, log_lost } = self else { return pending().await };
        if log_lost.is_cancelled() {
            return pending().await;
        }
        match daemon.pipeline.failed().await {
            Err(PipelineError::Source(error)) if error.kind() == SourceErrorKind::LostLog => {
                tracing::warn!("{error}");
                log_lost.cancel();
                pending().await
            }
            Err(error) => error.into(),
            Ok(()) => Failure::new("the capture ended before the audit was done"),
        }
    }
}

async fn compare(
    config: &Config,
    month: Option<u32>,
    keeper: &mut Keeper,
    (log_lost, stop): (CancellationToken, &CancellationToken),
) -> Result<Comparison, Failure> {
    let mapping = mapping(config)?;
    let auditor = Auditor {
        source: source(config, &mapping),
        mapping: Arc::new(mapping),
        ledger_dir: config.ledger.dir.clone(),
        settings: capture_settings(config, &Mode::default()),
        from_at: midnight(config, config.backfill.from),
        month,
        log_lost,
    };
    let shown = Mutex::new(Progress::start("audit", "rows"));
    let told = |rows: u64, doing: &str| {
        shown.lock().unwrap_or_else(PoisonError::into_inner).update(rows, None, doing);
    };
    let compared = {
        let mut comparing = pin!(auditor.compare(&told));
        loop {
            // The capture's failure is waited for anew each time; it is not lost in between.
            tokio::select! {
                compared = &mut comparing => break compared.map_err(explained),
                failure = keeper.failed() => break Err(failure),
                () = tokio::time::sleep(SETTLE_EVERY) => {}
                () = stop.cancelled() => break Err(stopped()),
            }
            keeper.settle().await?;
        }
    };
    shown.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    compared
}

fn explained(error: PipelineError) -> Failure {
    match error {
        PipelineError::Ledger(error) if error.kind() == LedgerErrorKind::Misuse => Failure::from(error)
            .for_the_data("nothing was compared")
            .with_hint("wait until `bitacora status` says that the copy is done, then run the audit again"),
        error => error.into(),
    }
}

fn stopped() -> Failure {
    Failure::new("stopped before the audit was done")
        .for_the_data("nothing was sent; an audit changes nothing")
}

/// Puts what is missing or different into the delta; returns how much of it.
async fn repair(comparison: &Comparison, keeper: &Keeper) -> Result<u64, Failure> {
    let (desk, mut last, mut repaired): (&Audit, Option<Repair>, u64) = (&comparison.desk, None, 0);
    loop {
        let repairs = desk.repairs(last.as_ref(), REPAIRS_AT_ONCE)?;
        let Some(end) = repairs.last() else { return Ok(repaired) };
        last = Some(end.clone());
        let at = RepairAt {
            position: comparison.position.clone(),
            read_at: comparison.read_at,
            now: Utc::now().timestamp_micros(),
        };
        repaired += keeper.repair(repairs, at).await?;
    }
}
