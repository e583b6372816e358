//! The product put together from a configuration, and who holds its ledger.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use change::{Position, Scope, Since, TableScope};
use chrono::{Datelike, NaiveDate};
use delivery::Delivery;
use ledger::{Ledger, LedgerError, LedgerErrorKind};
use normalizer::{Mapped, Table, Tables};
use pipeline::{
    CaptureSettings, Deliveries, DeliverySettings, Health, LedgerThread, LookoutSettings, Parts, Pipeline,
    PipelineError, Settings, UpkeepSettings,
};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Secrets};
use crate::control::{Client, Reload, Server};
use crate::engine::AnySource;
use crate::exit::Failure;

/// How long the daemon waits for a ledger that another command holds.
const HOLD_PATIENCE: Duration = Duration::from_secs(2);

/// How a command reaches the ledger.
pub(crate) enum Access {
    /// Through the process that holds it.
    Daemon(Client),
    /// Itself: nobody else does.
    Alone(Box<Ledger>),
}

/// Opens the ledger for `command`, or finds the process that holds it.
pub(crate) fn reach(config: &Config, command: &str) -> Result<Access, Failure> {
    match Ledger::open(&config.ledger.dir, command) {
        Ok(ledger) => Ok(Access::Alone(Box::new(ledger))),
        Err(error) if error.kind() == LedgerErrorKind::Held => match Client::find(&config.ledger.dir) {
            Some(client) => Ok(Access::Daemon(client)),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Opens the ledger for a command that cannot work beside another one.
///
/// `status` and its like hold it for a moment too, so it is tried for a while.
pub(crate) async fn hold(config: &Config, command: &str) -> Result<Ledger, Failure> {
    let deadline = tokio::time::Instant::now() + HOLD_PATIENCE;
    loop {
        match Ledger::open(&config.ledger.dir, command) {
            Err(error) if error.kind() == LedgerErrorKind::Held && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            opened => {
                return opened.map_err(|error| {
                    Failure::from(error).for_the_data("nothing was read and nothing was sent by this command")
                });
            }
        }
    }
}

/// The running loops with their control port.
pub(crate) struct Daemon {
    /// The loops.
    pub(crate) pipeline: Pipeline,
    _control: Server,
}

impl Daemon {
    /// Starts the loops of `config` on `ledger`, reachable for other commands until `stop`.
    pub(crate) async fn start(
        config: &Config,
        ledger: Ledger,
        mode: Mode,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        if mode.from.is_some()
            && let Some(checkpoint) = ledger.checkpoint()?
        {
            return Err(Failure::usage(format!(
                "--from is for a ledger without a position, and this one is at {}",
                checkpoint.position
            ))
            .for_the_data("nothing was read and nothing was sent")
            .with_hint("leave --from out: the stream goes on from the ledger's own position"));
        }
        let tables = tables(config)?;
        let parts = Parts {
            source: source(config, &tables),
            tables,
            ledger,
            ledger_dir: config.ledger.dir.clone(),
            delivery: delivery(config)?,
            settings: settings(config, &mode),
            deliveries: mode.deliveries,
        };
        let pipeline = Pipeline::start(parts, config.source.engine.name())?;
        let control =
            Server::start(&config.ledger.dir, pipeline.requests(), reload(&config.path), stop.clone())
                .await?;
        Ok(Self { pipeline, _control: control })
    }
}

/// How the loops are meant to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mode {
    /// What leaves.
    pub(crate) deliveries: Deliveries,
    /// Whether the first error of the source ends the command.
    pub(crate) fail_fast: bool,
    /// Where a ledger without a position begins.
    pub(crate) from: Option<Position>,
}

fn reload(path: &Path) -> Reload {
    let path = path.to_owned();
    Arc::new(move || tables(&Config::load(&path, Secrets::Needed)?))
}

/// The tables of `config`.
pub(crate) fn tables(config: &Config) -> Result<Tables, Failure> {
    Tables::new(config.tables.clone(), config.schedule.zone).map_err(|errors| {
        let told: Vec<String> = errors
            .iter()
            .map(|wrong| {
                let table = config.tables.get(wrong.table).map_or("", |table| &table.table);
                format!("[mapping] of table \"{table}\": {}: {}", wrong.error.field, wrong.error.message)
            })
            .collect();
        let hint = errors.into_iter().next().map(|wrong| wrong.error.hint);
        Failure::usage(told.join("; ")).with_hint_opt(hint)
    })
}

/// The connector of `config`.
pub(crate) fn source(config: &Config, tables: &Tables) -> AnySource {
    let floor = day_number(config.backfill.from) - 1;
    let tables = tables.tables().iter().map(|table| scope(tables, table, floor)).collect();
    AnySource::new(config, Scope { tables })
}

/// What is read of a table. A parent is read whole: what is left out of it could be asked for by any row.
fn scope(tables: &Tables, table: &Table, floor: i32) -> TableScope {
    let filtered = table.mapped.as_ref().filter(|_| table.mirrors.is_empty());
    let since = |column: &str| Since { column: column.to_owned(), day: floor };
    let mirrors = table.mirrors.iter().filter_map(|mirror| tables.mirrors().get(*mirror));
    TableScope {
        table: table.name.clone(),
        columns: table.columns.clone(),
        keys: table.needs_keys(),
        since: filtered.and_then(|mapped| mapped.own_opening_column()).map(since),
        condition: filtered.and_then(|mapped| mapped.own_condition()),
        parent_keys: mirrors.map(|mirror| mirror.key_columns.clone()).collect(),
        apart_by: table.mapped.as_ref().map(Mapped::request_columns).unwrap_or_default(),
    }
}

fn day_number(day: NaiveDate) -> i32 {
    let epoch = NaiveDate::default().num_days_from_ce();
    day.num_days_from_ce() - epoch
}

/// The way to the dashboard of `config`.
pub(crate) fn delivery(config: &Config) -> Result<Delivery, Failure> {
    if config.delivery.tls_insecure {
        tracing::warn!(
            "[delivery] tls_insecure is on: anyone between here and the dashboard can read and alter what is sent"
        );
    }
    Delivery::new(config.to_delivery())
        .map_err(|error| Failure::from_error(&error).for_the_data("nothing was read and nothing was sent"))
}

/// How the delta and the backfill of `config` leave.
pub(crate) fn delivery_settings(config: &Config) -> DeliverySettings {
    DeliverySettings {
        batch_records_max: config.delivery.batch_size,
        batch_bytes_max: usize::try_from(config.delivery.max_body).unwrap_or(usize::MAX),
        group_by: config.delivery.group_by,
        precision: config.delivery.timestamps,
        retry: config.delivery.retry.clone(),
        concurrency: config.delivery.concurrency,
        requests_per_minute: config.delivery.requests_per_minute,
        window: config.delivery.window,
        backfill_window: config.backfill.window,
        alert_after_failures: config.alerts.after_failures,
    }
}

/// How `config` wants the log read and the table copied.
pub(crate) fn capture_settings(config: &Config, mode: &Mode) -> CaptureSettings {
    CaptureSettings {
        snapshot_max: config.source.snapshot_max,
        rows_per_second: config.backfill.rows_per_second,
        from: mode.from.clone(),
        fail_fast: mode.fail_fast,
        repairs: mode.deliveries != Deliveries::None,
    }
}

fn settings(config: &Config, mode: &Mode) -> Settings {
    Settings {
        capture: capture_settings(config, mode),
        delivery: delivery_settings(config),
        upkeep: UpkeepSettings {
            keep: Duration::from_secs(u64::from(config.ledger.keep_days) * 86_400),
            ledger_bytes_max: config.ledger.max_size,
            disk_free_bytes_min: config.ledger.min_free,
        },
        schedule: config.schedule.flushes.clone(),
        lookout: LookoutSettings {
            behind_after: config.alerts.behind_after,
            acknowledged_by: config.alerts.acknowledged_by.clone(),
        },
    }
}

/// A courier on a ledger that nobody else holds, for commands that need no database.
pub(crate) fn courier(
    config: &Config,
    ledger: Ledger,
    stop: &CancellationToken,
) -> Result<(pipeline::Courier, LedgerThread), Failure> {
    let mut ledger = ledger;
    ledger.declare_tables(Arc::new(tables(config)?))?;
    let thread = LedgerThread::start(ledger)?;
    let courier = pipeline::Courier::new(
        thread.clone(),
        Arc::new(delivery(config)?),
        delivery_settings(config),
        Health::default(),
        stop.clone(),
    );
    Ok((courier, thread))
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self::from_error(&error).with_hint_opt(hint)
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let hint = error.hint();
        Self::from_error(&error).with_hint_opt(hint)
    }
}
