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
        let Normalized::Rejected(rejection) = normalize(&reporting_deletes(), &deleted(before, None)) else {
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
    let gone = || Normalized::Record(StatusChange { modified_at: COMMITTED_AT, ..status_change("1", 10) });
    let departure = || Normalized::Departure { status_id: 10, modified_at: COMMITTED_AT };
    let (inside, approved) = (|| of_kind(row("1", "RECIBIDA"), "T"), || of_kind(row("1", "APROBADA"), "T"));
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
    let (silent, telling) = (only("tipo = 'T'", OnDelete::Ignore), only("tipo = 'T'", OnDelete::Report(10)));
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
