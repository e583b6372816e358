//! Forming the next batch of a flush.

use change::Text;
use normalizer::StatusChange;
use rusqlite::{Connection, OptionalExtension, Row, Rows, Transaction, params};

use crate::backfill::{self, Before, Difference, Order};
use crate::batch::{self, Batch, BodyBuilder, Item};
use crate::draft::{Candidate, Draft, Taken};
use crate::error::LedgerError;
use crate::flush::{self, FlushId, FlushKind, FlushRow};
use crate::form_backfill::form_backfill;
use crate::ledger::{Durable, Ledger};
use crate::meta;
use crate::shard::Shard;

impl Ledger {
    /// The next batch to send: the oldest that waits for an attempt, whichever flush formed it, else a new
    /// one of the flush's records. `None` when the flush has nothing left.
    ///
    /// A new batch is durable, with its bytes, when this returns.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Misuse`] when the flush is not open.
    pub fn next_batch(
        &mut self,
        flush: FlushId,
        builder: &mut dyn BodyBuilder,
        max_records: u32,
        now: i64,
    ) -> Result<Option<Batch>, LedgerError> {
        match self.pending_batch(flush)? {
            Some(pending) => Ok(Some(pending)),
            None => self.form_batch(
                flush,
                Limits { builder, max_records, shard: Shard::ALL, durable: Durable::Now, now },
            ),
        }
    }

    /// The oldest batch that waits for an attempt, whichever flush formed it; from now on it is `flush`'s. It is durable
    /// when this returns.
    ///
    /// # Errors
    /// As [`Ledger::next_batch`].
    pub fn pending_batch(&mut self, flush: FlushId) -> Result<Option<Batch>, LedgerError> {
        let Some((pending, owner)) = batch::oldest_pending(&self.queries().connection)? else {
            return Ok(None);
        };
        self.make_durable()?;
        if owner != flush {
            self.write("take over a pending batch", |transaction| {
                let flush = flush::find_open(transaction, flush)?;
                let sql = "UPDATE batch SET flush_id = ?2 WHERE id = ?1";
                transaction.execute(sql, [pending.id, flush.id])?;
                Ok(())
            })?;
        }
        Ok(Some(pending))
    }

    /// Forms a batch of the flush's records, beside those that wait for an attempt; `None` when there is no record
    /// left, or none of the shard among the next ones. While batches of other shards go on leaving, some of this
    /// shard may come into reach.
    ///
    /// A batch that an earlier division formed may hold any request, so all of those must have been decided about
    /// before a shard other than [`Shard::ALL`] is asked for. It must not leave before it is durable.
    ///
    /// # Errors
    /// As [`Ledger::next_batch`].
    pub fn form_batch(&mut self, flush: FlushId, limits: Limits<'_>) -> Result<Option<Batch>, LedgerError> {
        let doing = "form a batch";
        match limits.durable {
            Durable::Now => self.write(doing, |transaction| form(transaction, flush, limits)),
            Durable::WithNextCommit => {
                self.write_behind(doing, |transaction| form(transaction, flush, limits))
            }
        }
    }
}

/// What a new batch is made with.
pub struct Limits<'a> {
    /// Writes the body, and says when it is full.
    pub builder: &'a mut dyn BodyBuilder,
    /// Records at most.
    pub max_records: u32,
    /// Whose records.
    pub shard: Shard,
    /// When the batch must be durable.
    pub durable: Durable,
    /// The present, in microseconds since the epoch.
    pub now: i64,
}

impl Limits<'_> {
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted { shard: self.shard, records: self.max_records }
    }
}

/// Whose records a batch may hold, and how many.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    shard: Shard,
    records: u32,
}

impl Wanted {
    /// How many rows are looked at.
    pub(crate) fn window(self) -> u32 {
        self.shard.window(self.records)
    }

    /// Takes the wanted ones of `rows`, which begin with service and request; `candidate` says whether such a one
    /// would follow the row before it.
    pub(crate) fn collect(
        self,
        mut rows: Rows<'_>,
        candidate: impl Fn(&Row<'_>, StatusChange) -> rusqlite::Result<Candidate>,
    ) -> Result<Found, LedgerError> {
        let mut found = Found::default();
        let mut has_taken_last = false;
        while let Some(row) = rows.next()? {
            if found.records.len() >= self.records as usize {
                break;
            }
            let is_wanted = is_of(self.shard, row)?;
            if is_wanted {
                let mut record = candidate(row, batch::read_change(row)?)?;
                record.follows &= has_taken_last;
                found.records.push(record);
            } else if found.passed_over.is_none() {
                found.passed_over = Some(candidate(row, batch::read_change(row)?)?);
            }
            has_taken_last = is_wanted;
        }
        Ok(found)
    }
}

/// Whether a row that begins with service and request is one of the shard's.
fn is_of(shard: Shard, row: &Row<'_>) -> rusqlite::Result<bool> {
    Ok(shard == Shard::ALL || shard.holds(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?))
}

/// The next records that a batch may hold.
#[derive(Default)]
pub(crate) struct Found {
    /// Those of the shard, in order.
    pub(crate) records: Vec<Candidate>,
    /// The first of those that belong to other shards: a cursor must not pass it.
    pub(crate) passed_over: Option<Candidate>,
}

impl Found {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.passed_over.is_none()
    }

    /// The first row in the backfill's order, whosever it is.
    pub(crate) fn first(&self) -> Option<&Candidate> {
        self.records.first().into_iter().chain(&self.passed_over).min_by_key(|record| in_order(record))
    }
}

/// Forms a new batch of the flush's records.
pub(crate) fn form(
    transaction: &Transaction<'_>,
    flush: FlushId,
    limits: Limits<'_>,
) -> Result<Option<Batch>, LedgerError> {
    let flush = flush::find_open(transaction, flush)?;
    match flush.kind {
        FlushKind::Delta => form_delta(transaction, &flush, limits),
        FlushKind::Backfill => form_backfill(transaction, &flush, limits),
    }
}

fn form_delta(
    connection: &Connection,
    flush: &FlushRow,
    limits: Limits<'_>,
) -> Result<Option<Batch>, LedgerError> {
    let (found, service) = if flush.by_service {
        records_of_service(connection, flush, limits.wanted())?
    } else {
        (records_in_order(connection, flush, limits.wanted())?, None)
    };
    if found.is_empty() {
        meta::set(connection, meta::BATCHED_SEQ, flush.upto_seq)?;
    }
    if found.records.is_empty() {
        return Ok(None);
    }
    let mut draft = Draft::new(connection, limits.builder, flush.id, limits.max_records)?;
    let mut order = Order::new(connection)?;
    let (mut cursor_seq, mut overtaken) = (flush.cursor_seq, 0);
    for record in &found.records {
        let before = order.before(&record.change)?;
        if !take_with_backfill(&mut draft, &before, record)? {
            break;
        }
        if let Item::Change(seq) = record.item {
            cursor_seq = seq;
        }
        if before.overtaken.rows > 0 {
            backfill::skip(connection, &before.overtaken, &record.change)?;
            overtaken += before.overtaken.rows;
        }
    }
    if let Some(Candidate { item: Item::Change(seq), .. }) = found.passed_over {
        cursor_seq = cursor_seq.min(seq - 1);
    }
    meta::add(connection, meta::WAITING_ROWS, -overtaken)?;
    let (batch, taken) = draft.finish(None, service.clone(), limits.now)?;
    connection
        .prepare_cached("UPDATE flush SET cursor_seq = ?2, cursor_service = ?3 WHERE id = ?1")?
        .execute(params![flush.id, cursor_seq, service.as_deref().unwrap_or("")])?;
    if !flush.by_service {
        meta::set(
            connection,
            meta::BATCHED_SEQ,
            cursor_seq.max(meta::number(connection, meta::BATCHED_SEQ)?),
        )?;
    }
    account(connection, &taken)?;
    Ok(Some(batch))
}

/// Takes a streamed record, and before it the rows of its request that still wait for the backfill.
fn take_with_backfill(
    draft: &mut Draft<'_>,
    before: &Before,
    record: &Candidate,
) -> Result<bool, LedgerError> {
    for row in &before.leave {
        if !draft.take(&backfill_candidate(row.copy_id, row.month, &row.place, row.change.clone()))? {
            return Ok(false);
        }
    }
    Ok(!before.more && draft.take(record)?)
}

fn records_in_order(connection: &Connection, flush: &FlushRow, wanted: Wanted) -> Result<Found, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT service_id, request_id, opening_at, status_id, modified_at, seq, committed_at FROM change \
         WHERE seq > ?1 AND seq <= ?2 AND batch_id = 0 ORDER BY seq LIMIT ?3",
    )?;
    let rows = statement.query(params![flush.cursor_seq, flush.upto_seq, wanted.window()])?;
    wanted.collect(rows, change_item)
}

/// The next records of the service whose turn it is, and that service.
fn records_of_service(
    connection: &Connection,
    flush: &FlushRow,
    wanted: Wanted,
) -> Result<(Found, Option<Text>), LedgerError> {
    let next: Option<Text> = connection
        .prepare_cached(
            "SELECT o.service_id FROM sealed_order o CROSS JOIN change c ON c.seq = o.seq \
             WHERE (o.service_id, o.seq) > (?1, ?2) AND c.batch_id = 0 ORDER BY o.service_id, o.seq LIMIT 1",
        )?
        .query_row(params![flush.cursor_service, flush.cursor_seq], |row| batch::text_or_null(row, 0))
        .optional()?
        .flatten();
    let Some(service) = next else { return Ok((Found::default(), None)) };
    let after = if service == flush.cursor_service { flush.cursor_seq } else { 0 };
    let mut statement = connection.prepare_cached(
        "SELECT c.service_id, c.request_id, c.opening_at, c.status_id, c.modified_at, c.seq, c.committed_at \
         FROM sealed_order o CROSS JOIN change c ON c.seq = o.seq \
         WHERE o.service_id = ?1 AND o.seq > ?2 AND c.batch_id = 0 ORDER BY o.seq LIMIT ?3",
    )?;
    let rows = statement.query(params![&*service, after, wanted.window()])?;
    let found = wanted.collect(rows, |row, change| {
        // Rows of other services may lie between.
        Ok(Candidate { follows: false, ..change_item(row, change)? })
    })?;
    Ok((found, Some(service)))
}

/// The order in which the backfill's rows are read.
pub(crate) fn in_order(record: &Candidate) -> (&str, &str) {
    (&record.change.service_id, &record.change.request_id)
}

pub(crate) fn backfill_candidate(copy_id: i64, month: u32, place: &str, change: StatusChange) -> Candidate {
    let (service_id, request_id) = (change.service_id.clone(), change.request_id.clone());
    let item = Item::Backfill { copy_id, month, service_id, request_id, place: place.into() };
    Candidate { item, change, committed_at: None, follows: false }
}

fn change_item(row: &Row<'_>, change: StatusChange) -> rusqlite::Result<Candidate> {
    Ok(Candidate { item: Item::Change(row.get(5)?), change, committed_at: row.get(6)?, follows: true })
}

/// Brings the counters up to date with what a new batch took.
pub(crate) fn account(connection: &Connection, taken: &Taken) -> Result<(), LedgerError> {
    meta::add(connection, meta::UNBATCHED, -taken.changes)?;
    let mut rows = 0;
    for (month, records) in &taken.months {
        rows += records;
        let by = Difference { waiting: -records, sending: *records, ..Difference::default() };
        backfill::count(connection, *month, by)?;
    }
    meta::add(connection, meta::WAITING_ROWS, -rows)
}
