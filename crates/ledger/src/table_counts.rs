//! What there is of each table, for those who look after several.

use std::collections::BTreeMap;

use crate::delta::unbatched_range;
use crate::error::LedgerError;
use crate::queries::Queries;
use crate::table_id::TableId;

/// What there is of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableCounts {
    /// The table, as the configuration names it.
    pub name: String,
    /// Rows of it that the last copy has read.
    pub copied: u64,
    /// Status changes that are in no batch yet.
    pub delta: u64,
    /// Rows that wait for their parents.
    pub waiting: u64,
    /// Items in quarantine.
    pub quarantine: u64,
}

impl Queries {
    /// What there is of each table that was ever configured. Where there are several, it reads the whole delta.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn table_counts(&self) -> Result<BTreeMap<TableId, TableCounts>, LedgerError> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, coalesce(name, ''), scanned FROM source_table")?;
        let tables = statement.query_map([], |row| {
            Ok((
                row.get(0)?,
                TableCounts { name: row.get(1)?, copied: row.get(2)?, ..TableCounts::default() },
            ))
        })?;
        let mut tables: BTreeMap<TableId, TableCounts> = tables.collect::<Result<_, _>>()?;
        let quarantine = "SELECT table_id, count(*) FROM quarantine WHERE state = 0 GROUP BY 1";
        for (id, count) in self.counted(quarantine, [])? {
            tables.entry(id).or_default().quarantine = count;
        }
        if tables.len() < 2 {
            return Ok(tables);
        }
        for (id, count) in self.counted("SELECT table_id, count(*) FROM waiting_child GROUP BY 1", [])? {
            tables.entry(id).or_default().waiting = count;
        }
        let delta =
            "SELECT table_id, count(*) FROM change WHERE seq > ?1 AND seq <= ?2 AND batch_id = 0 GROUP BY 1";
        for (id, count) in self.counted(delta, unbatched_range(&self.connection)?)? {
            tables.entry(id).or_default().delta = count;
        }
        Ok(tables)
    }

    fn counted(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Vec<(TableId, u64)>, LedgerError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let counts = statement.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(counts.collect::<Result<_, _>>()?)
    }
}
