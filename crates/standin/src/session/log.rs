//! What changes leave in the log for the capture: operations, masks, and the captured columns of rows.

use rusqlite::types::Value as Cell;

use super::dml::Row;
use super::transaction::Tran;
use super::{RowStatement, Session};
use crate::engine::catalog::{Instance, Table};
use crate::sql::datatype::{Length, SqlType};
use crate::sql::error::SqlError;

/// One operation of the log: before and after.
pub(super) struct Change<'a> {
    pub(super) before: Option<&'a Row>,
    pub(super) after: Option<&'a Row>,
}

impl Session {
    /// Records of updates: pairs of 3 and 4, or deferred ones of 1 and 2 where a unique key changes.
    ///
    /// An update of a unique key is logged as deletion and insertion; of several rows, each has its own number.
    pub(super) fn log_updates(
        &self,
        table: &Table,
        tran: &mut Tran,
        pairs: &[(Row, Row)],
    ) -> Result<(), SqlError> {
        for (before, after) in pairs {
            let changed = |id: &i64| {
                let at = table.columns.iter().position(|column| column.id == *id);
                at.is_some_and(|at| before.get(at) != after.get(at))
            };
            let deferred =
                table.indexes.iter().any(|index| index.unique && index.columns.iter().any(changed));
            if deferred && pairs.len() > 1 {
                self.log(table, tran, &Change { before: Some(before), after: None })?;
                self.log(table, tran, &Change { before: None, after: Some(after) })?;
            } else {
                self.log_pair(table, tran, (before, after), deferred)?;
            }
        }
        Ok(())
    }

    fn log_pair(
        &self,
        table: &Table,
        tran: &mut Tran,
        (before, after): (&Row, &Row),
        deferred: bool,
    ) -> Result<(), SqlError> {
        let catalog = self.database.catalog();
        for instance in catalog.instances_of(table.id) {
            tran.tracked = true;
            let mask =
                if deferred { whole_mask(instance) } else { changed_mask(table, instance, before, after) };
            // An update of columns that are not captured leaves nothing.
            if mask.iter().all(|byte| *byte == 0) {
                continue;
            }
            let sequence = self.database.next_record();
            let (old, new) = if deferred { (1, 2) } else { (3, 4) };
            let mut after = captured(table, instance, after);
            let mut before = captured(table, instance, before);
            if !deferred {
                without_unchanged_large(instance, &mut before, &mut after);
            }
            self.record(instance, tran, (sequence, old, &mask), &before)?;
            self.record(instance, tran, (sequence, new, &mask), &after)?;
        }
        Ok(())
    }

    pub(super) fn log(&self, table: &Table, tran: &mut Tran, change: &Change<'_>) -> Result<(), SqlError> {
        let catalog = self.database.catalog();
        for instance in catalog.instances_of(table.id) {
            tran.tracked = true;
            let sequence = self.database.next_record();
            let (operation, row) = match (change.before, change.after) {
                (Some(before), _) => (1, before),
                (None, Some(after)) => (2, after),
                (None, None) => continue,
            };
            let mask = whole_mask(instance);
            self.record(instance, tran, (sequence, operation, &mask), &captured(table, instance, row))?;
        }
        Ok(())
    }

    fn record(
        &self,
        instance: &Instance,
        tran: &Tran,
        (sequence, operation, mask): (i64, i64, &[u8]),
        cells: &[Cell],
    ) -> Result<(), SqlError> {
        let sql = self.text((RowStatement::Log, instance.change_table, 0), || {
            let marks: Vec<String> = (0..cells.len()).map(|at| format!("?{}", at + 7)).collect();
            format!(
                "INSERT INTO log{} VALUES(?1, ?2, ?3, ?4, ?5, ?6, {})",
                instance.change_table,
                marks.join(", ")
            )
        });
        let mut insert = self.connection.prepare_cached(&sql)?;
        insert.raw_bind_parameter(1, self.database.next_record())?;
        insert.raw_bind_parameter(2, tran.id)?;
        insert.raw_bind_parameter(3, operation)?;
        insert.raw_bind_parameter(4, sequence)?;
        insert.raw_bind_parameter(5, mask)?;
        insert.raw_bind_parameter(6, tran.commands)?;
        for (at, cell) in cells.iter().enumerate() {
            insert.raw_bind_parameter(at + 7, cell)?;
        }
        insert.raw_execute()?;
        Ok(())
    }
}

/// The captured columns of a row; one that was dropped since is NULL.
fn captured(table: &Table, instance: &Instance, row: &Row) -> Vec<Cell> {
    let cell = |id: i64| {
        let at = table.columns.iter().position(|column| column.id == id)?;
        row.get(at).cloned()
    };
    instance.columns.iter().map(|(id, _, _)| cell(*id).unwrap_or(Cell::Null)).collect()
}

/// An update's two rows tell values of `(max)` types only where they changed. The documentation says so of the row before;
/// that the row after lacks them too was observed on SQL Server 2022 (<https://github.com/debezium/debezium/pull/8078>).
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql#large-object-data-types>
fn without_unchanged_large(instance: &Instance, before: &mut [Cell], after: &mut [Cell]) {
    for (((_, _, of), old), new) in instance.columns.iter().zip(before).zip(after) {
        let large = matches!(
            of,
            SqlType::Text { length: Length::Max, .. } | SqlType::Bytes { length: Length::Max, .. }
        );
        if large && old == new {
            *old = Cell::Null;
            *new = Cell::Null;
        }
    }
}

/// A mask with the bit of every column.
fn whole_mask(instance: &Instance) -> Vec<u8> {
    mask_of(instance.columns.len(), |_| true)
}

fn changed_mask(table: &Table, instance: &Instance, before: &Row, after: &Row) -> Vec<u8> {
    let (before, after) = (captured(table, instance, before), captured(table, instance, after));
    mask_of(instance.columns.len(), |at| before.get(at) != after.get(at))
}

/// One bit for each captured column; the first eight columns are in the last byte.
fn mask_of(count: usize, set: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut mask = vec![0u8; count.div_ceil(8)];
    let last = mask.len().saturating_sub(1);
    for at in (0..count).filter(|&at| set(at)) {
        if let Some(byte) = mask.get_mut(last - at / 8) {
            *byte |= 1 << (at % 8);
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_columns_of_a_mask_are_in_its_last_byte() {
        assert_eq!(mask_of(10, |at| at == 0 || at == 9), [0b10, 0b1]);
    }
}
