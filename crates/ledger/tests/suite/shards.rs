//! Batches of several shards under way at once.

use std::collections::{BTreeMap, VecDeque};

use ledger::{Batch, Durable, FlushKind, Limits, Shard};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::arrange::{Desk, EVER, Lines, NOW, change, lines, record};

/// Lanes that send batches side by side, in an order that chance decides.
struct Lanes {
    desk: Desk,
    flush: i64,
    lanes: Vec<(Shard, VecDeque<Batch>)>,
    sent: Vec<String>,
    random: StdRng,
}

impl Lanes {
    fn new(mut desk: Desk, kind: FlushKind, by_service: bool, seed: u64) -> Self {
        desk.settle();
        let flush = desk.ledger.start_flush(kind, by_service, NOW).unwrap().id;
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(1..=4);
        let lanes = Shard::divide(count).map(|shard| (shard, VecDeque::new())).collect();
        Self { desk, flush, lanes, sent: Vec::new(), random }
    }

    /// Sends everything; returns the records in the order in which they were acknowledged.
    fn run(mut self) -> Vec<String> {
        let mut fruitless = 0;
        while fruitless < 200 {
            let lane = self.random.random_range(0..self.lanes.len());
            fruitless = if self.step(lane) { 0 } else { fruitless + 1 };
            self.nobody_shares_a_request();
        }
        assert!(self.desk.ledger.pending_batch(self.flush).unwrap().is_none());
        self.sent
    }

    /// Lets one lane form, acknowledge or split a batch; whether there was anything to do.
    fn step(&mut self, lane: usize) -> bool {
        let (shard, under_way) = &mut self.lanes[lane];
        let Some(first) = under_way.front() else {
            let builder = &mut Lines::default();
            let durable = Durable::WithNextCommit;
            let limits = Limits { builder, max_records: 3, shard: *shard, durable, now: NOW };
            let formed = self.desk.ledger.form_batch(self.flush, limits).unwrap();
            let has_formed = formed.is_some();
            under_way.extend(formed);
            return has_formed;
        };
        if first.records > 1 && self.random.random_ratio(1, 4) {
            self.desk.ledger.split(first.id, &mut Lines::default(), NOW).unwrap();
            let whole = under_way.pop_front().unwrap();
            // The parts leave one after the other before anything else of the shard.
            while let Some(part) = self.desk.ledger.next_part(whole.id).unwrap() {
                self.sent.extend(lines(&part));
                self.desk.ledger.acknowledge(part.id, NOW, Some(201)).unwrap();
            }
        } else {
            self.sent.extend(lines(first));
            self.desk.ledger.acknowledge(first.id, NOW, Some(201)).unwrap();
            under_way.pop_front();
        }
        true
    }

    fn nobody_shares_a_request(&self) {
        let mut holders = BTreeMap::new();
        for (lane, (_, under_way)) in self.lanes.iter().enumerate() {
            for line in under_way.iter().flat_map(lines) {
                assert_eq!(*holders.entry(request_of(&line)).or_insert(lane), lane, "{line}");
            }
        }
    }
}

fn request_of(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn by_request(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut requests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        requests.entry(request_of(line)).or_default().push(line.clone());
    }
    requests
}

#[test]
fn lanes_deliver_each_record_once_and_each_request_s_in_order() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..30 {
        let mut written: Vec<String> = Vec::new();
        let (mut last, records) = (BTreeMap::new(), random.random_range(0..60));
        for moment in 1..=records {
            let request = format!("10{} R{}", random.random_range(0..3), random.random_range(0..6));
            // No request repeats its status: a repeat would be no status change.
            let status = match last.get(&request) {
                Some(9) => 3,
                _ => 9,
            };
            last.insert(request.clone(), status);
            written.push(format!("{request} {status} {moment}"));
        }
        let mut desk = Desk::new();
        desk.commit(written.iter().map(|line| record(line)).collect());
        let sent = Lanes::new(desk, FlushKind::Delta, round % 2 == 0, random.random()).run();
        assert_eq!(by_request(&sent), by_request(&written));
    }
}

#[test]
fn lanes_deliver_a_backfill_whole() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..10 {
        let written: Vec<String> =
            (0..random.random_range(0..50)).map(|number| format!("10{} R{number} 9", number % 3)).collect();
        let mut desk = Desk::new();
        desk.baseline(&written.iter().map(|line| change(line)).collect::<Vec<_>>());
        desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
        let sent = Lanes::new(desk, FlushKind::Backfill, round % 2 == 0, random.random()).run();
        assert_eq!(by_request(&sent), by_request(&written));
    }
}
