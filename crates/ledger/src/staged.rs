//! Rows of copies until they are merged: blocks of packed rows, one per page.
//!
//! A copy holds the whole table and is read once, in slices. A row of SQLite for each of its rows would cost more than
//! everything else that a copy costs, so that a page's rows are packed into one value, and unpacked and sorted in
//! memory when their slice is merged.

use change::RowKey;
use normalizer::StatusChange;
use rusqlite::{Connection, params};

use crate::error::{LedgerError, LedgerErrorKind};
use crate::packing::{pack_length, text, unpack_length};

/// Numbers of a packed row before its texts, and about what the lengths of the texts take.
const ROW_BYTES: usize = 4 + 1 + 8 + 8 + 3;

/// The mapped rows of a page, packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StagedRows {
    packed: Vec<u8>,
    count: usize,
}

/// A row of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Staged<'a> {
    pub(crate) month: u32,
    pub(crate) service_id: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) status_id: u8,
    pub(crate) opening_at: i64,
    pub(crate) modified_at: i64,
    pub(crate) row_key: Option<&'a str>,
}

impl StagedRows {
    /// No rows yet, and room for about `rows` of them.
    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self { packed: Vec::with_capacity(rows * (ROW_BYTES + 24)), count: 0 }
    }

    /// Adds a row: the request's status as the table shows it; the month of its opening as yyyymm in the zone of the
    /// schedule, by which the backfill is cut; and the row's key, where deletes are reported.
    pub fn push(&mut self, change: &StatusChange, month: u32, row_key: Option<&RowKey>) {
        let packed = &mut self.packed;
        packed.extend_from_slice(&month.to_le_bytes());
        packed.push(change.status_id);
        packed.extend_from_slice(&change.opening_at.to_le_bytes());
        packed.extend_from_slice(&change.modified_at.to_le_bytes());
        pack_length(packed, change.service_id.len());
        pack_length(packed, change.request_id.len());
        // Zero stands for no key, which is not the same as an empty one.
        pack_length(packed, row_key.map_or(0, |key| key.as_str().len() + 1));
        packed.extend_from_slice(change.service_id.as_bytes());
        packed.extend_from_slice(change.request_id.as_bytes());
        packed.extend_from_slice(row_key.map(RowKey::as_str).unwrap_or_default().as_bytes());
        self.count += 1;
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The rows, one by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Staged<'_>> {
        let mut rest = self.packed.as_slice();
        std::iter::from_fn(move || {
            let (row, bytes) = unpack(rest)?;
            rest = rest.get(bytes..)?;
            Some(row)
        })
    }

    /// Adds the rows of `other` behind these.
    pub fn append(&mut self, other: &Self) {
        self.packed.extend_from_slice(&other.packed);
        self.count += other.count;
    }
}

/// Stores `rows` as one block under ids from `first_id` on. Returns the id of the last row, or the one before
/// `first_id` when there is none.
pub(crate) fn append(connection: &Connection, rows: &StagedRows, first_id: i64) -> Result<i64, LedgerError> {
    let last_id = first_id - 1 + i64::try_from(rows.count).unwrap_or(i64::MAX - first_id);
    if !rows.is_empty() {
        connection
            .prepare_cached("INSERT INTO staged_block(last_id, first_id, rows) VALUES(?1, ?2, ?3)")?
            .execute(params![last_id, first_id, rows.packed])?;
    }
    Ok(last_id)
}

/// Drops the rows with ids from `first_id` to `last_id`, which are whole blocks.
pub(crate) fn drop_all(connection: &Connection, first_id: i64, last_id: i64) -> Result<(), LedgerError> {
    connection.execute("DELETE FROM staged_block WHERE last_id BETWEEN ?1 AND ?2", [first_id, last_id])?;
    Ok(())
}

/// Drops the blocks whose rows are all merged: those with ids after `after` and up to `end`.
pub(crate) fn drop_merged(connection: &Connection, after: i64, end: i64) -> Result<(), LedgerError> {
    connection.execute("DELETE FROM staged_block WHERE last_id > ?1 AND last_id <= ?2", [after, end])?;
    Ok(())
}

/// Some rows of a copy in memory, sorted by request, each request's newest modification last.
pub(crate) struct Slice {
    packed: Vec<u8>,
    starts: Vec<usize>,
}

impl Slice {
    /// Reads the rows with ids after `after` and up to `end`.
    pub(crate) fn read(connection: &Connection, after: i64, end: i64) -> Result<Self, LedgerError> {
        let mut slice = Self { packed: Vec::new(), starts: Vec::new() };
        let mut blocks = connection.prepare_cached(
            "SELECT first_id, rows FROM staged_block WHERE last_id > ?1 AND first_id <= ?2 ORDER BY last_id",
        )?;
        let mut blocks = blocks.query([after, end])?;
        while let Some(block) = blocks.next()? {
            let first_id: i64 = block.get(0)?;
            let rows = block.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            slice.take(rows, after - first_id, end - first_id)?;
        }
        slice.sort();
        Ok(slice)
    }

    /// Takes the rows of a block whose places in it, counted from 0, are after `after` and up to `end`.
    fn take(&mut self, rows: &[u8], after: i64, end: i64) -> Result<(), LedgerError> {
        let mut rest = rows;
        for place in 0..=end {
            if rest.is_empty() {
                break;
            }
            let (_, bytes) = unpack(rest).ok_or_else(damaged)?;
            let (row, following) = rest.split_at_checked(bytes).ok_or_else(damaged)?;
            if place > after {
                self.starts.push(self.packed.len());
                self.packed.extend_from_slice(row);
            }
            rest = following;
        }
        Ok(())
    }

    fn sort(&mut self) {
        let mut starts = std::mem::take(&mut self.starts);
        starts.sort_unstable_by(|one, other| {
            let place = |start: &usize| {
                self.row(*start).map(|row| (row.service_id, row.request_id, row.modified_at, *start))
            };
            place(one).cmp(&place(other))
        });
        self.starts = starts;
    }

    fn row(&self, start: usize) -> Option<Staged<'_>> {
        unpack(self.packed.get(start..)?).map(|(row, _)| row)
    }

    /// The rows in their order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Result<Staged<'_>, LedgerError>> {
        self.starts.iter().map(|start| self.row(*start).ok_or_else(damaged))
    }
}

fn damaged() -> LedgerError {
    LedgerError::new(LedgerErrorKind::Damaged, "a stored page of a copy of the table cannot be read")
}

/// The first row, and how many bytes it has.
fn unpack(packed: &[u8]) -> Option<(Staged<'_>, usize)> {
    let (month, rest) = packed.split_first_chunk()?;
    let ([status_id], rest) = rest.split_first_chunk()?;
    let (opening_at, rest) = rest.split_first_chunk()?;
    let (modified_at, rest) = rest.split_first_chunk()?;
    let (service, rest) = unpack_length(rest)?;
    let (request, rest) = unpack_length(rest)?;
    let (key, rest) = unpack_length(rest)?;
    let (service_id, rest) = text(rest, service)?;
    let (request_id, rest) = text(rest, request)?;
    let (row_key, rest) = match key.checked_sub(1) {
        Some(length) => text(rest, length).map(|(key, rest)| (Some(key), rest))?,
        None => (None, rest),
    };
    let row = Staged {
        month: u32::from_le_bytes(*month),
        service_id,
        request_id,
        status_id: *status_id,
        opening_at: i64::from_le_bytes(*opening_at),
        modified_at: i64::from_le_bytes(*modified_at),
        row_key,
    };
    Some((row, packed.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Row {
        change: StatusChange,
        month: u32,
        key: Option<RowKey>,
    }

    impl Row {
        fn seen(&self) -> Staged<'_> {
            Staged {
                month: self.month,
                service_id: &self.change.service_id,
                request_id: &self.change.request_id,
                status_id: self.change.status_id,
                opening_at: self.change.opening_at,
                modified_at: self.change.modified_at,
                row_key: self.key.as_ref().map(RowKey::as_str),
            }
        }
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let key = prop::option::of("[a-z\u{1f}ñ]{0,9}");
        let change = ("[12]", "[a-cñ]{1,2}|[a-c]{126,130}", any::<i64>(), any::<u8>(), -3_i64..3);
        (change, any::<u32>(), key).prop_map(|(change, month, key)| {
            let (service_id, request_id, opening_at, status_id, modified_at) = change;
            let (service_id, request_id) = (service_id.into(), request_id.into());
            let change = StatusChange { service_id, request_id, opening_at, status_id, modified_at };
            Row { change, month, key: key.map(RowKey::from) }
        })
    }

    fn packed(rows: &[Row]) -> StagedRows {
        let mut packed = StagedRows::default();
        rows.iter().for_each(|row| packed.push(&row.change, row.month, row.key.as_ref()));
        packed
    }

    fn store() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema/1.sql")).unwrap();
        connection
    }

    proptest! {
        #[test]
        fn any_slice_holds_its_rows_sorted_by_request(
            pages in prop::collection::vec(prop::collection::vec(any_row(), 0..6), 0..5),
            after in 0_i64..20,
            rows in 0_i64..20,
        ) {
            let connection = store();
            let mut next_id = 1;
            for page in &pages {
                next_id = append(&connection, &packed(page), next_id).unwrap() + 1;
            }
            let mut expected: Vec<(i64, &Row)> = (1..).zip(pages.iter().flatten()).collect();
            expected.retain(|(id, _)| *id > after && *id <= after + rows);
            expected.sort_by_key(|(id, row)| {
                let StatusChange { service_id, request_id, modified_at, .. } = &row.change;
                (service_id.clone(), request_id.clone(), *modified_at, *id)
            });
            let slice = Slice::read(&connection, after, after + rows).unwrap();
            let found: Vec<_> = slice.rows().map(Result::unwrap).collect();
            prop_assert_eq!(found, expected.iter().map(|(_, row)| row.seen()).collect::<Vec<_>>());
        }

        #[test]
        fn damaged_blocks_are_an_error_and_never_a_panic(
            page in prop::collection::vec(any_row(), 1..4),
            at in any::<prop::sample::Index>(),
            byte: u8,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut packed = packed(&page).packed;
            let place = at.index(packed.len());
            packed[place] = byte;
            packed.truncate(cut.index(packed.len()) + 1);
            let connection = store();
            connection.execute("INSERT INTO staged_block VALUES(9, 1, ?1)", [packed]).unwrap();
            match Slice::read(&connection, 0, 9) {
                Ok(slice) => prop_assert!(slice.rows().all(|row| row.is_ok())),
                Err(error) => prop_assert_eq!(error.kind(), LedgerErrorKind::Damaged),
            }
        }
    }
}
