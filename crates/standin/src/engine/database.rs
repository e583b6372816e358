//! One database: a file of SQLite, its catalog, and the transactions over it.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rusqlite::{Connection, OptionalExtension, params};

use super::catalog::{Catalog, Table};
use super::functions;
use super::versions::{TranId, Versions, View};
use crate::sql::error::SqlError;

/// Rows (table and row) that nobody sees once all views are younger than a commit.
type Garbage = (u64, Vec<(i64, i64)>);

/// A database that is open.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) id: i64,
    path: PathBuf,
    catalog: RwLock<Arc<Catalog>>,
    pub(crate) versions: Arc<Versions>,
    /// One writes at a time, for the length of a statement.
    writing: Mutex<()>,
    /// The last record of the log.
    log: AtomicI64,
    identities: Mutex<HashMap<i64, i64>>,
    garbage: Mutex<VecDeque<Garbage>>,
    /// There may be something for the capture job: it need not look otherwise.
    pub(crate) waiting: AtomicBool,
    /// Nobody can enter any more: the database is gone, or another was restored in its place.
    pub(crate) closed: AtomicBool,
}

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS state(key TEXT PRIMARY KEY, value);
    CREATE TABLE IF NOT EXISTS commits(
        tran INTEGER PRIMARY KEY, n INTEGER, begun_n INTEGER, begun_at INTEGER, ended_at INTEGER, ended_utc INTEGER,
        tracked INTEGER);
    CREATE INDEX IF NOT EXISTS commits_tracked ON commits(n) WHERE tracked = 1;";

impl Database {
    /// Opens the file of a database, or makes it; what was not committed when the file was last used is taken back.
    ///
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn open(name: &str, id: i64, path: &Path, created_at: i64) -> Result<Arc<Database>, SqlError> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Indexes of texts cannot be touched without the collation.
        functions::register(&connection, &Arc::default(), &Arc::default())?;
        connection.execute_batch(TABLES)?;
        let stored: Option<String> = connection
            .query_row("SELECT value FROM state WHERE key = 'catalog'", [], |row| row.get(0))
            .optional()?;
        let catalog = match &stored {
            Some(text) => serde_json::from_str(text)
                .map_err(|error| SqlError::new(824, 24, 2, format!("The catalog is damaged: {error}.")))?,
            None => Catalog::new(created_at),
        };
        let log = recover(&mut connection, &catalog)?;
        let database = Database {
            name: name.to_owned(),
            id,
            path: path.to_owned(),
            catalog: RwLock::new(Arc::new(catalog)),
            versions: Arc::default(),
            writing: Mutex::default(),
            log: AtomicI64::new(log),
            identities: Mutex::default(),
            garbage: Mutex::default(),
            waiting: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        };
        let database = Arc::new(database);
        if stored.is_none() {
            database.change_catalog(&connection, |_| Ok(()))?;
        }
        Ok(database)
    }

    /// A connection to the file that computes as the server does.
    ///
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn connect(&self, view: &Arc<Mutex<View>>) -> Result<Connection, SqlError> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(std::time::Duration::from_secs(60))?;
        // A kill of the process loses nothing; only a power cut could, which no test makes.
        connection
            .execute_batch("PRAGMA synchronous=OFF; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;")?;
        functions::register(&connection, &self.versions, view)?;
        Ok(connection)
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the right to write; statements hold it, transactions do not.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the catalog and stores it.
    ///
    /// # Errors
    /// What `change` answers; nothing is changed then.
    pub(crate) fn change_catalog<T>(
        &self,
        connection: &Connection,
        change: impl FnOnce(&mut Catalog) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let mut current = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Catalog::clone(&current);
        let answer = change(&mut next)?;
        let text = serde_json::to_string(&next)
            .map_err(|error| SqlError::new(824, 24, 3, format!("The catalog cannot be stored: {error}.")))?;
        connection.execute("INSERT OR REPLACE INTO state VALUES('catalog', ?1)", [text])?;
        *current = Arc::new(next);
        Ok(answer)
    }

    /// Takes a change of the catalog back.
    pub(crate) fn reset_catalog(&self, to: Arc<Catalog>) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// The next record of the log.
    pub(crate) fn next_record(&self) -> i64 {
        self.log.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last record of the log.
    pub(crate) fn last_record(&self) -> i64 {
        self.log.load(Ordering::SeqCst)
    }

    /// The next value of an identity column.
    ///
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn next_identity(
        &self,
        connection: &Connection,
        table: &Table,
        (column, seed, step): (i64, i64, i64),
    ) -> Result<i64, SqlError> {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let last = match identities.get(&table.id) {
            Some(&last) => Some(last),
            None => {
                let order = if step > 0 { "max" } else { "min" };
                let sql = format!("SELECT {order}(c{column}) FROM {}", table.stored());
                connection.query_row(&sql, [], |row| row.get(0))?
            }
        };
        let next = last.map_or(seed, |last| last + step);
        identities.insert(table.id, next);
        Ok(next)
    }

    /// Remembers rows (table and row) that nobody sees once all views are younger than the commit `at`.
    pub(crate) fn discard(&self, at: u64, rows: Vec<(i64, i64)>) {
        if !rows.is_empty() {
            self.garbage.lock().unwrap_or_else(PoisonError::into_inner).push_back((at, rows));
        }
    }

    /// Deletes rows that nobody can see any more; the caller is in a transaction of SQLite.
    ///
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn sweep(&self, connection: &Connection) -> Result<(), SqlError> {
        let oldest = self.versions.oldest_view();
        let mut garbage = self.garbage.lock().unwrap_or_else(PoisonError::into_inner);
        while garbage.front().is_some_and(|(at, _)| *at <= oldest) {
            let Some((_, rows)) = garbage.pop_front() else { break };
            for (table, row) in rows {
                let mut delete =
                    connection.prepare_cached(&format!("DELETE FROM t{table} WHERE _rid = ?1"))?;
                delete.execute([row])?;
            }
        }
        Ok(())
    }

    /// Stores that a transaction has committed; the caller is in a transaction of SQLite.
    ///
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn record_commit(&self, connection: &Connection, commit: &Commit) -> Result<(), SqlError> {
        let mut insert =
            connection.prepare_cached("INSERT INTO commits VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        insert.execute(params![
            commit.tran,
            self.next_record(),
            commit.begun_record,
            commit.begun_at,
            commit.ended_at,
            commit.ended_utc,
            commit.tracked
        ])?;
        Ok(())
    }
}

/// A transaction that is about to commit; moments are units of 1/300 s since 1900 in local time.
pub(crate) struct Commit {
    pub(crate) tran: TranId,
    pub(crate) begun_record: i64,
    pub(crate) begun_at: i64,
    pub(crate) ended_at: i64,
    /// Ticks in UTC, for the latency of the capture.
    pub(crate) ended_utc: i64,
    /// It changed a table whose changes are captured.
    pub(crate) tracked: bool,
}

/// Takes back what had not been committed, and makes everything else older than every transaction to come;
/// answers the last record of the log.
fn recover(connection: &mut Connection, catalog: &Catalog) -> Result<i64, SqlError> {
    let transaction = connection.transaction()?;
    let mut last: i64 =
        transaction.query_row("SELECT ifnull(max(n), 16) FROM commits", [], |row| row.get(0))?;
    let reserved: Option<i64> = transaction
        .query_row("SELECT value FROM state WHERE key = 'log'", [], |row| row.get(0))
        .optional()?;
    for table in catalog.tables.keys() {
        transaction.execute_batch(&format!(
            "DELETE FROM t{table} WHERE _xmin <> 0 AND _xmin NOT IN (SELECT tran FROM commits);
             DELETE FROM t{table} WHERE _xmax IN (SELECT tran FROM commits);
             UPDATE t{table} SET _xmin = 0, _xmax = 0 WHERE _xmin <> 0 OR _xmax <> 0;"
        ))?;
    }
    for instance in &catalog.instances {
        let log = format!("log{}", instance.change_table);
        transaction
            .execute_batch(&format!("DELETE FROM {log} WHERE tran NOT IN (SELECT tran FROM commits)"))?;
        let top: i64 =
            transaction.query_row(&format!("SELECT ifnull(max(n), 0) FROM {log}"), [], |row| row.get(0))?;
        last = last.max(top);
    }
    // Numbers of transactions begin anew, so those that the log still waits for get numbers of their own.
    transaction.execute_batch("DELETE FROM commits WHERE tracked = 0")?;
    renumber(&transaction, catalog)?;
    // A gap makes certain that a number used by a transaction that was lost is not used again.
    let last = last.max(reserved.unwrap_or(0)) + 1024;
    transaction.execute("INSERT OR REPLACE INTO state VALUES('log', ?1)", [last])?;
    transaction.commit()?;
    Ok(last)
}

/// Gives negative numbers to transactions that have committed and are not captured yet.
fn renumber(connection: &Connection, catalog: &Catalog) -> Result<(), SqlError> {
    let lowest: i64 =
        connection.query_row("SELECT min(0, ifnull(min(tran), 0)) FROM commits", [], |row| row.get(0))?;
    let shift = "tran = ?1 - tran";
    for instance in &catalog.instances {
        connection
            .execute(&format!("UPDATE log{} SET {shift} WHERE tran > 0", instance.change_table), [lowest])?;
    }
    connection.execute(&format!("UPDATE commits SET {shift} WHERE tran > 0"), [lowest])?;
    Ok(())
}
