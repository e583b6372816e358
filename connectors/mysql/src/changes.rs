//! The row changes of one event, one by one.

use std::sync::Arc;

use change::{Change, Operation, Row, SourceError, SourceErrorKind, Transaction, Value};

use crate::binlog::DecodeError;
use crate::binlog::familiar::Familiar;
use crate::binlog::rows::{Present, Rows, RowsKind};
use crate::relation::{Image, Layout, Slot};
use crate::wire::fields::Fields;

/// Parts of a JSON document follow instead of the whole
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html#sysvar_binlog_row_value_options>).
const PARTIAL_JSON: usize = 1;

/// Walks the rows of an event.
pub(crate) struct Changes<'a> {
    table: u16,
    layout: &'a Layout,
    kind: RowsKind,
    rows: &'a Rows<'a>,
    rest: Fields<'a>,
    first: Vec<Slot<'a>>,
    second: Vec<Slot<'a>>,
    transaction: &'a Arc<Transaction>,
}

impl<'a> Changes<'a> {
    /// Begins with the first row; the rows are those of the table with this number.
    ///
    /// # Errors
    /// When the rows do not fit the table's description.
    pub(crate) fn new(
        (table, layout): (u16, &'a Layout),
        kind: RowsKind,
        rows: &'a Rows<'a>,
        transaction: &'a Arc<Transaction>,
    ) -> Result<Self, DecodeError> {
        if rows.columns != layout.width() {
            return Err(DecodeError::Width { actual: rows.columns, expected: layout.width() });
        }
        let (first, second) = (Vec::new(), Vec::new());
        Ok(Self { table, layout, kind, rows, rest: Fields(&rows.bytes), first, second, transaction })
    }

    /// The next change, and about how many bytes it takes; `None` after the last. `familiar` knows texts that were read
    /// before.
    ///
    /// # Errors
    /// A protocol error for rows that are torn, a lost log for rows that lack mapped columns.
    pub(crate) fn next_change(
        &mut self,
        familiar: &mut Familiar,
    ) -> Result<Option<(Change, usize)>, SourceError> {
        let left = self.rest.0.len();
        if left == 0 {
            return Ok(None);
        }
        self.layout.locate(&mut self.rest, &self.rows.first, &mut self.first)?;
        let first = self.layout.image(&self.first, None, familiar)?;
        let second = match self.rows.second {
            Some(present) => {
                if self.kind.partial {
                    self.skip_partial()?;
                }
                self.layout.locate(&mut self.rest, &present, &mut self.second)?;
                let like = Some((self.first.as_slice(), &first));
                Some((self.layout.image(&self.second, like, familiar)?, present))
            }
            None => None,
        };
        if self.rest.0.len() == left {
            // A row without columns would be read for ever.
            return Err(DecodeError::Truncated.into());
        }
        self.change(first, second).map(Some)
    }

    fn change(
        &self,
        first: Image,
        second: Option<(Image, Present<'_>)>,
    ) -> Result<(Change, usize), SourceError> {
        let mut bytes = first.bytes;
        let (before, after, key, old_key) = match (self.kind.operation, second) {
            (Operation::Insert, _) => {
                if !first.complete {
                    return Err(self.incomplete(&[&self.rows.first]));
                }
                (None, Some(first.row), first.key, None)
            }
            (_, None) => (first.complete.then_some(first.row), None, first.key, None),
            (_, Some((second, present))) => {
                bytes += second.bytes;
                let after = if second.complete {
                    second.row
                } else {
                    // What an update does not mention stays as it was.
                    merged(&first.row, &second.row)
                        .ok_or_else(|| self.incomplete(&[&self.rows.first, &present]))?
                };
                let (key, old_key) = match second.key {
                    Some(new) => {
                        let old = first.key.filter(|old| *old != new);
                        (Some(new), old)
                    }
                    None => (first.key, None),
                };
                (first.complete.then_some(first.row), Some(after), key, old_key)
            }
        };
        let transaction = Arc::clone(self.transaction);
        let (table, operation) = (self.table, self.kind.operation);
        Ok((Change { table, operation, before, after, key, old_key, transaction }, bytes))
    }

    /// Skips what precedes an update's second image: it is of no matter which documents are whole, since each has its
    /// length in front.
    fn skip_partial(&mut self) -> Result<(), DecodeError> {
        if self.rest.length()? & PARTIAL_JSON != 0 {
            self.rest.bytes(self.layout.documents().div_ceil(8))?;
        }
        Ok(())
    }

    /// The error for a row that lacks mapped columns.
    fn incomplete(&self, images: &[&Present<'_>]) -> SourceError {
        let names = self.layout.missing(images).join(", ");
        SourceError::new(
            SourceErrorKind::LostLog,
            format!("a {:?} was logged without column {names}", self.kind.operation).to_lowercase(),
        )
        .with_hint("SET GLOBAL binlog_row_image = FULL: a session or the server logs parts of rows only")
    }
}

/// The later row with what it lacks taken from the earlier one; `None` when that lacks it too.
fn merged(earlier: &Row, later: &Row) -> Option<Row> {
    let cells = earlier.cells().iter().zip(later.cells());
    let cells: Vec<Value> = cells
        .map(|(earlier, later)| if *later == Value::Unchanged { earlier } else { later })
        .cloned()
        .collect();
    (!cells.contains(&Value::Unchanged)).then(|| Row::new(cells))
}
