//! What all sessions share.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::faults::Fault;
use crate::Options;
use crate::cdc::capture::Scan;
use crate::engine::catalog::same;
use crate::engine::database::Database;
use crate::sql::calendar::{Zone, now_utc, to_datetime};
use crate::sql::error::SqlError;

/// Someone who may log in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoginEntry {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) sysadmin: bool,
    pub(crate) grants: Vec<String>,
}

/// What is stored beside the databases.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    logins: Vec<LoginEntry>,
    /// Names, numbers, and which file of that name is the newest: a restore makes another.
    databases: Vec<(String, i64, u32)>,
    restores: Vec<(i64, String)>,
}

/// What a capture job told last.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) scans: Vec<Scan>,
    pub(super) errors: Vec<(i64, String)>,
    pub(super) empty: i64,
    mapped_at: Option<Instant>,
}

/// The server.
pub(crate) struct ServerState {
    pub(crate) name: String,
    pub(crate) zone: Zone,
    pub(crate) options: Options,
    dir: PathBuf,
    stored: Mutex<Stored>,
    databases: RwLock<Vec<Arc<Database>>>,
    agent: AtomicBool,
    latency_ms: AtomicU64,
    pub(super) captured: Mutex<HashMap<i64, Captured>>,
    faults: Mutex<Vec<Fault>>,
    next_spid: AtomicI64,
    pub(crate) stopping: AtomicBool,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ServerState {
    /// Opens what is stored in the folder of `options`, or makes it.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or what is in it is damaged.
    pub(crate) fn open(options: Options, dir: PathBuf) -> Result<ServerState, SqlError> {
        fs::create_dir_all(&dir).map_err(|error| failure("create", &error))?;
        let path = dir.join("server.json");
        let stored = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| failure("read", &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Stored {
                logins: vec![LoginEntry {
                    name: "sa".to_owned(),
                    password: options.sa_password.clone(),
                    sysadmin: true,
                    grants: Vec::new(),
                }],
                databases: vec![("master".to_owned(), 1, 0), ("msdb".to_owned(), 4, 0)],
                restores: Vec::new(),
            },
            Err(error) => return Err(failure("read", &error)),
        };
        let zone = Zone::parse(&options.zone)
            .ok_or_else(|| SqlError::new(9820, 16, 1, format!("unknown zone {:?}", options.zone)))?;
        let state = ServerState {
            name: "STANDIN".to_owned(),
            zone,
            dir,
            databases: RwLock::default(),
            agent: AtomicBool::new(options.agent),
            latency_ms: AtomicU64::new(u64::try_from(options.capture_latency.as_millis()).unwrap_or(0)),
            captured: Mutex::default(),
            faults: Mutex::default(),
            next_spid: AtomicI64::new(50),
            stopping: AtomicBool::new(false),
            stored: Mutex::new(stored),
            options,
        };
        let known = locked(&state.stored).databases.clone();
        for (name, id, generation) in known {
            let database = Database::open(&name, id, &state.file(id, generation), state.local_now())?;
            state.databases.write().unwrap_or_else(PoisonError::into_inner).push(database);
        }
        state.save()?;
        Ok(state)
    }

    fn file(&self, id: i64, generation: u32) -> PathBuf {
        self.dir.join(format!("database-{id}-{generation}.sqlite"))
    }

    fn save(&self) -> Result<(), SqlError> {
        // Held until the file is there: who saves meanwhile would take the half-made one away.
        let stored = locked(&self.stored);
        let text = serde_json::to_string_pretty(&*stored).map_err(|error| failure("store", &error))?;
        let partial = self.dir.join("server.json.partial");
        fs::write(&partial, text).map_err(|error| failure("write", &error))?;
        fs::rename(&partial, self.dir.join("server.json")).map_err(|error| failure("write", &error))
    }

    /// Now, local, in units of 1/300 s since 1900-01-01.
    pub(crate) fn local_now(&self) -> i64 {
        to_datetime(self.zone.local(now_utc()))
    }

    pub(crate) fn databases(&self) -> Vec<Arc<Database>> {
        self.databases.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn database(&self, name: &str) -> Option<Arc<Database>> {
        self.databases().into_iter().find(|database| same(&database.name, name))
    }

    /// `CREATE DATABASE`
    ///
    /// # Errors
    /// 1801 when there is one of that name.
    pub(crate) fn create_database(&self, name: &str) -> Result<(), SqlError> {
        // Held until the database is there: another one made meanwhile would get the same number, and with it the same file.
        let mut databases = self.databases.write().unwrap_or_else(PoisonError::into_inner);
        let is_known = databases.iter().any(|database| same(&database.name, name));
        if is_known || ["tempdb", "model"].iter().any(|known| same(known, name)) {
            let message = format!("Database '{name}' already exists. Choose a different database name.");
            return Err(SqlError::new(1801, 16, 3, message));
        }
        let id = databases.iter().map(|database| database.id).max().unwrap_or(4).max(4) + 1;
        databases.push(Database::open(name, id, &self.file(id, 0), self.local_now())?);
        drop(databases);
        locked(&self.stored).databases.push((name.to_owned(), id, 0));
        self.save()
    }

    /// Copies a database as it is now into a file.
    ///
    /// # Errors
    /// When there is no such database, or the file cannot be written.
    pub(crate) fn backup(&self, name: &str, to: &std::path::Path) -> Result<(), SqlError> {
        let database = self.database(name).ok_or_else(|| SqlError::new(911, 16, 1, "no such database"))?;
        let source = database.connect(&Arc::default())?;
        let _lock = database.lock();
        source.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
        Ok(())
    }

    /// Puts an older copy in a database's place: another recovery fork. Its sessions are ended by what they ask next.
    ///
    /// # Errors
    /// As [`ServerState::backup`].
    pub(crate) fn restore(&self, name: &str, from: &std::path::Path) -> Result<(), SqlError> {
        let old = self.database(name).ok_or_else(|| SqlError::new(911, 16, 1, "no such database"))?;
        let _lock = old.lock();
        old.closed.store(true, Ordering::SeqCst);
        let generation = {
            let mut stored = locked(&self.stored);
            stored.restores.push((self.local_now(), name.to_owned()));
            let entry = stored.databases.iter_mut().find(|(_, id, _)| *id == old.id);
            entry.map_or(0, |entry| {
                entry.2 += 1;
                entry.2
            })
        };
        let path = self.file(old.id, generation);
        fs::copy(from, &path).map_err(|error| failure("copy", &error))?;
        let database = Database::open(&old.name, old.id, &path, self.local_now())?;
        let connection = rusqlite::Connection::open(&path)?;
        database.change_catalog(&connection, |catalog| {
            catalog.recovery_fork = rand::random();
            Ok(())
        })?;
        let mut databases = self.databases.write().unwrap_or_else(PoisonError::into_inner);
        databases.retain(|known| known.id != old.id);
        databases.push(database);
        drop(databases);
        locked(&self.captured).remove(&old.id);
        self.save()
    }

    pub(crate) fn restores(&self) -> Vec<(i64, String)> {
        locked(&self.stored).restores.clone()
    }

    pub(crate) fn new_spid(&self) -> i64 {
        self.next_spid.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Checks a log-in.
    pub(crate) fn login(&self, name: &str, password: &str) -> Option<LoginEntry> {
        let stored = locked(&self.stored);
        stored.logins.iter().find(|login| same(&login.name, name) && login.password == password).cloned()
    }

    /// The number of a login; `sa` has 1.
    pub(crate) fn login_id(&self, name: &str) -> Option<i64> {
        let stored = locked(&self.stored);
        let at = stored.logins.iter().position(|login| same(&login.name, name))?;
        i64::try_from(at + 1).ok()
    }

    /// Changes the logins and stores them.
    ///
    /// # Errors
    /// What `change` answers.
    pub(crate) fn change_logins<T>(
        &self,
        change: impl FnOnce(&mut Vec<LoginEntry>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let answer = change(&mut locked(&self.stored).logins)?;
        self.save()?;
        Ok(answer)
    }

    pub(crate) fn has_grant(&self, login: &str, permission: &str) -> bool {
        let stored = locked(&self.stored);
        stored
            .logins
            .iter()
            .any(|known| same(&known.name, login) && known.grants.iter().any(|grant| same(grant, permission)))
    }

    pub(crate) fn agent_is_on(&self) -> bool {
        self.agent.load(Ordering::SeqCst)
    }

    pub(crate) fn set_agent(&self, on: bool) {
        self.agent.store(on, Ordering::SeqCst);
    }

    pub(crate) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms.load(Ordering::SeqCst))
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        self.latency_ms.store(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        locked(&self.faults)
    }

    /// Is it time for a row of `lsn_time_mapping` although nothing happened?
    pub(crate) fn idle_is_due(&self, database: &Database) -> bool {
        let mut captured = locked(&self.captured);
        let last = captured.entry(database.id).or_default().mapped_at.get_or_insert_with(Instant::now);
        last.elapsed() >= self.options.idle_interval
    }

    pub(crate) fn mapped_now(&self, database: &Database) {
        locked(&self.captured).entry(database.id).or_default().mapped_at = Some(Instant::now());
    }

    /// Keeps what a scan told; empty ones are only counted.
    pub(crate) fn record_scan(&self, database: &Database, scan: Scan) {
        let mut captured = locked(&self.captured);
        let entry = captured.entry(database.id).or_default();
        if scan.transactions == 0 {
            entry.empty += 1;
            if let Some(last) = entry.scans.last_mut().filter(|last| last.transactions == 0) {
                *last = scan;
                return;
            }
        }
        entry.scans.push(scan);
        let excess = entry.scans.len().saturating_sub(32);
        entry.scans.drain(..excess);
    }

    /// Keeps what stopped a scan.
    pub(crate) fn record_error(&self, database: &Database, message: &str) {
        let at = self.local_now();
        let mut captured = locked(&self.captured);
        let entry = captured.entry(database.id).or_default();
        entry.errors.push((at, message.to_owned()));
        let excess = entry.errors.len().saturating_sub(32);
        entry.errors.drain(..excess);
    }
}

fn failure(action: &str, error: &dyn std::fmt::Display) -> SqlError {
    SqlError::new(823, 24, 2, format!("{action} the server's folder: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn databases_that_are_made_at_the_same_time_are_different_ones() {
        let dir = tempfile::tempdir().unwrap();
        let state = ServerState::open(Options::default(), dir.path().to_owned()).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let state = &state;
                scope.spawn(move || state.create_database(&format!("d{number}")).unwrap());
            }
        });
        let ids: BTreeSet<i64> = state.databases().iter().map(|database| database.id).collect();
        assert_eq!(ids.len(), 10);
        assert_eq!(state.create_database("D3").unwrap_err().number, 1801);
    }
}
