//! Appending and settling.

use change::Position;
use ledger::{FlushKind, Ingest};

use crate::arrange::{Desk, NOW, broken, candidate, change, checkpoint, piece, record, rejected};

#[test]
fn a_position_is_stored_with_the_changes_that_it_covers() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/1")).unwrap();
    desk.ledger.append(&[piece(vec![record("101 A 9")], Some("0/5"))]).unwrap();
    let mut desk = desk.reopen();
    assert_eq!(desk.ledger.checkpoint().unwrap(), Some(checkpoint("0/5")));
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 9"]]);
}

#[test]
fn a_ledger_without_a_server_has_no_checkpoint() {
    let mut desk = Desk::new();
    desk.ledger.append(&[piece(vec![], Some("0/5"))]).unwrap();
    assert_eq!(desk.ledger.checkpoint().unwrap(), None);
}

#[test]
fn an_open_transaction_counts_only_once_its_commit_is_read() {
    let mut desk = Desk::new();
    let mut open = piece(vec![record("101 A 9")], None);
    open.rejected.push(rejected(None));
    desk.ledger.append(&[open]).unwrap();
    desk.settle();
    assert_eq!(desk.ledger.delta().unwrap().records, 0);
    assert_eq!(desk.ledger.captured_changes().unwrap(), 0);
    assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, 0);

    desk.ledger.append(&[piece(vec![record("101 B 9")], Some("0/2"))]).unwrap();
    desk.settle();
    assert_eq!(desk.ledger.delta().unwrap().records, 2);
    assert_eq!(desk.ledger.captured_changes().unwrap(), 2);
    assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, 1);
}

#[test]
fn an_open_transaction_goes_when_the_stream_starts_again() {
    let mut desk = Desk::new();
    desk.commit(vec![record("101 A 9")]);
    let mut open = piece(vec![record("101 A 3")], None);
    open.rejected.push(rejected(None));
    desk.ledger.append(&[open.clone()]).unwrap();
    desk.ledger.discard_open().unwrap();
    desk.ledger.append(&[open]).unwrap();
    let mut desk = desk.reopen();
    desk.commit(vec![record("101 A 7")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 9", "101 A 7"]]);
    assert_eq!(desk.ledger.captured_changes().unwrap(), 2);
    assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, 0);
}

#[test]
fn repeats_of_the_known_status_are_no_changes() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9")]);
    desk.commit(vec![candidate("101 A 9"), candidate("101 A 3"), candidate("101 A 9"), candidate("101 A 9")]);
    desk.commit(vec![candidate("101 A 9"), candidate("102 A 9")]);
    assert_eq!(desk.settle(), 3);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 3", "101 A 9", "102 A 9"]]);
}

#[test]
fn a_rejected_row_makes_the_status_unknown() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9")]);
    desk.commit(vec![broken("101", "A"), candidate("101 A 9")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 9"]]);
}

#[test]
fn many_pieces_share_one_commit_and_the_last_position_stands() {
    let mut desk = Desk::new();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let pieces: Vec<Ingest> = (1..=9_i64)
        .map(|index| piece(vec![record(&format!("101 R{index} 9"))], Some(&format!("0/{index}"))))
        .chain([piece(vec![record("101 open 9")], None)])
        .collect();
    desk.ledger.append(&pieces).unwrap();
    assert_eq!(desk.ledger.checkpoint().unwrap().unwrap().position, Position::new("0/9"));
    let desk = desk.reopen();
    assert_eq!(desk.ledger.captured_changes().unwrap(), 9);
    assert_eq!(desk.ledger.committed_at().unwrap(), Some(NOW));
}

#[test]
fn notes_are_kept_until_they_are_cleared() {
    let mut desk = Desk::new();
    assert_eq!(desk.ledger.note("x").unwrap(), None);
    desk.ledger.set_note("x", "1").unwrap();
    desk.ledger.set_note("x", "2").unwrap();
    let mut desk = desk.reopen();
    assert_eq!(desk.ledger.note("x").unwrap().as_deref(), Some("2"));
    desk.ledger.clear_note("x").unwrap();
    assert_eq!(desk.ledger.note("x").unwrap(), None);
}
