//! A batch in the making: which records it takes, and how they are marked.

use std::collections::BTreeMap;

use change::Text;
use normalizer::StatusChange;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use crate::backfill::{self, RowKey};
use crate::batch::{Batch, BatchId, BodyBuilder, Item, encode_months};
use crate::error::{LedgerError, LedgerErrorKind};
use crate::flush::FlushId;

/// A record that may enter a batch.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) item: Item,
    pub(crate) change: StatusChange,
    /// When it committed, of a log row.
    pub(crate) committed_at: Option<i64>,
    /// Whether no other log row that is in no batch lies between it and the candidate before it.
    pub(crate) follows: bool,
}

/// A batch being made. Rows of copies are marked as they are taken; log rows at the end, so that those side by side
/// take one statement.
pub(crate) struct Draft<'a> {
    connection: &'a Connection,
    builder: &'a mut dyn BodyBuilder,
    id: BatchId,
    max_records: u32,
    records: u32,
    changes: u32,
    months: BTreeMap<u32, i64>,
    items: Vec<u8>,
    runs: Vec<LogRun>,
    oldest_at: Option<i64>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        builder: &'a mut dyn BodyBuilder,
        flush: FlushId,
        max_records: u32,
    ) -> Result<Self, LedgerError> {
        let id = connection
            .prepare_cached(
                "INSERT INTO batch(flush_id, place, state, records, changes, months, sha256, created_at) \
                 VALUES(?1, '', 3, 0, 0, '', x'', 0)",
            )?
            .insert([flush])?;
        let (months, items) = (BTreeMap::new(), Vec::new());
        Ok(Self {
            connection,
            builder,
            id,
            max_records: max_records.max(1),
            records: 0,
            changes: 0,
            months,
            items,
            runs: Vec::new(),
            oldest_at: None,
        })
    }

    /// Whether a record found its place; if not, it is for the next batch.
    pub(crate) fn take(&mut self, candidate: &Candidate) -> Result<bool, LedgerError> {
        if self.records >= self.max_records || !self.builder.push(&candidate.change) {
            return Ok(false);
        }
        match &candidate.item {
            Item::Change(seq) => {
                match self.runs.last_mut().filter(|_| candidate.follows) {
                    Some(run) => run.last = *seq,
                    None => self.runs.push(LogRun { first: *seq, last: *seq }),
                }
                self.changes += 1;
            }
            Item::Backfill { copy_id, month, service_id, request_id, place } => {
                let key = RowKey { copy_id: *copy_id, month: *month, service_id, request_id, place };
                backfill::set_state(self.connection, &key, backfill::BATCHED, self.id)?;
                *self.months.entry(*month).or_default() += 1;
            }
        }
        self.oldest_at = self.oldest_at.into_iter().chain(candidate.committed_at).min();
        candidate.item.encode(&mut self.items);
        self.records += 1;
        Ok(true)
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Stores the batch. `place` sorts it among the others; `None` puts it behind all of them.
    pub(crate) fn finish(
        self,
        place: Option<String>,
        service: Option<Text>,
        now: i64,
    ) -> Result<(Batch, Taken), LedgerError> {
        self.mark_log_rows()?;
        let body = self.builder.finish();
        let sha256: [u8; 32] = Sha256::digest(&body).into();
        let place = place.unwrap_or_else(|| format!("{:016}", self.id));
        self.connection
            .prepare_cached(
                "UPDATE batch SET place = ?2, state = 0, service_id = ?3, records = ?4, changes = ?5, \
                 months = ?6, items = ?7, body = ?8, sha256 = ?9, oldest_at = ?10, created_at = ?11 WHERE id = ?1",
            )?
            .execute(params![
                self.id,
                place,
                service.as_deref(),
                self.records,
                self.changes,
                encode_months(&self.months),
                self.items,
                body,
                sha256,
                self.oldest_at,
                now,
            ])?;
        let batch = Batch { id: self.id, body, records: self.records, sha256, attempts: 0, service };
        let taken = Taken { changes: i64::from(self.changes), months: self.months };
        Ok((batch, taken))
    }

    fn mark_log_rows(&self) -> Result<(), LedgerError> {
        let mut marked = 0;
        for LogRun { first, last } in &self.runs {
            marked += if first == last {
                // It may come from a batch that is cut.
                let sql = "UPDATE change SET batch_id = ?2 WHERE seq = ?1";
                self.connection.prepare_cached(sql)?.execute([*first, self.id])?
            } else {
                // What fails takes the whole transaction back, so SQLite need not be ready to take back this statement
                // alone: it would copy every page that is altered (https://www.sqlite.org/lang_conflict.html).
                let sql =
                    "UPDATE OR FAIL change SET batch_id = ?3 WHERE seq >= ?1 AND seq <= ?2 AND batch_id = 0";
                self.connection.prepare_cached(sql)?.execute([*first, *last, self.id])?
            };
        }
        if marked == self.changes as usize {
            return Ok(());
        }
        let message = format!("batch {} took {} log rows, and {marked} were marked", self.id, self.changes);
        Err(LedgerError::new(LedgerErrorKind::Damaged, message))
    }
}

/// Log rows side by side, but for such as are in a batch already.
struct LogRun {
    first: i64,
    last: i64,
}

/// What a batch took, for the counters.
pub(crate) struct Taken {
    pub(crate) changes: i64,
    pub(crate) months: BTreeMap<u32, i64>,
}
