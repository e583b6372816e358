//! Ledgers of every version so far, as its own code left them: each goes on under today's code as if nothing had
//! happened.
//!
//! `ledgers/N.sqlite` is what [`short_life`] left behind under version N. Before the schema passes to another version,
//! the life is lived once more by the code as it is, and the file put beside the others.

use std::fs;

use ledger::{FlushKind, GapFound, Ingest, LedgerErrorKind, LedgerReader};
use tempfile::TempDir;

use crate::arrange::{Desk, EVER, NOW, candidate, change, key, open, piece, record, rejected};

/// The file of every earlier version.
const LEDGERS: [(u32, &[u8]); 2] =
    [(1, include_bytes!("ledgers/1.sqlite")), (2, include_bytes!("ledgers/2.sqlite"))];

/// A bit of everything, in words that every version knows: a copy, half of it sent; a delta of which one batch is with the
/// dashboard, unanswered; changes on top, one of them rejected; a gap; a transaction without its end.
fn short_life(desk: &mut Desk) {
    desk.baseline(&["101 A 9", "101 B 9", "101 C 9", "101 D 9", "102 E 9", "102 F 9"].map(change));
    desk.ledger.set_note("scheduled_from", "2026-11-22T06:00:00+00:00").unwrap();
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    let backfill = desk.start(FlushKind::Backfill);
    let batch = desk.next(backfill).unwrap();
    desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();

    let rows = vec![record("101 A 3 1"), candidate("101 B 9"), candidate("101 C 3 2"), record("101 G 9 3")];
    desk.commit(rows);
    let delta = desk.start(FlushKind::Delta);
    desk.next(delta).unwrap();

    let gap = GapFound { found_at: NOW, reason: "the slot is gone".into() };
    let gap = desk.ledger.open_gap(&gap).unwrap();
    desk.ledger.close_gap(gap, NOW).unwrap();
    let piece_of = |rows, rejected| Ingest { rejected, ..piece(rows, Some("0/2")) };
    let bad = rejected(Some(key("101", "H")));
    desk.ledger.append(&[piece_of(vec![record("101 A 7 4"), candidate("101 G 9 5")], vec![bad])]).unwrap();
    desk.ledger.append(&[piece(vec![record("101 Z 9")], None)]).unwrap();
}

#[test]
fn ledgers_of_every_version_go_on_under_todays_code() {
    for (version, bytes) in LEDGERS {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ledger.sqlite"), bytes).unwrap();
        goes_on(Desk { ledger: open(dir.path()), dir }, &format!("version {version}"));
    }
    let mut desk = Desk::new();
    short_life(&mut desk);
    goes_on(desk.reopen(), "today's version");
}

#[test]
fn whoever_only_reads_a_ledger_of_an_earlier_version_says_so_and_leaves_it_alone() {
    let dir = TempDir::new().unwrap();
    let (_, bytes) = LEDGERS[0];
    let file = dir.path().join("ledger.sqlite");
    fs::write(&file, bytes).unwrap();
    let error = LedgerReader::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::OlderSchema);
    assert!(error.to_string().contains("has version 1 and has not been brought up to"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

/// What everyone must find who opens the ledger that [`short_life`] left behind.
fn goes_on(mut desk: Desk, which: &str) {
    assert_eq!(desk.ledger.checkpoint().unwrap().unwrap().position.as_str(), "0/2", "{which}");
    assert_eq!(desk.ledger.captured_changes().unwrap(), 6, "{which}");
    let note = desk.ledger.note("scheduled_from").unwrap();
    assert_eq!(note.as_deref(), Some("2026-11-22T06:00:00+00:00"), "{which}");
    let gaps = desk.ledger.gaps().unwrap();
    assert_eq!(
        gaps.iter().map(|gap| gap.reason.as_str()).collect::<Vec<_>>(),
        ["the slot is gone"],
        "{which}"
    );
    assert_eq!(desk.ledger.quarantine_counts().unwrap().rows, 1, "{which}");

    // The batch that was on its way leaves again as it was, and with it nothing that came later.
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 3 1", "101 C 3 2", "101 G 9 3"]], "{which}");
    assert_eq!(desk.flush(FlushKind::Backfill, false), [["102 E 9", "102 F 9"]], "{which}");
    // What was known still tells a status change from a repeat.
    desk.commit(vec![candidate("101 A 7"), candidate("102 E 2 6"), candidate("101 G 9")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 7 4", "102 E 2 6"]], "{which}");

    let life = desk.ledger.explain("A").unwrap();
    let statuses: Vec<_> = life.iter().map(|event| event.status_id).collect();
    assert_eq!(statuses, [Some(9), Some(3), Some(7)], "{which}");
    assert_eq!(desk.ledger.explain("Z").unwrap(), [], "{which}");
    let Desk { ledger, dir } = desk;
    drop(ledger);
    assert_eq!(LedgerReader::open(dir.path()).unwrap().delta().unwrap().records, 0, "{which}");
}
