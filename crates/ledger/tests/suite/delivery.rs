//! Batches: what they hold, what becomes of them, and what a repeat looks like.

use ledger::{BodyBuilder, FlushKind, FlushResult, LedgerErrorKind, LifeState};
use normalizer::StatusChange;

use crate::arrange::{Desk, EVER, Lines, NOW, candidate, change, lines, record};

fn eight(desk: &mut Desk) {
    desk.commit((0..8).map(|index| record(&format!("101 R{index} 9"))).collect());
}

#[test]
fn a_lost_acknowledgement_resends_the_same_bytes() {
    let mut desk = Desk::new();
    eight(&mut desk);
    let flush = desk.start(FlushKind::Delta);
    let first = desk.next(flush).unwrap();
    desk.ledger.attempt_failed(first.id, "no answer", None).unwrap();
    desk.commit(vec![record("101 R0 3")]);
    let mut desk = desk.reopen();
    let open = desk.ledger.open_flush(FlushKind::Delta).unwrap().unwrap();
    assert_eq!((open.id, open.attempts, open.last_error.as_deref()), (flush, 1, Some("no answer")));
    let again = desk.next(open.id).unwrap();
    assert_eq!((again.id, again.body, again.sha256, again.attempts), (first.id, first.body, first.sha256, 1));
}

#[test]
fn a_flush_sends_what_was_settled_when_it_began() {
    let mut desk = Desk::new();
    eight(&mut desk);
    let flush = desk.start(FlushKind::Delta);
    desk.commit(vec![record("101 late 9")]);
    desk.settle();
    let mut sent = Vec::new();
    while let Some(batch) = desk.next(flush) {
        sent.extend(lines(&batch));
        desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    }
    assert_eq!(sent.len(), 8);
    assert_eq!(desk.ledger.delta().unwrap().records, 1);
    desk.ledger.finish_flush(flush, FlushResult::Acknowledged, None, NOW + 5).unwrap();
    let last = desk.ledger.last_flush(FlushKind::Delta).unwrap().unwrap();
    assert_eq!((last.records, last.batches, last.finished_at), (8, 2, Some(NOW + 5)));
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 late 9"]]);
}

#[test]
fn unsettled_changes_cannot_be_sealed() {
    let mut desk = Desk::new();
    desk.commit(vec![record("101 A 9")]);
    let refused = desk.ledger.start_flush(FlushKind::Delta, false, NOW).unwrap_err();
    assert_eq!(refused.kind(), LedgerErrorKind::Misuse);
    assert!(!desk.ledger.is_settled().unwrap());
    desk.start(FlushKind::Delta);
    let refused = desk.ledger.start_flush(FlushKind::Delta, false, NOW).unwrap_err();
    assert_eq!(refused.to_string(), "start a flush: flush 1 is still open");
}

#[test]
fn a_flush_by_service_never_mixes_services() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9"), change("102 B 9")]);
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    desk.commit(vec![candidate("102 B 3"), candidate("101 A 3"), candidate("102 B 7"), candidate("101 C 1")]);
    let sent = desk.flush(FlushKind::Delta, true);
    assert_eq!(sent, [vec!["101 A 9", "101 A 3", "101 C 1"], vec!["102 B 9", "102 B 3", "102 B 7"]]);
    desk.commit(vec![candidate("101 A 2"), candidate("103 D 2")]);
    assert_eq!(desk.flush(FlushKind::Delta, false), [["101 A 2", "103 D 2"]]);
}

#[test]
fn a_flush_by_service_goes_on_after_a_crash() {
    let mut desk = Desk::new();
    let services = ["103", "101", "102"];
    desk.commit((0..30).map(|index| record(&format!("{} R{index} 9", services[index % 3]))).collect());
    desk.settle();
    let flush = desk.ledger.start_flush(FlushKind::Delta, true, NOW).unwrap().id;
    let first = desk.next(flush).unwrap();
    assert_eq!(first.service.as_deref(), Some("101"));
    desk.ledger.acknowledge(first.id, NOW, Some(201)).unwrap();
    let mut desk = desk.reopen();
    let mut sent = lines(&first);
    sent.extend(desk.flush(FlushKind::Delta, true).concat());
    assert_eq!(sent.len(), 30);
    assert!(sent.is_sorted_by_key(|line| line.split(' ').next().map(str::to_owned)));
}

#[test]
fn a_refused_batch_is_halved_in_place_until_the_record_stands_alone() {
    let mut desk = Desk::new();
    eight(&mut desk);
    let flush = desk.start(FlushKind::Delta);
    let mut sent = Vec::new();
    while let Some(batch) = desk.next(flush) {
        let records = lines(&batch);
        if !records.contains(&"101 R2 9".to_owned()) {
            sent.extend(records);
            desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
        } else if batch.records > 1 {
            assert_eq!(desk.ledger.split(batch.id, &mut Lines::default(), NOW).unwrap(), 2);
        } else {
            desk.ledger.refuse(batch.id, "refused", "request_id is not welcome", NOW).unwrap();
        }
    }
    desk.ledger.finish_flush(flush, FlushResult::Partial, None, NOW).unwrap();
    let expected: Vec<_> = [0, 1, 3, 4, 5, 6, 7].iter().map(|index| format!("101 R{index} 9")).collect();
    assert_eq!(sent, expected);
    assert_eq!(desk.ledger.delta().unwrap().records, 0);
    let quarantined = desk.ledger.quarantine(None, 0, 10).unwrap();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].request_id.as_deref(), Some("R2"));
    assert_eq!((quarantined[0].status_id, quarantined[0].code.as_str()), (Some(9), "refused"));
    let life = desk.ledger.explain("R2").unwrap();
    assert_eq!(life[0].state, LifeState::Quarantined);
    assert_eq!(life[0].reason.as_deref(), Some("request_id is not welcome"));
}

#[test]
fn halves_that_do_not_fit_any_more_become_more_parts() {
    let mut desk = Desk::new();
    eight(&mut desk);
    let flush = desk.start(FlushKind::Delta);
    let batch = desk.next(flush).unwrap();
    let mut one = OneLine::default();
    assert_eq!(desk.ledger.split(batch.id, &mut one, NOW).unwrap(), 4);
    let sent: Vec<_> = desk.flush(FlushKind::Delta, false);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 1, 4]);
    assert_eq!(sent.concat().len(), 8);
}

/// A builder that takes one record a body.
#[derive(Default)]
struct OneLine {
    lines: Lines,
    full: bool,
}

impl BodyBuilder for OneLine {
    fn push(&mut self, change: &StatusChange) -> bool {
        !std::mem::replace(&mut self.full, true) && self.lines.push(change)
    }

    fn finish(&mut self) -> Vec<u8> {
        self.full = false;
        self.lines.finish()
    }
}

#[test]
fn suspects_wait_aside_until_somebody_decides() {
    let mut desk = Desk::new();
    desk.commit(vec![record("101 A 9")]);
    let flush = desk.start(FlushKind::Delta);
    let batch = desk.next(flush).unwrap();
    desk.ledger.suspect(batch.id, "refused", "no", NOW).unwrap();
    assert!(desk.next(flush).is_none());
    assert_eq!(desk.ledger.delta().unwrap().records, 1, "it is still owed");
    desk.ledger.release_suspects(flush).unwrap();
    assert_eq!(desk.next(flush).unwrap().id, batch.id);
    desk.ledger.suspect(batch.id, "refused", "no", NOW).unwrap();
    let mut desk = desk.reopen();
    assert_eq!(desk.next(flush).unwrap().body, batch.body, "a suspicion ends with its process");
    desk.ledger.suspect(batch.id, "refused", "no", NOW).unwrap();
    assert_eq!(desk.ledger.confirm_suspects(flush, NOW).unwrap(), 1);
    assert_eq!(desk.ledger.quarantine_counts().unwrap().records, 1);
    assert_eq!(desk.ledger.delta().unwrap().records, 0);
}

#[test]
fn what_a_failed_flush_left_goes_first_with_the_next_one() {
    let mut desk = Desk::new();
    eight(&mut desk);
    let first = desk.start(FlushKind::Delta);
    let left = desk.next(first).unwrap();
    desk.ledger.finish_flush(first, FlushResult::Failed, Some("gave up"), NOW).unwrap();
    desk.commit(vec![record("101 R0 3")]);
    let sent = desk.flush(FlushKind::Delta, false);
    assert_eq!(sent[0], lines(&left));
    assert_eq!(sent.concat().len(), 9);
    let last = desk.ledger.last_flush(FlushKind::Delta).unwrap().unwrap();
    assert_eq!((last.records, last.batches), (9, 3));
    let flushes = desk.ledger.flushes(10).unwrap();
    assert_eq!(flushes.iter().map(|flush| flush.records).collect::<Vec<_>>(), [9, 0]);
}

#[test]
fn an_outcome_is_final() {
    let mut desk = Desk::new();
    eight(&mut desk);
    let flush = desk.start(FlushKind::Delta);
    let batch = desk.next(flush).unwrap();
    let refused = desk.ledger.refuse(batch.id, "refused", "no", NOW).unwrap_err();
    assert_eq!(refused.kind(), LedgerErrorKind::Misuse, "several records cannot be refused at once");
    desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    let open = desk.ledger.open_flush(FlushKind::Delta).unwrap().unwrap();
    assert_eq!((open.records, open.batches), (4, 1), "noted twice, it counts once");
    let refused = desk.ledger.split(batch.id, &mut Lines::default(), NOW).unwrap_err();
    assert_eq!(refused.kind(), LedgerErrorKind::Misuse);
    let refused = desk.ledger.acknowledge(99, NOW, None).unwrap_err();
    assert_eq!(refused.to_string(), "note an acknowledgement: batch 99 is not in the ledger");
}

#[test]
fn the_delta_is_what_is_not_acknowledged() {
    let mut desk = Desk::new();
    assert_eq!(desk.ledger.delta().unwrap().oldest_at, None);
    desk.commit(vec![record("101 A 9"), record("102 B 3"), record("102 C 3")]);
    desk.settle();
    assert_eq!(desk.ledger.delta().unwrap().records, 3);
    assert_eq!(desk.ledger.delta().unwrap().oldest_at, Some(NOW));
    let flush = desk.start(FlushKind::Delta);
    let batch = desk.next(flush).unwrap();
    desk.commit(vec![record("101 D 3")]);
    desk.settle();
    assert_eq!(desk.ledger.delta().unwrap().records, 4);
    let by_service = desk.ledger.delta_by_service().unwrap();
    assert_eq!(by_service.into_iter().collect::<Vec<_>>(), [("101".into(), 2), ("102".into(), 2)]);
    let by_status = desk.ledger.delta_by_status().unwrap();
    assert_eq!(by_status.into_iter().collect::<Vec<_>>(), [(3, 3), (9, 1)]);
    assert!(desk.ledger.has_pending(FlushKind::Delta).unwrap());
    assert!(!desk.ledger.has_pending(FlushKind::Backfill).unwrap());
    desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    assert_eq!(desk.ledger.delta().unwrap().records, 1);
}

#[test]
fn the_life_of_a_request_is_told_in_the_order_of_capture() {
    let mut desk = Desk::new();
    desk.baseline(&[change("101 A 9")]);
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    desk.flush(FlushKind::Backfill, false);
    desk.commit(vec![candidate("101 A 3"), candidate("102 A 1")]);
    let flush = desk.start(FlushKind::Delta);
    desk.next(flush).unwrap();
    desk.commit(vec![candidate("101 A 7")]);
    let told: Vec<_> = desk
        .ledger
        .explain("A")
        .unwrap()
        .into_iter()
        .map(|event| {
            (event.service_id.unwrap(), event.status_id.unwrap(), event.origin.as_str(), event.state.as_str())
        })
        .collect();
    let expected = [
        ("101", 9, "snapshot", "acknowledged"),
        ("101", 3, "stream", "batched"),
        ("102", 1, "stream", "batched"),
        ("101", 7, "stream", "unsettled"),
    ];
    assert_eq!(
        told,
        expected.map(|(service, status, origin, state)| (service.to_owned(), status, origin, state))
    );
    assert!(desk.ledger.explain("nobody").unwrap().is_empty());
}
