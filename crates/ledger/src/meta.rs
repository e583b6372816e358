//! The ledger's single values, by name.

use rusqlite::types::{FromSql, ToSql};
use rusqlite::{Connection, OptionalExtension};

use crate::error::LedgerError;

/// Every change up to here has been committed to the ledger.
pub(crate) const POSITION: &str = "position";
/// The server whose log the position belongs to.
pub(crate) const SERVER: &str = "server";
/// Row changes captured since the ledger was made.
pub(crate) const CAPTURED_CHANGES: &str = "captured_changes";
/// Log rows up to here belong to committed transactions.
pub(crate) const COMMITTED_SEQ: &str = "committed_seq";
/// Log rows up to here have been compared with the last known statuses.
pub(crate) const SETTLED_SEQ: &str = "settled_seq";
/// When the newest captured transaction committed.
pub(crate) const COMMITTED_AT: &str = "committed_at";
/// When the ledger last took something from the stream.
pub(crate) const CAPTURED_AT: &str = "captured_at";
/// The next staged row's id.
pub(crate) const NEXT_STAGED_ID: &str = "next_staged_id";
/// Settled status changes that are in no batch yet.
pub(crate) const UNBATCHED: &str = "unbatched";
/// Every settled status change up to here is in a batch.
pub(crate) const BATCHED_SEQ: &str = "batched_seq";
/// Status changes after here came out of waiting when those after them were in a batch already.
pub(crate) const REOPENED_SEQ: &str = "reopened_seq";
/// Merged rows of copies that wait for the backfill.
pub(crate) const WAITING_ROWS: &str = "waiting_rows";
/// The openings that the backfill was asked for: from here, and up to but without there.
pub(crate) const BACKFILL_FROM: &str = "backfill_from";
pub(crate) const BACKFILL_TO: &str = "backfill_to";
/// When the backfill was first asked for.
pub(crate) const BACKFILL_ASKED_AT: &str = "backfill_asked_at";
/// A copy for a backfill that is sent again was given up when the log was lost, and must be begun once more.
pub(crate) const AGAIN_ASKED: &str = "again_asked";
/// The next of the seqs that are kept free for a repair in pages.
pub(crate) const REPAIR_SEQ: &str = "repair_seq";
/// Where pruning goes on, by table.
pub(crate) const PRUNED_SEQ: &str = "pruned_seq";
pub(crate) const PRUNED_COPY: &str = "pruned_copy";
pub(crate) const PRUNED_MONTH: &str = "pruned_month";
/// How often a commit has made the one before it durable.
pub(crate) const CAUGHT_UP: &str = "caught_up";

/// Notes of the loops are kept apart from the ledger's own values.
pub(crate) const NOTE_PREFIX: &str = "note:";

pub(crate) fn get<T: FromSql>(connection: &Connection, key: &str) -> Result<Option<T>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

/// A counter or sequence number; one that was never set is 0.
pub(crate) fn number(connection: &Connection, key: &str) -> Result<i64, LedgerError> {
    Ok(get(connection, key)?.unwrap_or(0))
}

pub(crate) fn set(connection: &Connection, key: &str, value: impl ToSql) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO meta(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    )?;
    statement.execute(rusqlite::params![key, value])?;
    Ok(())
}

pub(crate) fn add(connection: &Connection, key: &str, difference: i64) -> Result<(), LedgerError> {
    if difference == 0 {
        return Ok(());
    }
    let sum = number(connection, key)?.saturating_add(difference);
    set(connection, key, sum)
}

pub(crate) fn clear(connection: &Connection, key: &str) -> Result<(), LedgerError> {
    connection.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key])?;
    Ok(())
}
