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
mod tests {
    use std::sync::Arc;

    use change::{Position, RowKey, Transaction};
    use proptest::prelude::*;

    use super::*;
    use crate::sample::{self, COMMITTED_AT, MODIFIED_AT, OPENED_AT, change_to, config, row};

    fn status_change(request_id: &str, status_id: u8) -> StatusChange {
        StatusChange {
            service_id: "101".into(),
            request_id: request_id.into(),
            opening_at: OPENED_AT,
            status_id,
            modified_at: MODIFIED_AT,
        }
    }

    /// The row with the cell at `index` replaced.
    fn with(row: &Row, index: usize, cell: Value) -> Row {
        let mut cells = row.cells().to_vec();
        cells[index] = cell;
        Row::new(cells)
    }

    fn reporting_deletes() -> Mapping {
        Mapping::new(crate::MappingConfig { on_delete: OnDelete::Report(10), ..config() }).unwrap()
    }

    fn deleted(before: Option<Row>, key: Option<&str>) -> Change {
        Change {
            table: 0,
            operation: Operation::Delete,
            after: None,
            key: key.map(|key| RowKey::from(key.to_owned())),
            ..change_to(before, Row::default())
        }
    }

    #[test]
    fn an_insert_is_a_candidate() {
        let change = Change { operation: Operation::Insert, ..change_to(None, row("1", "RECIBIDA")) };
        let expected = Normalized::Candidate(status_change("1", 9));
        assert_eq!(normalize(&sample::mapping(), &change), expected);
    }

    #[test]
    fn updates_are_told_apart_by_service_request_and_status() {
        let received = row("1", "RECIBIDA");
        let early = with(&received, 2, Value::text("2019-12-31"));
        let approved = || status_change("1", 3);
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases = [
            ("an edit of other columns", Some(received.clone()), received.clone(), Normalized::Unchanged),
            ("a later time of modification", Some(with(&received, 4, Value::Instant(0))), received.clone(), Normalized::Unchanged),
            ("another spelling of the status", Some(with(&received, 3, Value::text("ENTRADA"))), received.clone(), Normalized::Unchanged),
            ("another status", Some(received.clone()), row("1", "APROBADA"), Normalized::Record(approved())),
            ("another request", Some(row("2", "APROBADA")), row("1", "APROBADA"), Normalized::Record(approved())),
            ("another service", Some(with(&row("1", "APROBADA"), 0, Value::text("PER"))), row("1", "APROBADA"), Normalized::Record(approved())),
            ("no former row", None, row("1", "APROBADA"), Normalized::Candidate(approved())),
            ("a former row that was rejected", Some(with(&received, 3, Value::Null)), row("1", "APROBADA"), Normalized::Candidate(approved())),
            ("a former row whose time was rejected", Some(with(&row("1", "APROBADA"), 2, Value::Null)), row("1", "APROBADA"), Normalized::Candidate(approved())),
            ("a former row before the floor", Some(with(&early, 3, Value::text("APROBADA"))), row("1", "APROBADA"), Normalized::Candidate(approved())),
            ("now before the floor", Some(row("1", "APROBADA")), early, Normalized::BeforeFloor),
        ];
        for (name, before, after, expected) in cases {
            assert_eq!(normalize(&sample::mapping(), &change_to(before, after)), expected, "{name}");
        }
    }

    #[test]
    fn cells_that_the_log_left_out_come_from_the_former_row() {
        let received = row("1", "RECIBIDA");
        let approved = row("1", "APROBADA");
        let left_out = |row: &Row, index| with(row, index, Value::Unchanged);
        let record = || Normalized::Record(status_change("1", 3));
        for index in [0, 1, 2, 4] {
            let change = change_to(Some(received.clone()), left_out(&approved, index));
            assert_eq!(normalize(&sample::mapping(), &change), record(), "column {index}");
            let Normalized::Rejected(rejection) =
                normalize(&sample::mapping(), &change_to(None, left_out(&approved, index)))
            else {
                panic!("column {index} is needed");
            };
            assert_eq!(rejection.code, "unlogged_value");
            assert_eq!(rejection.request.is_some(), index > 1, "column {index}");
        }
        for before in [None, Some(left_out(&received, 3)), Some(received.clone())] {
            let change = change_to(before, left_out(&approved, 3));
            assert_eq!(normalize(&sample::mapping(), &change), Normalized::Unchanged);
        }
        let change = change_to(Some(row("2", "APROBADA")), left_out(&approved, 3));
        assert_eq!(normalize(&sample::mapping(), &change), record(), "the key changed, the status did not");
    }

    #[test]
    fn the_floor_is_a_midnight_in_the_zone_of_the_schedule() {
        // 2020-01-01 begins in Santo Domingo at 04:00 UTC.
        let floor_at = 1_577_851_200_000_000;
        let mapping = sample::mapping();
        for (opened_at, kept) in [(floor_at, true), (floor_at - 1, false)] {
            let row = with(&row("1", "RECIBIDA"), 2, Value::Instant(opened_at));
            let normalized = normalize_row(&mapping, &row, COMMITTED_AT);
            assert_eq!(matches!(normalized, NormalizedRow::Record(_)), kept, "{normalized:?}");
        }
    }

    #[test]
    fn oddities_of_rows_before_the_floor_bother_nobody() {
        let old = with(&row("1", "RECIBIDA"), 2, Value::text("2012-05-01"));
        for index in [0, 1, 3, 4] {
            let odd = with(&old, index, Value::Null);
            assert_eq!(normalize_row(&sample::mapping(), &odd, COMMITTED_AT), NormalizedRow::BeforeFloor);
        }
    }

    #[test]
    fn a_rejection_names_the_first_bad_field_and_the_request_where_it_is_known() {
        for (index, field, known) in [
            (0, "service_id", false),
            (1, "request_id", false),
            (2, "opening_date", true),
            (3, "status_id", true),
            (4, "last_modified_date", true),
        ] {
            let mut cells = row("7", "RECIBIDA").cells().to_vec();
            cells[index..].fill(Value::Null);
            let NormalizedRow::Rejected(rejection) =
                normalize_row(&sample::mapping(), &Row::new(cells), COMMITTED_AT)
            else {
                panic!("{field} is NULL");
            };
            assert_eq!((rejection.field, rejection.code), (field, "null_value"));
            assert!(rejection.reason.contains(field), "{}", rejection.reason);
            let request = RequestKey { service_id: "101".into(), request_id: "7".into() };
            assert_eq!(rejection.request, known.then_some(request));
        }
    }

    #[test]
    fn the_commit_time_stands_in_where_it_is_configured() {
        let config = crate::MappingConfig { last_modified_date: crate::TimeField::CommitTime, ..config() };
        let mapping = Mapping::new(config).unwrap();
        assert_eq!(mapping.columns().len(), 4);
        let change = change_to(None, Row::new(row("1", "RECIBIDA").cells()[..4].to_vec()));
        let Normalized::Candidate(candidate) = normalize(&mapping, &change) else {
            panic!("the row is complete");
        };
        assert_eq!(candidate.modified_at, COMMITTED_AT);
        let NormalizedRow::Record(record) = normalize_row(&mapping, &change.after.unwrap(), 42) else {
            panic!("the row is complete");
        };
        assert_eq!(record.modified_at, 42);
    }

    #[test]
    fn deletes_are_ignored_or_reported_as_far_as_the_log_tells() {
        let received = row("1", "RECIBIDA");
        let gone = StatusChange { modified_at: COMMITTED_AT, ..status_change("1", 10) };
        let record = || Normalized::Record(gone.clone());
        let deletion = || Normalized::Deletion { status_id: 10, modified_at: COMMITTED_AT };
        let null = |index| with(&received, index, Value::Null);
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases = [
            ("whole row", deleted(Some(received.clone()), Some("1")), record()),
            ("status not needed", deleted(Some(null(3)), None), record()),
            ("time of modification not needed", deleted(Some(null(4)), None), record()),
            ("key only", deleted(None, Some("1")), deletion()),
            ("bad row with key", deleted(Some(null(0)), Some("1")), deletion()),
            ("in that status already", deleted(Some(row("1", "ANULADA")), Some("1")), Normalized::Unchanged),
            ("before the floor", deleted(Some(with(&received, 2, Value::text("2019-01-01"))), Some("1")), Normalized::BeforeFloor),
        ];
        for (name, change, expected) in cases {
            assert_eq!(normalize(&sample::mapping(), &change), Normalized::Unchanged, "{name}, ignored");
            assert_eq!(normalize(&reporting_deletes(), &change), expected, "{name}");
        }
        for (before, code) in [(None, "unknown_deleted_row"), (Some(null(0)), "null_value")] {
            let Normalized::Rejected(rejection) = normalize(&reporting_deletes(), &deleted(before, None))
            else {
                panic!("nothing tells which request it was");
            };
            assert_eq!(rejection.code, code);
        }
    }

    fn only(condition: &str, on_delete: OnDelete) -> Mapping {
        let condition = Some(crate::parse_condition(condition).unwrap());
        Mapping::new(crate::MappingConfig { condition, on_delete, ..config() }).unwrap()
    }

    /// The row with a kind of request, which the condition asks for.
    fn of_kind(row: Row, kind: &str) -> Row {
        let kind = [if kind.is_empty() { Value::Null } else { Value::text(kind) }];
        Row::new([row.cells(), &kind].concat())
    }

    #[test]
    fn rows_that_cross_the_condition_come_and_go() {
        let record = || Normalized::Record(status_change("1", 3));
        let candidate = || Normalized::Candidate(status_change("1", 3));
        let gone =
            || Normalized::Record(StatusChange { modified_at: COMMITTED_AT, ..status_change("1", 10) });
        let departure = || Normalized::Departure { status_id: 10, modified_at: COMMITTED_AT };
        let (inside, approved) =
            (|| of_kind(row("1", "RECIBIDA"), "T"), || of_kind(row("1", "APROBADA"), "T"));
        let outside = || of_kind(row("1", "APROBADA"), "Q");
        let odd = || of_kind(row("x", "DESCONOCIDA"), "Q");
        let null = || of_kind(row("1", "APROBADA"), "");
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases = [
            ("stays in", Some(inside()), approved(), record(), record()),
            ("stays in, former row not told", None, approved(), candidate(), candidate()),
            ("enters", Some(outside()), approved(), candidate(), candidate()),
            ("enters from NULL", Some(null()), approved(), candidate(), candidate()),
            ("leaves", Some(inside()), outside(), Normalized::Unchanged, gone()),
            ("leaves to NULL", Some(inside()), null(), Normalized::Unchanged, gone()),
            ("leaves, former row not told", None, outside(), Normalized::Unchanged, departure()),
            ("leaves and cannot be mapped", Some(inside()), odd(), Normalized::Unchanged, gone()),
            ("stays out", Some(odd()), outside(), Normalized::Unchanged, Normalized::Unchanged),
            ("stays out and cannot be mapped", Some(outside()), odd(), Normalized::Unchanged, Normalized::Unchanged),
            ("was in the reported status", Some(of_kind(row("1", "ANULADA"), "T")), outside(), Normalized::Unchanged, Normalized::Unchanged),
        ];
        let (silent, telling) =
            (only("tipo = 'T'", OnDelete::Ignore), only("tipo = 'T'", OnDelete::Report(10)));
        for (name, before, after, ignored, reported) in cases {
            let change = Change { key: Some(RowKey::from_columns(["1"])), ..change_to(before, after) };
            assert_eq!(normalize(&silent, &change), ignored, "{name}, ignored");
            assert_eq!(normalize(&telling, &change), reported, "{name}");
        }
        for (name, before, expected) in [
            ("from inside", Some(inside()), gone()),
            ("from outside", Some(outside()), Normalized::Unchanged),
            ("key only", None, departure()),
        ] {
            assert_eq!(normalize(&telling, &deleted(before, Some("1"))), expected, "a delete {name}");
        }
        for (row, expected) in [(odd(), true), (null(), true), (approved(), false)] {
            let left_out = normalize_row(&silent, &row, COMMITTED_AT) == NormalizedRow::LeftOut;
            assert_eq!(left_out, expected, "{row:?}");
        }
    }

    #[test]
    fn rows_of_a_history_are_status_changes_of_their_own() {
        let mapping = Mapping::new(crate::MappingConfig { rows: Rows::History, ..config() }).unwrap();
        let received = row("1", "RECIBIDA");
        let record = || Normalized::Record(status_change("1", 9));
        let amended = || Normalized::Amended(status_change("1", 9));
        let insert = Change { operation: Operation::Insert, ..change_to(None, received.clone()) };
        assert_eq!(normalize(&mapping, &insert), record());
        for (name, before, expected) in [
            ("an edit of other columns", Some(received.clone()), Normalized::Unchanged),
            ("a later moment", Some(with(&received, 4, Value::Instant(0))), Normalized::Unchanged),
            ("former row not told", None, amended()),
            ("another status", Some(row("1", "APROBADA")), amended()),
            ("a former row that was rejected", Some(with(&received, 3, Value::Null)), amended()),
        ] {
            assert_eq!(normalize(&mapping, &change_to(before, received.clone())), expected, "{name}");
        }
        assert_eq!(normalize(&mapping, &deleted(Some(received), Some("1"))), Normalized::Unchanged);
        assert!(mapping.needs_keys());
    }

    #[test]
    fn a_row_of_which_the_condition_cannot_be_told_is_rejected() {
        let numbers = only("tipo > 5", OnDelete::Ignore);
        let change = change_to(None, of_kind(row("1", "RECIBIDA"), "T"));
        let Normalized::Rejected(rejection) = normalize(&numbers, &change) else { panic!("T is no number") };
        assert_eq!((rejection.code, rejection.field), ("unfit_for_where", "where"));
        assert_eq!(rejection.request.unwrap().request_id, "1");
        // The oddities of old rows bother nobody here either.
        let old = with(&of_kind(row("1", "RECIBIDA"), "T"), 2, Value::text("2012-05-01"));
        assert_eq!(normalize(&numbers, &change_to(None, old.clone())), Normalized::BeforeFloor);
        assert_eq!(normalize_row(&numbers, &old, COMMITTED_AT), NormalizedRow::BeforeFloor);
        // What was not logged comes from the former row, or is not known.
        let kinds = only("tipo = 'T'", OnDelete::Ignore);
        let unlogged = with(&of_kind(row("1", "APROBADA"), "T"), 5, Value::Unchanged);
        let former = of_kind(row("1", "RECIBIDA"), "T");
        let known = normalize(&kinds, &change_to(Some(former), unlogged.clone()));
        assert_eq!(known, Normalized::Record(status_change("1", 3)));
        let Normalized::Rejected(rejection) = normalize(&kinds, &change_to(None, unlogged)) else {
            panic!("nobody knows whether the row counts");
        };
        assert_eq!(rejection.code, "unlogged_value");
        // It may have entered, and then its status would be news.
        let unlogged = with(&of_kind(row("1", "APROBADA"), "T"), 3, Value::Unchanged);
        assert!(matches!(normalize(&kinds, &change_to(None, unlogged)), Normalized::Rejected(_)));
    }

    #[test]
    fn an_update_without_a_row_is_rejected() {
        let change = Change { after: None, ..change_to(None, Row::default()) };
        let Normalized::Rejected(rejection) = normalize(&sample::mapping(), &change) else {
            panic!("there is no row");
        };
        assert_eq!(rejection.code, "no_row");
    }

    #[test]
    fn the_whole_row_fills_in_what_the_log_left_out() {
        let (received, approved) = (row("1", "RECIBIDA"), row("1", "APROBADA"));
        let partial = with(&approved, 2, Value::Unchanged);
        let change = change_to(Some(received.clone()), partial.clone());
        assert_eq!(whole_row(&change).as_deref(), Some(&approved));
        assert_eq!(whole_row(&change_to(None, partial.clone())).as_deref(), Some(&partial));
        assert_eq!(whole_row(&deleted(Some(received.clone()), None)).as_deref(), Some(&received));
        assert_eq!(whole_row(&deleted(None, None)), None);
    }

    fn change_of(operation: Operation, rows: (Option<Row>, Option<Row>), keyed: bool, at: i64) -> Change {
        Change {
            table: 0,
            operation,
            before: rows.0,
            after: rows.1,
            key: keyed.then(|| RowKey::from_columns(["1"])),
            old_key: None,
            transaction: Arc::new(Transaction { position: Position::new("0/1"), committed_at: at }),
        }
    }

    proptest! {
        #[test]
        fn no_change_is_too_odd_to_be_normalized(
            operation in prop::sample::select(vec![Operation::Insert, Operation::Update, Operation::Delete]),
            before in prop::option::of(sample::any_row()),
            after in prop::option::of(sample::any_row()),
            keyed: bool,
            at: i64,
        ) {
            let change = change_of(operation, (before, after), keyed, at);
            for mapping in [sample::mapping(), reporting_deletes()] {
                let normalized = normalize(&mapping, &change);
                prop_assert_eq!(&normalized, &normalize(&mapping, &change));
                if let Normalized::Record(record) | Normalized::Candidate(record) = normalized {
                    prop_assert!(crate::status(record.status_id).is_some());
                    prop_assert!(record.opening_at >= mapping.floor_at);
                    prop_assert!(time::writable(record.modified_at).is_ok());
                    prop_assert!(!record.request_id.is_empty() && !record.service_id.is_empty());
                }
            }
        }

        #[test]
        fn an_update_is_a_record_exactly_if_both_rows_can_be_sent_and_differ(
            before in sample::likely_row(),
            after in sample::likely_row(),
        ) {
            let mapping = sample::mapping();
            let alone = |row: &Row| match normalize_row(&mapping, row, COMMITTED_AT) {
                NormalizedRow::Record(record) => Some(record),
                _ => None,
            };
            let expected = match (alone(&before), alone(&after)) {
                (Some(then), Some(now)) => Some(then.status_id != now.status_id || !then.is_of_same_request(&now)),
                _ => None,
            };
            let normalized = normalize(&mapping, &change_to(Some(before), after));
            prop_assert_eq!(matches!(normalized, Normalized::Record(_)), expected == Some(true));
            if expected == Some(false) {
                prop_assert_eq!(normalized, Normalized::Unchanged);
            }
        }
    }
}
