use proptest::prelude::*;

use super::*;

fn lsn(number: u8) -> Lsn {
    Lsn::from_bytes(&[0, 0, 0, 0, 0, 0, 0, 0, 0, number]).unwrap()
}

/// A row of transaction 1 with an id, which is its key, and a status.
fn captured(operation: i64, number: u8, id: i64, status: i64) -> Captured {
    Captured {
        table: 0,
        lsn: lsn(1),
        seqval: lsn(number),
        operation,
        mask: Vec::new(),
        row: Row::new(vec![Value::Int(id), Value::Int(status)]),
        key: Some(RowKey::from_columns([id.to_string().as_str()])),
        bytes: 100,
    }
}

fn assembled(rows: Vec<Captured>) -> Vec<Change> {
    let mut assembly = Assembly::default();
    for row in rows {
        assembly.push(row, &[], |_| 5);
    }
    assembly.end_transaction();
    assembly.take(None, false).changes
}

/// Operation, status before, status after.
fn told(changes: &[Change]) -> Vec<(Operation, Option<i64>, Option<i64>)> {
    let status = |row: &Option<Row>| match row.as_ref().and_then(|row| row.get(1)) {
        Some(Value::Int(status)) => Some(*status),
        _ => None,
    };
    changes.iter().map(|change| (change.operation, status(&change.before), status(&change.after))).collect()
}

#[test]
fn an_update_has_what_the_row_was_and_what_it_became() {
    let changes = assembled(vec![
        captured(2, 1, 7, 1),
        captured(3, 2, 7, 1),
        captured(4, 2, 7, 2),
        captured(1, 3, 7, 2),
    ]);
    assert_eq!(
        told(&changes),
        [
            (Operation::Insert, None, Some(1)),
            (Operation::Update, Some(1), Some(2)),
            (Operation::Delete, Some(2), None)
        ]
    );
    assert_eq!(changes[1].old_key, None);
    assert_eq!(changes[1].transaction.position.as_str(), "0x00000000000000000001");
    assert_eq!(changes[1].transaction.committed_at, 5);
}

#[test]
fn a_row_without_its_former_one_is_an_update_of_which_that_is_unknown() {
    let changes = assembled(vec![captured(3, 2, 7, 1), captured(4, 3, 7, 2)]);
    assert_eq!(told(&changes), [(Operation::Update, None, Some(2))]);
}

#[test]
fn a_deletion_and_an_insertion_with_one_number_are_an_update_of_the_key() {
    let changes = assembled(vec![captured(1, 2, 7, 1), captured(2, 2, 8, 1)]);
    assert_eq!(told(&changes), [(Operation::Update, Some(1), Some(1))]);
    assert_eq!(changes[0].old_key, Some(RowKey::from_columns(["7"])));
    assert_eq!(changes[0].key, Some(RowKey::from_columns(["8"])));
}

#[test]
fn a_deletion_and_an_insertion_of_one_key_are_an_update_whatever_their_numbers() {
    let changes = assembled(vec![
        captured(1, 2, 7, 1),
        captured(1, 3, 8, 1),
        captured(2, 4, 8, 3),
        captured(2, 5, 7, 2),
    ]);
    assert_eq!(
        told(&changes),
        [(Operation::Update, Some(1), Some(3)), (Operation::Update, Some(1), Some(2))]
    );
    assert_eq!(changes[0].old_key, None);
}

#[test]
fn rows_that_got_new_keys_all_at_once_did_not_come_into_being() {
    let row = |operation, number, key: &str, status| Captured {
        key: Some(RowKey::from_columns([key])),
        ..captured(operation, number, 7, status)
    };
    let changes = assembled(vec![row(1, 2, "a", 1), row(1, 3, "b", 2), row(2, 4, "c", 1), row(2, 5, "d", 2)]);
    assert_eq!(
        told(&changes),
        [(Operation::Update, Some(1), Some(1)), (Operation::Update, Some(2), Some(2))]
    );
    assert_eq!(changes[0].old_key, Some(RowKey::from_columns(["a"])));
}

#[test]
fn what_does_not_belong_together_stays_apart_and_in_order() {
    let changes = assembled(vec![captured(1, 2, 7, 1), captured(4, 3, 9, 4), captured(2, 4, 8, 2)]);
    assert_eq!(
        told(&changes),
        [
            (Operation::Delete, Some(1), None),
            (Operation::Update, None, Some(4)),
            (Operation::Insert, None, Some(2))
        ]
    );
}

#[test]
fn a_row_that_came_and_went_and_came_is_no_update_of_the_first() {
    let changes = assembled(vec![captured(2, 1, 7, 1), captured(1, 2, 7, 1), captured(2, 3, 7, 2)]);
    assert_eq!(told(&changes), [(Operation::Insert, None, Some(1)), (Operation::Update, Some(1), Some(2))]);
}

#[test]
fn rows_of_different_tables_are_not_put_together() {
    let other = |captured: Captured| Captured { table: 1, ..captured };
    let changes = assembled(vec![
        captured(3, 2, 7, 1),
        other(captured(2, 3, 7, 5)),
        captured(4, 2, 7, 2),
        captured(1, 4, 7, 2),
        other(captured(2, 5, 7, 2)),
    ]);
    let tables: Vec<u16> = changes.iter().map(|change| change.table).collect();
    assert_eq!(tables, [1, 0, 0, 1]);
    assert_eq!(
        told(&changes),
        [
            (Operation::Insert, None, Some(5)),
            (Operation::Update, Some(1), Some(2)),
            (Operation::Delete, Some(2), None),
            (Operation::Insert, None, Some(2)),
        ]
    );
}

#[test]
fn transactions_are_not_mixed() {
    let later = Captured { lsn: lsn(2), ..captured(2, 2, 7, 2) };
    let changes = assembled(vec![captured(1, 2, 7, 1), later]);
    assert_eq!(told(&changes), [(Operation::Delete, Some(1), None), (Operation::Insert, None, Some(2))]);
    assert_ne!(changes[0].transaction.position, changes[1].transaction.position);
}

#[test]
fn a_transaction_of_many_deletions_is_told_before_its_end() {
    let mut assembly = Assembly::default();
    let many = HELD_CHANGES_MAX * 2 + 1;
    for id in 0..many {
        let row = captured(1, 1, i64::try_from(id).unwrap(), 1);
        assembly.push(row, &[], |_| 0);
        assert!(assembly.open.as_ref().unwrap().held.len() < HELD_CHANGES_MAX);
    }
    assert_eq!(assembly.ready(), HELD_CHANGES_MAX * 2);
    assembly.end_transaction();
    assert_eq!(assembly.take(None, false).changes.len(), many);
}

#[test]
fn a_long_text_that_the_change_did_not_touch_is_put_back() {
    let bit = MaskBit::of(6).unwrap();
    let row = |note: Value| Row::new(vec![note, Value::Int(1)]);
    let text = |text: &str| Value::text(text);
    let (touched, untouched): (&[u8], &[u8]) = (&[1], &[2]);
    for (before, after, mask, expected_before, expected_after) in [
        (Value::Null, text("a"), untouched, Some(row(text("a"))), row(text("a"))),
        (Value::Null, text("a"), touched, Some(row(Value::Null)), row(text("a"))),
        (text("b"), Value::Null, touched, Some(row(text("b"))), row(Value::Null)),
        (Value::Null, Value::Null, untouched, None, row(Value::Unchanged)),
    ] {
        let told = completed(Some(row(before)), row(after), mask, &[(0, bit)]);
        assert_eq!(told, (expected_before, expected_after));
    }
}

proptest! {
    #[test]
    fn no_insertion_and_no_status_is_ever_lost(rows in prop::collection::vec((1_i64..=4, 0_u8..4, 0_i64..4, 0_i64..3), 0..40)) {
        let rows: Vec<Captured> = rows.into_iter().map(|(operation, number, id, status)| captured(operation, number, id, status)).collect();
        let became = |status: &i64| *status;
        let expected: Vec<i64> = rows.iter().filter(|row| matches!(row.operation, 2 | 4)).filter_map(|row| match row.row.get(1) {
            Some(Value::Int(status)) => Some(became(status)),
            _ => None,
        }).collect();
        let changes = assembled(rows);
        let after: Vec<i64> = told(&changes).into_iter().filter_map(|(_, _, after)| after).collect();
        prop_assert_eq!(after, expected);
    }
}
