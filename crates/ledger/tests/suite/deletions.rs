//! Deletions of which the log tells only the row's key.

use ledger::{Captured, CopyKind, Entry, FlushKind, Ingest};

use crate::arrange::{Desk, broken, candidate, captured, change, checkpoint, packed, page, piece};

fn deleted(key: &str) -> Captured {
    captured(Entry::Deletion { status_id: 10, modified_at: 0 }, Some(key), None)
}

fn departed(key: &str) -> Captured {
    captured(Entry::Departure { status_id: 10, modified_at: 0 }, Some(key), None)
}

fn keyed(text: &str, key: &str) -> Captured {
    captured(candidate(text), Some(key), None)
}

fn commit(desk: &mut Desk, captured: Vec<Captured>) {
    desk.ledger.append(&[Ingest { captured: packed(&captured), ..piece(vec![], Some("0/1")) }]).unwrap();
}

/// Whether the rows are settled together or one by one must make no difference.
fn check(pieces: &[Vec<Captured>], expected: &[&str], unknown: u64) {
    for settled_between in [false, true] {
        let mut desk = Desk::new();
        for piece in pieces {
            commit(&mut desk, piece.clone());
            if settled_between {
                while desk.ledger.settle(1).unwrap().more {}
            }
        }
        let sent = desk.flush(FlushKind::Delta, false).concat();
        assert_eq!(sent, expected, "settled between: {settled_between}");
        assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, unknown);
    }
}

#[test]
fn a_deletion_belongs_to_the_last_request_of_its_row() {
    check(&[vec![keyed("101 A 9", "k1"), deleted("k1")]], &["101 A 9", "101 A 10"], 0);
    check(
        &[vec![keyed("101 A 9", "k1")], vec![keyed("101 B 9", "k1")], vec![deleted("k1")]],
        &["101 A 9", "101 B 9", "101 B 10"],
        0,
    );
}

#[test]
fn a_key_that_comes_back_to_a_request_is_followed() {
    check(
        &[vec![keyed("101 B 9", "k1"), keyed("101 A 9", "k1"), keyed("101 B 9", "k1"), deleted("k1")]],
        &["101 B 9", "101 A 9", "101 B 10"],
        0,
    );
}

#[test]
fn a_row_that_left_its_key_is_not_deleted_with_it() {
    let moved = captured(candidate("101 A 9"), Some("k2"), Some("k1"));
    check(&[vec![keyed("101 A 9", "k1"), moved, deleted("k1"), deleted("k2")]], &["101 A 9", "101 A 10"], 1);
}

#[test]
fn a_deletion_of_an_unknown_row_goes_to_quarantine() {
    check(&[vec![deleted("k1")], vec![deleted("k1")]], &[], 2);
    check(&[vec![keyed("101 A 9", "k1"), deleted("k1"), deleted("k1")]], &["101 A 9", "101 A 10"], 1);
}

#[test]
fn a_deletion_after_a_rejected_row_is_reported_with_what_was_known() {
    check(
        &[vec![keyed("101 A 9", "k1")], vec![captured(broken("101", "A"), Some("k1"), None), deleted("k1")]],
        &["101 A 9", "101 A 10"],
        0,
    );
    check(&[vec![captured(broken("101", "A"), Some("k1"), None), deleted("k1")]], &[], 1);
}

#[test]
fn a_row_that_departs_is_reported_once_and_only_where_it_was_known() {
    check(&[vec![departed("k1")], vec![departed("k2"), deleted("k2")]], &[], 1);
    check(
        &[vec![keyed("101 A 9", "k1"), departed("k1"), departed("k1")], vec![departed("k1")]],
        &["101 A 9", "101 A 10"],
        0,
    );
    check(
        &[vec![keyed("101 A 9", "k1")], vec![departed("k1"), keyed("101 A 9", "k1")], vec![departed("k1")]],
        &["101 A 9", "101 A 10", "101 A 9", "101 A 10"],
        0,
    );
    check(&[vec![keyed("101 A 10", "k1"), departed("k1")]], &["101 A 10"], 0);
}

#[test]
fn rows_of_a_copy_can_be_deleted() {
    let mut desk = Desk::new();
    let copy = desk.begin(CopyKind::Baseline, true);
    let mut page = page(&[]);
    for (text, key) in [("101 A 9", "k1"), ("101 B 9", "k2")] {
        page.rows.push(&change(text), 202_001, Some(&change::RowKey::from_columns([key])));
    }
    desk.ledger.append_page(copy, &page).unwrap();
    desk.ledger.finish_copy(copy, Some(&checkpoint("0/0"))).unwrap();
    commit(&mut desk, vec![deleted("k2")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 B 10"]]);
}
