//! Versions of rows as they are stored and ended, with keys that stay unique.

use std::sync::Arc;

use rusqlite::types::Value as Cell;

use super::dml::Row;
use super::transaction::Tran;
use super::{RowStatement, Session};
use crate::engine::catalog::Table;
use crate::sql::error::SqlError;

impl Session {
    /// The statement that was made for `key` before, or is made now.
    pub(super) fn text(&self, key: (RowStatement, i64, i64), make: impl FnOnce() -> String) -> Arc<str> {
        let mut texts = self.texts.borrow_mut();
        Arc::clone(texts.entry(key).or_insert_with(|| make().into()))
    }

    pub(super) fn no_nulls(&self, table: &Table, row: &Row, what: &str) -> Result<(), SqlError> {
        let missing =
            table.columns.iter().zip(row).find(|(column, cell)| !column.nullable && **cell == Cell::Null);
        match missing {
            None => Ok(()),
            Some((column, _)) => Err(SqlError::new(
                515,
                16,
                2,
                format!(
                    "Cannot insert the value NULL into column '{}', table '{}.{}'; column does not allow nulls. {what} fails.",
                    column.name,
                    self.database.name,
                    table.full_name()
                ),
            )),
        }
    }

    /// Stores a new version, when its keys are free; those that it has from `before` are its own.
    pub(super) fn place(
        &self,
        table: &Table,
        tran: &mut Tran,
        row: &Row,
        before: Option<&Row>,
    ) -> Result<(), SqlError> {
        for index in table.indexes.iter().filter(|index| index.unique) {
            let kept = |id: &i64| {
                let at = table.columns.iter().position(|column| column.id == *id);
                at.is_some_and(|at| before.is_some_and(|before| before.get(at) == row.get(at)))
            };
            if index.columns.iter().all(kept) {
                continue;
            }
            self.check_key(table, index, tran, row)?;
        }
        // The columns have been others when a definition has changed since.
        let shape =
            table.columns.iter().fold(0i64, |shape, column| shape.wrapping_mul(31).wrapping_add(column.id));
        let sql = self.text((RowStatement::Place, table.id, shape), || {
            let columns: Vec<String> = table.columns.iter().map(|column| format!("c{}", column.id)).collect();
            let marks: Vec<String> = (0..row.len()).map(|at| format!("?{}", at + 2)).collect();
            format!(
                "INSERT INTO {}(_xmin, {}) VALUES(?1, {})",
                table.stored(),
                columns.join(", "),
                marks.join(", ")
            )
        });
        let mut insert = self.connection.prepare_cached(&sql)?;
        insert.raw_bind_parameter(1, tran.id)?;
        for (at, cell) in row.iter().enumerate() {
            insert.raw_bind_parameter(at + 2, cell)?;
        }
        insert.raw_execute()?;
        tran.made.push((table.id, self.connection.last_insert_rowid()));
        Ok(())
    }

    /// Fails when another row that lives, or may yet live, has the key.
    fn check_key(
        &self,
        table: &Table,
        index: &crate::engine::catalog::Index,
        tran: &Tran,
        row: &Row,
    ) -> Result<(), SqlError> {
        let at = |id: &i64| table.columns.iter().position(|column| column.id == *id);
        let cells: Vec<&Cell> = index.columns.iter().filter_map(|id| row.get(at(id)?)).collect();
        let sql = self.text((RowStatement::CheckKey, table.id, index.id), || {
            let conditions: Vec<String> =
                (1..).zip(&index.columns).map(|(number, id)| format!("c{id} IS ?{number}")).collect();
            format!("SELECT _xmin, _xmax FROM {} WHERE {}", table.stored(), conditions.join(" AND "))
        });
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query(rusqlite::params_from_iter(cells))?;
        while let Some(found) = rows.next()? {
            let (made, ended): (i64, i64) = (found.get(0)?, found.get(1)?);
            let versions = &self.database.versions;
            let other = |id: i64| id != 0 && id != tran.id && versions.is_active(id);
            if other(made) || other(ended) {
                self.view().blocked_by = Some(if other(made) { made } else { ended });
                return Err(SqlError::new(1222, 16, 51, "blocked"));
            }
            let lives = made == tran.id || versions.is_committed(made);
            let gone = ended != 0 && (ended == tran.id || versions.is_committed(ended));
            if lives && !gone {
                let message = if index.primary || index.constraint {
                    let kind = if index.primary { "PRIMARY KEY" } else { "UNIQUE KEY" };
                    format!(
                        "Violation of {kind} constraint '{}'. Cannot insert duplicate key in object '{}'.",
                        index.name,
                        table.full_name()
                    )
                } else {
                    format!(
                        "Cannot insert duplicate key row in object '{}' with unique index '{}'.",
                        table.full_name(),
                        index.name
                    )
                };
                let number = if index.primary || index.constraint { 2627 } else { 2601 };
                return Err(SqlError::new(number, 14, 1, message));
            }
        }
        Ok(())
    }

    /// Ends a version that the statement saw.
    pub(super) fn end_version(
        &self,
        table: &Table,
        tran: &mut Tran,
        (row, ended): (i64, i64),
    ) -> Result<(), SqlError> {
        let versions = &self.database.versions;
        if ended != 0 && ended != tran.id {
            if versions.is_active(ended) {
                self.view().blocked_by = Some(ended);
                return Err(SqlError::new(1222, 16, 51, "blocked"));
            }
            if versions.is_committed(ended) {
                let message = format!(
                    "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access table '{}' directly or indirectly in database '{}' to update, delete, or insert the row that has been modified or deleted by another transaction. Retry the transaction or change the isolation level for the update/delete statement.",
                    table.full_name(),
                    self.database.name
                );
                return Err(SqlError::new(3960, 16, 2, message));
            }
        }
        let sql = format!("UPDATE {} SET _xmax = ?1 WHERE _rid = ?2", table.stored());
        self.connection.prepare_cached(&sql)?.execute([tran.id, row])?;
        tran.ended.push((table.id, row));
        Ok(())
    }
}
