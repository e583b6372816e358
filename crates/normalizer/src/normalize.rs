//! A row change to what it means for the dashboard.

use std::borrow::Cow;

use change::{Change, Operation, Row, Value};

use crate::field::{Cells, Id};
use crate::mapping::{
    LAST_MODIFIED_DATE, Mapping, OPENING_DATE, OnDelete, REQUEST_ID, Rows, SERVICE_ID, STATUS_ID, WHERE,
};
use crate::rejection::{Complaint, Rejection};
use crate::time;
use crate::{RequestKey, StatusChange};

/// What a row change means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normalized {
    /// The request passed to another status: the log carries its former one.
    Record(StatusChange),
    /// The request is in this status now, and the log does not tell its former one: it is a status change
    /// unless the last known status is the same.
    Candidate(StatusChange),
    /// A row of a history was altered: it is a status change unless it says what was told of it before.
    Amended(StatusChange),
    /// A row is gone, and the log tells its key only, which is on the [`Change`]: the request that it was
    /// about passed to this status.
    Deletion {
        /// The status to report.
        status_id: u8,
        /// When the row was deleted, in microseconds since the epoch, UTC.
        modified_at: i64,
    },
    /// A row left the condition, and the log does not tell its former state: if its key, the former one where it was
    /// altered, is known, this is a deletion, else nothing.
    Departure {
        /// The status to report.
        status_id: u8,
        /// When the row left, in microseconds since the epoch, UTC.
        modified_at: i64,
    },
    /// Nothing that the dashboard wants to know.
    Unchanged,
    /// The request was opened before the floor.
    BeforeFloor,
    /// The row cannot be mapped.
    Rejected(Rejection),
}

/// What a row by itself means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NormalizedRow {
    /// The request is in this status.
    Record(StatusChange),
    /// The request was opened before the floor.
    BeforeFloor,
    /// The condition leaves the row out.
    LeftOut,
    /// The row cannot be mapped.
    Rejected(Rejection),
}

/// What `change` means under `mapping`. Pure: the same arguments always give the same answer.
///
/// # Rules
/// - An insert, and an update whose former row is unknown or could not have been sent, is a candidate.
/// - An update with a former row is a status change exactly if service, request or status differ.
/// - A cell that the log left out because the change did not touch it is taken from the former row. Where
///   there is none, a left-out status means that the status did not change.
/// - A deleted row is reported as configured, at the time of the commit.
/// - What was opened before the floor is recognised first: the oddities of old rows bother nobody.
/// - Each row of a history is a status change when it is inserted; an update that alters its service, request or status
///   is one more.
/// - A row that the condition leaves out is not there: one that enters it is like an insert, and one that leaves it
///   like a delete.
#[must_use]
pub fn normalize(mapping: &Mapping, change: &Change) -> Normalized {
    if change.operation == Operation::Delete {
        return match mapping.on_delete {
            OnDelete::Ignore => Normalized::Unchanged,
            OnDelete::Report(status_id) => deletion(mapping, change, status_id),
        };
    }
    let committed_at = change.transaction.committed_at;
    let Some(after) = &change.after else {
        return Normalized::Rejected(Complaint::no_row().reject(None));
    };
    let before = change.before.as_ref().filter(|_| change.operation == Operation::Update);
    // Most edits touch other columns: they are told apart without reading a cell.
    if before == Some(after) {
        return Normalized::Unchanged;
    }
    let cells = Cells { columns: mapping.columns(), row: after, before };
    match admits(mapping, &cells) {
        Ok(true) => {}
        Ok(false) => return departure(mapping, change),
        Err(complaint) => return refused(mapping, &cells, committed_at, complaint).into(),
    }
    // A former row outside the condition was not there.
    let before = before.filter(|before| matches!(admits(mapping, &alone(mapping, before)), Ok(true)));
    // Whether the row has just entered the condition is not known without its former state.
    let was_there = mapping.filter.is_none() || before.is_some();
    if was_there && mapping.status.was_left_out(&cells) {
        return Normalized::Unchanged;
    }
    let now = match read(mapping, &cells, committed_at) {
        Ok(now) => now,
        Err(obstacle) => return obstacle.into(),
    };
    let then = before.map(|before| read(mapping, &alone(mapping, before), committed_at));
    match (then, mapping.rows()) {
        (Some(Ok(then)), _) if then.same_status(&now) => Normalized::Unchanged,
        (_, Rows::History) if change.operation == Operation::Insert => Normalized::Record(now.into()),
        (_, Rows::History) => Normalized::Amended(now.into()),
        (Some(Ok(_)), Rows::Requests) => Normalized::Record(now.into()),
        (Some(Err(_)) | None, Rows::Requests) => Normalized::Candidate(now.into()),
    }
}

/// What `row` by itself means under `mapping`: for rows of a snapshot, and for rows out of quarantine.
///
/// `moment`, in microseconds since the epoch, UTC, stands in for the commit time.
#[must_use]
pub fn normalize_row(mapping: &Mapping, row: &Row, moment: i64) -> NormalizedRow {
    let cells = alone(mapping, row);
    match admits(mapping, &cells) {
        Ok(true) => read(mapping, &cells, moment).into(),
        Ok(false) => NormalizedRow::LeftOut,
        Err(complaint) => Err(refused(mapping, &cells, moment, complaint)).into(),
    }
}

/// The row that `change` tells most of: the row as it became, or as it was for a delete, with cells that
/// the log left out taken from the former row.
#[must_use]
pub fn whole_row(change: &Change) -> Option<Cow<'_, Row>> {
    let after = match (&change.after, &change.before) {
        (Some(after), _) if change.operation != Operation::Delete => after,
        (_, before) => return before.as_ref().map(Cow::Borrowed),
    };
    if !after.cells().contains(&Value::Unchanged) {
        return Some(Cow::Borrowed(after));
    }
    let cells = Cells { columns: &[], row: after, before: change.before.as_ref() };
    let whole = (0..after.cells().len()).filter_map(|index| cells.cell(index).cloned()).collect();
    Some(Cow::Owned(Row::new(whole)))
}

/// Whether the row counts.
fn admits(mapping: &Mapping, cells: &Cells<'_>) -> Result<bool, Complaint> {
    mapping.filter.as_ref().map_or(Ok(true), |filter| filter.admits(cells))
}

/// Why a row of which the condition cannot be told is not sent.
fn refused(mapping: &Mapping, cells: &Cells<'_>, committed_at: i64, complaint: Complaint) -> Obstacle {
    let request = match read(mapping, cells, committed_at) {
        Err(Obstacle::BeforeFloor) => return Obstacle::BeforeFloor,
        Err(Obstacle::Rejected(rejection)) => rejection.request,
        Ok(reading) => {
            Some(RequestKey { service_id: reading.service_id.into(), request_id: reading.request_id.into() })
        }
    };
    Obstacle::Rejected(complaint.about(WHERE).reject(request))
}

fn deletion(mapping: &Mapping, change: &Change, status_id: u8) -> Normalized {
    match gone(mapping, change, status_id) {
        Ok(normalized) => normalized,
        Err(OnlyKey { modified_at }) if mapping.filter.is_none() => {
            Normalized::Deletion { status_id, modified_at }
        }
        // A row that nobody knows was outside the condition, for all that can be told.
        Err(OnlyKey { modified_at }) => Normalized::Departure { status_id, modified_at },
    }
}

/// What it means that a row is outside the condition now.
fn departure(mapping: &Mapping, change: &Change) -> Normalized {
    let OnDelete::Report(status_id) = mapping.on_delete else { return Normalized::Unchanged };
    match gone(mapping, change, status_id) {
        Ok(normalized) => normalized,
        Err(OnlyKey { modified_at }) => Normalized::Departure { status_id, modified_at },
    }
}

/// The log tells no more of a row that is gone than its key, and when it went.
struct OnlyKey {
    modified_at: i64,
}

/// What it means that the row is gone, as far as its former state tells.
fn gone(mapping: &Mapping, change: &Change, status_id: u8) -> Result<Normalized, OnlyKey> {
    let modified_at = match time::writable(change.transaction.committed_at) {
        Ok(at) => at,
        Err(complaint) => {
            return Ok(Normalized::Rejected(complaint.about(LAST_MODIFIED_DATE).reject(None)));
        }
    };
    let rejection = match &change.before {
        None => Complaint::unknown_deleted_row().reject(None),
        Some(before) => {
            let cells = alone(mapping, before);
            match admits(mapping, &cells) {
                Ok(false) => return Ok(Normalized::Unchanged),
                Ok(true) => match read_deleted(mapping, &cells, status_id, modified_at) {
                    Ok(gone) => {
                        // A row that was in the reported status already does not change it by going away.
                        return Ok(match read(mapping, &cells, modified_at) {
                            Ok(then) if then.same_status(&gone) => Normalized::Unchanged,
                            _ => Normalized::Record(gone.into()),
                        });
                    }
                    Err(Obstacle::BeforeFloor) => return Ok(Normalized::BeforeFloor),
                    Err(Obstacle::Rejected(rejection)) => rejection,
                },
                Err(complaint) => match refused(mapping, &cells, modified_at, complaint) {
                    Obstacle::BeforeFloor => return Ok(Normalized::BeforeFloor),
                    Obstacle::Rejected(rejection) => rejection,
                },
            }
        }
    };
    if change.old_key.is_some() || change.key.is_some() {
        Err(OnlyKey { modified_at })
    } else {
        Ok(Normalized::Rejected(rejection))
    }
}

/// What it means that `row` was deleted at `modified_at` and that deletes report `status_id`.
pub(crate) fn delete_row(mapping: &Mapping, row: &Row, status_id: u8, modified_at: i64) -> NormalizedRow {
    let cells = alone(mapping, row);
    match admits(mapping, &cells) {
        Ok(true) => read_deleted(mapping, &cells, status_id, modified_at).into(),
        Ok(false) => NormalizedRow::LeftOut,
        Err(complaint) => Err(refused(mapping, &cells, modified_at, complaint)).into(),
    }
}

/// A row that can be sent, with its ids not yet copied: most rows turn out to be unchanged.
struct Reading<'a> {
    service_id: Id<'a>,
    request_id: Id<'a>,
    opening_at: i64,
    status_id: u8,
    modified_at: i64,
}

impl Reading<'_> {
    fn same_status(&self, other: &Self) -> bool {
        self.status_id == other.status_id
            && self.request_id == other.request_id
            && self.service_id == other.service_id
    }
}

/// Why a row cannot be sent.
enum Obstacle {
    BeforeFloor,
    Rejected(Rejection),
}

impl From<Reading<'_>> for StatusChange {
    fn from(reading: Reading<'_>) -> Self {
        Self {
            service_id: reading.service_id.into(),
            request_id: reading.request_id.into(),
            opening_at: reading.opening_at,
            status_id: reading.status_id,
            modified_at: reading.modified_at,
        }
    }
}

impl From<Result<Reading<'_>, Obstacle>> for NormalizedRow {
    fn from(read: Result<Reading<'_>, Obstacle>) -> Self {
        match read {
            Ok(reading) => Self::Record(reading.into()),
            Err(Obstacle::BeforeFloor) => Self::BeforeFloor,
            Err(Obstacle::Rejected(rejection)) => Self::Rejected(rejection),
        }
    }
}

impl From<Obstacle> for Normalized {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::BeforeFloor => Self::BeforeFloor,
            Obstacle::Rejected(rejection) => Self::Rejected(rejection),
        }
    }
}

/// The cells of a row with no former state.
fn alone<'a>(mapping: &'a Mapping, row: &'a Row) -> Cells<'a> {
    Cells { columns: mapping.columns(), row, before: None }
}

fn read<'a>(mapping: &'a Mapping, cells: &Cells<'a>, committed_at: i64) -> Result<Reading<'a>, Obstacle> {
    read_with(mapping, cells, committed_at, || {
        let status_id = mapping.status.read(cells).map_err(|complaint| complaint.about(STATUS_ID))?;
        let modified_at = mapping
            .modified
            .read(cells, committed_at)
            .map_err(|complaint| complaint.about(LAST_MODIFIED_DATE))?;
        Ok((status_id, modified_at))
    })
}

fn read_deleted<'a>(
    mapping: &'a Mapping,
    cells: &Cells<'a>,
    status_id: u8,
    deleted_at: i64,
) -> Result<Reading<'a>, Obstacle> {
    read_with(mapping, cells, deleted_at, || match time::writable(deleted_at) {
        Ok(modified_at) => Ok((status_id, modified_at)),
        Err(complaint) => Err(complaint.about(LAST_MODIFIED_DATE)),
    })
}

/// Reads a row whose status and time of modification come from `passage`.
fn read_with<'a>(
    mapping: &'a Mapping,
    cells: &Cells<'a>,
    committed_at: i64,
    passage: impl FnOnce() -> Result<(u8, i64), Complaint>,
) -> Result<Reading<'a>, Obstacle> {
    let opening = mapping.opening.read(cells, committed_at);
    if matches!(opening, Ok(opening_at) if opening_at < mapping.floor_at) {
        return Err(Obstacle::BeforeFloor);
    }
    let (service_id, request_id) =
        request(mapping, cells).map_err(|complaint| Obstacle::Rejected(complaint.reject(None)))?;
    let opening = opening.map_err(|complaint| complaint.about(OPENING_DATE));
    match opening.and_then(|opening_at| Ok((opening_at, passage()?))) {
        Ok((opening_at, (status_id, modified_at))) => {
            Ok(Reading { service_id, request_id, opening_at, status_id, modified_at })
        }
        Err(complaint) => {
            let request = RequestKey { service_id: service_id.into(), request_id: request_id.into() };
            Err(Obstacle::Rejected(complaint.reject(Some(request))))
        }
    }
}

fn request<'a>(mapping: &'a Mapping, cells: &Cells<'a>) -> Result<(Id<'a>, Id<'a>), Complaint> {
    let service_id = mapping.service.read(cells).map_err(|complaint| complaint.about(SERVICE_ID))?;
    let request_id = mapping.request.read(cells).map_err(|complaint| complaint.about(REQUEST_ID))?;
    Ok((service_id, request_id))
}

#[cfg(test)]
mod tests;
