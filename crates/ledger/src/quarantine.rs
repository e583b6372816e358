//! What could not be mapped, and what the dashboard refused: kept with the reason.

use change::{Position, RowKey};
use normalizer::{RequestKey, StatusChange};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Row, params};

use crate::batch;
use crate::error::LedgerError;
use crate::ingest::RejectedRow;
use crate::log_row::{Origin, decode};
use crate::queries::Queries;
use crate::table_id::TableId;

/// An item in quarantine.
pub type QuarantineId = i64;

/// What an item in quarantine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineKind {
    /// A row that could not be mapped.
    Row,
    /// A record that the dashboard refused.
    Record,
}

impl QuarantineKind {
    const ALL: [Self; 2] = [Self::Row, Self::Record];

    /// The word for it in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Record => "record",
        }
    }
}

impl ToSql for QuarantineKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

impl FromSql for QuarantineKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        decode(value, &Self::ALL)
    }
}

/// How many items are in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuarantineCounts {
    /// Rows that could not be mapped.
    pub rows: u64,
    /// Records that the dashboard refused.
    pub records: u64,
}

/// An item in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineItem {
    /// The item.
    pub id: QuarantineId,
    /// What it is.
    pub kind: QuarantineKind,
    /// Whether it came by the stream or from a copy of the table.
    pub origin: Origin,
    /// The service, where it could be told.
    pub service_id: Option<String>,
    /// The request, where it could be told.
    pub request_id: Option<String>,
    /// The status, of a record.
    pub status_id: Option<u8>,
    /// When the request passed to it, of a record, in microseconds since the epoch.
    pub modified_at: Option<i64>,
    /// A stable name of what is wrong.
    pub code: String,
    /// What is wrong, for the operator.
    pub reason: String,
    /// The mapped columns as JSON, of a row.
    pub row: Option<String>,
    /// The commit that made it so, of an item that came by the stream.
    pub position: Option<Position>,
    /// When that transaction committed, or the copy was made, in microseconds since the epoch.
    pub at: i64,
    /// The table that it comes from.
    pub table: TableId,
}

/// A row in quarantine that may be mapped again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowForRetry {
    /// The item.
    pub id: QuarantineId,
    /// Its mapped columns as JSON.
    pub row: String,
    /// The commit time, or the moment of the copy, in microseconds since the epoch: what the mapping's commit
    /// time was when it was rejected.
    pub at: i64,
    /// What was wrong with it.
    pub code: String,
    /// The request it belongs to, where that could be told.
    pub request: Option<RequestKey>,
    /// The table that it comes from.
    pub table: TableId,
}

fn read(row: &Row<'_>) -> rusqlite::Result<QuarantineItem> {
    Ok(QuarantineItem {
        id: row.get(0)?,
        kind: row.get(1)?,
        origin: if row.get(2)? { Origin::Snapshot } else { Origin::Stream },
        service_id: row.get(3)?,
        request_id: row.get(4)?,
        status_id: row.get(5)?,
        modified_at: row.get(6)?,
        code: row.get(7)?,
        reason: row.get(8)?,
        row: row.get(9)?,
        position: row.get::<_, Option<String>>(10)?.map(Position::new),
        at: row.get(11)?,
        table: row.get(12)?,
    })
}

impl Queries {
    /// How many items are in quarantine.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn quarantine_counts(&self) -> Result<QuarantineCounts, LedgerError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT count(*) FROM quarantine WHERE state = 0 AND kind = ?1")?;
        let mut count = |kind: QuarantineKind| statement.query_row([kind], |row| row.get(0));
        Ok(QuarantineCounts { rows: count(QuarantineKind::Row)?, records: count(QuarantineKind::Record)? })
    }

    /// How many items are in quarantine for each reason, by its stable name, the most frequent first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn quarantine_reasons(&self, limit: u32) -> Result<Vec<(QuarantineKind, String, u64)>, LedgerError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT kind, code, count(*) FROM quarantine WHERE state = 0 GROUP BY kind, code \
             ORDER BY count(*) DESC, kind, code LIMIT ?1",
        )?;
        let reasons = statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(reasons.collect::<Result<Vec<_>, _>>()?)
    }

    /// Items in quarantine after the item `after` (0 for the first), oldest first; of one kind, or of both.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn quarantine(
        &self,
        kind: Option<QuarantineKind>,
        after: QuarantineId,
        limit: u32,
    ) -> Result<Vec<QuarantineItem>, LedgerError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, kind, origin, service_id, request_id, status_id, modified_at, code, reason, row, \
             position, at, table_id FROM quarantine WHERE state = 0 AND (?1 IS NULL OR kind = ?1) AND id > ?2 \
             ORDER BY id LIMIT ?3",
        )?;
        let items = statement.query_map(params![kind, after, limit], read)?;
        Ok(items.collect::<Result<Vec<_>, _>>()?)
    }

    /// Rows in quarantine after the item `after` (0 for the first), in the order in which they came. Rows of
    /// a copy that is not complete are left out: it may still be given up.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn rows_for_retry(&self, after: QuarantineId, limit: u32) -> Result<Vec<RowForRetry>, LedgerError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT q.id, q.row, q.at, q.code, q.service_id, q.request_id, q.table_id FROM quarantine q \
             LEFT JOIN copy c ON c.id = q.copy_id \
             WHERE q.state = 0 AND q.kind = 0 AND q.id > ?1 AND coalesce(c.state, 2) = 2 ORDER BY q.id LIMIT ?2",
        )?;
        let rows = statement.query_map(params![after, limit], |row| {
            let service = batch::text_or_null(row, 4)?;
            let request = batch::text_or_null(row, 5)?;
            Ok(RowForRetry {
                id: row.get(0)?,
                row: row.get::<_, Option<String>>(1)?.unwrap_or_else(|| "{}".into()),
                at: row.get(2)?,
                code: row.get(3)?,
                request: service
                    .zip(request)
                    .map(|(service_id, request_id)| RequestKey { service_id, request_id }),
                table: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    }
}

/// Puts rows that could not be mapped aside.
pub(crate) struct PutAside<'a>(CachedStatement<'a>);

impl<'a> PutAside<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Result<Self, LedgerError> {
        Ok(Self(connection.prepare_cached(
            "INSERT INTO quarantine(kind, state, origin, copy_id, service_id, request_id, code, reason, row, \
             position, at, row_key, table_id) VALUES(0, ?1, ?2 IS NOT NULL, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?))
    }

    /// A row of a copy, or of the log; `is_open` while the commit of its transaction has not been read.
    pub(crate) fn put(
        &mut self,
        row: &RejectedRow,
        copy: Option<i64>,
        is_open: bool,
    ) -> Result<(), LedgerError> {
        let request = row.request.as_ref();
        self.0.execute(params![
            is_open,
            copy,
            request.map(|request| &*request.service_id),
            request.map(|request| &*request.request_id),
            row.code,
            row.reason,
            row.row,
            row.position.as_ref().map(Position::as_str),
            row.at,
            row.row_key.as_ref().map(|key| row.table.scoped(RowKey::as_str(key))),
            row.table,
        ])?;
        Ok(())
    }
}

/// A row in quarantine, as far as its retry needs to know.
pub(crate) struct StandingRow {
    pub(crate) table: TableId,
    pub(crate) from_copy: Option<i64>,
    /// The row's key, where each row is a status change.
    pub(crate) row_key: Option<String>,
    pub(crate) position: Option<String>,
    pub(crate) at: i64,
}

/// A record as it is put into the log again.
pub(crate) struct Again<'a> {
    pub(crate) table: TableId,
    pub(crate) change: &'a StatusChange,
    pub(crate) row_key: Option<&'a str>,
    pub(crate) position: Option<&'a str>,
    pub(crate) committed_at: i64,
}
