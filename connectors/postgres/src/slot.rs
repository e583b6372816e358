//! The replication slot: what state it is in, and how it is made and dropped.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use change::{SourceError, SourceErrorKind};

use crate::config::PostgresConfig;
use crate::name::{quote_ident, quote_literal};
use crate::position::Lsn;
use crate::session::APPLICATION_NAME;
use crate::wire::{Connection, Purpose, TextRow};

/// How long a slot that is ours may take to be released: its process finds out about a connection that is
/// gone when it sends next.
const RELEASE_WAIT: Duration = Duration::from_secs(5);
/// How often a slot is looked at meanwhile.
const RELEASE_POLL: Duration = Duration::from_millis(50);
/// Making a slot waits for every transaction that runs; after this long something is wrong with one.
const CREATION_WAIT: Duration = Duration::from_secs(30 * 60);
/// How long making a slot may take until the operator is told what it waits for, and how often again.
const BLOCKERS_TOLD_AFTER: Duration = Duration::from_secs(3);
const BLOCKERS_TOLD_EVERY: Duration = Duration::from_secs(60);
/// How soon it is noticed that nobody waits for the slot any more.
const CREATION_POLL: Duration = Duration::from_millis(200);

/// The first version that names options in parentheses, and the first with failover slots
/// (<https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-CREATE-REPLICATION-SLOT>).
const OPTIONS_SINCE: u32 = 150_000;
const FAILOVER_SINCE: u32 = 170_000;

/// A slot as `pg_replication_slots` shows it
/// (<https://www.postgresql.org/docs/current/view-pg-replication-slots.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    name: String,
    kind: String,
    plugin: String,
    database: String,
    temporary: bool,
    confirmed_flush: Option<Lsn>,
    wal_status: String,
    invalidation: Option<String>,
    holder: Option<Holder>,
}

/// Who reads a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: String,
    application: String,
    address: String,
    /// Whether it logged in as we do, from this machine, under our application's name.
    ours: bool,
    /// When it last reported, by its own clock.
    reported: String,
}

/// The columns that came with later versions are read through JSON, where a missing one is NULL.
const SLOT_COLUMNS: &str = "
    SELECT s.slot_type, coalesce(s.plugin::text, ''), coalesce(s.database::text, ''), s.temporary::text,
           s.confirmed_flush_lsn::text, coalesce(s.wal_status, ''),
           to_jsonb(s) ->> 'invalidation_reason', s.active_pid::text,
           coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'a local socket'),
           (a.usename = current_user AND a.client_addr IS NOT DISTINCT FROM inet_client_addr())::text,
           coalesce(r.reply_time::text, '')
      FROM pg_replication_slots s
      LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
      LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid";

impl Slot {
    /// The slot's state; `None` when it does not exist.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(crate) fn read(connection: &mut Connection, name: &str) -> Result<Option<Self>, SourceError> {
        let sql = format!("{SLOT_COLUMNS} WHERE s.slot_name = {}", quote_literal(name));
        let rows = connection.query("read the state of the replication slot", &sql)?;
        Ok(rows.into_iter().next().map(|row| Self::of(name, row)))
    }

    fn of(name: &str, row: TextRow) -> Self {
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten();
        let mut slot = Self {
            name: name.to_owned(),
            kind: next().unwrap_or_default(),
            plugin: next().unwrap_or_default(),
            database: next().unwrap_or_default(),
            temporary: next().as_deref() == Some("true"),
            confirmed_flush: next().and_then(|text| text.parse().ok()),
            wal_status: next().unwrap_or_default(),
            invalidation: next(),
            holder: None,
        };
        if let Some(pid) = next() {
            let application = next().unwrap_or_default();
            let address = next().unwrap_or_default();
            let ours = next().as_deref() == Some("true") && application == APPLICATION_NAME;
            slot.holder =
                Some(Holder { pid, application, address, ours, reported: next().unwrap_or_default() });
        }
        slot
    }

    /// Up to where its reader has confirmed; the log before may be gone.
    ///
    /// # Errors
    /// A configuration error for a slot that we cannot read, [`SourceErrorKind::LostLog`] for one whose log is
    /// gone.
    pub(crate) fn confirmed_flush(&self, config: &PostgresConfig) -> Result<Lsn, SourceError> {
        self.expect_fit(config)?;
        if let Some(reason) = &self.invalidation {
            return Err(self.lost(&format!("was invalidated by the server ({reason})")));
        }
        if self.wal_status == "lost" {
            return Err(self.lost("needs log that the server has removed (wal_status is \"lost\")"));
        }
        self.confirmed_flush.ok_or_else(|| self.lost("has no confirmed position"))
    }

    fn expect_fit(&self, config: &PostgresConfig) -> Result<(), SourceError> {
        let fault = if self.kind != "logical" {
            format!("is {}, expected logical", self.kind)
        } else if self.plugin != "pgoutput" {
            format!("decodes with {}, expected pgoutput", self.plugin)
        } else if self.database != config.database {
            format!("belongs to database \"{}\", expected \"{}\"", self.database, config.database)
        } else if self.temporary {
            "is temporary, expected a lasting one".to_owned()
        } else {
            return Ok(());
        };
        Err(SourceError::new(
            SourceErrorKind::Configuration,
            format!("replication slot \"{}\" {fault}", self.name),
        )
        .with_hint("set another name under slot in the [source.postgres] part; it is made when missing"))
    }

    /// The error for a slot that does not hold the log any more.
    pub(crate) fn lost(&self, why: &str) -> SourceError {
        SourceError::new(SourceErrorKind::LostLog, format!("replication slot \"{}\" {why}", self.name))
    }
}

/// The error for a slot that does not exist although something relied on it.
pub(crate) fn missing(name: &str) -> SourceError {
    SourceError::new(SourceErrorKind::LostLog, format!("replication slot \"{name}\" does not exist any more"))
}

/// Waits until nobody reads the slot and returns its state; `None` when it does not exist.
///
/// A reader that is ours and has not reported all the while is a connection that broke unnoticed: it is
/// ended. Nobody else's ever is.
///
/// # Errors
/// [`SourceErrorKind::Busy`] when someone reads it.
pub(crate) fn wait_until_free(connection: &mut Connection, name: &str) -> Result<Option<Slot>, SourceError> {
    let deadline = Instant::now() + RELEASE_WAIT;
    let mut first_seen = None;
    loop {
        let Some(slot) = Slot::read(connection, name)? else { return Ok(None) };
        let Some(holder) = &slot.holder else { return Ok(Some(slot)) };
        if !holder.ours {
            return Err(busy(name, holder));
        }
        let first = first_seen.get_or_insert_with(|| holder.clone());
        if Instant::now() < deadline {
            thread::sleep(RELEASE_POLL);
        } else if first == holder {
            tracing::warn!(slot = name, pid = holder.pid, "ending our own stale connection");
            terminate(connection, name, &holder.pid)?;
            return Slot::read(connection, name);
        } else {
            return Err(busy(name, holder));
        }
    }
}

/// Ends the process if it still reads this slot, and waits until it is gone.
fn terminate(connection: &mut Connection, name: &str, pid: &str) -> Result<(), SourceError> {
    let context = "end our own stale connection";
    let sql = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
          WHERE slot_name = {} AND active_pid = {}",
        quote_literal(name),
        quote_literal(pid)
    );
    connection.query(context, &sql)?;
    let deadline = Instant::now() + RELEASE_WAIT;
    while let Some(holder) = Slot::read(connection, name)?.and_then(|slot| slot.holder) {
        if Instant::now() >= deadline {
            return Err(busy(name, &holder));
        }
        thread::sleep(RELEASE_POLL);
    }
    Ok(())
}

fn busy(name: &str, holder: &Holder) -> SourceError {
    SourceError::new(
        SourceErrorKind::Busy,
        format!(
            "replication slot \"{name}\" is read by process {} of application \"{}\" from {}",
            holder.pid, holder.application, holder.address
        ),
    )
    .with_hint("each connector needs a slot of its own: stop the other one, or set another slot name")
}

/// Drops the slot if it exists, its own stale reader included.
///
/// # Errors
/// [`SourceErrorKind::Busy`] when someone else reads it, a configuration error when it cannot be ours.
pub(crate) fn drop_if_exists(
    connection: &mut Connection,
    config: &PostgresConfig,
) -> Result<(), SourceError> {
    let name = config.slot.as_str();
    let Some(slot) = wait_until_free(connection, name)? else { return Ok(()) };
    slot.expect_fit(config)?;
    let sql = format!("SELECT pg_drop_replication_slot({})", quote_literal(name));
    connection.query("drop the replication slot", &sql)?;
    tracing::info!(slot = name, "replication slot dropped");
    Ok(())
}

/// A slot that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Created {
    /// Where its log begins.
    pub(crate) consistent: Lsn,
    /// The name of the snapshot exactly as of there. It lives until the connection's next command, or its end.
    pub(crate) snapshot: Option<String>,
}

/// Makes the slot, whatever time the server needs for it.
///
/// The server waits for every transaction that runs at this moment; what it waits for is logged meanwhile. When
/// nobody else holds `wanted` any more, the server is told to give up.
///
/// # Errors
/// When the server refuses, and [`SourceErrorKind::Busy`] naming the transactions when it waits too long.
pub(crate) fn create(
    connection: &mut Connection,
    config: &PostgresConfig,
    standby: bool,
    wanted: &Arc<()>,
) -> Result<Created, SourceError> {
    let context = format!("make the replication slot \"{}\"", config.slot);
    let command = creation_command(&config.slot, connection.version(), standby);
    let watch = CreationWatch::start(connection, config, wanted);
    let created = connection.query(&context, &command);
    let blockers = watch.stop();
    let rows = created.map_err(|error| match blockers {
        Some(blockers) => SourceError::new(
            SourceErrorKind::Busy,
            format!("{context}: the server waits for transactions that were open before: {blockers}"),
        )
        .with_hint("have these transactions ended, then try again")
        .caused_by(error),
        None => error,
    })?;
    let row = rows.into_iter().next().unwrap_or_default();
    let mut cells = row.into_iter().skip(1);
    let consistent = cells.next().flatten().and_then(|text| text.parse().ok());
    let consistent = consistent.ok_or_else(|| {
        SourceError::new(SourceErrorKind::Protocol, format!("{context}: the server told no position"))
    })?;
    tracing::info!(slot = config.slot, position = %consistent, "replication slot made");
    Ok(Created { consistent, snapshot: cells.next().flatten() })
}

fn creation_command(slot: &str, version: u32, standby: bool) -> String {
    let slot = quote_ident(slot);
    // A standby can neither export a snapshot nor hand its slots on.
    let snapshot = if standby { "nothing" } else { "export" };
    if version >= FAILOVER_SINCE && !standby {
        format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput (SNAPSHOT '{snapshot}', FAILOVER true)")
    } else if version >= OPTIONS_SINCE {
        format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput (SNAPSHOT '{snapshot}')")
    } else {
        format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput {}_SNAPSHOT", snapshot.to_uppercase())
    }
}

/// Watches the making of a slot from another connection.
struct CreationWatch {
    stop: mpsc::Sender<()>,
    watcher: thread::JoinHandle<Option<String>>,
}

impl CreationWatch {
    fn start(connection: &Connection, config: &PostgresConfig, wanted: &Arc<()>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let canceller = connection.canceller(config);
        let (config, wanted) = (config.clone(), Arc::downgrade(wanted));
        let watcher = thread::spawn(move || {
            let started = Instant::now();
            let mut tell_at = started + BLOCKERS_TOLD_AFTER;
            while stopped.recv_timeout(CREATION_POLL) == Err(mpsc::RecvTimeoutError::Timeout) {
                let mut given_up = None;
                if Instant::now() >= tell_at {
                    tell_at += BLOCKERS_TOLD_EVERY;
                    let blockers = blockers(&config).unwrap_or_else(|error| format!("unknown ({error})"));
                    tracing::warn!(
                        slot = config.slot,
                        blockers,
                        "making the slot waits for open transactions"
                    );
                    given_up = Some(blockers).filter(|_| started.elapsed() >= CREATION_WAIT);
                }
                if given_up.is_some() || wanted.strong_count() <= 1 {
                    if let Err(error) = canceller.cancel() {
                        tracing::warn!(error = %error, "making of the slot could not be cancelled");
                    }
                    return given_up;
                }
            }
            None
        });
        Self { stop, watcher }
    }

    /// What the server still waited for when it was told to give up, if it was.
    fn stop(self) -> Option<String> {
        drop(self.stop);
        self.watcher.join().unwrap_or_default()
    }
}

/// The transactions that make a new slot wait, longest first.
fn blockers(config: &PostgresConfig) -> Result<String, SourceError> {
    let mut connection = Connection::open(config, Purpose::Sql)?;
    let rows = connection.query(
        "look for open transactions",
        "SELECT format('process %s of \"%s\" (application \"%s\", open for %s)',
                       pid, usename, application_name, date_trunc('second', now() - xact_start))
           FROM pg_stat_activity
          WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
          UNION ALL
         SELECT format('prepared transaction \"%s\" of \"%s\"', gid, owner) FROM pg_prepared_xacts
          LIMIT 10",
    )?;
    let found: Vec<String> = rows.into_iter().flatten().flatten().collect();
    Ok(if found.is_empty() { "none that this role may see".to_owned() } else { found.join(", ") })
}
