//! Logs that were lost, and what was done about it.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::meta;
use crate::queries::Queries;

/// A gap in the log.
pub type GapId = i64;

/// A gap as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapFound {
    /// When it was found, in microseconds since the epoch.
    pub found_at: i64,
    /// Why the log does not hold what follows the position.
    pub reason: String,
}

/// A gap on record. Times are microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The gap.
    pub id: GapId,
    /// The last moment that was captured before it.
    pub from_at: Option<i64>,
    /// When capture began again; `None` until then.
    pub to_at: Option<i64>,
    /// When it was found.
    pub found_at: i64,
    /// When the comparison with the table was complete; `None` until then.
    pub repaired_at: Option<i64>,
    /// Why the log did not hold what followed.
    pub reason: String,
    /// Status changes that the comparison brought.
    pub records: u64,
}

/// The gap that waits for its repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenGap {
    /// The gap.
    pub id: GapId,
    /// Whether a copy of the table that repairs it is under way, or complete and only to be settled.
    pub being_repaired: bool,
}

impl Ledger {
    /// Puts a gap on record. While one is open, it is the same gap: the newest reason stands.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn open_gap(&mut self, found: &GapFound) -> Result<GapId, LedgerError> {
        self.write("put a gap on record", |transaction| {
            if let Some(gap) = open_gap(transaction)? {
                transaction
                    .execute("UPDATE gap SET reason = ?2 WHERE id = ?1", params![gap, found.reason])?;
                return Ok(gap);
            }
            // The last thing heard of the log: nothing before it can be missing.
            let from_at: Option<i64> = meta::get(transaction, meta::CAPTURED_AT)?;
            Ok(transaction
                .prepare_cached("INSERT INTO gap(from_at, found_at, reason) VALUES(?1, ?2, ?3)")?
                .insert(params![from_at, found.found_at, found.reason])?)
        })
    }

    /// Notes that a gap is repaired.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn close_gap(&mut self, gap: GapId, repaired_at: i64) -> Result<(), LedgerError> {
        self.write("close a gap", |transaction| {
            let sql = "UPDATE gap SET repaired_at = coalesce(repaired_at, ?2) WHERE id = ?1";
            transaction.execute(sql, params![gap, repaired_at])?;
            Ok(())
        })
    }
}

fn open_gap(connection: &Connection) -> Result<Option<GapId>, LedgerError> {
    let sql = "SELECT id FROM gap WHERE repaired_at IS NULL ORDER BY id LIMIT 1";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
}

impl Queries {
    /// The gap that waits for its repair, if there is one.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn open_gap_id(&self) -> Result<Option<OpenGap>, LedgerError> {
        let Some(id) = open_gap(&self.connection)? else { return Ok(None) };
        let sql = "SELECT EXISTS(SELECT 1 FROM copy WHERE gap_id = ?1 AND state <> 3)";
        let being_repaired = self.connection.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
        Ok(Some(OpenGap { id, being_repaired }))
    }

    /// All gaps on record, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn gaps(&self) -> Result<Vec<Gap>, LedgerError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, from_at, to_at, found_at, repaired_at, reason, records FROM gap ORDER BY id",
        )?;
        let gaps = statement.query_map([], |row| {
            Ok(Gap {
                id: row.get(0)?,
                from_at: row.get(1)?,
                to_at: row.get(2)?,
                found_at: row.get(3)?,
                repaired_at: row.get(4)?,
                reason: row.get(5)?,
                records: row.get(6)?,
            })
        })?;
        Ok(gaps.collect::<Result<Vec<_>, _>>()?)
    }
}
