//! Telling the dashboard of what an audit found to be missing or different.

use change::{Position, RowKey};
use normalizer::StatusChange;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::LedgerError;
use crate::history;
use crate::known::KnownTable;
use crate::ledger::Ledger;
use crate::log_row::{LogKind, Origin};
use crate::retry::close_at;

/// A request, or a row of a history, as the table shows it and the dashboard does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What the table shows.
    pub change: StatusChange,
    /// The row's key, where rows have one.
    pub row_key: Option<RowKey>,
    /// The seq of the log row that was known of it when it was compared; `None` when nothing was known.
    pub known_seq: Option<i64>,
    /// Its place among those of its request; empty where there is only one.
    pub place: String,
}

/// When and where the table was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairAt {
    /// The log's position that the comparison is as of.
    pub position: Option<Position>,
    /// When the table was read, in microseconds since the epoch.
    pub read_at: i64,
    /// The present moment, likewise.
    pub now: i64,
}

impl Ledger {
    /// Puts what the table shows at the log's end, from where it is settled, sealed and sent like everything else;
    /// returns how much of it. What went on since it was compared comes by the stream, and is left out.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::OpenTransaction`] when the log ends within a transaction.
    pub fn repair(&mut self, repairs: &[Repair], at: &RepairAt) -> Result<u64, LedgerError> {
        self.require_closed("send what an audit found")?;
        // Whether something went on is known only when everything captured is settled.
        self.settle_all()?;
        let mut log = self.log;
        let sent = self.write("send what an audit found", |transaction| {
            let mut sent = 0;
            for repair in repairs {
                if known_seq(transaction, repair)? == repair.known_seq {
                    append(transaction, log.next_seq, repair, at)?;
                    close_at(transaction, &mut log, 1)?;
                    sent += 1;
                }
            }
            Ok(sent)
        })?;
        self.log = log;
        self.settle_all()?;
        Ok(sent)
    }
}

/// The seq of the last log row that is known of it.
fn known_seq(connection: &Connection, repair: &Repair) -> Result<Option<i64>, LedgerError> {
    if !history::is_history(connection)? {
        let change = &repair.change;
        let known = KnownTable::new(connection)?.find(&change.service_id, &change.request_id)?;
        return Ok(known.map(|known| known.emitted_seq.max(known.touched_seq)));
    }
    let Some(key) = &repair.row_key else { return Ok(None) };
    let sql = "SELECT seq FROM row_owner WHERE row_key = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([key.as_str()], |row| row.get(0)).optional()?)
}

fn append(connection: &Connection, seq: i64, repair: &Repair, at: &RepairAt) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO change(seq, kind, service_id, request_id, status_id, opening_at, modified_at, row_key, \
             position, committed_at, captured_at, origin) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            seq,
            LogKind::Record,
            &*repair.change.service_id,
            &*repair.change.request_id,
            repair.change.status_id,
            repair.change.opening_at,
            repair.change.modified_at,
            repair.row_key.as_ref().map(RowKey::as_str),
            at.position.as_ref().map(Position::as_str),
            at.read_at,
            at.now,
            Origin::Repair,
        ])?;
    Ok(())
}
