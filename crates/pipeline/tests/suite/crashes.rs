//! Power is lost between an answer and what makes it durable.

use std::time::Duration;

use pipeline::{FlushResult, GroupBy};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::arrange::Desk;

/// More than what the simulator takes to dribble out an acknowledgement.
const DRIBBLED: Duration = Duration::from_secs(3);

/// Enough for a POST that has nothing to wait for.
const SOON: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_off_acknowledgement_that_is_lost_repeats_two_batches_in_their_order() {
    let mut desk = Desk::new(|_| {}).await;
    // Neighbouring batches hold other requests: R0 to R9, R10 to R19, R20 to R29, R0 to R9, …
    desk.captured(30, 2);
    // The ledger is held before the first answer has come; the second batch leaves all the same, the third does not.
    desk.tablero.set_fault("slow:1".parse().unwrap());
    let last = async {
        desk.tablero.wait_for_requests(2).await;
        let third = tokio::time::timeout(10 * SOON, desk.tablero.wait_for_requests(3)).await;
        assert!(third.is_err(), "no third batch leaves before the first one's acknowledgement is durable");
    };
    let left = desk.flush_until_crash(1, last).await.unwrap();
    desk.go_on_with(left);
    let report = desk.flush().await;
    assert_eq!((report.result, report.records, report.batches), (FlushResult::Acknowledged, 60, 6));
    let posts: Vec<String> = desk.tablero.requests().into_iter().map(|attempt| attempt.sha256).collect();
    assert_eq!(posts[..2], posts[2..4], "both leave again, identical and in their order");
    assert_eq!((posts.len(), desk.repeated_batches()), (8, 2), "and nothing else does");
    assert_eq!(desk.stored(), Desk::expected(30, 2));
    desk.repeats_are_no_news();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_with_a_request_of_the_one_before_leaves_after_the_durable_acknowledgement() {
    let mut desk = Desk::new(|_| {}).await;
    // R0 to R9, R10 and R0 to R8, …: neighbouring batches share requests.
    desk.captured(11, 2);
    desk.tablero.set_fault("slow:1".parse().unwrap());
    let last = async {
        let second = tokio::time::timeout(DRIBBLED, desk.tablero.wait_for_requests(2)).await;
        assert!(second.is_err(), "the second batch leaves after the first one's acknowledgement is durable");
    };
    let left = desk.flush_until_crash(1, last).await.unwrap();
    desk.go_on_with(left);
    assert_eq!(desk.flush().await.result, FlushResult::Acknowledged);
    assert_eq!(desk.repeated_batches(), 1);
    assert_eq!(desk.stored(), Desk::expected(11, 2));
    desk.repeats_are_no_news();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_power_is_lost_no_request_meets_an_earlier_batch_after_a_later_one() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..40 {
        let mut desk = Desk::new(|settings| {
            settings.batch_records_max = random.random_range(2..=8);
            settings.group_by = if random.random() { GroupBy::None } else { GroupBy::Service };
        })
        .await;
        let (requests, rounds) = (random.random_range(3..=30), random.random_range(1..=6));
        desk.captured(requests, rounds);
        if random.random() {
            desk.tablero.set_fault("reset-after-store%20".parse().unwrap());
        }
        let (mut lanes, mut lost) = (0, 0);
        for _ in 0..random.random_range(1..=3) {
            desk.settings.concurrency = random.random_range(1..=3);
            let met = desk.tablero.requests().len() + random.random_range(1..=6);
            let further = desk.tablero.wait_for_requests(met + random.random_range(1..=3));
            let last = async { drop(tokio::time::timeout(SOON, further).await) };
            let Some(left) = desk.flush_until_crash(met, last).await else { break };
            desk.go_on_with(left);
            (lanes, lost) = (lanes + desk.settings.concurrency as usize, lost + 1);
        }
        let case = format!(
            "round {round}: {requests} requests, {rounds} rounds, {lost} crashes, {:?}",
            desk.settings
        );
        desk.tablero.set_fault("none".parse().unwrap());
        assert_eq!(desk.flush().await.result, FlushResult::Acknowledged, "{case}");
        assert_eq!(desk.stored(), Desk::expected(requests, rounds), "{case}");
        desk.repeats_are_no_news();
        let attempts = desk.tablero.requests();
        let broken = attempts.iter().filter(|attempt| attempt.is_stored && attempt.status.is_none()).count();
        assert!(desk.repeated_batches() <= broken + 2 * lanes, "{case}");
    }
}
