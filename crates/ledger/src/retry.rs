//! Leaving quarantine: mapped after all, sent again, or discarded.

use normalizer::{Rejection, StatusChange};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::backfill::{self, Difference};
use crate::copy::CopyKind;
use crate::copy_state::{self, CopyRow, CopyState};
use crate::error::LedgerError;
use crate::history;
use crate::known::{Known, KnownTable};
use crate::ledger::{Ledger, LogEnd};
use crate::log_row::{LogKind, Origin};
use crate::meta;
use crate::parents::Parents;
use crate::quarantine::{Again, QuarantineId, RowForRetry, StandingRow};
use crate::row_owner::{self, Owner};

/// What came of mapping a quarantined row again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It could be mapped.
    Mapped {
        /// What it says.
        change: StatusChange,
        /// The month of the opening as yyyymm in the zone of the schedule.
        month: u32,
    },
    /// It was opened before the floor, or does not count: nothing is owed.
    NothingOwed,
    /// It still cannot be mapped.
    StillRejected {
        /// A stable name of what is wrong with it now.
        code: &'static str,
        /// What is wrong with it now, for the operator.
        reason: String,
    },
}

/// Which items to discard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard<'a> {
    /// Everything in quarantine.
    All,
    /// These items.
    Items(&'a [QuarantineId]),
}

impl Ledger {
    /// Takes the outcome of mapping a quarantined row again into account. An item that is not in quarantine
    /// any more is left as it is.
    ///
    /// A row of the stream goes to the log's end. A row of a copy takes the place that it would have had,
    /// unless its request has gone on meanwhile: then it is overtaken, and nothing is owed for it.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::OpenTransaction`] when the log ends within a transaction.
    pub fn resolve_row(
        &mut self,
        item: QuarantineId,
        resolution: &Resolution,
        now: i64,
    ) -> Result<(), LedgerError> {
        self.require_closed("map a quarantined row again")?;
        // Whether the request has gone on is known only when everything captured is settled.
        self.settle_all()?;
        let mut log = self.log;
        self.write("map a quarantined row again", |transaction| {
            let Some(row) = standing_row(transaction, item)? else { return Ok(()) };
            match resolution {
                Resolution::StillRejected { code, reason } => {
                    let sql = "UPDATE quarantine SET code = ?2, reason = ?3 WHERE id = ?1";
                    transaction.execute(sql, params![item, code, reason])?;
                    return Ok(());
                }
                Resolution::NothingOwed => {}
                Resolution::Mapped { change, month } => {
                    Retry { connection: transaction, log: &mut log, now }.row(&row, change, *month)?;
                }
            }
            leave(transaction, item, 2, now)
        })?;
        self.log = log;
        Ok(())
    }

    /// A quarantined row as its mapping reads it: one that was put aside without its parent is joined to it, as the parent
    /// is now. Inside the result, why it still cannot be.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn complete_row(&self, row: &RowForRetry) -> Result<Result<String, Rejection>, LedgerError> {
        let Some(declared) = &self.declared else { return Ok(Ok(row.row.clone())) };
        let Some(table) = declared.table(row.table) else {
            let name = self.table_names()?.remove(&row.table).unwrap_or_default();
            return Ok(Err(normalizer::missing_table(&name)));
        };
        let mut parents = Parents::new(&self.queries().connection, declared)?;
        normalizer::complete_stored(table, &row.row, &mut |join, key| {
            let found = parents.find(join.mirror, key)?;
            Ok(found.filter(|parent| !parent.is_gone).map(|parent| parent.cells.clone()))
        })
    }

    /// Puts all refused records into the delta again, oldest first; returns how many those are.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::OpenTransaction`] when the log ends within a transaction.
    pub fn retry_records(&mut self, now: i64) -> Result<u64, LedgerError> {
        self.require_closed("send refused records again")?;
        let mut log = self.log;
        let records = self.write("send refused records again", |transaction| {
            let records = transaction.execute(
                "INSERT INTO change(seq, kind, service_id, request_id, status_id, opening_at, modified_at, \
                 position, committed_at, captured_at, origin, table_id) \
                 SELECT ?1 + row_number() OVER (ORDER BY id) - 1, ?2, service_id, request_id, status_id, \
                 opening_at, modified_at, position, at, ?3, ?4, table_id FROM quarantine WHERE state = 0 AND kind = 1",
                params![log.next_seq, LogKind::SentAgain, now, Origin::Retry],
            )?;
            transaction.execute(
                "UPDATE quarantine SET state = 2, resolved_at = ?1 WHERE state = 0 AND kind = 1",
                [now],
            )?;
            close_at(transaction, &mut log, i64::try_from(records).unwrap_or(i64::MAX))?;
            Ok(records as u64)
        })?;
        self.log = log;
        Ok(records)
    }

    /// Takes items out of quarantine for good; they stay on record. Returns how many those are.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn discard(&mut self, which: Discard<'_>, now: i64) -> Result<u64, LedgerError> {
        self.write("discard quarantined items", |transaction| {
            let sql = "UPDATE quarantine SET state = 3, resolved_at = ?1 WHERE state = 0";
            match which {
                Discard::All => Ok(transaction.execute(sql, [now])? as u64),
                Discard::Items(items) => {
                    let mut statement = transaction.prepare_cached(&format!("{sql} AND id = ?2"))?;
                    let mut discarded = 0;
                    for item in items {
                        discarded += statement.execute([now, *item])? as u64;
                    }
                    Ok(discarded)
                }
            }
        })
    }
}

fn standing_row(connection: &Connection, item: QuarantineId) -> Result<Option<StandingRow>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT copy_id, position, at, row_key, table_id FROM quarantine WHERE id = ?1 AND state = 0 AND kind = 0",
    )?;
    let found = statement.query_row([item], |row| {
        Ok(StandingRow {
            from_copy: row.get(0)?,
            position: row.get(1)?,
            at: row.get(2)?,
            row_key: row.get(3)?,
            table: row.get(4)?,
        })
    });
    Ok(found.optional()?)
}

fn leave(connection: &Connection, item: QuarantineId, state: i64, now: i64) -> Result<(), LedgerError> {
    let sql = "UPDATE quarantine SET state = ?2, resolved_at = ?3 WHERE id = ?1";
    connection.execute(sql, [item, state, now])?;
    Ok(())
}

/// The `rows` rows that were put at the log's end are committed.
pub(crate) fn close_at(connection: &Connection, log: &mut LogEnd, rows: i64) -> Result<(), LedgerError> {
    log.next_seq += rows;
    log.committed_seq = log.next_seq - 1;
    meta::set(connection, meta::COMMITTED_SEQ, log.committed_seq)
}

/// What a copied row tells, once it can be mapped.
fn copied(copy: &CopyRow, change: &StatusChange) -> Owner {
    Owner {
        service_id: change.service_id.to_string(),
        request_id: change.request_id.to_string(),
        opening_at: Some(change.opening_at),
        seq: copy.began_seq,
        status_id: change.status_id,
        modified_at: Some(change.modified_at),
        copy_id: copy.id,
        is_held: false,
    }
}

/// A quarantined row that could be mapped.
struct Retry<'a> {
    connection: &'a Transaction<'a>,
    log: &'a mut LogEnd,
    now: i64,
}

impl Retry<'_> {
    fn row(&mut self, row: &StandingRow, change: &StatusChange, month: u32) -> Result<(), LedgerError> {
        let (row_key, position) = (row.row_key.as_deref(), row.position.as_deref());
        let again = Again { table: row.table, change, row_key, position, committed_at: row.at };
        let Some(copy) = row.from_copy else { return self.append(LogKind::MappedAgain, &again) };
        let copy = copy_state::find(self.connection, copy)?
            .filter(|copy| copy.state == CopyState::Merged)
            .ok_or_else(|| {
                LedgerError::misuse("the copy of the table that the row belongs to is not complete")
            })?;
        let known = KnownTable::new(self.connection)?.find(&change.service_id, &change.request_id)?;
        if let Some(key) = row_key {
            let is_told = row_owner::owner_of(self.connection, key)?.is_some();
            return match copy.kind {
                CopyKind::Repair { .. } if is_told || !copy.is_first_of(row.table) => {
                    self.append(LogKind::MappedAgain, &again)
                }
                // The row has been told of since it was put aside.
                _ if is_told => Ok(()),
                _ => self.wait(&copy, known.unwrap_or_default(), &again, month),
            };
        }
        match copy.kind {
            CopyKind::Repair { .. } if known.is_some() || !copy.is_first_of(row.table) => {
                if known.is_some_and(|known| known.touched_seq > copy.began_seq) {
                    return Ok(());
                }
                self.append(LogKind::Candidate, &again)
            }
            _ => match known {
                Some(known) if known.status_id != 0 || known.emitted_seq > 0 || known.copy_id > 0 => Ok(()),
                known => self.wait(&copy, known.unwrap_or_default(), &again, month),
            },
        }
    }

    fn append(&mut self, kind: LogKind, again: &Again<'_>) -> Result<(), LedgerError> {
        let change = again.change;
        self.connection
            .prepare_cached(
                "INSERT INTO change(seq, kind, service_id, request_id, status_id, opening_at, modified_at, \
                 position, committed_at, captured_at, origin, row_key, table_id) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                self.log.next_seq,
                kind,
                &*change.service_id,
                &*change.request_id,
                change.status_id,
                change.opening_at,
                change.modified_at,
                again.position,
                again.committed_at,
                self.now,
                Origin::Retry,
                again.row_key,
                again.table,
            ])?;
        close_at(self.connection, self.log, 1)
    }

    /// Makes the row wait for the backfill with the rest of its copy.
    fn wait(
        &mut self,
        copy: &CopyRow,
        mut known: Known,
        again: &Again<'_>,
        month: u32,
    ) -> Result<(), LedgerError> {
        let (connection, change) = (self.connection, again.change);
        // All rows of a request leave under one month.
        let month = if known.copy_id == copy.id { known.month } else { month };
        let place = again.row_key.map(|key| history::place_of(change.modified_at, key)).unwrap_or_default();
        if let Some(key) = again.row_key {
            row_owner::set_owner(connection, key, &copied(copy, change))?;
        }
        connection.execute(
            "INSERT OR REPLACE INTO backfill_row(copy_id, month, service_id, request_id, status_id, opening_at, \
             modified_at, state, place, table_id) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                copy.id,
                month,
                &*change.service_id,
                &*change.request_id,
                change.status_id,
                change.opening_at,
                change.modified_at,
                backfill::WAITING,
                place,
                again.table,
            ],
        )?;
        known.status_id = change.status_id;
        known.opening_at = Some(change.opening_at);
        known.modified_at = Some(change.modified_at);
        known.copy_id = copy.id;
        known.month = month;
        known.table = again.table;
        KnownTable::new(connection)?.store(&change.service_id, &change.request_id, &known)?;
        meta::add(connection, meta::WAITING_ROWS, 1)?;
        if backfill::range(connection)?.is_some_and(|range| range.contains(change.opening_at)) {
            let sql = "INSERT INTO backfill_month VALUES(?1, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING";
            connection.execute(sql, [month])?;
            backfill::count(connection, month, Difference { waiting: 1, ..Difference::default() })?;
        }
        Ok(())
    }
}
