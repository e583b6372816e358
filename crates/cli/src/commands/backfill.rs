//! `bitacora backfill`.

use std::collections::BTreeMap;

use change::{Snapshot, SnapshotPlan, Source};
use chrono::{DateTime, NaiveDate, Utc};
use normalizer::NormalizedRow;
use pipeline::{BackfillRange, DeliveryProgress};
use tokio::sync::mpsc;

use super::Context;
use super::flush::conclude;
use crate::args::BackfillArgs;
use crate::config::{Config, Secrets};
use crate::daemon::{Access, Daemon, Mode, mapping, reach, source};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::terminal::{Table, count, counted, say};

/// Sends the history, through the daemon when there is one.
pub(crate) async fn backfill(context: &Context, args: BackfillArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Needed)?;
    let range = range(&config, &args)?;
    if args.dry_run {
        return dry_run(&config, range).await;
    }
    let mut shown = Shown::new();
    let (report, status) = match reach(&config, "bitacora backfill")? {
        Access::Daemon(daemon) => {
            let report = daemon.backfill(range, |progress| shown.tell(progress)).await?;
            (report, daemon.status().await?)
        }
        Access::Alone(ledger) => {
            let mode = Mode { fail_fast: true, ..Mode::default() };
            let mut daemon = Daemon::start(&config, *ledger, mode, &context.stop).await?;
            let requests = daemon.pipeline.requests();
            let (told, mut progress) = mpsc::channel(32);
            let work = requests.backfill(range, told);
            tokio::pin!(work);
            let result = loop {
                tokio::select! {
                    report = &mut work => break report.map_err(Failure::from),
                    Some(step) = progress.recv() => shown.tell(step),
                    failed = daemon.pipeline.failed() => break Err(match failed {
                        Err(error) => Failure::from(error),
                        Ok(()) => Failure::new("the loops ended before the backfill was done"),
                    }),
                    () = context.stop.cancelled() => break Err(stopped()),
                }
            };
            let status = requests.status().await;
            daemon.pipeline.shut_down().await;
            (result?, status?)
        }
    };
    shown.0.finish();
    let delivered = &status.backfill;
    if report.records == 0 && report.error.is_none() && delivered.state == "done" {
        say(&format!(
            "the backfill is done: {} were acknowledged; nothing was sent now (--restart sends everything again)",
            counted(delivered.records, "record")
        ))?;
        return Ok(quarantine_exit(&status));
    }
    match conclude("backfill", &report)? {
        Exit::Done => Ok(quarantine_exit(&status)),
        other => Ok(other),
    }
}

fn quarantine_exit(status: &pipeline::Status) -> Exit {
    if status.quarantine.rows + status.quarantine.records > 0 { Exit::Quarantine } else { Exit::Done }
}

fn stopped() -> Failure {
    Failure::new("the backfill was stopped on its way")
        .for_the_data("what was acknowledged is on record, the rest waits in the ledger")
        .with_hint("run `bitacora backfill` again: it goes on where it stopped")
}

/// The openings to send: whole days in the schedule's zone, none before the floor.
fn range(config: &Config, args: &BackfillArgs) -> Result<BackfillRange, Failure> {
    let floor = config.backfill.from;
    let from = args.from.unwrap_or(floor);
    if from < floor {
        return Err(Failure::usage(format!("--from {from} is before [backfill] from, which is {floor}"))
            .for_the_data("nothing opened before that day is ever sent; nothing was sent now")
            .with_hint(format!("use --from {floor} or later")));
    }
    if args.to.is_some_and(|to| to < from) {
        return Err(Failure::usage("--to is before --from").with_hint("the range includes both days"));
    }
    let end = args.to.and_then(|to| to.succ_opt());
    Ok(BackfillRange {
        from_at: midnight(config, from),
        to_at: end.map_or(i64::MAX, |end| midnight(config, end)),
        restart: args.restart,
    })
}

/// The first instant of a day in the schedule's zone.
pub(crate) fn midnight(config: &Config, day: NaiveDate) -> i64 {
    normalizer::first_instant(day, config.schedule.zone)
}

/// Progress lines of a delivery.
struct Shown(Progress);

impl Shown {
    fn new() -> Self {
        Self(Progress::start("backfill", "records"))
    }

    fn tell(&mut self, progress: DeliveryProgress) {
        let note = match progress.waiting_until.and_then(DateTime::<Utc>::from_timestamp_micros) {
            Some(until) => {
                format!("the window is closed, waiting until {}", until.format("%Y-%m-%d %H:%M UTC"))
            }
            None => progress.month.map(month_name).unwrap_or_default(),
        };
        let total = progress.waiting.map(|waiting| waiting + progress.records);
        self.0.update(progress.records, total, &note);
    }
}

/// A month as results tell it.
pub(crate) fn month_name(month: u32) -> String {
    format!("{:04}-{:02}", month / 100, month % 100)
}

/// What a dry run counts.
#[derive(Default)]
struct Counts {
    rows: u64,
    months: BTreeMap<u32, u64>,
    before_floor: u64,
    left_out: u64,
    outside: u64,
    rejected: BTreeMap<&'static str, (u64, String)>,
}

async fn dry_run(config: &Config, range: BackfillRange) -> Result<Exit, Failure> {
    let mapping = mapping(config)?;
    let source = source(config, &mapping);
    let mut snapshot = source.snapshot(&SnapshotPlan::OnePass).await?;
    let mut counts = Counts::default();
    let mut shown = Progress::start("backfill rehearsal", "rows");
    let moment = Utc::now().timestamp_micros();
    while let Some(page) = snapshot.next_page().await? {
        for (row, _) in &page.rows {
            counts.rows += 1;
            match normalizer::normalize_row(&mapping, row, moment) {
                NormalizedRow::Record(record)
                    if record.opening_at < range.from_at || record.opening_at >= range.to_at =>
                {
                    counts.outside += 1;
                }
                NormalizedRow::Record(record) => {
                    let month = pipeline::month_of(record.opening_at, config.schedule.zone);
                    *counts.months.entry(month).or_default() += 1;
                }
                NormalizedRow::BeforeFloor => counts.before_floor += 1,
                NormalizedRow::LeftOut => counts.left_out += 1,
                NormalizedRow::Rejected(rejection) => {
                    counts.rejected.entry(rejection.code).or_insert((0, rejection.reason)).0 += 1;
                }
            }
        }
        shown.update(counts.rows, None, "");
    }
    shown.finish();
    report_dry_run(config, &counts)
}

fn report_dry_run(config: &Config, counts: &Counts) -> Result<Exit, Failure> {
    let mut table = Table::new(&["month", "records>"]);
    for (month, records) in &counts.months {
        table.row([month_name(*month), count(*records)]);
    }
    let total: u64 = counts.months.values().sum();
    table.row(["total".into(), count(total)]);
    say(&table.render())?;
    say(&format!(
        "{} read; {} would be sent; {} opened before {} would not; nothing was stored and nothing was sent",
        counted(counts.rows, "row"),
        counted(total, "record"),
        counted(counts.before_floor, "row"),
        config.backfill.from
    ))?;
    if counts.left_out > 0 {
        say(&format!("{} do not meet `[source] where`", counted(counts.left_out, "row")))?;
    }
    if counts.outside > 0 {
        say(&format!("{} lie outside --from and --to", counted(counts.outside, "row")))?;
    }
    for (code, (rows, reason)) in &counts.rejected {
        say(&format!(
            "{} would go to quarantine ({code}), the first because {reason}",
            counted(*rows, "row")
        ))?;
    }
    Ok(Exit::Done)
}
