//! Copies of the table, and how they meet the stream.

use change::{PageCursor, Position};
use ledger::{BackfillState, CopyKind, FlushKind, GapFound, LedgerErrorKind, StagedPage};
use normalizer::StatusChange;

use crate::arrange::{Desk, EVER, NOW, broken, candidate, change, checkpoint, page, piece, record, rejected};

fn ask(desk: &mut Desk) {
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
}

fn gap(desk: &mut Desk) -> i64 {
    desk.ledger.open_gap(&GapFound { found_at: NOW, reason: "the slot is gone".into() }).unwrap()
}

#[test]
fn a_backfill_sends_each_row_of_the_copy_once() {
    let mut desk = Desk::new();
    let rows: Vec<_> = (0..10).map(|index| change(&format!("101 R{index} 9"))).collect();
    desk.baseline(&rows);
    assert_eq!(desk.ledger.backfill_status().unwrap().state, BackfillState::Copied);
    assert_eq!(desk.ledger.backfill_status().unwrap().records, 10);
    ask(&mut desk);
    assert_eq!(desk.ledger.backfill_status().unwrap().state, BackfillState::Sending);
    let mut sent = desk.flush(FlushKind::Backfill, false).concat();
    sent.sort();
    let expected: Vec<_> = (0..10).map(|index| format!("101 R{index} 9")).collect();
    assert_eq!(sent, expected);
    let status = desk.ledger.backfill_status().unwrap();
    assert_eq!((status.state, status.acknowledged, status.records), (BackfillState::Done, 10, 10));
    ask(&mut desk);
    assert!(desk.flush(FlushKind::Backfill, false).is_empty());
}

#[test]
fn a_backfill_goes_month_by_month_and_only_over_what_was_asked_for() {
    let mut desk = Desk::new();
    let copy = desk.begin(CopyKind::Baseline, true);
    let mut staged = page(&[]);
    for (text, month, opening_at) in [
        ("101 A 9", 202_003, 300),
        ("101 B 9", 202_001, 100),
        ("102 C 9", 202_001, 110),
        ("101 D 9", 202_002, 200),
    ] {
        staged.rows.push(&StatusChange { opening_at, ..change(text) }, month, None);
    }
    desk.ledger.append_page(copy, &staged).unwrap();
    desk.ledger.finish_copy(copy, Some(&checkpoint("0/0"))).unwrap();
    desk.settle();
    desk.ledger.request_backfill(105, 201, NOW).unwrap();
    assert_eq!(desk.ledger.backfill_status().unwrap().records, 2);
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["102 C 9"], ["101 D 9"]]);
    assert_eq!(desk.ledger.backfill_status().unwrap().state, BackfillState::Done);

    desk.ledger.request_backfill(0, 150, NOW).unwrap();
    let status = desk.ledger.backfill_status().unwrap();
    assert_eq!((status.from_at, status.to_at, status.records), (Some(0), Some(201), 3));
    assert_eq!(desk.flush(FlushKind::Backfill, true), [["101 B 9"]]);
    let months = desk.ledger.backfill_months().unwrap();
    assert_eq!(
        months.iter().map(|month| (month.month, month.acknowledged)).collect::<Vec<_>>(),
        [(202_001, 2), (202_002, 1)]
    );
}

#[test]
fn a_backfill_goes_service_by_service_where_that_is_asked_for() {
    let mut desk = Desk::new();
    desk.baseline(&[change("102 A 9"), change("101 B 9"), change("102 C 9")]);
    ask(&mut desk);
    assert_eq!(desk.flush(FlushKind::Backfill, true), [vec!["101 B 9"], vec!["102 A 9", "102 C 9"]]);
}

#[test]
fn a_backfill_row_leaves_before_the_first_streamed_record_of_its_request() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9"), change("101 B 9")]);
    desk.commit(vec![candidate("101 B 3"), candidate("101 B 7")]);
    ask(&mut desk);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 B 9", "101 B 3", "101 B 7"]]);
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 9"]]);
    assert_eq!(desk.ledger.backfill_status().unwrap().acknowledged, 2);
}

#[test]
fn a_backfill_row_never_leaves_after_a_streamed_record_of_its_request() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9"), change("101 B 9")]);
    desk.commit(vec![candidate("101 B 3")]);
    let flush = desk.start(FlushKind::Delta);
    assert!(desk.next(flush).is_some());
    ask(&mut desk);
    assert_eq!(desk.ledger.backfill_status().unwrap().records, 1);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 B 3"]]);
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 9"]]);
}

#[test]
fn a_fenced_page_yields_to_what_the_stream_has_touched() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    desk.commit(vec![candidate("101 A 3")]);
    desk.fenced_page(copy, &[change("101 A 9"), change("101 B 9")]);
    desk.commit(vec![candidate("101 B 9"), candidate("101 B 7")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    ask(&mut desk);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 3", "101 B 9", "101 B 7"]]);
    let status = desk.ledger.backfill_status().unwrap();
    assert_eq!((status.state, status.acknowledged, status.skipped), (BackfillState::Done, 1, 1));
}

#[test]
fn a_copy_goes_on_where_it_stopped() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    let staged = StagedPage {
        fence: Some(Position::new("0/9")),
        cursor: Some(PageCursor::new("B")),
        scanned: 3,
        ..page(&[change("101 A 9"), change("101 B 9")])
    };
    let waiting = desk.ledger.append_page(copy, &staged).unwrap();
    let mut desk = desk.reopen();
    let unfinished = desk.ledger.unfinished_copy().unwrap().unwrap();
    assert_eq!((unfinished.id, unfinished.scanned, unfinished.exact), (copy, 3, false));
    assert_eq!(unfinished.cursor, Some(PageCursor::new("B")));
    assert_eq!(desk.ledger.pages_waiting(copy).unwrap(), [(waiting, Position::new("0/9"))]);
    assert_eq!(desk.ledger.finish_copy(copy, None).unwrap_err().kind(), LedgerErrorKind::Misuse);
    desk.ledger.pass_fence(waiting).unwrap();
    desk.ledger.pass_fence(waiting).unwrap();
    desk.ledger.finish_copy(copy, None).unwrap();
    ask(&mut desk);
    desk.settle();
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 9", "101 B 9"]]);
    assert!(desk.ledger.copy_progress().unwrap().unwrap().is_merged);
}

#[test]
fn a_copy_that_is_given_up_leaves_nothing_behind() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    desk.fenced_page(copy, &[change("101 A 9"), change("101 B 9")]);
    let mut staged = page(&[change("101 C 9")]);
    staged.rejected.push(rejected(None));
    desk.ledger.append_page(copy, &staged).unwrap();
    desk.settle();
    desk.commit(vec![candidate("101 A 9"), candidate("101 B 3")]);
    desk.settle();
    desk.ledger.abandon_copy(copy).unwrap();
    assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, 0);
    assert_eq!(desk.ledger.backfill_status().unwrap().waiting, 0);
    assert_eq!(desk.ledger.unfinished_copy().unwrap(), None);

    // A was never told to anybody, so the next copy must carry it; B has come by the stream.
    let copy = desk.begin(CopyKind::Baseline, false);
    desk.fenced_page(copy, &[change("101 A 9"), change("101 B 3"), change("101 C 9")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    ask(&mut desk);
    desk.settle();
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 9", "101 C 9"]]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 B 3"]]);
}

#[test]
fn a_repair_emits_what_differs_from_what_is_known() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9"), change("101 B 9"), change("101 C 9")]);
    let gap = gap(&mut desk);
    assert_eq!(desk.ledger.open_gap_id().unwrap().map(|open| open.being_repaired), Some(false));
    let copy = desk.begin(CopyKind::Repair { gap }, true);
    desk.ledger.append_page(copy, &page(&[change("101 A 9"), change("101 B 3"), change("101 D 2")])).unwrap();
    desk.ledger.finish_copy(copy, Some(&checkpoint("0/50"))).unwrap();
    assert_eq!(desk.settle(), 2);
    desk.ledger.close_gap(gap, NOW + 1).unwrap();
    desk.commit(vec![candidate("101 B 3"), candidate("101 D 9")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 B 3", "101 D 2", "101 D 9"]]);
    let gaps = desk.ledger.gaps().unwrap();
    assert_eq!((gaps[0].records, gaps[0].repaired_at, gaps[0].to_at), (2, Some(NOW + 1), Some(NOW)));
    assert_eq!(desk.ledger.open_gap_id().unwrap(), None);
    let life = desk.ledger.explain("B").unwrap();
    assert_eq!(life.iter().map(|event| event.origin.as_str()).collect::<Vec<_>>(), ["snapshot", "repair"]);
    assert_eq!(life[1].position, Some(Position::new("0/50")));
}

#[test]
fn a_fenced_repair_leaves_what_the_stream_has_touched_to_the_stream() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9"), change("101 B 9")]);
    let gap = gap(&mut desk);
    desk.ledger.set_checkpoint(&checkpoint("0/50")).unwrap();
    let copy = desk.begin(CopyKind::Repair { gap }, false);
    // The page shows a status that A has left again; the stream says so, though that repeats what is known.
    desk.commit(vec![candidate("101 A 9")]);
    desk.fenced_page(copy, &[change("101 A 3"), change("101 B 3")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 B 3"]]);
}

#[test]
fn a_backfill_that_is_sent_again_repeats_every_present_status_once() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9"), change("101 B 9"), change("101 C 9")]);
    ask(&mut desk);
    desk.flush(FlushKind::Backfill, false);
    desk.commit(vec![candidate("101 B 3")]);
    desk.flush(FlushKind::Delta, false);
    desk.commit(vec![candidate("101 C 3")]);
    let copy = desk.begin(CopyKind::Again, false);
    desk.commit(vec![candidate("101 A 9")]);
    desk.fenced_page(copy, &[change("101 A 9"), change("101 B 3"), change("101 C 3"), change("101 D 1")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    ask(&mut desk);
    desk.settle();
    // C's change has still to leave: the copy's row would come before it.
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 9", "101 B 3", "101 D 1"]]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 C 3"]]);
    let status = desk.ledger.backfill_status().unwrap();
    assert_eq!((status.state, status.acknowledged, status.skipped), (BackfillState::Done, 3, 1));
}

#[test]
fn a_request_that_the_table_holds_twice_counts_once_with_its_newest_row() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9 1"), change("101 A 3 5"), change("101 A 2 3")]);
    ask(&mut desk);
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 3 5"]]);
}

#[test]
fn a_request_that_two_pages_hold_counts_once_with_its_newest_row() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    desk.fenced_page(copy, &[change("101 A 9 3"), change("101 B 9 3")]);
    desk.fenced_page(copy, &[change("101 A 3 5"), change("101 B 2 1")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    ask(&mut desk);
    desk.settle();
    assert_eq!(desk.ledger.backfill_status().unwrap().records, 2);
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 3 5", "101 B 9 3"]]);
    desk.commit(vec![candidate("101 A 3")]);
    assert!(desk.flush(FlushKind::Delta, false).is_empty());
}

#[test]
fn nothing_is_put_behind_an_open_transaction() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    let staged = StagedPage { fence: Some(Position::new("0/9")), ..page(&[change("101 A 9")]) };
    let waiting = desk.ledger.append_page(copy, &staged).unwrap();
    desk.ledger.append(&[piece(vec![record("101 B 9")], None)]).unwrap();
    let refused = desk.ledger.pass_fence(waiting).unwrap_err();
    assert_eq!(refused.kind(), LedgerErrorKind::OpenTransaction);
    desk.ledger.append(&[piece(vec![], Some("0/2"))]).unwrap();
    desk.ledger.pass_fence(waiting).unwrap();
}

#[test]
fn a_second_copy_waits_for_the_first() {
    let mut desk = Desk::new();
    let copy = desk.begin(CopyKind::Baseline, true);
    let new = ledger::NewCopy { kind: CopyKind::Again, exact: false, tables: None, at: NOW };
    assert_eq!(desk.ledger.begin_copy(&new).unwrap_err().kind(), LedgerErrorKind::Misuse);
    let refused = desk.ledger.finish_copy(copy, None).unwrap_err();
    assert_eq!(refused.kind(), LedgerErrorKind::Misuse, "an exact copy needs its position");
    assert!(desk.ledger.unfinished_copy().unwrap().is_some(), "and is still being read");
}

#[test]
fn a_request_broken_before_the_copy_is_carried_by_it() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    desk.commit(vec![broken("101", "A"), broken("101", "B")]);
    desk.settle();
    let copy = desk.begin(CopyKind::Baseline, false);
    desk.commit(vec![broken("101", "B")]);
    desk.fenced_page(copy, &[change("101 A 9"), change("101 B 9")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    ask(&mut desk);
    desk.settle();
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 9"]]);
}

#[test]
fn a_log_that_is_lost_during_the_first_copy_makes_no_repair_of_the_history() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    desk.fenced_page(copy, &[change("101 A 9"), change("101 B 9")]);
    desk.commit(vec![candidate("101 B 3"), candidate("101 C 9")]);
    let gap = gap(&mut desk);
    desk.ledger.abandon_copy(copy).unwrap();
    desk.ledger.set_checkpoint(&checkpoint("0/50")).unwrap();
    let copy = desk.begin(CopyKind::Repair { gap }, false);
    // A and D were in no complete copy, and nobody told of them; the stream told of B and C before the gap.
    desk.fenced_page(copy, &[change("101 A 3"), change("101 B 3"), change("101 C 2")]);
    desk.fenced_page(copy, &[change("101 D 9 1"), change("101 D 3 2")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    desk.settle();
    desk.ledger.close_gap(gap, NOW + 1).unwrap();
    assert_eq!(desk.ledger.gaps().unwrap()[0].records, 1);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 B 3", "101 C 9", "101 C 2"]]);
    ask(&mut desk);
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["101 A 3", "101 D 3 2"]]);
    assert_eq!(desk.ledger.backfill_status().unwrap().state, BackfillState::Done);

    // Once all of it was read, what is new after another gap was hidden by it.
    let gap = self::gap(&mut desk);
    let copy = desk.begin(CopyKind::Repair { gap }, true);
    desk.ledger.append_page(copy, &page(&[change("101 A 3"), change("101 E 9")])).unwrap();
    desk.ledger.finish_copy(copy, Some(&checkpoint("0/90"))).unwrap();
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 E 9"]]);
}

#[test]
fn a_log_that_is_lost_while_the_backfill_is_sent_again_leaves_that_asked_for() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9")]);
    assert!(!desk.ledger.owes_copy_again().unwrap());
    let copy = desk.begin(CopyKind::Again, false);
    desk.ledger.abandon_copy(copy).unwrap();
    let mut desk = desk.reopen();
    assert!(desk.ledger.owes_copy_again().unwrap());
    desk.begin(CopyKind::Again, false);
    assert!(!desk.ledger.owes_copy_again().unwrap());
}
