//! The capture job: it reads the log and fills the change tables.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/administer-and-monitor-change-data-capture-sql-server>

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, params};

use crate::engine::catalog::{Catalog, Instance};
use crate::engine::database::Database;
use crate::engine::lsn;
use crate::engine::versions::View;
use crate::server::state::ServerState;
use crate::sql::calendar::{SECOND, now_utc, to_datetime};
use crate::sql::error::SqlError;

/// One scan of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// Units of 1/300 s since 1900-01-01, local.
    pub(crate) started_at: i64,
    pub(crate) ended_at: i64,
    pub(crate) transactions: i64,
    pub(crate) commands: i64,
    pub(crate) first_lsn: Option<Vec<u8>>,
    pub(crate) last_lsn: Option<Vec<u8>>,
    pub(crate) last_commit_at: Option<i64>,
    /// Seconds between the last commit and its capture.
    pub(crate) latency: i64,
}

/// A transaction of the log.
struct Logged {
    tran: i64,
    record: i64,
    begun_record: i64,
    begun_at: i64,
    ended_at: i64,
    ended_utc: i64,
}

/// Reads what was committed at least `latency` ticks ago, as many transactions as one cycle of the job takes.
///
/// # Errors
/// What SQLite answers.
pub(crate) fn scan(server: &ServerState, database: &Arc<Database>, latency: i64) -> Result<Scan, SqlError> {
    let local = || to_datetime(server.zone.local(now_utc()));
    let mut scan = Scan { started_at: local(), ended_at: local(), ..Scan::default() };
    let due = server.idle_is_due(database);
    // Taken down before looking: what commits meanwhile puts it up again.
    if !database.waiting.swap(false, Ordering::SeqCst) && !due {
        return Ok(scan);
    }
    let view = Arc::new(Mutex::new(View::default()));
    let connection = database.connect(&view)?;
    if !due && !has_work(&connection, &database.catalog(), latency)? {
        // What is too young now will not be soon.
        if latency > 0 {
            database.waiting.store(true, Ordering::SeqCst);
        }
        return Ok(scan);
    }
    database.waiting.store(true, Ordering::SeqCst);
    let lock = database.lock();
    let tran = database.versions.begin();
    let outcome = fill(server, database, (&connection, tran), latency, &mut scan);
    match outcome {
        Ok(()) => database.versions.commit(tran),
        Err(error) => {
            database.versions.rolled_back(tran);
            return Err(error);
        }
    };
    drop(lock);
    scan.ended_at = local();
    Ok(scan)
}

/// Is there a transaction to capture, or an instance that has no low end yet?
fn has_work(connection: &Connection, catalog: &Catalog, latency: i64) -> Result<bool, SqlError> {
    let Some(changes) = catalog.table("cdc", "change_tables") else { return Ok(false) };
    let sql = format!(
        "SELECT EXISTS(SELECT 1 FROM commits WHERE tracked = 1 AND ended_utc <= ?1) OR EXISTS(SELECT 1 FROM {} WHERE c5 IS NULL AND _xmax = 0)",
        changes.stored()
    );
    Ok(connection.query_row(&sql, [now_utc() - latency], |row| row.get(0))?)
}

/// One transaction of SQLite; when it fails, dropping the connection takes it back.
fn fill(
    server: &ServerState,
    database: &Database,
    (connection, tran): (&Connection, i64),
    latency: i64,
    scan: &mut Scan,
) -> Result<(), SqlError> {
    let catalog = database.catalog();
    let now = to_datetime(server.zone.local(now_utc()));
    let (Some(times), Some(changes)) =
        (catalog.table("cdc", "lsn_time_mapping"), catalog.table("cdc", "change_tables"))
    else {
        return Ok(());
    };
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let limit = catalog.jobs.capture.map_or(5000, |(transactions, scans, ..)| transactions * scans);
    let logged = pending(connection, now_utc() - latency, limit)?;
    let last = logged.last().map_or(0, |last| last.record);
    // The log is read in order: what lies behind a commit that is still too young is not reached.
    let reached = connection.query_row(
        "SELECT coalesce(min(n), 9223372036854775807) FROM commits WHERE tracked = 1 AND n > ?1",
        [last],
        |row| row.get::<_, i64>(0),
    )?;
    let fresh = establish(connection, &catalog, (&changes.stored(), &times.stored()), (tran, now, reached))?;
    for one in &logged {
        scan.commands += capture(connection, &catalog, one, tran)?;
        map(connection, &times.stored(), one, tran)?;
        scan.transactions += 1;
        let lsn = lsn::of(one.record).to_vec();
        scan.first_lsn.get_or_insert_with(|| lsn.clone());
        scan.last_lsn = Some(lsn);
        scan.last_commit_at = Some(one.ended_at);
        scan.latency = (now_utc() - one.ended_utc) / SECOND;
    }
    let idle = logged.is_empty() && !fresh && reached == i64::MAX && server.idle_is_due(database);
    if idle {
        dummy(connection, &times.stored(), database.next_record(), tran, now)?;
    }
    connection.execute("UPDATE commits SET tracked = 0 WHERE tracked = 1 AND n <= ?1", [last])?;
    // The number keeps those of a later start above all that were told.
    connection
        .execute("INSERT INTO commits VALUES(?1, ?2, 0, 0, 0, 0, 0)", [tran, database.next_record()])?;
    connection.execute_batch("COMMIT")?;
    if !logged.is_empty() || fresh || idle {
        server.mapped_now(database);
    }
    Ok(())
}

fn pending(connection: &Connection, until: i64, limit: i64) -> Result<Vec<Logged>, SqlError> {
    let mut statement = connection.prepare(
        "SELECT tran, n, begun_n, begun_at, ended_at, ended_utc FROM commits WHERE tracked = 1 AND ended_utc <= ?1 ORDER BY n LIMIT ?2",
    )?;
    let rows = statement.query_map([until, limit], |row| {
        Ok(Logged {
            tran: row.get(0)?,
            record: row.get(1)?,
            begun_record: row.get(2)?,
            begun_at: row.get(3)?,
            ended_at: row.get(4)?,
            ended_utc: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Tells the low end of instances that the job sees for the first time.
fn establish(
    connection: &Connection,
    catalog: &Catalog,
    (changes, times): (&str, &str),
    (tran, now, reached): (i64, i64, i64),
) -> Result<bool, SqlError> {
    let mut fresh = false;
    for instance in catalog.instances.iter().filter(|instance| instance.enabled_record < reached) {
        let low = lsn::of(instance.enabled_record).to_vec();
        let sql = format!("UPDATE {changes} SET c5 = ?1 WHERE c1 = ?2 AND c5 IS NULL");
        if connection.execute(&sql, params![low, instance.change_table])? > 0 {
            dummy(connection, times, instance.enabled_record, tran, now)?;
            fresh = true;
        }
    }
    Ok(fresh)
}

/// Copies what a transaction did into the change tables; answers how many rows.
fn capture(connection: &Connection, catalog: &Catalog, one: &Logged, tran: i64) -> Result<i64, SqlError> {
    let mut rows = 0;
    for instance in &catalog.instances {
        let sql = copy_sql(instance);
        let lsn = lsn::of(one.record).to_vec();
        let copied = connection.prepare_cached(&sql)?.execute(params![tran, lsn, one.tran])?;
        rows += i64::try_from(copied).unwrap_or(0);
        let log = instance.change_table;
        connection.prepare_cached(&format!("DELETE FROM log{log} WHERE tran = ?1"))?.execute([one.tran])?;
    }
    Ok(rows)
}

fn copy_sql(instance: &Instance) -> String {
    let count = instance.columns.len();
    let to: Vec<String> = (6..count + 6).map(|at| format!("c{at}")).collect();
    let from: Vec<String> = (1..=count).map(|at| format!("v{at}")).collect();
    format!(
        "INSERT INTO t{0}(_xmin, c1, c3, c4, c5, {1}, c{2}) SELECT ?1, ?2, ts_lsn(seq), op, mask, {3}, cmd FROM log{0} WHERE tran = ?3 ORDER BY n",
        instance.change_table,
        to.join(", "),
        count + 6,
        from.join(", ")
    )
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-lsn-time-mapping-transact-sql>
fn map(connection: &Connection, times: &str, one: &Logged, tran: i64) -> Result<(), SqlError> {
    let sql = format!("INSERT INTO {times}(_xmin, c1, c2, c3, c4, c5) VALUES(?1, ?2, ?3, ?4, ?5, ?6)");
    let id = one.tran.unsigned_abs().to_be_bytes();
    let id = id.get(2..).unwrap_or_default().to_vec();
    connection.prepare_cached(&sql)?.execute(params![
        tran,
        lsn::of(one.record).to_vec(),
        one.begun_at,
        one.ended_at,
        id,
        lsn::of(one.begun_record).to_vec()
    ])?;
    Ok(())
}

/// A row for a time in which nothing was captured; its transaction is 0x00.
fn dummy(connection: &Connection, times: &str, record: i64, tran: i64, now: i64) -> Result<(), SqlError> {
    let sql = format!("INSERT INTO {times}(_xmin, c1, c2, c3, c4, c5) VALUES(?1, ?2, ?3, ?3, x'00', ?4)");
    connection.execute(&sql, params![tran, lsn::of(record).to_vec(), now, vec![0u8; lsn::WIDTH]])?;
    Ok(())
}
