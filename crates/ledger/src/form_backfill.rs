//! Forming the next batch of a backfill: rows of copies, month by month of opening.

use change::Text;
use normalizer::StatusChange;
use rusqlite::{Connection, params};

use crate::backfill::{self, Range};
use crate::batch::Batch;
use crate::copy_state;
use crate::draft::Draft;
use crate::error::LedgerError;
use crate::flush::FlushRow;
use crate::form::{Found, Limits, Wanted, account, backfill_candidate, in_order};

/// The next batch; `None` where nothing waits within reach.
pub(crate) fn form_backfill(
    connection: &Connection,
    flush: &FlushRow,
    limits: Limits<'_>,
) -> Result<Option<Batch>, LedgerError> {
    let Some(range) = backfill::range(connection)? else { return Ok(None) };
    let copies = copy_state::merged_for_backfill(connection)?;
    let mut months =
        connection.prepare_cached("SELECT month FROM backfill_month WHERE waiting > 0 ORDER BY month")?;
    let mut months = months.query([])?;
    while let Some(row) = months.next()? {
        let month = row.get(0)?;
        let mut next = None;
        for copy_id in &copies {
            let waiting = Waiting { copy_id: *copy_id, month, range, wanted: limits.wanted() };
            let (found, service) = waiting.read(connection, flush)?;
            if !found.is_empty() {
                next = Some((waiting, found, service));
                break;
            }
        }
        let Some((waiting, found, service)) = next else { continue };
        // The shard's rows of later copies and months wait until the others are through with these: months leave in
        // order, and so do a request's rows.
        let Some(first) = found.records.first() else { return Ok(None) };
        let mut last = first;
        let mut draft = Draft::new(connection, limits.builder, flush.id, limits.max_records)?;
        for record in &found.records {
            if !draft.take(record)? {
                break;
            }
            last = record;
        }
        let passed_over = found.passed_over.as_ref().filter(|passed| in_order(passed) < in_order(last));
        waiting.leave_cursor(connection, flush, &passed_over.unwrap_or(last).change)?;
        let (batch, taken) = draft.finish(None, service, limits.now)?;
        account(connection, &taken)?;
        return Ok(Some(batch));
    }
    Ok(None)
}

/// Which waiting rows a batch of the backfill takes from: those of one month.
struct Waiting {
    copy_id: i64,
    month: u32,
    range: Range,
    wanted: Wanted,
}

impl Waiting {
    /// The next rows, and their service where the flush goes by service. The flush's cursor spares reading
    /// what it has sent of the month; a row that came to wait behind the cursor is found on a second look.
    fn read(&self, connection: &Connection, flush: &FlushRow) -> Result<(Found, Option<Text>), LedgerError> {
        if flush.cursor_month == self.month {
            let after = (flush.cursor_service.as_str(), flush.cursor_request.as_str());
            let found = self.read_after(connection, after, flush.by_service)?;
            if !found.0.is_empty() {
                return Ok(found);
            }
        }
        self.read_after(connection, ("", ""), flush.by_service)
    }

    fn read_after(
        &self,
        connection: &Connection,
        after: (&str, &str),
        by_service: bool,
    ) -> Result<(Found, Option<Text>), LedgerError> {
        let mut statement = connection.prepare_cached(
            "SELECT service_id, request_id, opening_at, status_id, modified_at, place FROM backfill_row \
             WHERE copy_id = ?1 AND month = ?2 AND (service_id, request_id) >= (?3, ?4) AND state = 0 \
             AND opening_at >= ?5 AND opening_at < ?6 ORDER BY service_id, request_id, place LIMIT ?7",
        )?;
        let Range { from_at, to_at } = self.range;
        let (service, request) = after;
        let window = self.wanted.window();
        let rows =
            statement.query(params![self.copy_id, self.month, service, request, from_at, to_at, window])?;
        let mut found = self.wanted.collect(rows, |row, change| {
            let place = row.get_ref(5)?.as_str()?;
            Ok(backfill_candidate(self.copy_id, self.month, place, change))
        })?;
        let service = found.first().map(|first| first.change.service_id.clone()).filter(|_| by_service);
        if let Some(service) = &service {
            let other = found.records.iter().position(|record| record.change.service_id != *service);
            found.records.truncate(other.unwrap_or(found.records.len()));
        }
        Ok((found, service))
    }

    /// Lets the flush go on with the rows from `next` on, what is in a batch among them left out.
    fn leave_cursor(
        &self,
        connection: &Connection,
        flush: &FlushRow,
        next: &StatusChange,
    ) -> Result<(), LedgerError> {
        connection
            .prepare_cached(
                "UPDATE flush SET cursor_month = ?2, cursor_service = ?3, cursor_request = ?4 WHERE id = ?1",
            )?
            .execute(params![flush.id, self.month, &*next.service_id, &*next.request_id])?;
        Ok(())
    }
}
