//! Merging rows of a copy with the last known statuses, at the place in the log where their turn comes.
//!
//! Rows are visited by request. Where the table holds a request several times, the row with the newest
//! modification counts.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::copy::CopyKind;
use crate::copy_state::{self, CopyRow};
use crate::error::{LedgerError, LedgerErrorKind};
use crate::known::{Known, KnownTable};
use crate::log_row::{LogKind, Origin};
use crate::meta;
use crate::row_owner::{self, Owner};

/// A place in the log where rows of a copy are merged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marker {
    pub(crate) seq: i64,
    pub(crate) copy_id: i64,
    pub(crate) page_id: Option<i64>,
    pub(crate) reserved: i64,
}

/// The first marker after `settled`.
pub(crate) fn next_marker(connection: &Connection, settled: i64) -> Result<Option<Marker>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, copy_id, page_id, reserved FROM marker WHERE seq > ?1 ORDER BY seq LIMIT 1",
    )?;
    let found = statement.query_row([settled], |row| {
        Ok(Marker { seq: row.get(0)?, copy_id: row.get(1)?, page_id: row.get(2)?, reserved: row.get(3)? })
    });
    Ok(found.optional()?)
}

/// Merges the marker's rows; returns how many status changes that brought into the log.
pub(crate) fn absorb(connection: &Connection, marker: &Marker) -> Result<u64, LedgerError> {
    let Some(copy) = copy_state::find(connection, marker.copy_id)? else {
        let message = format!("copy {} has a place in the log and no row of its own", marker.copy_id);
        return Err(LedgerError::new(LedgerErrorKind::Damaged, message));
    };
    let staged = Staged::of(connection, marker, &copy)?;
    let mut merge = Merge::new(connection, &copy, marker, &staged)?;
    let mut rows = connection.prepare_cached(
        "SELECT id, service_id, request_id, status_id, opening_at, modified_at, row_key FROM snapshot_row \
         WHERE id BETWEEN ?1 AND ?2 AND copy_id = ?3 ORDER BY service_id, request_id, modified_at, id",
    )?;
    let mut rows = rows.query(params![staged.first_id, staged.last_id, copy.id])?;
    while let Some(row) = rows.next()? {
        merge.visit(row)?;
    }
    merge.decide()?;
    drop(rows);
    let (waiting, emitted) = (merge.waiting, merge.emitted);
    drop(merge);
    meta::add(connection, meta::WAITING_ROWS, waiting)?;
    if let CopyKind::Repair { gap } = copy.kind {
        connection.execute("UPDATE gap SET records = records + ?2 WHERE id = ?1", params![gap, emitted])?;
        let sql = "DELETE FROM snapshot_row WHERE id BETWEEN ?1 AND ?2 AND copy_id = ?3";
        connection.execute(sql, params![staged.first_id, staged.last_id, copy.id])?;
    }
    Ok(emitted.unsigned_abs())
}

/// Which rows a marker stands for, and what is told of the moment they were read.
struct Staged {
    first_id: i64,
    last_id: i64,
    position: Option<String>,
    at: i64,
}

impl Staged {
    fn of(connection: &Connection, marker: &Marker, copy: &CopyRow) -> Result<Self, LedgerError> {
        let Some(page) = marker.page_id else {
            let position = copy.cursor.clone();
            return Ok(Self { first_id: copy.first_id, last_id: copy.last_id, position, at: copy.began_at });
        };
        let mut statement =
            connection.prepare_cached("SELECT first_id, last_id, fence, at FROM page WHERE id = ?1")?;
        Ok(statement.query_row([page], |row| {
            Ok(Self { first_id: row.get(0)?, last_id: row.get(1)?, position: row.get(2)?, at: row.get(3)? })
        })?)
    }
}

/// A row of the copy, kept until the next one shows whether it is the last of its request.
#[derive(Default)]
struct Last {
    id: i64,
    service_id: String,
    request_id: String,
    status_id: u8,
    opening_at: i64,
    modified_at: i64,
}

/// What becomes of a snapshot row.
enum Use {
    /// It carries the request: it waits for the backfill.
    Waits,
    /// The request is owed or known otherwise.
    Skipped,
    /// It shows a status change that the lost log held.
    Emitted,
    /// It shows what is known.
    Nothing,
}

struct Merge<'a> {
    connection: &'a Connection,
    copy: &'a CopyRow,
    staged: &'a Staged,
    known: KnownTable<'a>,
    skip: CachedStatement<'a>,
    emit: CachedStatement<'a>,
    is_unsent: CachedStatement<'a>,
    last: Option<Last>,
    next_seq: i64,
    waiting: i64,
    emitted: i64,
}

impl<'a> Merge<'a> {
    fn new(
        connection: &'a Connection,
        copy: &'a CopyRow,
        marker: &Marker,
        staged: &'a Staged,
    ) -> Result<Self, LedgerError> {
        let emit = connection.prepare_cached(
            "INSERT INTO change(seq, kind, service_id, request_id, status_id, opening_at, modified_at, \
             position, committed_at, captured_at, origin) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10)",
        )?;
        let is_unsent = connection
            .prepare_cached("SELECT EXISTS(SELECT 1 FROM change WHERE seq = ?1 AND batch_id = 0)")?;
        Ok(Self {
            connection,
            copy,
            staged,
            known: KnownTable::new(connection)?,
            skip: connection.prepare_cached("UPDATE snapshot_row SET state = 2 WHERE id = ?1")?,
            emit,
            is_unsent,
            last: None,
            next_seq: marker.seq + 1,
            waiting: 0,
            emitted: 0,
        })
    }

    fn visit(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        let (service_id, request_id): (&str, &str) = (
            row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
            row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?,
        );
        if let Some(last) = &self.last {
            if last.service_id == service_id && last.request_id == request_id {
                if !matches!(self.copy.kind, CopyKind::Repair { .. }) {
                    self.skip.execute([last.id])?;
                }
            } else {
                self.decide()?;
            }
        }
        let mut last = self.last.take().unwrap_or_default();
        last.id = row.get(0)?;
        service_id.clone_into(&mut last.service_id);
        request_id.clone_into(&mut last.request_id);
        last.status_id = row.get(3)?;
        last.opening_at = row.get(4)?;
        last.modified_at = row.get(5)?;
        if let Some(key) = row.get_ref(6)?.as_str_or_null().map_err(rusqlite::Error::from)? {
            self.own(key, &last)?;
        }
        self.last = Some(last);
        Ok(())
    }

    fn own(&self, key: &str, row: &Last) -> Result<(), LedgerError> {
        let began_seq = self.copy.began_seq;
        if row_owner::owner_of(self.connection, key)?.is_some_and(|owner| owner.seq > began_seq) {
            // The stream has told since then whose row it is.
            return Ok(());
        }
        let owner = Owner {
            service_id: row.service_id.clone(),
            request_id: row.request_id.clone(),
            opening_at: Some(row.opening_at),
            seq: began_seq,
        };
        row_owner::set_owner(self.connection, key, &owner)
    }

    /// Decides about the request whose last row was just seen.
    fn decide(&mut self) -> Result<(), LedgerError> {
        let Some(row) = self.last.take() else { return Ok(()) };
        let before = self.known.find(&row.service_id, &row.request_id)?;
        let mut known = before.unwrap_or_default();
        let used = match self.copy.kind {
            CopyKind::Baseline => self.for_baseline(before.as_ref()),
            CopyKind::Again => self.for_again(before.as_ref())?,
            CopyKind::Repair { .. } => self.for_repair(before.as_ref(), row.status_id),
        };
        match used {
            Use::Nothing => {}
            Use::Skipped => drop(self.skip.execute([row.id])?),
            Use::Waits => {
                known.backfill_id = row.id;
                self.waiting += 1;
                self.store(&row, known)?;
            }
            Use::Emitted => {
                self.emit(&row)?;
                known.emitted_seq = self.next_seq;
                known.touched_seq = self.next_seq;
                self.next_seq += 1;
                self.emitted += 1;
                self.store(&row, known)?;
            }
        }
        self.last = Some(row);
        Ok(())
    }

    fn for_baseline(&self, known: Option<&Known>) -> Use {
        match known {
            None => Use::Waits,
            // Nothing was ever emitted for it, and no row of a copy carries it.
            Some(known) if known.emitted_seq > 0 => Use::Skipped,
            Some(known) if known.status_id == 0 && known.touched_seq <= self.copy.began_seq => Use::Waits,
            Some(known) if known.status_id != 0 && known.backfill_id == 0 => Use::Waits,
            Some(_) => Use::Skipped,
        }
    }

    fn for_again(&mut self, known: Option<&Known>) -> Result<Use, LedgerError> {
        let Some(known) = known else { return Ok(Use::Waits) };
        let began_seq = self.copy.began_seq;
        let comes_by_stream = known.emitted_seq > began_seq
            || (known.status_id == 0 && known.touched_seq > began_seq)
            || self.is_unsent(known.emitted_seq)?;
        Ok(if comes_by_stream { Use::Skipped } else { Use::Waits })
    }

    /// Whether the request's last status change has still to leave: sent before it, the copy's row would be
    /// out of order.
    fn is_unsent(&mut self, seq: i64) -> Result<bool, LedgerError> {
        Ok(seq > 0 && self.is_unsent.query_row([seq], |row| row.get(0))?)
    }

    fn for_repair(&self, known: Option<&Known>, status_id: u8) -> Use {
        match known {
            None => Use::Emitted,
            Some(known) if known.status_id == status_id || known.touched_seq > self.copy.began_seq => {
                Use::Nothing
            }
            Some(_) => Use::Emitted,
        }
    }

    fn emit(&mut self, row: &Last) -> Result<(), LedgerError> {
        self.emit.execute(params![
            self.next_seq,
            LogKind::Record,
            row.service_id,
            row.request_id,
            row.status_id,
            row.opening_at,
            row.modified_at,
            self.staged.position,
            self.staged.at,
            Origin::Repair,
        ])?;
        Ok(())
    }

    fn store(&mut self, row: &Last, mut known: Known) -> Result<(), LedgerError> {
        known.status_id = row.status_id;
        known.opening_at = Some(row.opening_at);
        known.modified_at = Some(row.modified_at);
        known.retried = 0;
        self.known.store(&row.service_id, &row.request_id, &known)
    }
}
