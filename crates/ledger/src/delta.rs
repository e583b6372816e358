//! What is owed: the status changes that the dashboard has not acknowledged.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use crate::batch::{BatchId, Item, StoredBatch, load};
use crate::error::LedgerError;
use crate::meta;
use crate::queries::Queries;

/// What is owed, sealed or not. Refused records are in quarantine instead; changes that are not settled yet
/// are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta {
    /// Status changes.
    pub records: u64,
    /// When the oldest of them committed in the database, in microseconds since the epoch.
    pub oldest_at: Option<i64>,
}

impl Queries {
    /// What is owed. Cheap: it reads counters and the oldest record.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn delta(&self) -> Result<Delta, LedgerError> {
        let connection = &self.connection;
        let (undecided, oldest_in_batch): (i64, Option<i64>) = connection
            .prepare_cached(
                "SELECT coalesce(sum(changes), 0), min(oldest_at) FROM batch WHERE state IN (0, 4)",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let unbatched = meta::number(connection, meta::UNBATCHED)?;
        let oldest_unbatched: Option<i64> = connection
            .prepare_cached(
                "SELECT committed_at FROM change WHERE seq > ?1 AND seq <= ?2 AND batch_id = 0 ORDER BY seq LIMIT 1",
            )?
            .query_row(unbatched_range(connection)?, |row| row.get(0))
            .optional()?;
        Ok(Delta {
            records: unbatched.saturating_add(undecided).unsigned_abs(),
            oldest_at: oldest_in_batch.into_iter().chain(oldest_unbatched).min(),
        })
    }

    /// What is owed, by service id. Reads the whole delta.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn delta_by_service(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        let mut counts = self.unbatched_by::<String>("service_id")?;
        self.undecided(|candidate| {
            *counts.entry(candidate.service_id.to_string()).or_default() += 1;
        })?;
        Ok(counts)
    }

    /// What is owed, by status id. Reads the whole delta.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn delta_by_status(&self) -> Result<BTreeMap<u8, u64>, LedgerError> {
        let mut counts = self.unbatched_by::<u8>("status_id")?;
        self.undecided(|candidate| *counts.entry(candidate.status_id).or_default() += 1)?;
        Ok(counts)
    }

    fn unbatched_by<K: rusqlite::types::FromSql + Ord>(
        &self,
        column: &'static str,
    ) -> Result<BTreeMap<K, u64>, LedgerError> {
        let sql = format!(
            "SELECT {column}, count(*) FROM change WHERE seq > ?1 AND seq <= ?2 AND batch_id = 0 GROUP BY 1"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows =
            statement.query_map(unbatched_range(&self.connection)?, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Visits the status changes in batches whose outcome is open.
    fn undecided(&self, mut visit: impl FnMut(&normalizer::StatusChange)) -> Result<(), LedgerError> {
        let batches = self
            .connection
            .prepare_cached("SELECT id FROM batch WHERE state IN (0, 4) ORDER BY place")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<Vec<BatchId>, _>>()?;
        for batch in batches {
            let stored = StoredBatch::find(&self.connection, batch)?;
            for item in stored.items().filter(|item| matches!(item, Item::Change(_))) {
                visit(&load(&self.connection, item)?.change);
            }
        }
        Ok(())
    }
}

/// The part of the log that may hold status changes outside any batch.
pub(crate) fn unbatched_range(connection: &Connection) -> Result<[i64; 2], LedgerError> {
    let batched = meta::number(connection, meta::BATCHED_SEQ)?;
    let reopened: Option<i64> = meta::get(connection, meta::REOPENED_SEQ)?;
    Ok([reopened.map_or(batched, |seq| seq.min(batched)), meta::number(connection, meta::SETTLED_SEQ)?])
}
