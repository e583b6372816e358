//! Rows of the table against what is known, one by one.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{CachedStatement, Connection, Row, params};

use crate::audit::{AuditScope, DifferenceKind, MonthAudit};
use crate::copy::StagedPage;
use crate::error::LedgerError;
use crate::history;

/// A row that cannot be mapped has no status, and any other row of the same request is newer.
const REJECTED: (u8, i64) = (0, i64::MIN);

/// How two sides are brought together.
struct Sides {
    /// What stands in quarantine.
    aside: &'static str,
    /// What is known, and when it was opened.
    openings: &'static str,
    /// One thing that is known, with what the table says of it.
    known: &'static str,
    /// What only the table knows.
    strangers: &'static str,
}

const REQUESTS: Sides = Sides {
    aside: "INSERT OR IGNORE INTO temp.audit_aside SELECT service_id, request_id FROM quarantine \
            WHERE state = 0 AND kind IN (0, 1) AND service_id IS NOT NULL AND request_id IS NOT NULL",
    openings: "SELECT service_id, request_id, opening_at, status_id FROM known",
    known: "SELECT k.service_id, k.request_id, k.service_id, k.request_id, k.status_id, k.opening_at, k.modified_at, \
            max(k.emitted_seq, k.touched_seq), r.month, r.service_id, r.request_id, r.status_id, r.opening_at, \
            r.modified_at, r.row_key FROM known k \
            LEFT JOIN temp.audit_row r ON r.one = k.service_id AND r.two = k.request_id \
            WHERE k.service_id = ?1 AND k.request_id = ?2",
    strangers: "SELECT r.one, r.two, NULL, NULL, NULL, NULL, NULL, NULL, r.month, r.service_id, r.request_id, \
                r.status_id, r.opening_at, r.modified_at, r.row_key FROM temp.audit_row r \
                LEFT JOIN known k ON k.service_id = r.one AND k.request_id = r.two WHERE k.service_id IS NULL",
};

/// Those of a history.
const ROWS: Sides = Sides {
    aside: "INSERT OR IGNORE INTO temp.audit_aside SELECT row_key, '' FROM quarantine \
            WHERE state = 0 AND kind IN (0, 1) AND row_key IS NOT NULL",
    openings: "SELECT row_key, '', opening_at, status_id FROM row_owner WHERE is_held = 0",
    known: "SELECT o.row_key, '', o.service_id, o.request_id, o.status_id, o.opening_at, o.modified_at, \
            o.seq, r.month, r.service_id, r.request_id, r.status_id, r.opening_at, \
            r.modified_at, r.row_key FROM row_owner o \
            LEFT JOIN temp.audit_row r ON r.one = o.row_key AND r.two = '' \
            WHERE o.row_key = ?1 AND ?2 = ''",
    strangers: "SELECT r.one, r.two, NULL, NULL, NULL, NULL, NULL, NULL, r.month, r.service_id, r.request_id, \
                r.status_id, r.opening_at, r.modified_at, r.row_key FROM temp.audit_row r \
                LEFT JOIN row_owner o ON o.row_key = r.one WHERE o.row_key IS NULL",
};

/// Keeps a page: what was opened in `months`, or else what was found to be unknown.
///
/// Where the table holds a request several times, the row with the newest modification counts.
///
/// # Errors
/// When there is no room for it.
pub(crate) fn keep(
    connection: &Connection,
    is_history: bool,
    page: &StagedPage,
    months: Option<&BTreeSet<u32>>,
) -> Result<(), LedgerError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO temp.audit_row VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT(one, two) DO UPDATE SET month = excluded.month, service_id = excluded.service_id, \
         request_id = excluded.request_id, status_id = excluded.status_id, opening_at = excluded.opening_at, \
         modified_at = excluded.modified_at, row_key = excluded.row_key \
         WHERE excluded.modified_at >= audit_row.modified_at",
    )?;
    let mut is_unknown = connection.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM temp.audit_difference WHERE kind = 2 AND one = ?1 AND two = ?2)",
    )?;
    let mut wanted = |month: u32, [one, two]: [&str; 2]| match months {
        Some(months) => Ok(months.contains(&month)),
        None => is_unknown.query_row([one, two], |row| row.get(0)),
    };
    for row in page.rows.iter() {
        let identity = identity(is_history, row.row_key, [row.service_id, row.request_id]);
        if let Some([one, two]) = identity
            && wanted(row.month, [one, two])?
        {
            insert.execute(params![
                one,
                two,
                row.month,
                row.service_id,
                row.request_id,
                row.status_id,
                row.opening_at,
                row.modified_at,
                row.row_key,
            ])?;
        }
    }
    for row in &page.rejected {
        let request = row.request.as_ref();
        let request = request.map_or(["", ""], |request| [&*request.service_id, &*request.request_id]);
        let key = row.row_key.as_ref().map(change::RowKey::as_str);
        let Some([one, two]) = identity(is_history, key, request) else { continue };
        let ([service_id, request_id], (status_id, modified_at)) = (request, REJECTED);
        insert.execute(params![one, two, 0, service_id, request_id, status_id, 0, modified_at, key])?;
    }
    Ok(())
}

/// What a row is told apart by; `None` for a row that tells nothing to that end.
fn identity<'a>(is_history: bool, row_key: Option<&'a str>, request: [&'a str; 2]) -> Option<[&'a str; 2]> {
    match is_history {
        true => row_key.map(|key| [key, ""]),
        false => Some(request).filter(|[_, request_id]| !request_id.is_empty()),
    }
}

/// Compares what was kept with what is known, and notes what differs.
///
/// # Errors
/// When the ledger cannot be read, or there is no room for what differs.
pub(crate) fn compare(
    connection: &Connection,
    is_history: bool,
    scope: &AuditScope,
    months: &BTreeSet<u32>,
    since_seq: i64,
) -> Result<BTreeMap<u32, MonthAudit>, LedgerError> {
    let sides = if is_history { &ROWS } else { &REQUESTS };
    connection.execute_batch("DELETE FROM temp.audit_difference; DELETE FROM temp.audit_aside")?;
    connection.execute(sides.aside, [])?;
    let mut compare = Compare {
        is_history,
        scope,
        months,
        since_seq,
        is_aside: connection.prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM temp.audit_aside WHERE one = ?1 AND two = ?2)",
        )?,
        note: connection.prepare_cached(
            "INSERT OR REPLACE INTO temp.audit_difference(service_id, request_id, place, kind, month, one, two, \
             known_status, known_seq, status_id, opening_at, modified_at, row_key) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?,
        counts: BTreeMap::new(),
    };
    let mut known = connection.prepare_cached(sides.known)?;
    let mut statement = connection.prepare(sides.openings)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // Few months differ as a rule: what is known of the others is not looked at any further.
        if compare.is_within(row.get(2)?, row.get(3)?) {
            let text = |index| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
            let mut pair = known.query([text(0)?, text(1)?])?;
            if let Some(pair) = pair.next()? {
                compare.known(&Pair::read(pair)?)?;
            }
        }
    }
    let mut statement = connection.prepare(sides.strangers)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        compare.stranger(&Pair::read(row)?)?;
    }
    Ok(compare.counts)
}

/// What one side says.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Side<'a> {
    service_id: &'a str,
    request_id: &'a str,
    status_id: u8,
    opening_at: Option<i64>,
    modified_at: Option<i64>,
}

/// Both sides of one request, or of one row of a history.
struct Pair<'a> {
    one: &'a str,
    two: &'a str,
    known: Option<Side<'a>>,
    known_seq: Option<i64>,
    table: Option<Side<'a>>,
    /// The month of the opening that the table tells.
    month: Option<u32>,
    row_key: Option<&'a str>,
}

impl<'a> Pair<'a> {
    fn read(row: &'a Row<'_>) -> Result<Self, LedgerError> {
        let text = |index| row.get_ref(index)?.as_str_or_null().map_err(rusqlite::Error::from);
        let side = |first: usize, moments: usize| {
            let (Some(service_id), Some(request_id)) = (text(first)?, text(first + 1)?) else {
                return Ok(None);
            };
            let (opening_at, modified_at) = (row.get(moments)?, row.get(moments + 1)?);
            let status_id = row.get(first + 2)?;
            Ok::<_, rusqlite::Error>(Some(Side {
                service_id,
                request_id,
                status_id,
                opening_at,
                modified_at,
            }))
        };
        Ok(Self {
            one: text(0)?.unwrap_or_default(),
            two: text(1)?.unwrap_or_default(),
            known: side(2, 5)?,
            known_seq: row.get(7)?,
            month: row.get(8)?,
            table: side(9, 12)?,
            row_key: text(14)?,
        })
    }
}

/// What the comparison has come to.
struct Compare<'a> {
    is_history: bool,
    scope: &'a AuditScope,
    months: &'a BTreeSet<u32>,
    since_seq: i64,
    is_aside: CachedStatement<'a>,
    note: CachedStatement<'a>,
    counts: BTreeMap<u32, MonthAudit>,
}

impl Compare<'_> {
    /// Whether something opened then may lie in one of the months: of a rejected row that is not known.
    fn is_within(&self, opening_at: Option<i64>, status_id: u8) -> bool {
        status_id == 0 || self.scope.month_of(opening_at).is_some_and(|month| self.months.contains(&month))
    }

    /// Takes something that is known into account.
    fn known(&mut self, pair: &Pair<'_>) -> Result<(), LedgerError> {
        let Some(known) = pair.known else { return Ok(()) };
        let month = self.scope.month_of(known.opening_at).filter(|month| self.months.contains(month));
        // What the log has told since the table was read is on its way, whatever the table said then.
        let is_fresh = pair.known_seq > Some(self.since_seq);
        if known.status_id == 0 {
            let is_aside = is_fresh || self.is_aside(pair)?;
            return match pair.table {
                Some(table) if table.status_id > 0 && !is_aside => self.missing(pair, &table),
                _ => self.count(month.or(pair.month), |month| month.set_aside += 1),
            };
        }
        // A request that the table holds several times was told under another month, which is equal.
        let Some(month) = month else { return Ok(()) };
        match pair.table {
            Some(table) if table.status_id == 0 => self.count(Some(month), |month| month.set_aside += 1),
            Some(table) if !is_fresh && !self.says_the_same(&known, &table) => {
                self.note(DifferenceKind::Different, month, pair)?;
                self.count(Some(month), |month| month.different += 1)
            }
            None if !is_fresh && self.scope.deletion_status != Some(known.status_id) => {
                self.note(DifferenceKind::Unknown, month, pair)?;
                self.count(Some(month), |month| month.unknown += 1)
            }
            _ => self.count(Some(month), |month| month.equal += 1),
        }
    }

    /// Takes something that is not known into account.
    fn stranger(&mut self, pair: &Pair<'_>) -> Result<(), LedgerError> {
        match pair.table {
            Some(table) if table.status_id > 0 && !self.is_aside(pair)? => self.missing(pair, &table),
            Some(table) if table.status_id > 0 => self.count(pair.month, |month| month.set_aside += 1),
            _ => Ok(()),
        }
    }

    fn missing(&mut self, pair: &Pair<'_>, table: &Side<'_>) -> Result<(), LedgerError> {
        let month = self.scope.month_of(table.opening_at).filter(|month| self.months.contains(month));
        let Some(month) = month else { return Ok(()) };
        self.note(DifferenceKind::Missing, month, pair)?;
        self.count(Some(month), |month| month.missing += 1)
    }

    fn says_the_same(&self, known: &Side<'_>, table: &Side<'_>) -> bool {
        known.status_id == table.status_id
            && (!self.is_history
                || (known.service_id == table.service_id && known.request_id == table.request_id))
    }

    /// Whether it stands in quarantine.
    fn is_aside(&mut self, pair: &Pair<'_>) -> Result<bool, LedgerError> {
        Ok(self.is_aside.query_row([pair.one, pair.two], |row| row.get(0))?)
    }

    fn count(&mut self, month: Option<u32>, by: impl FnOnce(&mut MonthAudit)) -> Result<(), LedgerError> {
        if let Some(month) = month.filter(|month| self.months.contains(month)) {
            by(self.counts.entry(month).or_default());
        }
        Ok(())
    }

    fn note(&mut self, kind: DifferenceKind, month: u32, pair: &Pair<'_>) -> Result<(), LedgerError> {
        let Some(told) = pair.table.or(pair.known) else { return Ok(()) };
        let placed = pair.known.or(pair.table).and_then(|side| side.modified_at).unwrap_or_default();
        let place = match self.is_history {
            true => history::place_of(placed, pair.one),
            false => String::new(),
        };
        self.note.execute(params![
            told.service_id,
            told.request_id,
            place,
            kind as i64,
            month,
            pair.one,
            pair.two,
            pair.known.map(|known| known.status_id).filter(|status| *status > 0),
            pair.known_seq,
            pair.table.map(|table| table.status_id),
            told.opening_at,
            pair.table.and_then(|table| table.modified_at),
            pair.row_key.or(Some(pair.one).filter(|_| self.is_history)),
        ])?;
        Ok(())
    }
}
