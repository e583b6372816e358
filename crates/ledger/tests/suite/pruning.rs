//! Forgetting.

use ledger::{Discard, FlushKind, LifeState};

use crate::arrange::{Desk, EVER, NOW, candidate, change, record};

fn prune(desk: &mut Desk, before: i64) -> u64 {
    let mut removed = 0;
    loop {
        let step = desk.ledger.prune(before).unwrap();
        removed += step.removed;
        if !step.more {
            return removed;
        }
    }
}

#[test]
fn what_was_acknowledged_long_ago_goes_and_what_is_owed_stays() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9"), change("101 B 9")]);
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    desk.flush(FlushKind::Backfill, false);
    desk.commit(vec![candidate("101 A 3")]);
    desk.flush(FlushKind::Delta, false);
    desk.commit(vec![candidate("101 B 3")]);
    desk.settle();
    assert_eq!(prune(&mut desk, NOW), 0);
    assert!(prune(&mut desk, NOW + 1) > 0);
    assert!(desk.ledger.explain("A").unwrap().is_empty());
    assert_eq!(desk.ledger.explain("B").unwrap()[0].state, LifeState::Delta);
    // The known statuses stay: a repeat is still no change.
    desk.commit(vec![candidate("101 A 3"), candidate("101 A 9")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 B 3", "101 A 9"]]);
    assert!(prune(&mut desk, NOW + 1) > 0);
    assert_eq!(prune(&mut desk, NOW + 1), 0);
}

#[test]
fn a_refused_record_stays_until_its_quarantine_is_over() {
    let mut desk = Desk::new();
    desk.commit(vec![record("101 A 9")]);
    let flush = desk.start(FlushKind::Delta);
    let batch = desk.next(flush).unwrap();
    desk.ledger.refuse(batch.id, "refused", "no", NOW).unwrap();
    prune(&mut desk, NOW + 1);
    assert_eq!(desk.ledger.explain("A").unwrap()[0].state, LifeState::Quarantined);
    desk.ledger.discard(Discard::All, NOW).unwrap();
    assert!(prune(&mut desk, NOW + 1) > 0);
    assert!(desk.ledger.explain("A").unwrap().is_empty());
}

#[test]
fn the_file_shrinks_with_what_it_holds() {
    let mut desk = Desk::new();
    for first in (0..20_000).step_by(1_000) {
        desk.commit((first..first + 1_000).map(|index| record(&format!("101 REQUEST-{index} 9"))).collect());
    }
    desk.settle();
    let flush = desk.ledger.start_flush(FlushKind::Delta, false, NOW).unwrap().id;
    let mut body = crate::arrange::Lines::default();
    while let Some(batch) = desk.ledger.next_batch(flush, &mut body, 1_000, NOW).unwrap() {
        desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    }
    let before = desk.ledger.size_bytes().unwrap();
    prune(&mut desk, NOW + 1);
    let after = desk.ledger.size_bytes().unwrap();
    assert!(after < before * 2 / 3, "{after} of {before} bytes");
}
