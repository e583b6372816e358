//! The last known status of each request, and what a log row does to it.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::error::LedgerError;
use crate::log_row::LogKind;
use crate::table_id::TableId;

/// What is known of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Known {
    /// 0 when a row of the request was rejected.
    pub(crate) status_id: u8,
    pub(crate) opening_at: Option<i64>,
    pub(crate) modified_at: Option<i64>,
    /// The last log row about it; repeats of a status only count while a copy needs to know.
    pub(crate) touched_seq: i64,
    /// The last log row about it that stayed; 0 when none did.
    pub(crate) emitted_seq: i64,
    /// The status of its last log row when that was a row mapped again, else 0.
    pub(crate) retried: u8,
    /// The copy whose row for the backfill carries it, 0 when none does.
    pub(crate) copy_id: i64,
    /// The month under which that row is found.
    pub(crate) month: u32,
    /// The table that last told of it.
    pub(crate) table: TableId,
}

/// The part of a log row that decides, once its request is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogRow {
    pub(crate) seq: i64,
    pub(crate) kind: LogKind,
    pub(crate) status_id: u8,
    pub(crate) opening_at: Option<i64>,
    pub(crate) modified_at: Option<i64>,
    pub(crate) table: TableId,
}

/// Whether a log row stays as a status change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    Goes,
}

impl Known {
    /// Takes the next log row of the request into account. `track` says whether a copy under way needs to
    /// know of every touch; otherwise a repeat leaves no trace, because most changes are repeats.
    pub(crate) fn visit(&mut self, row: &LogRow, track: bool) -> Fate {
        let retried = self.retried;
        if row.kind != LogKind::SentAgain {
            self.retried = 0;
        }
        match row.kind {
            LogKind::SentAgain => Fate::Stays,
            // Such a row is joined before it comes here.
            LogKind::Unjoined => Fate::Goes,
            LogKind::Broken => {
                self.status_id = 0;
                self.touched_seq = row.seq;
                self.table = row.table;
                Fate::Goes
            }
            LogKind::Candidate | LogKind::Deletion | LogKind::Departure
                if self.status_id == row.status_id =>
            {
                if track {
                    self.touched_seq = row.seq;
                }
                Fate::Goes
            }
            LogKind::Record
            | LogKind::Amended
            | LogKind::Candidate
            | LogKind::Deletion
            | LogKind::Departure => {
                self.take(row);
                Fate::Stays
            }
            LogKind::MappedAgain if self.status_id == 0 => {
                self.take(row);
                self.retried = row.status_id;
                Fate::Stays
            }
            LogKind::MappedAgain => {
                self.retried = row.status_id;
                if retried == row.status_id {
                    return Fate::Goes;
                }
                // It happened before what is known: it is owed, but it is not the present.
                self.touched_seq = row.seq;
                self.emitted_seq = row.seq;
                Fate::Stays
            }
        }
    }

    fn take(&mut self, row: &LogRow) {
        self.status_id = row.status_id;
        self.opening_at = row.opening_at;
        self.modified_at = row.modified_at;
        self.touched_seq = row.seq;
        self.emitted_seq = row.seq;
        self.table = row.table;
    }
}

/// Reads and writes [`Known`] by request.
pub(crate) struct KnownTable<'a> {
    select: CachedStatement<'a>,
    upsert: CachedStatement<'a>,
}

impl<'a> KnownTable<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Result<Self, LedgerError> {
        let select = connection.prepare_cached(
            "SELECT status_id, opening_at, modified_at, touched_seq, emitted_seq, retried, copy_id, month, \
             table_id FROM known WHERE service_id = ?1 AND request_id = ?2",
        )?;
        let upsert = connection.prepare_cached(
            "INSERT INTO known(service_id, request_id, status_id, opening_at, modified_at, touched_seq, \
             emitted_seq, retried, copy_id, month, table_id) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
             ON CONFLICT(service_id, request_id) DO UPDATE SET status_id = excluded.status_id, \
             opening_at = excluded.opening_at, modified_at = excluded.modified_at, \
             touched_seq = excluded.touched_seq, emitted_seq = excluded.emitted_seq, \
             retried = excluded.retried, copy_id = excluded.copy_id, month = excluded.month, \
             table_id = excluded.table_id",
        )?;
        Ok(Self { select, upsert })
    }

    pub(crate) fn find(&mut self, service_id: &str, request_id: &str) -> Result<Option<Known>, LedgerError> {
        let found = self.select.query_row([service_id, request_id], |row| {
            Ok(Known {
                status_id: row.get(0)?,
                opening_at: row.get(1)?,
                modified_at: row.get(2)?,
                touched_seq: row.get(3)?,
                emitted_seq: row.get(4)?,
                retried: row.get(5)?,
                copy_id: row.get(6)?,
                month: row.get(7)?,
                table: row.get(8)?,
            })
        });
        Ok(found.optional()?)
    }

    pub(crate) fn store(
        &mut self,
        service_id: &str,
        request_id: &str,
        known: &Known,
    ) -> Result<(), LedgerError> {
        self.upsert.execute(params![
            service_id,
            request_id,
            known.status_id,
            known.opening_at,
            known.modified_at,
            known.touched_seq,
            known.emitted_seq,
            known.retried,
            known.copy_id,
            known.month,
            known.table,
        ])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(known_status: u8, rows: &[(LogKind, u8)], expected: &[u8], then: u8) {
        let mut known = Known { status_id: known_status, ..Known::default() };
        let mut stay = Vec::new();
        for (seq, (kind, status_id)) in (1..).zip(rows) {
            let row = LogRow {
                seq,
                kind: *kind,
                status_id: *status_id,
                opening_at: Some(0),
                modified_at: Some(seq),
                table: TableId::default(),
            };
            if known.visit(&row, false) == Fate::Stays {
                stay.push(*status_id);
            }
        }
        assert_eq!((stay.as_slice(), known.status_id), (expected, then), "after {rows:?}");
    }

    #[test]
    fn a_candidate_stays_only_when_it_differs_from_what_is_known() {
        use LogKind::Candidate;
        check(9, &[(Candidate, 9), (Candidate, 3), (Candidate, 9)], &[3, 9], 9);
        check(0, &[(Candidate, 9), (Candidate, 9)], &[9], 9);
    }

    #[test]
    fn the_deletion_of_a_request_in_the_status_that_reports_it_is_no_status_change() {
        use LogKind::{Candidate, Deletion};
        check(9, &[(Candidate, 10), (Deletion, 10)], &[10], 10);
        check(9, &[(Deletion, 10)], &[10], 10);
    }

    #[test]
    fn a_record_stays_even_when_it_repeats_what_is_known() {
        check(9, &[(LogKind::Record, 9)], &[9], 9);
    }

    #[test]
    fn a_rejected_row_makes_the_next_candidate_stay() {
        check(9, &[(LogKind::Broken, 0), (LogKind::Candidate, 9)], &[9], 9);
    }

    #[test]
    fn a_row_mapped_again_is_owed_but_never_becomes_the_present_again() {
        use LogKind::MappedAgain;
        check(3, &[(MappedAgain, 9), (MappedAgain, 9), (MappedAgain, 2)], &[9, 2], 3);
        check(0, &[(MappedAgain, 9), (MappedAgain, 9)], &[9], 9);
        check(3, &[(LogKind::SentAgain, 9)], &[9], 3);
    }
}
