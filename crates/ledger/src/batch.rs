//! One POST's worth of records, kept with its bytes until its outcome is known.

use std::collections::BTreeMap;

use change::Text;
use normalizer::StatusChange;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::backfill::{self, Difference};
use crate::draft::Candidate;
use crate::error::{LedgerError, LedgerErrorKind};
use crate::flush::FlushId;
use crate::table_id::TableId;

/// A batch.
pub type BatchId = i64;

/// A batch that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The batch.
    pub id: BatchId,
    /// What to send, byte for byte the same at every attempt.
    pub body: Vec<u8>,
    /// Records in the body.
    pub records: u32,
    /// The hash of the body.
    pub sha256: [u8; 32],
    /// Attempts so far.
    pub attempts: u32,
    /// The service of all its records, when a flush goes service by service.
    pub service: Option<Text>,
}

/// Writes the body of a batch while the ledger chooses its records.
pub trait BodyBuilder {
    /// Adds a record; `false` when it does not fit any more. The first one always fits.
    fn push(&mut self, change: &StatusChange) -> bool;

    /// Returns the body and begins a new one.
    fn finish(&mut self) -> Vec<u8>;
}

/// A record's place in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A log row, by its seq.
    Change(i64),
    /// A row of a copy.
    Backfill { copy_id: i64, month: u32, service_id: Text, request_id: Text, place: Text },
}

/// What stands before an item's bytes.
const CHANGE: u8 = 0;
/// A row of a copy that is the only one of its request.
const BACKFILL: u8 = 1;
/// A row of a copy, with its place among those of its request.
const BACKFILL_PLACED: u8 = 2;

impl Item {
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Change(seq) => {
                to.push(CHANGE);
                to.extend(seq.to_le_bytes());
            }
            Self::Backfill { copy_id, month, service_id, request_id, place } => {
                to.push(if place.is_empty() { BACKFILL } else { BACKFILL_PLACED });
                to.extend(copy_id.to_le_bytes());
                to.extend(month.to_le_bytes());
                let place = (!place.is_empty()).then_some(&**place);
                for text in [&**service_id, &**request_id].into_iter().chain(place) {
                    to.extend((text.len() as u64).to_le_bytes());
                    to.extend(text.as_bytes());
                }
            }
        }
    }

    /// Takes the next item off `bytes`; `None` when they end, or are not items.
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        match take::<1>(bytes)? {
            [CHANGE] => Some(Self::Change(i64::from_le_bytes(take(bytes)?))),
            [tag @ (BACKFILL | BACKFILL_PLACED)] => Some(Self::Backfill {
                copy_id: i64::from_le_bytes(take(bytes)?),
                month: u32::from_le_bytes(take(bytes)?),
                service_id: take_text(bytes)?.into(),
                request_id: take_text(bytes)?.into(),
                place: if tag == BACKFILL { Text::default() } else { take_text(bytes)?.into() },
            }),
            _ => None,
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(u64::from_le_bytes(take(bytes)?)).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

/// A batch as it is stored, but for its body.
pub(crate) struct StoredBatch {
    pub(crate) id: BatchId,
    pub(crate) flush: FlushId,
    pub(crate) place: String,
    pub(crate) state: i64,
    pub(crate) service: Option<Text>,
    pub(crate) records: u32,
    months: String,
    items: Vec<u8>,
}

impl StoredBatch {
    /// Reads a batch whose outcome may be open.
    pub(crate) fn find(connection: &Connection, batch: BatchId) -> Result<Self, LedgerError> {
        let mut statement = connection.prepare_cached(
            "SELECT id, flush_id, place, state, service_id, records, months, coalesce(items, x'') \
             FROM batch WHERE id = ?1",
        )?;
        let found = statement.query_row([batch], |row| {
            Ok(Self {
                id: row.get(0)?,
                flush: row.get(1)?,
                place: row.get(2)?,
                state: row.get(3)?,
                service: text_or_null(row, 4)?,
                records: row.get(5)?,
                months: row.get(6)?,
                items: row.get(7)?,
            })
        });
        found.optional()?.ok_or_else(|| LedgerError::misuse(format!("batch {batch} is not in the ledger")))
    }

    pub(crate) fn is_undecided(&self) -> bool {
        self.state == PENDING || self.state == SUSPECT
    }

    pub(crate) fn require_undecided(self) -> Result<Self, LedgerError> {
        if self.is_undecided() {
            return Ok(self);
        }
        Err(LedgerError::misuse(format!("batch {} has been decided about already", self.id)))
    }

    /// Its records, in the order of the body.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> {
        let mut bytes = self.items.as_slice();
        std::iter::from_fn(move || Item::decode(&mut bytes))
    }

    /// Applies `by` to the counters of each month that the batch holds rows of a copy of.
    pub(crate) fn count_months(
        &self,
        connection: &Connection,
        by: fn(i64) -> Difference,
    ) -> Result<(), LedgerError> {
        for (month, records) in decode_months(&self.months) {
            backfill::count(connection, month, by(records))?;
        }
        Ok(())
    }
}

/// The states of a batch that others ask for.
pub(crate) const PENDING: i64 = 0;
pub(crate) const ACKNOWLEDGED: i64 = 1;
pub(crate) const REFUSED: i64 = 2;
pub(crate) const SPLIT: i64 = 3;
pub(crate) const SUSPECT: i64 = 4;

/// The oldest batch that waits for an attempt.
pub(crate) fn oldest_pending(connection: &Connection) -> Result<Option<(Batch, FlushId)>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, flush_id, records, attempts, service_id, sha256, body FROM batch \
         WHERE state IN (0, 4) AND state = 0 ORDER BY place LIMIT 1",
    )?;
    Ok(statement.query_row([], |row| Ok((read_pending(row)?, row.get(1)?))).optional()?)
}

/// The oldest part of `whole` that waits for an attempt. Parts are known by their places: see `verdict::cut`.
pub(crate) fn oldest_part(connection: &Connection, whole: BatchId) -> Result<Option<Batch>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT p.id, p.flush_id, p.records, p.attempts, p.service_id, p.sha256, p.body FROM batch w, batch p \
         WHERE w.id = ?1 AND p.state IN (0, 4) AND p.state = 0 AND p.place > w.place || '.' \
         AND p.place < w.place || '/' ORDER BY p.place LIMIT 1",
    )?;
    Ok(statement.query_row([whole], read_pending).optional()?)
}

fn read_pending(row: &Row<'_>) -> rusqlite::Result<Batch> {
    Ok(Batch {
        id: row.get(0)?,
        records: row.get(2)?,
        attempts: row.get(3)?,
        service: text_or_null(row, 4)?,
        sha256: row.get(5)?,
        body: row.get(6)?,
    })
}

/// Reads a record of a batch again.
pub(crate) fn load(connection: &Connection, item: Item) -> Result<Candidate, LedgerError> {
    let found = match &item {
        Item::Change(seq) => connection
            .prepare_cached(
                "SELECT service_id, request_id, opening_at, status_id, modified_at, committed_at \
                 FROM change WHERE seq = ?1",
            )?
            .query_row([seq], |row| Ok((read_change(row)?, row.get(5)?))),
        Item::Backfill { copy_id, month, service_id, request_id, place } => connection
            .prepare_cached(
                "SELECT service_id, request_id, opening_at, status_id, modified_at, NULL FROM backfill_row \
                 WHERE copy_id = ?1 AND month = ?2 AND service_id = ?3 AND request_id = ?4 AND place = ?5",
            )?
            .query_row(params![copy_id, month, &**service_id, &**request_id, &**place], |row| {
                Ok((read_change(row)?, row.get(5)?))
            }),
    };
    let missing = || {
        let message = "a record of a batch whose outcome is open is not in the ledger";
        LedgerError::new(LedgerErrorKind::Damaged, message)
    };
    let (change, committed_at) = found.optional()?.ok_or_else(missing)?;
    Ok(Candidate { item, change, committed_at, follows: false })
}

/// The table that a record of a batch comes from.
pub(crate) fn table_of(connection: &Connection, item: &Item) -> Result<TableId, LedgerError> {
    let found = match item {
        Item::Change(seq) => connection
            .prepare_cached("SELECT table_id FROM change WHERE seq = ?1")?
            .query_row([seq], |row| row.get(0)),
        Item::Backfill { copy_id, month, service_id, request_id, place } => connection
            .prepare_cached(
                "SELECT table_id FROM backfill_row WHERE copy_id = ?1 AND month = ?2 AND service_id = ?3 \
                 AND request_id = ?4 AND place = ?5",
            )?
            .query_row(params![copy_id, month, &**service_id, &**request_id, &**place], |row| row.get(0)),
    };
    Ok(found.optional()?.unwrap_or_default())
}

/// Reads service, request, opening, status and modification, in this order.
pub(crate) fn read_change(row: &Row<'_>) -> rusqlite::Result<StatusChange> {
    Ok(StatusChange {
        service_id: row.get_ref(0)?.as_str()?.into(),
        request_id: row.get_ref(1)?.as_str()?.into(),
        opening_at: row.get(2)?,
        status_id: row.get(3)?,
        modified_at: row.get(4)?,
    })
}

/// Reads a text that may be NULL.
pub(crate) fn text_or_null(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Text>> {
    Ok(row.get_ref(index)?.as_str_or_null()?.map(Text::from))
}

pub(crate) fn encode_months(months: &BTreeMap<u32, i64>) -> String {
    let pairs: Vec<String> = months.iter().map(|(month, records)| format!("{month}:{records}")).collect();
    pairs.join(",")
}

fn decode_months(text: &str) -> impl Iterator<Item = (u32, i64)> {
    text.split(',').filter_map(|pair| {
        let (month, records) = pair.split_once(':')?;
        Some((month.parse().ok()?, records.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_ledger_survives_being_stored() {
        let row = |place: &str| Item::Backfill {
            copy_id: 1,
            month: 202_001,
            service_id: "101".into(),
            request_id: "ñ".into(),
            place: place.into(),
        };
        let items = [Item::Change(1), row(""), row("7\u{1f}a"), Item::Change(i64::MAX)];
        let mut stored = Vec::new();
        items.iter().for_each(|item| item.encode(&mut stored));
        let mut bytes = stored.as_slice();
        let read: Vec<_> = std::iter::from_fn(|| Item::decode(&mut bytes)).collect();
        assert_eq!(read, items);
        for end in 0..9 {
            assert_eq!(Item::decode(&mut &stored[..end]), None);
        }
    }

    #[test]
    fn counts_by_month_survive_being_stored() {
        let months = BTreeMap::from([(202001, 5), (202212, 1)]);
        assert_eq!(decode_months(&encode_months(&months)).collect::<BTreeMap<_, _>>(), months);
        assert_eq!(decode_months("").count(), 0);
    }
}
