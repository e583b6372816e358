//! The ledger, opened for writing.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use change::Checkpoint;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::captured_block;
use crate::declared::Declared;
use crate::error::LedgerError;
use crate::lock::Lock;
use crate::meta;
use crate::owner::give_to_owner_of;
use crate::queries::Queries;
use crate::schema;

/// The ledger's file in its folder.
pub(crate) fn file_of(dir: &Path) -> PathBuf {
    dir.join("ledger.sqlite")
}

/// The durable store of one connector, opened by the one process that may write it.
///
/// Every method that changes something is one commit: after `Ok` it survives power loss, after `Err`
/// nothing of it happened. The one exception is a batch that is formed with [`Durable::WithNextCommit`].
#[derive(Debug)]
pub struct Ledger {
    // Before the lock, so that the file is closed when the lock is given up.
    queries: Queries,
    pub(crate) log: LogEnd,
    /// What the configuration says of the tables, once it was told.
    pub(crate) declared: Option<Declared>,
    /// Whether the newest commit may be lost with the machine's power until the next one.
    is_behind: bool,
    _lock: Lock,
}

/// When a commit survives power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// When it has returned.
    Now,
    /// When the next commit has returned; that of a process alone it survives at once.
    WithNextCommit,
}

/// Where the log ends, kept in memory so that appending reads nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogEnd {
    /// The seq of the next row.
    pub(crate) next_seq: i64,
    /// Rows up to here belong to committed transactions.
    pub(crate) committed_seq: i64,
    /// Row changes of the open transaction.
    pub(crate) open_changes: u64,
    /// Rejected rows of the open transaction.
    pub(crate) open_rejected: u64,
    /// When the newest transaction committed, as far as rows of it were captured.
    pub(crate) committed_at: Option<i64>,
    /// Bytes of rows that are packed until they are settled.
    pub(crate) packed_bytes: u64,
}

impl LogEnd {
    /// Whether the log ends within a transaction whose commit has not been read.
    pub(crate) fn is_open(&self) -> bool {
        self.next_seq > self.committed_seq + 1 || self.open_changes > 0 || self.open_rejected > 0
    }
}

impl Ledger {
    /// Opens the ledger in `dir`, making both where they are missing, in the name of `holder`: what a
    /// second process is told, such as `bitacora run since 2026-11-22T02:00:00Z`.
    ///
    /// What an earlier process left open is dropped, because its stream ended with it.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Held`] when another process has it open; also when the folder cannot be
    /// made, and when the file is damaged or of a newer version.
    pub fn open(dir: &Path, holder: &str) -> Result<Self, LedgerError> {
        make_folder(dir)?;
        let lock = Lock::take(dir, holder)?;
        let doing = format!("open the ledger in {}", dir.display());
        let connection = connect(dir).map_err(|error| error.while_doing(&doing))?;
        let log = log_end(&connection).map_err(|error| error.while_doing(&doing))?;
        let mut ledger =
            Self { queries: Queries::new(connection), log, declared: None, is_behind: false, _lock: lock };
        ledger.discard_open()?;
        ledger.release_all_suspects()?;
        Ok(ledger)
    }

    /// Bytes that the ledger's main file will take when all that is captured is settled: a packed row takes about
    /// twice as much then.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn size_when_settled(&self) -> Result<u64, LedgerError> {
        Ok(self.size_bytes()?.saturating_add(self.log.packed_bytes))
    }

    /// What can be asked.
    #[must_use]
    pub fn queries(&self) -> &Queries {
        &self.queries
    }

    /// Stores where the stream goes on: an operator's choice, or the place that a fresh reservation of the
    /// log begins at.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn set_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        self.write("store the position", |transaction| store_checkpoint(transaction, checkpoint))
    }

    /// Leaves a note under `key`, in place of an earlier one.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn set_note(&mut self, key: &str, value: &str) -> Result<(), LedgerError> {
        let key = format!("{}{key}", meta::NOTE_PREFIX);
        self.write("store a note", |transaction| meta::set(transaction, &key, value))
    }

    /// Takes the note under `key` away.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn clear_note(&mut self, key: &str) -> Result<(), LedgerError> {
        let key = format!("{}{key}", meta::NOTE_PREFIX);
        self.write("clear a note", |transaction| meta::clear(transaction, &key))
    }

    /// Runs `work` in one transaction; `doing` names it in errors.
    pub(crate) fn write<R>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, LedgerError>,
    ) -> Result<R, LedgerError> {
        let is_behind = self.is_behind;
        let result = self.commit(|transaction| {
            let result = work(transaction)?;
            if is_behind {
                // A commit that changes nothing would write nothing, and so leave the one before it where it is.
                meta::add(transaction, meta::CAUGHT_UP, 1)?;
            }
            Ok(result)
        });
        self.is_behind &= result.is_err();
        result.map_err(|error| error.while_doing(doing))
    }

    /// The same, durable with the next commit of [`Ledger::write`]: the log is written in order, and whoever makes its
    /// end durable makes all of it durable (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
    pub(crate) fn write_behind<R>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, LedgerError>,
    ) -> Result<R, LedgerError> {
        self.is_behind = true;
        let run = || {
            schema::sync_commits(&self.queries.connection, false)?;
            let result = self.commit(work);
            schema::sync_commits(&self.queries.connection, true)?;
            result
        };
        run().map_err(|error| error.while_doing(doing))
    }

    /// Makes durable what was not to be so before the next commit.
    pub(crate) fn make_durable(&mut self) -> Result<(), LedgerError> {
        if self.is_behind { self.write("make a commit durable", |_| Ok(())) } else { Ok(()) }
    }

    fn commit<R>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, LedgerError>,
    ) -> Result<R, LedgerError> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.queries.connection.transaction_with_behavior(behavior)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }
}

impl Deref for Ledger {
    type Target = Queries;

    fn deref(&self) -> &Queries {
        &self.queries
    }
}

pub(crate) fn store_checkpoint(connection: &Connection, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
    meta::set(connection, meta::POSITION, checkpoint.position.as_str())?;
    meta::set(connection, meta::SERVER, checkpoint.server.as_str())
}

fn make_folder(dir: &Path) -> Result<(), LedgerError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    // Status changes are personal data: other users of the machine have no business with them.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|error| LedgerError::io(format!("make the ledger's folder {}", dir.display()), error))
}

fn connect(dir: &Path) -> Result<Connection, LedgerError> {
    let file = file_of(dir);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // SQLite gives its log file the same rights as the main file.
    let opened = options.open(&file).and_then(|made| give_to_owner_of(dir, &made));
    opened.map_err(|error| LedgerError::io(format!("open {}", file.display()), error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&file, flags)?;
    schema::prepare(&mut connection)?;
    Ok(connection)
}

fn log_end(connection: &Connection) -> Result<LogEnd, LedgerError> {
    let committed_seq = meta::number(connection, meta::COMMITTED_SEQ)?;
    let last: Option<i64> = connection.query_row(
        "SELECT max(last) FROM (SELECT max(seq) AS last FROM change UNION ALL SELECT max(last_seq) FROM captured_block)",
        [],
        |row| row.get(0),
    )?;
    let open_rejected =
        connection.query_row("SELECT count(*) FROM quarantine WHERE state = 1", [], |row| row.get(0))?;
    Ok(LogEnd {
        next_seq: last.unwrap_or(0).max(committed_seq) + 1,
        committed_seq,
        open_changes: 0,
        open_rejected,
        committed_at: meta::get(connection, meta::COMMITTED_AT)?,
        packed_bytes: captured_block::bytes(connection)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LedgerErrorKind;

    /// Whether each commit waits for the disk: 2 is FULL (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
    fn syncs_commits(ledger: &Ledger) -> bool {
        let mode: i64 =
            ledger.queries.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        mode == 2
    }

    #[test]
    fn a_commit_that_is_put_off_is_made_durable_by_the_next_one_even_if_that_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), "test").unwrap();
        let mode = ledger
            .write_behind("put a note", |transaction| {
                meta::set(transaction, "note:x", "1")?;
                Ok(transaction.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?)
            })
            .unwrap();
        assert_eq!(mode, 1);
        assert!(ledger.is_behind && syncs_commits(&ledger));
        let changes = ledger.queries.connection.total_changes();
        ledger.make_durable().unwrap();
        assert!(!ledger.is_behind && ledger.queries.connection.total_changes() > changes);
        let changes = ledger.queries.connection.total_changes();
        ledger.make_durable().unwrap();
        assert_eq!(ledger.queries.connection.total_changes(), changes);
    }

    #[test]
    fn a_commit_that_fails_is_followed_by_durable_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), "test").unwrap();
        let failed = ledger.write_behind::<()>("fail", |_| Err(LedgerError::misuse("as asked for")));
        assert_eq!(failed.unwrap_err().kind(), LedgerErrorKind::Misuse);
        assert!(syncs_commits(&ledger));
        ledger.write::<()>("fail again", |_| Err(LedgerError::misuse("as asked for"))).unwrap_err();
        assert!(ledger.is_behind);
        ledger.set_note("x", "1").unwrap();
        assert!(!ledger.is_behind);
    }
}
