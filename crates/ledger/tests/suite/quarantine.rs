//! Quarantine: rows mapped after all, records sent again, items discarded.

use ledger::{CopyKind, Discard, FlushKind, GapFound, Ingest, LedgerErrorKind, QuarantineKind, Resolution};

use crate::arrange::{
    Desk, EVER, NOW, broken, candidate, change, checkpoint, key, page, piece, record, rejected,
};

fn mapped(text: &str) -> Resolution {
    Resolution::Mapped { change: change(text), month: 202_001 }
}

/// A row of A is rejected, in a committed transaction.
fn reject(desk: &mut Desk) {
    let request = Some(key("101", "A"));
    let piece = Ingest { rejected: vec![rejected(request)], ..piece(vec![broken("101", "A")], Some("0/1")) };
    desk.ledger.append(&[piece]).unwrap();
}

fn retry(desk: &mut Desk, text: &str) {
    let rows = desk.ledger.rows_for_retry(0, 10).unwrap();
    desk.ledger.resolve_row(rows[0].id, &mapped(text), NOW).unwrap();
}

#[test]
fn a_rejected_row_is_kept_with_its_reason_and_its_columns() {
    let mut desk = Desk::new();
    reject(&mut desk);
    let rows = desk.ledger.rows_for_retry(0, 10).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].row.as_str(), rows[0].at), (r#"{"estado":"X"}"#, NOW));
    assert_eq!(rows[0].request, Some(key("101", "A")));
    let resolution = Resolution::StillRejected { code: "null", reason: "estado is NULL".into() };
    desk.ledger.resolve_row(rows[0].id, &resolution, NOW).unwrap();
    let item = desk.ledger.quarantine(Some(QuarantineKind::Row), 0, 10).unwrap().remove(0);
    assert_eq!((item.code.as_str(), item.reason.as_str()), ("null", "estado is NULL"));
    assert_eq!(desk.ledger.explain("A").unwrap()[0].state.as_str(), "quarantined");
    desk.ledger.resolve_row(item.id, &Resolution::NothingOwed, NOW).unwrap();
    assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, 0);
    assert!(desk.ledger.rows_for_retry(0, 10).unwrap().is_empty());
}

#[test]
fn a_row_mapped_after_all_becomes_the_known_status_when_nothing_came_since() {
    let mut desk = Desk::new();
    reject(&mut desk);
    retry(&mut desk, "101 A 9");
    desk.commit(vec![candidate("101 A 9")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 9"]]);
}

#[test]
fn a_row_mapped_after_all_is_owed_but_leaves_the_known_status_alone() {
    let mut desk = Desk::new();
    reject(&mut desk);
    reject(&mut desk);
    desk.commit(vec![candidate("101 A 3")]);
    desk.settle();
    retry(&mut desk, "101 A 9");
    desk.settle();
    retry(&mut desk, "101 A 9");
    desk.commit(vec![candidate("101 A 3")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 3", "101 A 9"]]);
    let life = desk.ledger.explain("A").unwrap();
    assert_eq!(life[1].origin.as_str(), "retry");
}

#[test]
fn a_row_of_a_copy_mapped_after_all_waits_for_the_backfill() {
    let mut desk = Desk::new();
    let copy = desk.begin(CopyKind::Baseline, true);
    let mut staged = page(&[change("101 B 9")]);
    staged.rejected = vec![rejected(Some(key("101", "A"))), rejected(None)];
    desk.ledger.append_page(copy, &staged).unwrap();
    assert!(desk.ledger.rows_for_retry(0, 10).unwrap().is_empty(), "the copy may still be given up");
    desk.ledger.finish_copy(copy, Some(&checkpoint("0/0"))).unwrap();
    desk.settle();
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    desk.commit(vec![candidate("101 C 3")]);
    retry(&mut desk, "101 A 9");
    retry(&mut desk, "101 C 9");
    desk.commit(vec![candidate("101 A 9")]);
    assert_eq!(desk.ledger.backfill_status().unwrap().records, 2);
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 9", "101 B 9"]]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 C 3"]], "the copy's row of C is overtaken");
}

#[test]
fn a_row_of_a_repair_mapped_after_all_is_compared_with_what_is_known() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9"), change("101 B 9"), change("101 C 9")]);
    let gap = desk.ledger.open_gap(&GapFound { found_at: NOW, reason: "the slot is gone".into() }).unwrap();
    let copy = desk.begin(CopyKind::Repair { gap }, true);
    let mut staged = page(&[]);
    staged.rejected = vec![rejected(None), rejected(None), rejected(None)];
    desk.ledger.append_page(copy, &staged).unwrap();
    desk.ledger.finish_copy(copy, Some(&checkpoint("0/50"))).unwrap();
    desk.settle();
    desk.commit(vec![candidate("101 C 7")]);
    for text in ["101 A 3", "101 B 9", "101 C 3"] {
        retry(&mut desk, text);
    }
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 C 7", "101 A 3"]]);
}

#[test]
fn a_complete_copy_replaces_what_earlier_copies_had_rejected() {
    let mut desk = Desk::new();
    for _ in 0..2 {
        let kind =
            if desk.ledger.copy_progress().unwrap().is_none() { CopyKind::Baseline } else { CopyKind::Again };
        let copy = desk.begin(kind, true);
        let mut staged = page(&[]);
        staged.rejected.push(rejected(None));
        desk.ledger.append_page(copy, &staged).unwrap();
        desk.ledger.finish_copy(copy, Some(&checkpoint("0/0"))).unwrap();
        desk.settle();
        assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, 1);
    }
}

#[test]
fn refused_records_go_again_behind_the_others() {
    let mut desk = Desk::new();
    desk.commit(vec![record("101 A 9"), record("101 A 3")]);
    let flush = desk.start(FlushKind::Delta);
    let batch = desk.next(flush).unwrap();
    desk.ledger.split(batch.id, &mut crate::arrange::Lines::default(), NOW).unwrap();
    let alone = desk.next(flush).unwrap();
    desk.ledger.refuse(alone.id, "refused", "no", NOW).unwrap();
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 3"]]);
    assert_eq!(desk.ledger.quarantine_counts().unwrap().records, 1);
    assert_eq!(desk.ledger.retry_records(NOW).unwrap(), 1);
    assert_eq!(desk.ledger.retry_records(NOW).unwrap(), 0);
    desk.commit(vec![candidate("101 A 3")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 9"]]);
}

#[test]
fn discarded_items_stay_away() {
    let mut desk = Desk::new();
    reject(&mut desk);
    reject(&mut desk);
    reject(&mut desk);
    let first = desk.ledger.quarantine(None, 0, 1).unwrap()[0].id;
    assert_eq!(desk.ledger.discard(Discard::Items(&[first, 999]), NOW).unwrap(), 1);
    assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, 2);
    assert_eq!(desk.ledger.discard(Discard::All, NOW).unwrap(), 2);
    assert_eq!(desk.ledger.discard(Discard::All, NOW).unwrap(), 0);
}

#[test]
fn nothing_leaves_quarantine_behind_an_open_transaction() {
    let mut desk = Desk::new();
    reject(&mut desk);
    desk.ledger.append(&[piece(vec![record("101 B 9")], None)]).unwrap();
    let item = desk.ledger.rows_for_retry(0, 1).unwrap()[0].id;
    let refused = desk.ledger.resolve_row(item, &mapped("101 A 9"), NOW).unwrap_err();
    assert_eq!(refused.kind(), LedgerErrorKind::OpenTransaction);
    assert!(refused.hint().is_some());
    assert_eq!(desk.ledger.retry_records(NOW).unwrap_err().kind(), LedgerErrorKind::OpenTransaction);
}
