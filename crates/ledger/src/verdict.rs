//! What became of a batch.
//!
//! A record that is refused alone may be at fault, or the endpoint may refuse everything: so it can first be
//! marked a *suspect*, which takes its batch out of the way and is later confirmed or taken back.

use rusqlite::{Connection, Transaction, params};

use crate::backfill::Difference;
use crate::batch::{self, Batch, BatchId, BodyBuilder, Item, StoredBatch};
use crate::draft::Draft;
use crate::error::LedgerError;
use crate::flush::FlushId;
use crate::ledger::Ledger;
use crate::queries::Queries;

impl Ledger {
    /// Notes a failed attempt; the batch stays as it is.
    ///
    /// # Errors
    /// When the ledger cannot be written, or there is no such batch.
    pub fn attempt_failed(
        &mut self,
        batch: BatchId,
        error: &str,
        http_status: Option<u16>,
    ) -> Result<(), LedgerError> {
        self.write("note a failed attempt", |transaction| {
            let stored = StoredBatch::find(transaction, batch)?;
            transaction.execute(
                "UPDATE batch SET attempts = attempts + 1, last_error = ?2, http_status = ?3, \
                 first_sent_at = coalesce(first_sent_at, created_at) WHERE id = ?1",
                params![batch, error, http_status],
            )?;
            transaction.execute(
                "UPDATE flush SET attempts = attempts + 1, last_error = ?2 WHERE id = ?1",
                params![stored.flush, error],
            )?;
            Ok(())
        })
    }

    /// Notes that the dashboard has a batch; its body is not kept any longer. Noted twice, it counts once.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Misuse`] when the batch was split or refused, or is not there.
    pub fn acknowledge(
        &mut self,
        batch: BatchId,
        now: i64,
        http_status: Option<u16>,
    ) -> Result<(), LedgerError> {
        self.write("note an acknowledgement", |transaction| acknowledge(transaction, batch, now, http_status))
    }

    /// Cuts a batch into halves that take its place; more than two when the builder takes less than a half.
    /// Returns how many there are.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Misuse`] when its outcome is known, or it holds a single record.
    pub fn split(
        &mut self,
        batch: BatchId,
        builder: &mut dyn BodyBuilder,
        now: i64,
    ) -> Result<u32, LedgerError> {
        self.write("split a batch", |transaction| {
            let whole = StoredBatch::find(transaction, batch)?.require_undecided()?;
            if whole.records < 2 {
                return Err(LedgerError::misuse(format!("batch {batch} holds a single record")));
            }
            let parts = cut(transaction, &whole, builder, now)?;
            decide(transaction, batch, batch::SPLIT)?;
            Ok(parts)
        })
    }

    /// Puts the single record of a batch into quarantine: the dashboard refuses it.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Misuse`] when the batch's outcome is known, or it holds several records.
    pub fn refuse(&mut self, batch: BatchId, code: &str, reason: &str, now: i64) -> Result<(), LedgerError> {
        self.write("put a refused record into quarantine", |transaction| {
            suspect(transaction, batch, code, reason)?;
            refuse(transaction, &StoredBatch::find(transaction, batch)?, now)
        })
    }

    /// Takes a batch of a single refused record out of the way, until [`Ledger::confirm_suspects`] or
    /// [`Ledger::release_suspects`] decides about it.
    ///
    /// # Errors
    /// As [`Ledger::refuse`].
    pub fn suspect(&mut self, batch: BatchId, code: &str, reason: &str, now: i64) -> Result<(), LedgerError> {
        self.write("put a refused record aside", |transaction| {
            suspect(transaction, batch, code, reason)?;
            let sql = "UPDATE batch SET first_sent_at = coalesce(first_sent_at, ?2) WHERE id = ?1";
            transaction.execute(sql, [batch, now])?;
            Ok(())
        })
    }

    /// Puts the suspects of a flush into quarantine; returns how many records that are.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn confirm_suspects(&mut self, flush: FlushId, now: i64) -> Result<u64, LedgerError> {
        self.write("put refused records into quarantine", |transaction| {
            let suspects = transaction
                .prepare_cached("SELECT id FROM batch WHERE state IN (0, 4) AND state = 4 AND flush_id = ?1")?
                .query_map([flush], |row| row.get(0))?
                .collect::<Result<Vec<BatchId>, _>>()?;
            for batch in &suspects {
                refuse(transaction, &StoredBatch::find(transaction, *batch)?, now)?;
            }
            Ok(suspects.len() as u64)
        })
    }

    /// Makes the suspects of a flush wait for another attempt.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn release_suspects(&mut self, flush: FlushId) -> Result<(), LedgerError> {
        self.write("take suspicions back", |transaction| {
            let sql = "UPDATE batch SET state = 0, code = NULL \
                       WHERE state IN (0, 4) AND state = 4 AND flush_id = ?1";
            transaction.execute(sql, [flush])?;
            Ok(())
        })
    }

    /// A suspicion ends with the process that had it: what followed it is not known.
    pub(crate) fn release_all_suspects(&mut self) -> Result<(), LedgerError> {
        self.write("take suspicions back", |transaction| {
            let sql = "UPDATE batch SET state = 0, code = NULL WHERE state IN (0, 4) AND state = 4";
            transaction.execute(sql, [])?;
            Ok(())
        })
    }
}

impl Queries {
    /// The oldest part of a batch that was split, parts of parts included, that waits for an attempt.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn next_part(&self, whole: BatchId) -> Result<Option<Batch>, LedgerError> {
        batch::oldest_part(&self.connection, whole)
    }
}

/// Returns the flush that sent the batch.
fn acknowledge(
    transaction: &Transaction<'_>,
    batch: BatchId,
    now: i64,
    http_status: Option<u16>,
) -> Result<(), LedgerError> {
    let stored = StoredBatch::find(transaction, batch)?;
    if stored.state == batch::ACKNOWLEDGED {
        return Ok(());
    }
    let stored = stored.require_undecided()?;
    decide(transaction, stored.id, batch::ACKNOWLEDGED)?;
    transaction
        .prepare_cached(
            "UPDATE batch SET acknowledged_at = ?2, http_status = ?3, attempts = attempts + 1, code = NULL, \
             first_sent_at = coalesce(first_sent_at, created_at) WHERE id = ?1",
        )?
        .execute(params![stored.id, now, http_status])?;
    transaction
        .prepare_cached(
            "UPDATE flush SET records = records + ?2, batches = batches + 1, attempts = attempts + 1 WHERE id = ?1",
        )?
        .execute(params![stored.flush, stored.records])?;
    stored.count_months(transaction, |records| Difference {
        sending: -records,
        acknowledged: records,
        ..Difference::default()
    })
}

/// The outcome of a batch is known: its bytes are not needed any longer.
fn decide(connection: &Connection, batch: BatchId, state: i64) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE batch SET state = ?2, body = NULL, items = NULL WHERE id = ?1")?
        .execute([batch, state])?;
    Ok(())
}

/// Makes the parts of a batch. Places sort as text, so a part's place is its whole's and a number.
fn cut(
    connection: &Connection,
    whole: &StoredBatch,
    builder: &mut dyn BodyBuilder,
    now: i64,
) -> Result<u32, LedgerError> {
    let half = whole.records.div_ceil(2);
    let mut items = whole.items().peekable();
    let mut parts = 0;
    while items.peek().is_some() {
        parts += 1;
        let mut draft = Draft::new(connection, builder, whole.flush, half)?;
        while let Some(item) = items.peek() {
            if !draft.take(&batch::load(connection, item.clone())?)? {
                break;
            }
            items.next();
        }
        if draft.records() == 0 {
            return Err(LedgerError::misuse("the builder of a batch took not even one record"));
        }
        let place = format!("{}.{parts:04}", whole.place);
        draft.finish(Some(place), whole.service.clone(), now)?;
    }
    Ok(parts)
}

fn suspect(connection: &Connection, batch: BatchId, code: &str, reason: &str) -> Result<(), LedgerError> {
    let stored = StoredBatch::find(connection, batch)?.require_undecided()?;
    if stored.records != 1 {
        let message = format!("batch {batch} holds {} records, expected 1", stored.records);
        return Err(LedgerError::misuse(message));
    }
    connection.execute(
        "UPDATE batch SET state = ?2, code = ?3, last_error = ?4 WHERE id = ?1",
        params![batch, batch::SUSPECT, code, reason],
    )?;
    Ok(())
}

/// Moves the record of a suspect into quarantine, with all it takes to send it again.
fn refuse(connection: &Connection, suspect: &StoredBatch, now: i64) -> Result<(), LedgerError> {
    for item in suspect.items() {
        let seq = if let Item::Change(seq) = &item { Some(*seq) } else { None };
        let table = batch::table_of(connection, &item)?;
        let change = batch::load(connection, item)?.change;
        connection.execute(
            "INSERT INTO quarantine(kind, state, origin, service_id, request_id, status_id, opening_at, \
             modified_at, code, reason, position, batch_id, at, table_id) \
             SELECT 1, 0, ?2, ?3, ?4, ?5, ?6, ?7, coalesce(b.code, 'refused'), coalesce(b.last_error, ''), \
             (SELECT c.position FROM change c WHERE c.seq = ?8), b.id, coalesce(b.oldest_at, b.created_at), ?9 \
             FROM batch b WHERE b.id = ?1",
            params![
                suspect.id,
                seq.is_none(),
                &*change.service_id,
                &*change.request_id,
                change.status_id,
                change.opening_at,
                change.modified_at,
                seq,
                table,
            ],
        )?;
    }
    suspect.count_months(connection, |records| Difference {
        sending: -records,
        refused: records,
        ..Difference::default()
    })?;
    let sql = "UPDATE flush SET refused = refused + 1 WHERE id = ?1";
    connection.execute(sql, [suspect.flush])?;
    connection.execute(
        "UPDATE batch SET first_sent_at = coalesce(first_sent_at, ?2) WHERE id = ?1",
        [suspect.id, now],
    )?;
    decide(connection, suspect.id, batch::REFUSED)
}
