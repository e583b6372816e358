//! Forgetting what was acknowledged long ago, in steps short enough not to hold up capture.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::meta;

/// Log rows that one call looks at.
const STEP_ROWS: i64 = 20_000;

/// Free pages that one call gives back to the file system.
const STEP_PAGES: u32 = 4_000;

/// What one step of pruning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Rows removed.
    pub removed: u64,
    /// Whether another step may find more.
    pub more: bool,
}

impl Ledger {
    /// Removes records that were acknowledged before `before` (microseconds since the epoch), and what
    /// belongs to them. Whatever is owed or in quarantine stays, and so do the last known statuses.
    ///
    /// One call is one bounded step; call it again while [`Pruned::more`].
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn prune(&mut self, before: i64) -> Result<Pruned, LedgerError> {
        let pruned = self.write("forget old records", |transaction| {
            let (log, log_more) = prune_log(transaction, before)?;
            let (copies, copies_more) = prune_copies(transaction, before)?;
            let mut removed = log + copies;
            if !log_more && !copies_more {
                removed += prune_rest(transaction, before)?;
            }
            Ok(Pruned { removed, more: log_more || copies_more })
        })?;
        self.shrink()?;
        Ok(pruned)
    }

    /// Gives free pages back to the file system.
    fn shrink(&mut self) -> Result<(), LedgerError> {
        let connection = &self.queries().connection;
        let shrink = || {
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        shrink().map_err(|error: rusqlite::Error| LedgerError::from(error).while_doing("shrink the ledger"))
    }
}

/// Whether the record's batch was decided about so long ago that the record may go.
const DECIDED: &str = "(EXISTS(SELECT 1 FROM batch b WHERE b.id = r.batch_id AND b.state = 1 \
     AND b.acknowledged_at < ?3) OR EXISTS(SELECT 1 FROM batch b JOIN quarantine q ON q.batch_id = b.id \
     WHERE b.id = r.batch_id AND b.state = 2 AND q.state >= 2 AND q.resolved_at < ?3))";

fn prune_log(transaction: &Transaction<'_>, before: i64) -> Result<(u64, bool), LedgerError> {
    let cursor = meta::number(transaction, meta::PRUNED_SEQ)?;
    // What was captured later cannot have been acknowledged earlier.
    let end: Option<i64> = transaction
        .prepare_cached(
            "SELECT max(seq) FROM (SELECT seq, captured_at FROM change WHERE seq > ?1 ORDER BY seq LIMIT ?2) \
             WHERE captured_at < ?3",
        )?
        .query_row(params![cursor, STEP_ROWS, before], |row| row.get(0))?;
    let Some(end) = end else { return round_ends(transaction, meta::PRUNED_SEQ, cursor) };
    let sql = format!("DELETE FROM change AS r WHERE seq > ?1 AND seq <= ?2 AND batch_id > 0 AND {DECIDED}");
    let removed = transaction.prepare_cached(&sql)?.execute(params![cursor, end, before])?;
    meta::set(transaction, meta::PRUNED_SEQ, end)?;
    Ok((removed as u64, true))
}

/// One month of one copy: what a month holds is bounded well enough.
fn prune_copies(transaction: &Transaction<'_>, before: i64) -> Result<(u64, bool), LedgerError> {
    let copy = meta::number(transaction, meta::PRUNED_COPY)?;
    let month = meta::number(transaction, meta::PRUNED_MONTH)?;
    let next: Option<(i64, i64)> = transaction
        .prepare_cached(
            "SELECT copy_id, month FROM backfill_row WHERE (copy_id, month) > (?1, ?2) \
             AND copy_id <= (SELECT max(id) FROM copy WHERE state >= 2 AND began_at < ?3) \
             ORDER BY copy_id, month LIMIT 1",
        )?
        .query_row([copy, month, before], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((copy, month)) = next else {
        meta::set(transaction, meta::PRUNED_MONTH, 0)?;
        return round_ends(transaction, meta::PRUNED_COPY, copy);
    };
    let sql = format!(
        "DELETE FROM backfill_row AS r WHERE copy_id = ?1 AND month = ?2 \
         AND (state = 2 OR (state = 1 AND {DECIDED}))"
    );
    let removed = transaction.prepare_cached(&sql)?.execute([copy, month, before])?;
    meta::set(transaction, meta::PRUNED_COPY, copy)?;
    meta::set(transaction, meta::PRUNED_MONTH, month)?;
    Ok((removed as u64, true))
}

/// The next call begins again with the oldest row: what was owed then may be acknowledged by now.
fn round_ends(connection: &Connection, key: &str, cursor: i64) -> Result<(u64, bool), LedgerError> {
    if cursor != 0 {
        meta::set(connection, key, 0)?;
    }
    Ok((0, false))
}

/// Batches, flushes and quarantine items to which nothing belongs any more.
fn prune_rest(transaction: &Transaction<'_>, before: i64) -> Result<u64, LedgerError> {
    let mut removed = 0;
    for sql in [
        "DELETE FROM quarantine WHERE state >= 2 AND resolved_at < ?1",
        "DELETE FROM batch WHERE state = 1 AND acknowledged_at < ?1",
        "DELETE FROM batch WHERE state = 3 AND created_at < ?1",
        "DELETE FROM batch WHERE state = 2 AND created_at < ?1 \
         AND NOT EXISTS(SELECT 1 FROM quarantine q WHERE q.batch_id = batch.id)",
        "DELETE FROM flush WHERE finished_at < ?1 AND id < (SELECT max(f.id) FROM flush f WHERE f.kind = flush.kind) \
         AND NOT EXISTS(SELECT 1 FROM batch b WHERE b.flush_id = flush.id)",
    ] {
        removed += transaction.execute(sql, [before])? as u64;
    }
    Ok(removed)
}
