//! Comparing the table with what the dashboard was told, beside the process that writes the ledger.
//!
//! What the dashboard was last told of a request, or is owed of it, is its last known status, which is kept for ever; of
//! a history it is what was last told of each row. The comparison reads a ledger that goes on, and keeps what it needs
//! beside it in temporary tables of its own, on disk: memory does not grow with the table.
//!
//! # What must hold
//! - Months whose counts and digests agree are equal, whatever happened while they were made. The others are read again,
//!   row by row.
//! - Such a row counts only when the log has been captured and settled beyond the moment of its reading, and only if
//!   nothing was captured of it *since*: from before its reading. Then the log has nothing to say about the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use change::{Checkpoint, RowKey};
use normalizer::StatusChange;
use rusqlite::params;

use crate::copy::StagedPage;
use crate::error::LedgerError;
use crate::meta;
use crate::queries::Queries;
use crate::reader;
use crate::repair::Repair;
use crate::tally::{Said, Tallies};
use crate::{audit_compare, audit_owed, history};

/// What an audit keeps beside the ledger.
///
/// `one` and `two` identify what is compared: service and request, or a row's key and nothing.
const TABLES: &str = "
    CREATE TEMP TABLE audit_row(
        one TEXT NOT NULL, two TEXT NOT NULL, month INTEGER NOT NULL, service_id TEXT NOT NULL,
        request_id TEXT NOT NULL, status_id INTEGER NOT NULL, opening_at INTEGER NOT NULL,
        modified_at INTEGER NOT NULL, row_key TEXT, PRIMARY KEY(one, two)) WITHOUT ROWID;
    CREATE TEMP TABLE audit_difference(
        service_id TEXT NOT NULL, request_id TEXT NOT NULL, place TEXT NOT NULL, kind INTEGER NOT NULL,
        month INTEGER NOT NULL, one TEXT NOT NULL, two TEXT NOT NULL, known_status INTEGER, known_seq INTEGER,
        status_id INTEGER, opening_at INTEGER, modified_at INTEGER, row_key TEXT,
        PRIMARY KEY(service_id, request_id, place)) WITHOUT ROWID;
    CREATE TEMP TABLE audit_sent(
        service_id TEXT NOT NULL, request_id TEXT NOT NULL, place TEXT NOT NULL, opening_at INTEGER,
        PRIMARY KEY(service_id, request_id, place)) WITHOUT ROWID;
    CREATE TEMP TABLE audit_aside(
        one TEXT NOT NULL, two TEXT NOT NULL, PRIMARY KEY(one, two)) WITHOUT ROWID;";

/// What an audit is about.
pub struct AuditScope {
    /// Openings before this moment, in microseconds since the epoch, are nobody's business.
    pub from_at: i64,
    /// The only month of openings, as yyyymm.
    pub month: Option<u32>,
    /// The status that the requests of deleted rows pass to, where that is reported.
    pub deletion_status: Option<u8>,
    /// The month of an opening as yyyymm.
    pub month_of: Box<dyn Fn(i64) -> u32 + Send + Sync>,
}

impl AuditScope {
    /// The month of an opening that the audit is about.
    pub(crate) fn month_of(&self, opening_at: Option<i64>) -> Option<u32> {
        let opening_at = opening_at.filter(|opening_at| *opening_at >= self.from_at)?;
        Some((self.month_of)(opening_at)).filter(|month| self.covers(*month))
    }

    /// Whether the audit is about this month.
    #[must_use]
    pub fn covers(&self, month: u32) -> bool {
        self.month.is_none_or(|only| only == month)
    }
}

/// What came of one month. Of a history rows are counted, else requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MonthAudit {
    /// Acknowledged, and the table says the same.
    pub equal: u64,
    /// Captured and not acknowledged yet, and the table says the same; also what waits for the backfill.
    pub on_their_way: u64,
    /// In the table, and neither acknowledged nor owed.
    pub missing: u64,
    /// Last told with another status than the table's.
    pub different: u64,
    /// Told, and not in the table any more, or outside the condition.
    pub unknown: u64,
    /// In quarantine, or of rows that cannot be mapped.
    pub set_aside: u64,
}

/// How a request, or a row of a history, differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// The dashboard was never told of it.
    Missing,
    /// The dashboard was last told another status.
    Different,
    /// The table does not hold it.
    Unknown,
}

impl DifferenceKind {
    pub(crate) const ALL: [Self; 3] = [Self::Missing, Self::Different, Self::Unknown];

    /// The word for it in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Unknown => "unknown",
        }
    }
}

/// A request, or a row of a history, of which table and dashboard say different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How it differs.
    pub kind: DifferenceKind,
    /// The month of its opening as yyyymm.
    pub month: u32,
    /// The service.
    pub service_id: String,
    /// The request.
    pub request_id: String,
    /// The key of the row, in a history.
    pub row_key: Option<String>,
    /// What the dashboard was last told.
    pub known_status: Option<u8>,
    /// What the table says.
    pub database_status: Option<u8>,
    /// When it was opened, in microseconds since the epoch.
    pub opening_at: Option<i64>,
    /// When it passed to that status, by the table.
    pub modified_at: Option<i64>,
}

/// The last known statuses, and what is owed of them.
#[derive(Debug)]
pub struct KnownSide {
    /// What is known.
    pub tallies: Tallies,
    pub(crate) counts: BTreeMap<u32, MonthAudit>,
}

impl KnownSide {
    /// What came of the months in which the table says the same: all but those that are `differing`.
    #[must_use]
    pub fn months_but(&self, differing: &BTreeSet<u32>) -> BTreeMap<u32, MonthAudit> {
        let mut months = self.counts.clone();
        months.retain(|month, _| !differing.contains(month));
        months
    }
}

/// A comparison under way.
#[derive(Debug)]
pub struct Audit {
    queries: Queries,
    history: bool,
}

impl Audit {
    /// Opens the ledger in `dir`, beside whoever writes it.
    ///
    /// # Errors
    /// As [`crate::LedgerReader::open`], and [`crate::LedgerErrorKind::Misuse`] when the table was never copied whole: then
    /// there is nothing to compare with.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let connection = reader::connect(dir)?;
        let sql = "SELECT EXISTS(SELECT 1 FROM copy WHERE kind = 0 AND state = 2)";
        if !connection.query_row(sql, [], |row| row.get(0))? {
            return Err(LedgerError::misuse("the first copy of the table is not complete yet"));
        }
        connection.execute_batch(TABLES)?;
        let history = history::is_history(&connection)?;
        Ok(Self { queries: Queries::new(connection), history })
    }

    /// Whether each row of the table is a status change.
    #[must_use]
    pub fn is_history(&self) -> bool {
        self.history
    }

    /// Up to where the log was captured, and the seq that this has in the ledger.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn captured(&self) -> Result<(Option<Checkpoint>, i64), LedgerError> {
        let view = self.queries.connection.unchecked_transaction()?;
        let captured = (self.queries.checkpoint()?, meta::number(&view, meta::COMMITTED_SEQ)?);
        Ok(captured)
    }

    /// Whether what was captured up to `seq` is settled.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn is_settled_to(&self, seq: i64) -> Result<bool, LedgerError> {
        Ok(meta::number(&self.queries.connection, meta::SETTLED_SEQ)? >= seq)
    }

    /// How many requests, or rows of a history, are known.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn known_rows(&self) -> Result<u64, LedgerError> {
        let sql = if self.history { "SELECT count(*) FROM row_owner" } else { "SELECT count(*) FROM known" };
        Ok(self.queries.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Counts what is known into `known`, the other side of the table's, and what is owed of it. One pass over all that
    /// is known.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn known(&self, scope: &AuditScope, mut known: Tallies) -> Result<KnownSide, LedgerError> {
        let view = self.queries.connection.unchecked_transaction()?;
        let mut counts: BTreeMap<u32, MonthAudit> = BTreeMap::new();
        let sql = match self.history {
            false => "SELECT NULL, service_id, request_id, status_id, opening_at FROM known",
            true => {
                "SELECT row_key, service_id, request_id, status_id, opening_at FROM row_owner WHERE is_held = 0"
            }
        };
        let mut statement = view.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(month) = scope.month_of(row.get(4)?) else { continue };
            let said = Said {
                row_key: row.get_ref(0)?.as_str_or_null().map_err(rusqlite::Error::from)?,
                service_id: row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
                request_id: row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?,
                status_id: row.get(3)?,
            };
            match said.status_id {
                0 => counts.entry(month).or_default().set_aside += 1,
                _ => known.add(month, &said),
            }
        }
        for (month, rows) in known.months() {
            counts.entry(month).or_default().equal = rows;
        }
        audit_owed::subtract(&view, self.history, scope, &mut counts)?;
        Ok(KnownSide { tallies: known, counts })
    }

    /// Keeps a page of the table for [`Audit::compare`]: what was opened in `months`, or what [`Audit::compare`] found
    /// to be unknown.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn keep(&self, page: &StagedPage, months: Option<&BTreeSet<u32>>) -> Result<(), LedgerError> {
        let view = self.queries.connection.unchecked_transaction()?;
        audit_compare::keep(&view, self.history, page, months)?;
        view.commit()?;
        Ok(())
    }

    /// Compares what was kept with what is known, for `months`. Nothing that was captured after `since_seq` counts.
    ///
    /// # Errors
    /// When the ledger cannot be read, or there is no room for what differs.
    pub fn compare(
        &self,
        scope: &AuditScope,
        months: &BTreeSet<u32>,
        since_seq: i64,
    ) -> Result<BTreeMap<u32, MonthAudit>, LedgerError> {
        let view = self.queries.connection.unchecked_transaction()?;
        let mut counts = audit_compare::compare(&view, self.history, scope, months, since_seq)?;
        let inside = |opening_at| scope.month_of(opening_at).filter(|month| months.contains(month));
        audit_owed::subtract_within(&view, self.history, &inside, &mut counts)?;
        view.commit()?;
        Ok(counts)
    }

    /// Visits what differs, the missing first; at most `limit` of it.
    ///
    /// # Errors
    /// What `visit` returns, and when the ledger cannot be read.
    pub fn differences<E: From<LedgerError>>(
        &self,
        limit: Option<u32>,
        mut visit: impl FnMut(&Difference) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self
            .queries
            .connection
            .prepare(
                "SELECT kind, month, service_id, request_id, row_key, known_status, status_id, opening_at, modified_at \
                 FROM temp.audit_difference ORDER BY kind, month, service_id, request_id, place LIMIT ?1",
            )
            .map_err(LedgerError::from)?;
        let mut rows = statement.query([limit.map_or(-1, i64::from)]).map_err(LedgerError::from)?;
        while let Some(row) = rows.next().map_err(LedgerError::from)? {
            let mut difference = read_difference(row).map_err(LedgerError::from)?;
            difference.row_key = difference.row_key.filter(|_| self.history);
            visit(&difference)?;
        }
        Ok(())
    }

    /// What it takes to tell the dashboard of what is missing or different: at most `limit` of it, after what `after`
    /// ended with.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn repairs(&self, after: Option<&Repair>, limit: u32) -> Result<Vec<Repair>, LedgerError> {
        let mut statement = self.queries.connection.prepare(
            "SELECT service_id, request_id, opening_at, status_id, modified_at, row_key, known_seq, place \
             FROM temp.audit_difference WHERE kind < 2 AND (service_id, request_id, place) > (?1, ?2, ?3) \
             ORDER BY service_id, request_id, place LIMIT ?4",
        )?;
        let (service_id, request_id, place) = after.map_or(("", "", ""), |repair| {
            (&*repair.change.service_id, &*repair.change.request_id, repair.place.as_str())
        });
        let repairs = statement.query_map(params![service_id, request_id, place, limit], |row| {
            Ok(Repair {
                change: StatusChange {
                    service_id: row.get_ref(0)?.as_str()?.into(),
                    request_id: row.get_ref(1)?.as_str()?.into(),
                    opening_at: row.get(2)?,
                    status_id: row.get(3)?,
                    modified_at: row.get(4)?,
                },
                row_key: row.get::<_, Option<String>>(5)?.map(RowKey::from),
                known_seq: row.get(6)?,
                place: row.get(7)?,
            })
        })?;
        Ok(repairs.collect::<Result<Vec<_>, _>>()?)
    }
}

fn read_difference(row: &rusqlite::Row<'_>) -> rusqlite::Result<Difference> {
    let kind: usize = row.get(0)?;
    let kind = DifferenceKind::ALL.get(kind).copied();
    Ok(Difference {
        kind: kind.ok_or(rusqlite::Error::InvalidQuery)?,
        month: row.get(1)?,
        service_id: row.get(2)?,
        request_id: row.get(3)?,
        row_key: row.get(4)?,
        known_status: row.get(5)?,
        database_status: row.get(6)?,
        opening_at: row.get(7)?,
        modified_at: row.get(8)?,
    })
}
