//! What is owed of the last known statuses, by month: it has been captured, and the dashboard has not acknowledged it.

use std::collections::BTreeMap;

use normalizer::StatusChange;
use rusqlite::{Connection, Params, Row, params};

use crate::audit::{AuditScope, MonthAudit};
use crate::audit_tables::AuditedTables;
use crate::batch::{BatchId, Item, StoredBatch, load, table_of};
use crate::error::LedgerError;
use crate::{history, meta};

/// Takes what is owed, or refused, off what was counted as equal in each month.
///
/// # Errors
/// When the ledger cannot be read.
pub(crate) fn subtract(
    connection: &Connection,
    tables: &AuditedTables,
    scope: &AuditScope,
    counts: &mut BTreeMap<u32, MonthAudit>,
) -> Result<(), LedgerError> {
    subtract_within(connection, tables, &|opening_at| scope.month_of(opening_at), counts)
}

/// The same for the months that `month_of` tells. What was found to differ is counted as such already.
///
/// # Errors
/// When the ledger cannot be read.
pub(crate) fn subtract_within(
    connection: &Connection,
    tables: &AuditedTables,
    month_of: &dyn Fn(Option<i64>) -> Option<u32>,
    counts: &mut BTreeMap<u32, MonthAudit>,
) -> Result<(), LedgerError> {
    note_sent(connection, tables)?;
    let mut count = Count { connection, tables, month_of, counts };
    if tables.any_history() {
        owed_rows(&mut count)?;
        refused_rows(&mut count)?;
    }
    if tables.any_requests() {
        owed_requests(&mut count)?;
        refused_requests(&mut count)?;
    }
    Ok(())
}

/// Counts by month what has not arrived yet.
struct Count<'a> {
    connection: &'a Connection,
    tables: &'a AuditedTables,
    month_of: &'a dyn Fn(Option<i64>) -> Option<u32>,
    counts: &'a mut BTreeMap<u32, MonthAudit>,
}

impl Count<'_> {
    fn owed(&mut self, found: [&str; 3], opening_at: Option<i64>) -> Result<(), LedgerError> {
        if let Some(month) = self.month(found, opening_at)? {
            month.on_their_way += 1;
            month.equal = month.equal.saturating_sub(1);
        }
        Ok(())
    }

    fn refused(&mut self, found: [&str; 3], opening_at: Option<i64>) -> Result<(), LedgerError> {
        if let Some(month) = self.month(found, opening_at)? {
            month.set_aside += 1;
            month.equal = month.equal.saturating_sub(1);
        }
        Ok(())
    }

    /// The month that `found`, which is service, request and place, counts in.
    fn month(
        &mut self,
        found: [&str; 3],
        opening_at: Option<i64>,
    ) -> Result<Option<&mut MonthAudit>, LedgerError> {
        let Some(month) = (self.month_of)(opening_at) else { return Ok(None) };
        let sql = "SELECT EXISTS(SELECT 1 FROM temp.audit_difference \
                   WHERE service_id = ?1 AND request_id = ?2 AND place = ?3)";
        let differs: bool = self.connection.prepare_cached(sql)?.query_row(found, |row| row.get(0))?;
        Ok((!differs).then(|| self.counts.entry(month).or_default()))
    }
}

/// Notes which records are in batches whose outcome is open: of these there are few, whatever is owed.
fn note_sent(connection: &Connection, tables: &AuditedTables) -> Result<(), LedgerError> {
    connection.execute("DELETE FROM temp.audit_sent", [])?;
    let batches = connection
        .prepare_cached("SELECT id FROM batch WHERE state IN (0, 4)")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<BatchId>, _>>()?;
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO temp.audit_sent VALUES(?1, ?2, ?3, ?4, ?5)")?;
    for batch in batches {
        for item in StoredBatch::find(connection, batch)?.items() {
            let table = table_of(connection, &item)?;
            let place = match &item {
                _ if !tables.has_history(table) => String::new(),
                Item::Backfill { place, .. } => place.to_string(),
                Item::Change(seq) => match place_of_last(connection, *seq)? {
                    Some(place) => place,
                    None => continue,
                },
            };
            let StatusChange { service_id, request_id, opening_at, .. } = load(connection, item)?.change;
            insert.execute(params![&*service_id, &*request_id, place, opening_at, table])?;
        }
    }
    Ok(())
}

/// The place of the row of a history that the log row told of, if it was the last to do so.
fn place_of_last(connection: &Connection, seq: i64) -> Result<Option<String>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT o.row_key, o.modified_at FROM change c CROSS JOIN row_owner o ON o.row_key = c.row_key \
         AND o.seq = c.seq WHERE c.seq = ?1",
    )?;
    let mut rows = statement.query([seq])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (key, modified_at): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
    Ok(Some(history::place_of(modified_at.unwrap_or_default(), &key)))
}

/// The part of the log that may hold records outside any batch, and whether rows of copies wait.
fn waiting(connection: &Connection) -> Result<[i64; 3], LedgerError> {
    Ok([
        meta::number(connection, meta::BATCHED_SEQ)?,
        meta::number(connection, meta::SETTLED_SEQ)?,
        i64::from(meta::number(connection, meta::WAITING_ROWS)? > 0),
    ])
}

/// Visits what `sql` finds: service, request and opening, and whatever follows in the row.
fn visit(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    mut take: impl FnMut([&str; 2], Option<i64>, &Row<'_>) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    while let Some(row) = rows.next()? {
        take([text(row, 0)?, text(row, 1)?], row.get(2)?, row)?;
    }
    Ok(())
}

/// A text of the row, where it lies.
fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, LedgerError> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

/// A request counts once, however many of its records are owed.
fn owed_requests(count: &mut Count<'_>) -> Result<(), LedgerError> {
    let sql = "SELECT k.service_id, k.request_id, k.opening_at, k.table_id FROM ( \
         SELECT service_id, request_id FROM change WHERE seq > ?1 AND seq <= ?2 AND batch_id = 0 \
         UNION SELECT service_id, request_id FROM temp.audit_sent WHERE place = '' \
         UNION SELECT service_id, request_id FROM backfill_row WHERE ?3 AND state = 0 AND place = '') o \
         CROSS JOIN known k ON k.service_id = o.service_id AND k.request_id = o.request_id \
         WHERE k.status_id <> 0";
    visit(
        count.connection,
        sql,
        waiting(count.connection)?,
        |[service, request], opening_at, row| match count.tables.has_requests(row.get(3)?) {
            true => count.owed([service, request, ""], opening_at),
            false => Ok(()),
        },
    )
}

/// Requests whose last known status is a record that the dashboard refused.
fn refused_requests(count: &mut Count<'_>) -> Result<(), LedgerError> {
    let sql = "SELECT DISTINCT k.service_id, k.request_id, k.opening_at, k.table_id FROM quarantine q \
         CROSS JOIN known k ON k.service_id = q.service_id AND k.request_id = q.request_id \
         WHERE q.state = 0 AND q.kind = 1 AND k.status_id = q.status_id AND k.modified_at = q.modified_at";
    visit(count.connection, sql, [], |[service, request], opening_at, row| {
        match count.tables.has_requests(row.get(3)?) {
            true => count.refused([service, request, ""], opening_at),
            false => Ok(()),
        }
    })
}

/// Rows of a history whose last word has not arrived.
fn owed_rows(count: &mut Count<'_>) -> Result<(), LedgerError> {
    let [batched, settled, waits] = waiting(count.connection)?;
    let streamed = "SELECT o.service_id, o.request_id, o.opening_at, o.row_key, o.modified_at FROM change c \
         CROSS JOIN row_owner o ON o.row_key = c.row_key AND o.seq = c.seq \
         WHERE c.seq > ?1 AND c.seq <= ?2 AND c.batch_id = 0";
    visit(count.connection, streamed, [batched, settled], |[service, request], opening_at, row| {
        let row_key = text(row, 3)?;
        if !count.tables.has_history_row(row_key) {
            return Ok(());
        }
        let place = history::place_of(row.get::<_, Option<i64>>(4)?.unwrap_or_default(), row_key);
        count.owed([service, request, &place], opening_at)
    })?;
    let others = "SELECT service_id, request_id, opening_at, place, table_id FROM temp.audit_sent UNION ALL \
         SELECT service_id, request_id, opening_at, place, table_id FROM backfill_row WHERE ?1 AND state = 0";
    visit(count.connection, others, [waits], |[service, request], opening_at, row| {
        match count.tables.has_history(row.get(4)?) {
            true => count.owed([service, request, text(row, 3)?], opening_at),
            false => Ok(()),
        }
    })
}

/// Records of a history that the dashboard refused: each is one row's.
fn refused_rows(count: &mut Count<'_>) -> Result<(), LedgerError> {
    let sql =
        "SELECT service_id, request_id, opening_at, table_id FROM quarantine WHERE state = 0 AND kind = 1";
    visit(count.connection, sql, [], |[service, request], opening_at, row| {
        match count.tables.has_history(row.get(3)?) {
            true => count.refused([service, request, ""], opening_at),
            false => Ok(()),
        }
    })
}
