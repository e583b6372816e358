//! The ledger's file: its settings, its tables, and how older files become the present one.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{LedgerError, LedgerErrorKind};

/// Tells a ledger from any other SQLite file: `bita` in ASCII.
const APPLICATION_ID: i32 = 0x6269_7461;

/// What turns a file of version *n* into one of version *n + 1*. A step that was released is never edited.
const MIGRATIONS: &[&str] =
    &[include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// Pages of the log file after which it is copied back into the main file. Larger than SQLite's default,
/// because each such copy costs two more syncs.
const CHECKPOINT_PAGES: u32 = 2000;

/// The log file is cut back to this size, in bytes, after a large transaction.
const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Memory for pages, in KiB. What does not fit goes to the log file early, or to a temporary file.
const CACHE_KIB: u32 = 8 * 1024;

/// Sets up a connection that writes, and brings the file to the present version.
///
/// # Errors
/// [`LedgerErrorKind::NewerSchema`] and [`LedgerErrorKind::Damaged`].
pub(crate) fn prepare(connection: &mut Connection) -> Result<(), LedgerError> {
    // Both settle into the file when its first table is made, and do nothing later.
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    recognise(connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    sync_commits(connection, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    tune(connection)?;
    migrate(connection)
}

/// Sets up a connection that only reads.
///
/// # Errors
/// As for [`prepare`], and [`LedgerErrorKind::OlderSchema`], because only a writer can bring the file up to date.
pub(crate) fn prepare_reader(connection: &Connection) -> Result<(), LedgerError> {
    tune(connection)?;
    let found = recognise(connection)?;
    if found < version() {
        let message =
            format!("the ledger has version {found} and has not been brought up to {} yet", version());
        return Err(LedgerError::new(LedgerErrorKind::OlderSchema, message));
    }
    Ok(())
}

/// Sets up a connection to a file that nobody else knows, and that is thrown away.
pub(crate) fn prepare_temporary(connection: &mut Connection) -> Result<(), LedgerError> {
    connection.pragma_update(None, "synchronous", "OFF")?;
    tune(connection)?;
    migrate(connection)
}

/// Whether a commit returns once it is durable, or leaves that to a later one.
///
/// FULL, not NORMAL, is the rule: the database may forget its log once a commit here has returned
/// (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
pub(crate) fn sync_commits(connection: &Connection, each: bool) -> Result<(), LedgerError> {
    Ok(connection.pragma_update(None, "synchronous", if each { "FULL" } else { "NORMAL" })?)
}

fn tune(connection: &Connection) -> Result<(), LedgerError> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    // Sorting the delta must not take memory in proportion to it.
    connection.pragma_update(None, "temp_store", "FILE")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Reads the file's version; 0 for a file that was just made.
fn recognise(connection: &Connection) -> Result<usize, LedgerError> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && found == 0 && tables == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        let message = format!(
            "the file is not a ledger: its application id is {application:#x}, expected {APPLICATION_ID:#x}"
        );
        return Err(LedgerError::new(LedgerErrorKind::Damaged, message));
    }
    match usize::try_from(found) {
        Ok(found) if found <= version() => Ok(found),
        _ => Err(LedgerError::new(
            LedgerErrorKind::NewerSchema,
            format!("the ledger has version {found}, expected at most {}", version()),
        )),
    }
}

fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    // The version is read again under the lock, so that two first starts cannot both make the tables.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = recognise(&transaction)?;
    for step in MIGRATIONS.iter().skip(found) {
        transaction.execute_batch(step)?;
    }
    if found < version() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version())?;
    }
    transaction.commit()?;
    Ok(())
}

fn version() -> usize {
    MIGRATIONS.len()
}
