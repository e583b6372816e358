//! Beginnings: a log position, and the tables exactly as of it.
//!
//! MariaDB tells for every consistent snapshot where in the log it lies
//! (<https://mariadb.com/docs/server/server-usage/backup-and-restore/backup-and-restore-overview>). MySQL does not, and asking for
//! the log's end beside a snapshot is not exact: its group commit writes a transaction to the log first, shows it to
//! other sessions later and adds it to `gtid_executed` last
//! (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html#sysvar_binlog_order_commits>).
//! A read lock on the tables tells them apart. A transaction that changed one holds its metadata lock until it is
//! through with all three, so that while we hold ours, there is none in between
//! (<https://dev.mysql.com/doc/refman/8.4/en/metadata-locking.html>).

use std::thread;
use std::time::{Duration, Instant};

use change::{Scope, SourceError, SourceErrorKind};

use super::select::Copied;
use super::{MysqlSnapshot, begin, connect, lock_statement, whole};
use crate::catalog::{self, Table};
use crate::config::MysqlConfig;
use crate::log_end::{LogEnd, log_end};
use crate::name::quote_literal;
use crate::wire::Connection;

/// How long each table's lock may be waited for, in seconds: while it is, the application's own changes of the tables
/// queue up behind it.
const LOCK_WAIT_SECONDS: u32 = 1;

/// How often the lock is tried for.
const LOCK_ATTEMPTS: u32 = 3;

/// The pause between attempts, in which the application goes on.
const LOCK_PAUSE: Duration = Duration::from_millis(700);

/// How long transactions that are being committed may take to be through.
const COMMITS_MAX: Duration = Duration::from_secs(5);

/// Where each file of the log begins, behind its four magic bytes.
const FILE_START: u64 = 4;

/// A place in the log from which on changes shall be read, with the tables as of it where that could be had.
#[derive(Debug)]
pub(crate) struct Start {
    /// The log's file.
    pub(crate) file: String,
    /// The offset in it, in bytes.
    pub(crate) offset: u64,
    /// The transactions up to there, where GTIDs are on and there are any.
    pub(crate) gtids: Option<String>,
    /// The tables exactly as of the place.
    pub(crate) snapshot: Option<MysqlSnapshot>,
    /// Rows of all tables by the server's own statistics.
    pub(crate) rows_estimate: Option<u64>,
}

/// Finds the log's present end, with the tables as of it. Blocks.
///
/// # Errors
/// When the server cannot be asked, writes no log, or a table is not fit for capture.
pub(crate) fn start(config: &MysqlConfig, scope: &Scope) -> Result<Start, SourceError> {
    let mut connection = connect(config)?;
    let tables = catalog::tables(&mut connection, config, scope)?;
    let copies = Copied::all(&tables, scope)?;
    let rows_estimate = catalog::rows_estimate(&tables);
    let mut start = if connection.flavour().is_mariadb() {
        start_mariadb(connection, &tables, copies)?
    } else {
        start_mysql(config, connection, &tables, copies)?
    };
    start.rows_estimate = rows_estimate;
    Ok(start)
}

fn start_mariadb(
    mut connection: Connection,
    tables: &[Table],
    copies: Vec<Copied>,
) -> Result<Start, SourceError> {
    begin(&mut connection)?;
    let context = "ask where in the log the snapshot lies";
    let rows = connection.query(context, "SHOW STATUS LIKE 'binlog_snapshot_%'")?;
    let value = |name: &str| {
        let row = rows.iter().find(|row| {
            row.first().and_then(Option::as_deref).is_some_and(|found| found.eq_ignore_ascii_case(name))
        });
        row.and_then(|row| row.get(1)).and_then(Option::as_deref).unwrap_or_default()
    };
    let (file, offset) = (value("binlog_snapshot_file"), value("binlog_snapshot_position"));
    if file.is_empty() {
        return Err(SourceError::new(
            SourceErrorKind::Configuration,
            "the server writes no binlog: log_bin is off",
        )
        .with_hint("turn log_bin on, then restart the server"));
    }
    let file = file.to_owned();
    let offset: u64 = offset.parse().map_err(|_| {
        SourceError::new(SourceErrorKind::Protocol, format!("{context}: '{offset}' is not an offset"))
    })?;
    let sql = format!("SELECT BINLOG_GTID_POS({}, {offset})", quote_literal(&file));
    let gtids = connection.query(context, &sql)?.into_iter().flatten().flatten().next();
    // Without transactions there is no such thing as a moment: the rows are read in fenced pages.
    let snapshot = if have_moments(tables) { Some(whole(connection, copies)?) } else { None };
    Ok(Start { file, offset, gtids: gtids.filter(|gtids| !gtids.is_empty()), snapshot, rows_estimate: None })
}

fn start_mysql(
    config: &MysqlConfig,
    mut connection: Connection,
    tables: &[Table],
    copies: Vec<Copied>,
) -> Result<Start, SourceError> {
    let context = "ask whether GTIDs are on";
    let mode = connection.query(context, "SELECT @@GLOBAL.gtid_mode")?.into_iter().flatten().flatten().next();
    // In between, some transactions have none.
    let uses_gtids = mode.as_deref() == Some("ON");
    if have_moments(tables)
        && let Some(lock) = lock(config, tables)?
    {
        begin(&mut connection)?;
        let end = log_end(&mut connection)?;
        lock.terminate();
        let snapshot = Some(whole(connection, copies)?);
        return Ok(at(end, uses_gtids, snapshot));
    }
    let end = if uses_gtids { settled(&mut connection)? } else { closed(&mut connection)? };
    connection.terminate();
    Ok(at(end, uses_gtids, None))
}

/// Whether all tables are stored by transactions, so that there is a moment at which they can be read.
fn have_moments(tables: &[Table]) -> bool {
    tables.iter().all(|table| table.transactional)
}

fn at(end: LogEnd, uses_gtids: bool, snapshot: Option<MysqlSnapshot>) -> Start {
    let gtids = Some(end.gtids).filter(|gtids| uses_gtids && !gtids.is_empty());
    Start { file: end.file, offset: end.offset, gtids, snapshot, rows_estimate: None }
}

/// A connection that keeps others from changing the tables; `None` where the right to it is missing, or a
/// transaction that changed one stays open.
fn lock(config: &MysqlConfig, tables: &[Table]) -> Result<Option<Connection>, SourceError> {
    let mut connection = Connection::open(config)?;
    let context = "lock the tables for the moment in which their copy begins";
    connection.execute(context, &format!("SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}"))?;
    for attempt in 1..=LOCK_ATTEMPTS {
        match connection.execute(context, &lock_statement(tables)) {
            Ok(()) => return Ok(Some(connection)),
            Err(error) if error.kind() == SourceErrorKind::Unreachable => return Err(error),
            Err(error) if error.kind() == SourceErrorKind::Busy && attempt < LOCK_ATTEMPTS => {
                thread::sleep(LOCK_PAUSE);
            }
            Err(error) => {
                tracing::info!(%error, "the tables are copied in fenced pages");
                break;
            }
        }
    }
    connection.terminate();
    Ok(None)
}

/// The log's end with a set of transactions that holds all before it. What is in the log already and not through
/// yet has its GTID in `gtid_owned`
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-gtids.html#sysvar_gtid_owned>).
fn settled(connection: &mut Connection) -> Result<LogEnd, SourceError> {
    let context = "wait for the transactions that are being committed";
    let mut end = log_end(connection)?;
    let started = Instant::now();
    let mut waited_for: Option<Vec<String>> = None;
    loop {
        let owned = owned(connection, context)?;
        let left: Vec<String> = match &waited_for {
            None => owned,
            Some(waited) => waited.iter().filter(|gtid| owned.contains(gtid)).cloned().collect(),
        };
        if left.is_empty() {
            break;
        }
        if started.elapsed() > COMMITS_MAX {
            // Somebody keeps a GTID for later. Its transaction may be in this file or not, and cannot be in one that
            // was closed before.
            end.offset = FILE_START;
            break;
        }
        waited_for = Some(left);
        thread::sleep(Duration::from_millis(20));
    }
    let executed = connection.query(context, "SELECT @@GLOBAL.gtid_executed")?;
    let executed = executed.into_iter().flatten().flatten().next().unwrap_or_default();
    end.gtids = executed.split_whitespace().collect();
    Ok(end)
}

/// The transactions that sessions have begun to commit, each with its session's number.
fn owned(connection: &mut Connection, context: &str) -> Result<Vec<String>, SourceError> {
    let rows = connection.query(context, "SELECT @@GLOBAL.gtid_owned")?;
    let text = rows.into_iter().flatten().flatten().next().unwrap_or_default();
    // `uuid:7#12:9#13, uuid:…`
    let mut gtids = Vec::new();
    for group in text.split(',') {
        let mut parts = group.trim().split(':');
        let source = parts.next().unwrap_or_default();
        gtids.extend(parts.map(|number| format!("{source}:{number}")));
    }
    Ok(gtids)
}

/// The beginning of the log's last file. The server closes a file only after everything in it is through, so that
/// whatever is read of the table from now on shows what the files before hold. The changes since then come once more
/// by the stream.
fn closed(connection: &mut Connection) -> Result<LogEnd, SourceError> {
    Ok(LogEnd { offset: FILE_START, ..log_end(connection)? })
}
