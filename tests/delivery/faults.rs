//! What the simulator can do wrong, kind by kind.

use std::collections::HashSet;

use super::{Scene, with_delta};
use crate::support::config::replace;

/// What a fault must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    /// The attempt is repeated, and in the end everything is delivered.
    ToDelivery,
    /// The same, and the dashboard has stored the batch at the first attempt already.
    ToARepeat,
    /// The attempt itself is a delivery.
    Nowhere,
    /// Somebody must mend something: the flush is halted, everything waits.
    ToAHalt,
}

/// Every kind, but the slow answer, which has its own test, and those of `refusals.rs`.
const KINDS: &[(&str, Leads)] = &[
    ("none", Leads::Nowhere),
    ("500:2", Leads::ToDelivery),
    ("503:2", Leads::ToDelivery),
    ("429:1", Leads::ToDelivery),
    ("502:1", Leads::ToDelivery),
    ("no-certificate", Leads::ToAHalt),
    ("401", Leads::ToAHalt),
    ("403", Leads::ToAHalt),
    ("404", Leads::ToAHalt),
    ("html:2", Leads::ToDelivery),
    ("empty:2", Leads::ToDelivery),
    ("success-false:1", Leads::ToDelivery),
    ("reset:2", Leads::ToDelivery),
    ("reset-after-store:1", Leads::ToARepeat),
    ("hang:1", Leads::ToDelivery),
    ("hang-after-store:1", Leads::ToARepeat),
    ("garbage:2", Leads::ToDelivery),
    ("redirect", Leads::ToAHalt),
    ("truncated:1", Leads::ToARepeat),
    ("x-road-access-denied", Leads::ToAHalt),
    ("x-road-network-error:2", Leads::ToDelivery),
    ("x-road-timeout:1", Leads::ToDelivery),
    ("x-road=Server.ClientProxy.UnknownMember", Leads::ToAHalt),
    ("x-road=server.serverproxy.service_disabled:1", Leads::ToDelivery),
    ("x-road-after-store=Server.ServerProxy.ServiceFailed:1", Leads::ToARepeat),
    ("huge-answer:1", Leads::ToARepeat),
    ("503%50", Leads::ToDelivery),
];

#[test]
fn every_kind_of_the_simulator_is_tried() {
    let tried: HashSet<&str> =
        KINDS.iter().filter_map(|(fault, _)| fault.split([':', '%', '=']).next()).collect();
    let elsewhere = ["slow", "400", "413", "422", "poison:REQUEST_ID"];
    for kind in tablero::Fault::all() {
        let word = kind.trim_end_matches("=CODE");
        assert!(tried.contains(word) || elsewhere.contains(&kind), "{kind} is not tried");
    }
}

/// One scene for all kinds: each adds one status change, and begins where the last one ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_fault_ends_with_each_record_delivered() {
    let scene = Scene::with(|config| {
        replace(&mut config.delivery, "timeout = \"10s\"", "timeout = \"2s\"");
    })
    .await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    for (number, (fault, leads)) in KINDS.iter().enumerate() {
        println!("{fault}");
        let (status_id, estado) = if number % 2 == 0 { (3, "APROBADA") } else { (2, "REVISION") };
        scene.pass("S-1", estado).await;
        daemon.delta(1).await;
        let (attempts, stored) = (scene.dashboard.attempts().len(), scene.dashboard.count());
        scene.dashboard.fail(fault);
        if *leads == Leads::ToAHalt {
            let halted = scene.product.command(&["flush"]).await.with_code(1);
            assert!(halted.stderr.contains("hint: "), "{fault}: {}", halted.stderr);
            let status = daemon.delta(1).await;
            assert_eq!(status["flush"]["last"]["result"], "halted", "{fault}: {status:#}");
            assert!(!status["alerts"].as_array().unwrap().is_empty(), "{fault}: {status:#}");
            assert_eq!(scene.dashboard.attempts().len(), attempts + 1, "{fault} is not tried again");
            scene.dashboard.fail("none");
        }
        scene.product.flush().await;
        scene.dashboard.fail("none");
        let status = daemon.delta(0).await;
        assert_eq!(status["flush"]["last"]["result"], "acknowledged", "{fault}: {status:#}");
        let expected = stored + if *leads == Leads::ToARepeat { 2 } else { 1 };
        assert_eq!(scene.dashboard.count(), expected, "{fault}");
        let bodies: HashSet<String> =
            scene.dashboard.attempts()[attempts..].iter().map(|attempt| attempt.sha256.clone()).collect();
        assert_eq!(bodies.len(), 1, "{fault}: every attempt of a batch must be the same bytes");
        assert_eq!(scene.dashboard.lines().last().unwrap(), &format!("S-1 {status_id}"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_dribbles_in_within_the_timeout_is_an_acknowledgement() {
    let scene = Scene::new().await;
    let _daemon = with_delta(&scene, 3).await;
    scene.dashboard.fail("slow:1");
    scene.flushed(&["S-1 9", "S-2 9", "S-3 9"]).await;
    assert_eq!(scene.dashboard.attempts().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dashboard_that_is_away_for_long_is_given_up_and_tried_again_by_the_next_flush() {
    let scene = Scene::with(|config| {
        replace(&mut config.delivery, "give_up_after = \"60s\"", "give_up_after = \"1s\"");
    })
    .await;
    let daemon = with_delta(&scene, 3).await;
    scene.dashboard.fail("503");
    let failed = scene.product.command(&["flush"]).await.with_code(1);
    assert!(failed.stderr.contains("503"), "{}", failed.stderr);
    let status = daemon.delta(3).await;
    assert_eq!(status["flush"]["last"]["result"], "failed");
    assert!(status["flush"]["failed_attempts"].as_u64() >= Some(3), "{status:#}");
    assert!(!status["alerts"].as_array().unwrap().is_empty(), "{status:#}");
    scene.dashboard.fail("none");
    scene.flushed(&["S-1 9", "S-2 9", "S-3 9"]).await;
    let status = daemon.delta(0).await;
    assert_eq!(status["alerts"].as_array().unwrap().len(), 0, "what has passed alerts no more: {status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_acknowledgement_repeats_the_same_bytes_even_after_a_kill() {
    let scene = Scene::new().await;
    let daemon = with_delta(&scene, 5).await;
    scene.dashboard.fail("hang-after-store:1");
    let flush = scene.product.spawn_command(&["flush"]);
    scene.dashboard.wait_for(5).await;
    daemon.kill().await;
    // What has come meanwhile must not join the batch whose outcome is not known.
    scene.open("S-6", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    daemon.captured(6).await;
    scene.product.flush().await;
    drop(flush);
    let attempts = scene.dashboard.attempts();
    assert_eq!(attempts[0].sha256, attempts[1].sha256);
    let batches: Vec<usize> = scene.dashboard.batches().iter().map(|batch| batch.record_count).collect();
    assert_eq!(batches, [5, 5, 1]);
}

/// The dashboard is away while the database's log goes on: the log must not have to wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_position_advances_while_the_dashboard_is_away() {
    let scene = Scene::with(|config| config.schedule = "every = \"1s\"\n".into()).await;
    scene.dashboard.fail("hang");
    let daemon = with_delta(&scene, 3).await;
    scene.dashboard.wait_for_attempts(1).await;
    let end = scene.backend.log_end().await;
    scene.open("S-4", "RECIBIDA").await;
    daemon.captured(4).await;
    crate::support::wait::eventually("the slot advances", crate::support::wait::SOON, async || {
        (scene.backend.confirmed().await >= Some(end)).then_some(())
    })
    .await;
}
