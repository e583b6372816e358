//! What appended log rows mean: slices of the log, merged by request with the last known statuses.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Transaction, params};

use crate::absorb::{self, Marker};
use crate::captured_block;
use crate::copy_state;
use crate::declared::Declared;
use crate::error::LedgerError;
use crate::join::joined_rows;
use crate::known::{Fate, Known, KnownTable, LogRow};
use crate::ledger::Ledger;
use crate::log_row::LogKind;
use crate::meta;
use crate::row_owner;
use crate::unpack;

/// A copy is merged in larger slices than the log: it holds the whole table, every slice of it may touch all
/// pages of the known statuses, and fewer slices write fewer of them.
const COPY_ROWS_PER_LOG_ROW: u64 = 3;

/// What one step of settling did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// Whether committed log rows are left for another step.
    pub more: bool,
    /// Status changes that joined the delta.
    pub records: u64,
    /// Candidates that repeated what is known, and went.
    pub unchanged: u64,
}

impl Settled {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.unchanged += other.unchanged;
    }
}

impl Ledger {
    /// Settles the next slice of at most `max_rows` committed log rows, or merges up to three times as many
    /// rows of a copy whose turn it is, in one commit. Memory does not grow with either.
    ///
    /// # Errors
    /// When the ledger cannot be read or written; the slice is then settled by a later call.
    pub fn settle(&mut self, max_rows: u64) -> Result<Settled, LedgerError> {
        let committed = self.log.committed_seq;
        let declared = self.declared.clone();
        if meta::number(&self.queries().connection, meta::SETTLED_SEQ)? >= committed {
            return Ok(Settled::default());
        }
        let (settled, packed_bytes) = self.write("settle captured changes", |transaction| {
            let settled = settle_next(transaction, declared.as_ref(), committed, max_rows.max(1))?;
            Ok((settled, captured_block::bytes(transaction)?))
        })?;
        self.log.packed_bytes = packed_bytes;
        Ok(settled)
    }

    /// Settles everything that is committed.
    pub(crate) fn settle_all(&mut self) -> Result<(), LedgerError> {
        /// Rows that one commit takes.
        const SLICE_ROWS: u64 = 50_000;
        while self.settle(SLICE_ROWS)?.more {}
        Ok(())
    }
}

fn settle_next(
    transaction: &Transaction<'_>,
    declared: Option<&Declared>,
    committed: i64,
    max_rows: u64,
) -> Result<Settled, LedgerError> {
    let settled = meta::number(transaction, meta::SETTLED_SEQ)?;
    let marker = absorb::next_marker(transaction, settled)?.filter(|marker| marker.seq <= committed);
    let limit = marker.as_ref().map_or(committed, |marker| marker.seq - 1);
    let whole_to = unpack::unpack(transaction, declared, (settled, limit), max_rows)?;
    let mut released = settle_released(transaction)?;
    let (upto, mut result) = match (slice_end(transaction, settled, whole_to, max_rows)?, marker) {
        (Some(upto), _) => (upto, settle_slice(transaction, settled, upto)?),
        // Rows that are joined may come to nothing.
        (None, _) if whole_to < limit => (whole_to, Settled::default()),
        (None, Some(marker)) => merge_copy((transaction, declared), &marker, max_rows)?,
        (None, None) => (committed, Settled::default()),
    };
    released.add(settle_released(transaction)?);
    result.add(released);
    meta::set(transaction, meta::SETTLED_SEQ, upto)?;
    meta::add(transaction, meta::UNBATCHED, i64::try_from(result.records).unwrap_or(i64::MAX))?;
    result.more = upto < committed;
    Ok(result)
}

/// The last seq of the slice, or `None` when there are no rows up to `limit`.
fn slice_end(
    connection: &Connection,
    settled: i64,
    limit: i64,
    max_rows: u64,
) -> Result<Option<i64>, LedgerError> {
    let full: Option<i64> = connection
        .prepare_cached("SELECT seq FROM change WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT 1 OFFSET ?3")?
        .query_row(params![settled, limit, max_rows - 1], |row| row.get(0))
        .optional()?;
    if full.is_some() {
        return Ok(full);
    }
    let any: bool = connection
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM change WHERE seq > ?1 AND seq <= ?2)")?
        .query_row([settled, limit], |row| row.get(0))?;
    Ok(any.then_some(limit))
}

/// Merges some rows of a copy; returns up to where the log is settled then.
fn merge_copy(
    (connection, declared): (&Connection, Option<&Declared>),
    marker: &Marker,
    max_rows: u64,
) -> Result<(i64, Settled), LedgerError> {
    let is_joined = declared
        .and_then(|declared| declared.table(marker.table))
        .is_some_and(|table| table.is_joined() || !table.mirrors.is_empty());
    let rows = if is_joined { joined_rows(max_rows) } else { max_rows.saturating_mul(COPY_ROWS_PER_LOG_ROW) };
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let absorbed = absorb::absorb((connection, declared), marker, rows)?;
    let result = Settled { records: absorbed.emitted, ..Settled::default() };
    if !absorbed.is_complete {
        return Ok((marker.seq - 1, result));
    }
    connection.execute("DELETE FROM marker WHERE seq = ?1", [marker.seq])?;
    copy_state::complete_when_merged(connection, marker.copy_id)?;
    Ok((marker.seq + marker.reserved, result))
}

/// Settles rows before the slice whose parents have come: they leave before everything that came after them.
fn settle_released(connection: &Connection) -> Result<Settled, LedgerError> {
    let mut result = Settled::default();
    let sql = "SELECT seq FROM released ORDER BY seq";
    let seqs =
        connection.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    let Some(first) = seqs.first() else { return Ok(result) };
    // Every settled status change up to there may be in a batch, but these are not.
    let reopened: Option<i64> = meta::get(connection, meta::REOPENED_SEQ)?;
    meta::set(connection, meta::REOPENED_SEQ, reopened.map_or(first - 1, |seq| seq.min(first - 1)))?;
    for seq in seqs {
        result.add(settle_slice(connection, seq - 1, seq)?);
    }
    connection.execute("DELETE FROM released", [])?;
    Ok(result)
}

fn settle_slice(connection: &Connection, after: i64, upto: i64) -> Result<Settled, LedgerError> {
    row_owner::resolve(connection, after, upto)?;
    let mut merge = Merge::new(connection, copy_state::must_track(connection)?)?;
    // Sorted by SQLite, which spills to a temporary file: the slice may be larger than memory. All rows are
    // read before the first is seen, so that rows may be deleted meanwhile.
    let mut rows = connection.prepare_cached(
        "SELECT service_id, request_id, seq, kind, status_id, opening_at, modified_at, table_id \
         FROM change WHERE seq > ?1 AND seq <= ?2 ORDER BY service_id, request_id, seq",
    )?;
    let mut rows = rows.query([after, upto])?;
    while let Some(row) = rows.next()? {
        merge.visit(row)?;
    }
    merge.store()?;
    Ok(merge.result)
}

/// The rows of one request after the other.
struct Merge<'a> {
    connection: &'a Connection,
    known: KnownTable<'a>,
    delete: CachedStatement<'a>,
    track: bool,
    service_id: String,
    request_id: String,
    before: Option<Known>,
    now: Known,
    result: Settled,
}

impl<'a> Merge<'a> {
    fn new(connection: &'a Connection, track: bool) -> Result<Self, LedgerError> {
        Ok(Self {
            connection,
            known: KnownTable::new(connection)?,
            delete: connection.prepare_cached("DELETE FROM change WHERE seq = ?1")?,
            track,
            service_id: String::new(),
            request_id: String::new(),
            before: None,
            now: Known::default(),
            result: Settled::default(),
        })
    }

    fn visit(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        let service_id = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let request_id = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if service_id != self.service_id || request_id != self.request_id {
            self.store()?;
            service_id.clone_into(&mut self.service_id);
            request_id.clone_into(&mut self.request_id);
            self.before = self.known.find(service_id, request_id)?;
            self.now = self.before.unwrap_or_default();
        }
        let mut row = LogRow {
            seq: row.get(2)?,
            kind: row.get(3)?,
            status_id: row.get::<_, Option<u8>>(4)?.unwrap_or(0),
            opening_at: row.get(5)?,
            modified_at: row.get(6)?,
            table: row.get(7)?,
        };
        if row.kind.is_gone() && row.opening_at.is_none() {
            row.opening_at = self.now.opening_at;
            if !row_owner::complete(self.connection, row.seq, row.opening_at)? {
                return Ok(());
            }
        }
        if self.now.visit(&row, self.track) == Fate::Stays {
            self.result.records += 1;
            return Ok(());
        }
        self.delete.execute([row.seq])?;
        if row.kind != LogKind::Broken {
            self.result.unchanged += 1;
        }
        Ok(())
    }

    /// Writes what is known of the request now, unless that is what was known before.
    fn store(&mut self) -> Result<(), LedgerError> {
        if self.before.unwrap_or_default() == self.now {
            return Ok(());
        }
        self.known.store(&self.service_id, &self.request_id, &self.now)
    }
}
