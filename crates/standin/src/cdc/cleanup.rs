//! The clean-up: first the low ends move, then rows are deleted.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-cleanup-change-table-transact-sql>

use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension, params};

use crate::engine::catalog::Instance;
use crate::engine::database::Database;
use crate::engine::versions::{TranId, View};
use crate::sql::error::SqlError;

/// One clean-up that has been begun.
pub(crate) struct Cleanup {
    database: Arc<Database>,
    connection: Connection,
}

impl Cleanup {
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn new(database: &Arc<Database>) -> Result<Cleanup, SqlError> {
        let view = Arc::new(Mutex::new(View::default()));
        Ok(Cleanup { database: Arc::clone(database), connection: database.connect(&view)? })
    }

    /// The first log sequence number that is younger than `retention_minutes` before the last captured commit.
    ///
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn low_water(&self, retention_minutes: i64) -> Result<Option<Vec<u8>>, SqlError> {
        let Some(times) = self.stored("lsn_time_mapping") else { return Ok(None) };
        let alive = "(_xmax = 0)";
        let sql = format!(
            "SELECT min(c1) FROM {times} WHERE {alive} AND c3 >= (SELECT max(c3) FROM {times} WHERE {alive}) - ?1"
        );
        Ok(self.connection.query_row(&sql, [retention_minutes * 60 * 300], |row| row.get(0))?)
    }

    fn stored(&self, name: &str) -> Option<String> {
        self.database.catalog().table("cdc", name).map(crate::engine::catalog::Table::stored)
    }

    fn written(
        &self,
        work: impl FnOnce(&Connection, TranId) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let lock = self.database.lock();
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let tran = self.database.versions.begin();
        let done = work(&self.connection, tran).and_then(|()| {
            self.connection.execute("INSERT INTO commits VALUES(?1, 0, 0, 0, 0, 0, 0)", [tran])?;
            Ok(self.connection.execute_batch("COMMIT")?)
        });
        match done {
            Ok(()) => self.database.versions.commit(tran),
            Err(error) => {
                self.connection.execute_batch("ROLLBACK")?;
                self.database.versions.rolled_back(tran);
                return Err(error);
            }
        };
        drop(lock);
        Ok(())
    }

    /// Moves the low end of `instance`, or of all, to `low`; nothing is deleted yet.
    ///
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn move_low_end(&self, instance: Option<&Instance>, low: &[u8]) -> Result<(), SqlError> {
        let catalog = self.database.catalog();
        let Some(table) = catalog.table("cdc", "change_tables") else { return Ok(()) };
        let stored = table.stored();
        let columns: Vec<String> = table.columns.iter().map(|column| format!("c{}", column.id)).collect();
        let moved: Vec<String> =
            columns.iter().map(|name| if name == "c5" { "?2".to_owned() } else { name.clone() }).collect();
        let which = instance.map_or(-1, |instance| instance.change_table);
        let wanted = "_xmax = 0 AND _xmin <> ?1 AND (?3 = -1 OR c1 = ?3) AND c5 < ?2";
        self.written(|connection, tran| {
            connection.execute(
                &format!(
                    "INSERT INTO {stored}(_xmin, {}) SELECT ?1, {} FROM {stored} WHERE {wanted}",
                    columns.join(", "),
                    moved.join(", ")
                ),
                params![tran, low, which],
            )?;
            connection.execute(
                &format!("UPDATE {stored} SET _xmax = ?1 WHERE {wanted}"),
                params![tran, low, which],
            )?;
            Ok(())
        })
    }

    /// Deletes what lies below the low ends, `threshold` rows at a time, and then the times that nobody needs.
    ///
    /// # Errors
    /// What SQLite answers.
    pub(crate) fn delete(&self, threshold: i64) -> Result<(), SqlError> {
        let catalog = self.database.catalog();
        let (Some(changes), Some(times)) = (self.stored("change_tables"), self.stored("lsn_time_mapping"))
        else {
            return Ok(());
        };
        for instance in &catalog.instances {
            let low: Option<Vec<u8>> = self
                .connection
                .query_row(
                    &format!("SELECT c5 FROM {changes} WHERE c1 = ?1 AND _xmax = 0"),
                    [instance.change_table],
                    |row| row.get(0),
                )
                .optional()?
                .flatten();
            let Some(low) = low else { continue };
            self.delete_below(&format!("t{}", instance.change_table), &low, threshold)?;
        }
        let lowest: Option<Vec<u8>> = self.connection.query_row(
            &format!("SELECT min(c5) FROM {changes} WHERE _xmax = 0"),
            [],
            |row| row.get(0),
        )?;
        match lowest {
            Some(low) => self.delete_below(&times, &low, threshold),
            None => Ok(()),
        }
    }

    fn delete_below(&self, stored: &str, low: &[u8], threshold: i64) -> Result<(), SqlError> {
        loop {
            let mut count = 0;
            self.written(|connection, tran| {
                let sql = format!(
                    "UPDATE {stored} SET _xmax = ?1 WHERE _rid IN (SELECT _rid FROM {stored} WHERE c1 < ?2 AND _xmax = 0 LIMIT ?3)"
                );
                count = connection.execute(&sql, params![tran, low, threshold.max(1)])?;
                Ok(())
            })?;
            if count == 0 {
                return Ok(());
            }
        }
    }
}
