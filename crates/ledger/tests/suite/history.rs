//! Tables of which each row is a status change.

use change::{Position, RowKey};
use ledger::{
    BackfillState, Captured, CopyKind, Entry, FlushKind, GapFound, Ingest, LedgerErrorKind, RejectedRow,
    Resolution, StagedPage,
};

use crate::arrange::{
    Desk, EVER, NOW, captured, change, checkpoint, key, packed, page, piece, record, rejected, single,
};

fn desk() -> Desk {
    let mut desk = Desk::new();
    desk.ledger.declare_tables(single(true)).unwrap();
    desk
}

fn inserted(text: &str, key: &str) -> Captured {
    captured(record(text), Some(key), None)
}

fn amended(text: &str, key: &str) -> Captured {
    captured(Entry::Amended(change(text)), Some(key), None)
}

fn commit(desk: &mut Desk, captured: Vec<Captured>) {
    desk.ledger.append(&[Ingest { captured: packed(&captured), ..piece(vec![], Some("0/1")) }]).unwrap();
}

/// A page of rows with their keys.
fn rows(rows: &[(&str, &str)]) -> StagedPage {
    let mut page = page(&[]);
    for (text, key) in rows {
        page.rows.push(&change(text), 202_001, Some(&RowKey::from_columns([*key])));
    }
    page
}

fn exact(desk: &mut Desk, kind: CopyKind, table: &[(&str, &str)]) {
    let copy = desk.begin(kind, true);
    desk.ledger.append_page(copy, &rows(table)).unwrap();
    desk.ledger.finish_copy(copy, Some(&checkpoint("0/0"))).unwrap();
}

fn fenced(desk: &mut Desk, copy: i64, table: &[(&str, &str)]) {
    let page = StagedPage { fence: Some(Position::new("0/9")), ..rows(table) };
    let page = desk.ledger.append_page(copy, &page).unwrap();
    desk.ledger.pass_fence(page).unwrap();
}

fn ask(desk: &mut Desk) {
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
}

fn delta(desk: &mut Desk) -> Vec<String> {
    desk.flush(FlushKind::Delta, false).concat()
}

fn backfill(desk: &mut Desk) -> Vec<String> {
    desk.flush(FlushKind::Backfill, false).concat()
}

fn gap(desk: &mut Desk) -> CopyKind {
    let gap = desk.ledger.open_gap(&GapFound { found_at: NOW, reason: "the slot is gone".into() }).unwrap();
    CopyKind::Repair { gap }
}

#[test]
fn each_inserted_row_is_a_record_even_where_it_repeats_the_last_status() {
    let mut desk = desk();
    commit(
        &mut desk,
        vec![inserted("101 A 9 1", "1"), inserted("101 A 9 2", "2"), inserted("101 A 9 2", "3")],
    );
    assert_eq!(delta(&mut desk), ["101 A 9 1", "101 A 9 2", "101 A 9 2"]);
}

#[test]
fn an_altered_row_is_a_record_only_where_it_says_something_else() {
    for settled_between in [false, true] {
        let mut desk = desk();
        let pieces = [
            vec![inserted("101 A 9 1", "1"), inserted("101 A 3 2", "2")],
            // The first row is closed after the second was written: its own status stays.
            vec![amended("101 A 9 1", "1")],
            vec![amended("101 A 8 1", "1"), amended("101 A 8 1", "1")],
            vec![amended("101 B 8 1", "1")],
            // A row that nobody knew of, because it could not be sent before.
            vec![amended("101 C 7 5", "7"), amended("101 C 7 5", "7")],
        ];
        for piece in pieces {
            commit(&mut desk, piece);
            if settled_between {
                desk.settle();
            }
        }
        let expected = ["101 A 9 1", "101 A 3 2", "101 A 8 1", "101 B 8 1", "101 C 7 5"];
        assert_eq!(delta(&mut desk), expected, "settled between: {settled_between}");
    }
}

#[test]
fn a_backfill_sends_every_row_in_the_order_of_numbers_else_of_moments() {
    let mut desk = desk();
    let table = [
        ("101 B 9 5", "c"),
        ("101 A 7 3", "11"),
        ("101 A 9 1", "4"),
        ("101 A 3 2", "10"),
        ("101 A 2 2", "9"),
        ("101 A 9 9", "2"),
        ("101 B 9 7", "a"),
    ];
    exact(&mut desk, CopyKind::Baseline, &table);
    desk.settle();
    assert_eq!(desk.ledger.backfill_status().unwrap().records, 7);
    ask(&mut desk);
    let expected =
        ["101 A 9 9", "101 A 9 1", "101 A 2 2", "101 A 3 2", "101 A 7 3", "101 B 9 5", "101 B 9 7"];
    assert_eq!(backfill(&mut desk), expected);
    let status = desk.ledger.backfill_status().unwrap();
    assert_eq!((status.state, status.acknowledged, status.waiting), (BackfillState::Done, 7, 0));
    assert_eq!(desk.ledger.explain("A").unwrap().len(), 5);
}

#[test]
fn all_copied_rows_of_a_request_leave_before_its_streamed_ones() {
    let mut desk = desk();
    let many: Vec<(String, String)> =
        (0..9).map(|index| (format!("101 A {} {index}", index + 1), index.to_string())).collect();
    let table: Vec<(&str, &str)> = many.iter().map(|(text, key)| (&**text, &**key)).collect();
    exact(&mut desk, CopyKind::Baseline, &table);
    commit(&mut desk, vec![inserted("101 A 14 20", "20"), inserted("101 B 9 21", "21")]);
    ask(&mut desk);
    let sent = delta(&mut desk);
    let mut expected: Vec<String> =
        table.iter().map(|(text, _)| (*text).trim_end_matches(" 0").into()).collect();
    expected.extend(["101 A 14 20".into(), "101 B 9 21".into()]);
    assert_eq!(sent, expected);
    assert!(backfill(&mut desk).is_empty());
    assert_eq!(desk.ledger.backfill_status().unwrap().acknowledged, 9);
}

#[test]
fn copied_rows_that_were_not_asked_for_are_overtaken_by_streamed_ones() {
    let mut desk = desk();
    exact(&mut desk, CopyKind::Baseline, &[("101 A 9 1", "1"), ("101 A 2 2", "2"), ("101 B 9 1", "3")]);
    commit(&mut desk, vec![inserted("101 A 3 3", "4")]);
    assert_eq!(delta(&mut desk), ["101 A 3 3"]);
    ask(&mut desk);
    assert_eq!(backfill(&mut desk), ["101 B 9 1"]);
}

#[test]
fn pages_and_stream_bring_each_row_once_and_in_order() {
    let mut desk = desk();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    ask(&mut desk);
    // Inserted after the copy began, and before its page was read: older rows are still to come.
    commit(&mut desk, vec![inserted("101 A 3 3", "3")]);
    assert!(delta(&mut desk).is_empty());
    fenced(&mut desk, copy, &[("101 A 9 1", "1"), ("101 A 2 2", "2"), ("101 A 3 3", "3")]);
    commit(&mut desk, vec![inserted("101 A 7 4", "4")]);
    fenced(&mut desk, copy, &[("101 B 9 1", "5")]);
    assert!(delta(&mut desk).is_empty());
    desk.ledger.finish_copy(copy, None).unwrap();
    assert_eq!(delta(&mut desk), ["101 A 9 1", "101 A 2 2", "101 A 3 3", "101 A 7 4"]);
    assert_eq!(backfill(&mut desk), ["101 B 9 1"]);
}

#[test]
fn an_update_of_a_row_that_a_page_has_yet_to_bring_waits_for_it() {
    let mut desk = desk();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    // Two old rows are touched, one of them corrected after its page was read; a third came to count since then.
    commit(&mut desk, vec![inserted("101 A 3 3", "3"), amended("101 A 9 1", "1"), amended("101 A 8 2", "2")]);
    commit(&mut desk, vec![amended("101 C 9 1", "7"), amended("101 C 2 1", "7")]);
    desk.settle();
    fenced(&mut desk, copy, &[("101 A 9 1", "1"), ("101 A 2 2", "2")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    let mut desk = desk.reopen();
    ask(&mut desk);
    assert_eq!(delta(&mut desk), ["101 A 9 1", "101 A 8 2", "101 A 3 3", "101 C 2 1"]);
    assert!(backfill(&mut desk).is_empty());
    // From now on they are known.
    commit(&mut desk, vec![amended("101 A 9 1", "1"), amended("101 C 2 1", "7"), amended("101 C 3 1", "7")]);
    assert_eq!(delta(&mut desk), ["101 C 3 1"]);
}

#[test]
fn a_repair_brings_exactly_what_is_not_known() {
    let mut desk = desk();
    exact(&mut desk, CopyKind::Baseline, &[("101 A 9 1", "1"), ("101 B 9 1", "2")]);
    commit(&mut desk, vec![inserted("101 A 2 2", "3")]);
    desk.settle();
    let repair = gap(&mut desk);
    let table = [
        ("101 A 9 1", "1"),
        ("101 B 9 1", "2"),
        ("101 A 2 2", "3"),
        ("101 A 3 4", "10"),
        ("101 B 9 7", "6"),
        ("101 A 7 8", "11"),
        ("101 A 8 3", "9"),
    ];
    exact(&mut desk, repair, &table);
    assert_eq!(delta(&mut desk), ["101 A 2 2", "101 A 8 3", "101 A 3 4", "101 A 7 8", "101 B 9 7"]);
    assert_eq!(desk.ledger.gaps().unwrap()[0].records, 4);
    // A second repair finds a row that was corrected in between, and nothing else.
    desk.ledger.close_gap(1, NOW).unwrap();
    let repair = gap(&mut desk);
    let mut table = table;
    table[1] = ("101 B 3 1", "2");
    exact(&mut desk, repair, &table);
    assert_eq!(delta(&mut desk), ["101 B 3 1"]);
}

#[test]
fn what_is_captured_beside_a_repair_in_pages_leaves_after_it() {
    let mut desk = desk();
    exact(&mut desk, CopyKind::Baseline, &[("101 A 9 1", "1")]);
    commit(&mut desk, vec![inserted("101 B 9 1", "2")]);
    desk.settle();
    let repair = gap(&mut desk);
    let copy = desk.begin(repair, false);
    commit(&mut desk, vec![inserted("101 A 7 9", "9"), amended("101 A 3 4", "4")]);
    assert_eq!(delta(&mut desk), ["101 B 9 1"], "what was captured since the gap waits");
    fenced(&mut desk, copy, &[("101 A 9 1", "1"), ("101 A 2 3", "3"), ("101 B 9 1", "2")]);
    let mut desk = desk.reopen();
    fenced(&mut desk, copy, &[("101 A 2 4", "4"), ("101 A 7 9", "9")]);
    assert!(delta(&mut desk).is_empty());
    desk.ledger.finish_copy(copy, None).unwrap();
    assert_eq!(desk.settle(), 2);
    assert_eq!(desk.ledger.delta().unwrap().records, 3);
    commit(&mut desk, vec![inserted("101 A 14 10", "10")]);
    assert_eq!(delta(&mut desk), ["101 A 2 3", "101 A 3 4", "101 A 7 9", "101 A 14 10"]);
    assert_eq!(desk.ledger.delta().unwrap().records, 0);
}

#[test]
fn a_restarted_backfill_sends_all_rows_but_those_that_still_come_by_the_stream() {
    let mut desk = desk();
    exact(&mut desk, CopyKind::Baseline, &[("101 A 9 1", "1")]);
    ask(&mut desk);
    assert_eq!(backfill(&mut desk), ["101 A 9 1"]);
    commit(&mut desk, vec![inserted("101 A 2 2", "2")]);
    assert_eq!(delta(&mut desk), ["101 A 2 2"]);
    commit(&mut desk, vec![inserted("101 A 3 3", "3")]);
    let copy = desk.begin(CopyKind::Again, false);
    fenced(&mut desk, copy, &[("101 A 9 1", "1"), ("101 A 2 2", "2"), ("101 A 3 3", "3")]);
    desk.ledger.finish_copy(copy, None).unwrap();
    assert_eq!(delta(&mut desk), ["101 A 9 1", "101 A 2 2", "101 A 3 3"]);
    assert!(backfill(&mut desk).is_empty());
}

#[test]
fn a_copy_that_is_given_up_leaves_its_rows_to_the_next() {
    let mut desk = desk();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = desk.begin(CopyKind::Baseline, false);
    commit(&mut desk, vec![inserted("101 A 2 2", "2")]);
    fenced(&mut desk, copy, &[("101 A 9 1", "1"), ("101 A 2 2", "2")]);
    desk.settle();
    desk.ledger.abandon_copy(copy).unwrap();
    exact(&mut desk, CopyKind::Baseline, &[("101 A 9 1", "1"), ("101 A 2 2", "2"), ("101 B 9 1", "3")]);
    ask(&mut desk);
    assert_eq!(delta(&mut desk), ["101 A 9 1", "101 A 2 2"]);
    assert_eq!(backfill(&mut desk), ["101 B 9 1"]);
}

fn put_aside(desk: &mut Desk, row_key: &str) {
    let row_key = Some(RowKey::from_columns([row_key]));
    let row = RejectedRow { row_key, ..rejected(Some(key("101", "A"))) };
    desk.ledger.append(&[Ingest { rejected: vec![row], ..piece(vec![], Some("0/1")) }]).unwrap();
}

fn mend(desk: &mut Desk, text: &str) {
    let item = desk.ledger.quarantine(None, 0, 1).unwrap().remove(0);
    let resolution = Resolution::Mapped { change: change(text), month: 202_001 };
    desk.ledger.resolve_row(item.id, &resolution, NOW).unwrap();
}

#[test]
fn a_mended_row_leaves_once_and_never_after_what_was_told_of_it_since() {
    let mut desk = desk();
    commit(&mut desk, vec![inserted("101 A 9 1", "1")]);
    put_aside(&mut desk, "2");
    mend(&mut desk, "101 A 9 2");
    commit(&mut desk, vec![amended("101 A 9 2", "2")]);
    assert_eq!(delta(&mut desk), ["101 A 9 1", "101 A 9 2"]);
    put_aside(&mut desk, "3");
    commit(&mut desk, vec![amended("101 A 3 3", "3")]);
    mend(&mut desk, "101 A 2 3");
    assert_eq!(delta(&mut desk), ["101 A 3 3"]);
}

#[test]
fn a_mended_row_of_a_copy_waits_among_the_rows_of_its_request() {
    let mut desk = desk();
    let copy = desk.begin(CopyKind::Baseline, true);
    let mut staged = rows(&[("101 A 9 1", "1"), ("101 A 7 3", "3")]);
    let row_key = Some(RowKey::from_columns(["2"]));
    staged.rejected.push(RejectedRow { row_key, ..rejected(Some(key("101", "A"))) });
    desk.ledger.append_page(copy, &staged).unwrap();
    desk.ledger.finish_copy(copy, Some(&checkpoint("0/0"))).unwrap();
    desk.settle();
    mend(&mut desk, "101 A 3 2");
    ask(&mut desk);
    assert_eq!(backfill(&mut desk), ["101 A 9 1", "101 A 3 2", "101 A 7 3"]);
    commit(&mut desk, vec![amended("101 A 3 2", "2")]);
    assert!(delta(&mut desk).is_empty());
}

#[test]
fn a_ledger_keeps_to_the_kind_of_rows_that_it_was_filled_with() {
    let mut desk = desk();
    desk.ledger.declare_tables(single(false)).unwrap();
    desk.ledger.declare_tables(single(true)).unwrap();
    commit(&mut desk, vec![inserted("101 A 9 1", "1")]);
    let error = desk.ledger.declare_tables(single(false)).unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::OtherRows);
    assert!(error.to_string().contains("rows = \"history\"") && error.hint().is_some(), "{error}");
}
