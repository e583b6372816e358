//! Rows of a copy that are parents, or are joined to theirs when their turn in the log comes.

use change::{Row, RowKey};
use normalizer::{Mapped, NormalizedRow, Rejection, Rows, Table};
use rusqlite::Connection;

use crate::absorb::Marker;
use crate::copy_state::CopyRow;
use crate::declared::Declared;
use crate::error::LedgerError;
use crate::ingest::RejectedRow;
use crate::join::{Joiner, owes_nothing};
use crate::staged::{Slice, StagedRows};
use crate::unjoined::CopiedRow;

/// Takes the slice's parents into account, and joins its other rows to theirs: those that can be mapped are added to it.
pub(crate) fn join(
    connection: &Connection,
    declared: &Declared,
    (copy, marker): (&CopyRow, &Marker),
    slice: &mut Slice,
) -> Result<(), LedgerError> {
    let mut joiner = Joiner::new(connection, declared, marker.seq)?;
    let mut keys = Vec::new();
    slice.visit_unjoined(|copied| {
        if let (_, Some(table)) = declared.table_of(copied.shape)? {
            let row = declared.reshaped(copied.shape, copied.row);
            joiner.keys_of(table, &row, &mut keys);
        }
        Ok(())
    })?;
    joiner.parents.read_all(keys)?;
    let mut joined = StagedRows::default();
    slice.visit_unjoined(|copied| {
        let CopiedRow { shape, row, row_key } = copied;
        let (_, Some(table)) = declared.table_of(shape)? else { return Ok(()) };
        let row = declared.reshaped(shape, row);
        for mirror in &table.mirrors {
            joiner.tell_copied(*mirror, (&row, row_key.as_deref()), (copy.id, copy.began_seq))?;
        }
        let Some(mapped) = table.mapped.as_ref().filter(|_| table.is_joined()) else { return Ok(()) };
        let row_key = row_key.map(RowKey::from);
        let mut child = Child { joiner: &mut joiner, table, mapped, copy, marker };
        child.join(&row, row_key, &mut joined)
    })?;
    joiner.finish()?;
    slice.add(&joined)
}

/// A copied row that is joined.
struct Child<'j, 'a, 't> {
    joiner: &'j mut Joiner<'a>,
    table: &'t Table,
    mapped: &'t Mapped,
    copy: &'t CopyRow,
    marker: &'t Marker,
}

impl Child<'_, '_, '_> {
    fn join(&mut self, row: &Row, row_key: Option<RowKey>, into: &mut StagedRows) -> Result<(), LedgerError> {
        let found = self.joiner.find(self.mapped, Some(row), false)?;
        let joined = self.mapped.joined(row, &found.rows());
        let moment = self.marker.at;
        let normalized = match &found.missing {
            Some(_) if owes_nothing(self.mapped, &joined, moment) => NormalizedRow::LeftOut,
            Some((join, _)) => NormalizedRow::Rejected(normalizer::missing_parent(join)),
            None => normalizer::normalize_row(&self.mapped.mapping, &joined, moment),
        };
        match normalized {
            NormalizedRow::BeforeFloor | NormalizedRow::LeftOut => Ok(()),
            NormalizedRow::Record(change) => {
                let zone = self.joiner.declared.tables().zone();
                into.push(&change, normalizer::month_of(change.opening_at, zone), row_key.as_ref());
                Ok(())
            }
            NormalizedRow::Rejected(rejection) => {
                let stored = normalizer::store_joined(self.table, row, &found.rows(), None);
                self.reject(rejection, stored, row_key)
            }
        }
    }

    fn reject(
        &mut self,
        rejection: Rejection,
        stored: String,
        row_key: Option<RowKey>,
    ) -> Result<(), LedgerError> {
        let history = self.mapped.mapping.rows() == Rows::History;
        let rejected = RejectedRow {
            table: self.marker.table,
            code: rejection.code,
            reason: rejection.reason,
            request: rejection.request,
            row_key: row_key.filter(|_| history),
            row: stored,
            position: None,
            at: self.marker.at,
        };
        self.joiner.aside.put(&rejected, Some(self.copy.id), false)
    }
}
