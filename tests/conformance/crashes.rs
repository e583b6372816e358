//! The product and the server die under load; the oracle says whether anybody could tell.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::backend::Backend;
use crate::support::heavy;
use crate::support::load::{Load, seed};
use crate::support::oracle::{self, Begins, Verdict};
use crate::support::scene::Scene;

/// How often the product is killed in one test.
const KILLS: usize = 8;

pub(crate) async fn nothing_is_lost_or_invented_when_the_product_is_killed_under_load<B: Backend>() {
    let _alone = heavy::alone().await;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    // Flushes run all the time, and many an acknowledgement is lost, so that kills also hit batches on their way.
    let scene = Scene::<B>::with(|config| config.schedule = "every = \"1s\"\n".into()).await;
    scene.dashboard.fail("reset-after-store%30");
    let daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed, 400);
    daemon.captured(50).await;
    daemon.kill().await;
    for _ in 0..KILLS {
        let daemon = scene.product.spawn(&[]);
        // Any moment will do, those before the stream has begun included: it is the point of the test.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2500))).await;
        daemon.kill().await;
        load.commits(20).await;
    }
    load.finish().await;
    let _daemon = scene.product.run().await;
    scene.drain().await;
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "").await;
    verdict.must_be_exact();
    let attempts = scene.dashboard.attempts();
    let lost = attempts.iter().filter(|attempt| attempt.is_stored && attempt.status.is_none()).count();
    assert!(verdict.repeated_batches <= lost + KILLS + 1, "{lost} acknowledgements were lost: {verdict:?}");
    report(&verdict);
}

pub(crate) async fn nothing_is_lost_or_invented_when_the_first_copy_is_killed<B: Backend>() {
    let _alone = heavy::alone().await;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Scene::<B>::new().await;
    scene.backend.insert_many(30_000, "2024-01-01").await;
    let load = Load::start(&scene.backend, seed, 400);
    for _ in 0..KILLS {
        let daemon = scene.product.spawn(&[]);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1200))).await;
        daemon.kill().await;
    }
    let _daemon = scene.product.run().await;
    let streaming = oracle::now(&*scene.backend).await;
    load.commits(200).await;
    load.finish().await;
    // Written without history: these are the requests `P-…`, of which each must arrive once.
    scene.product.must(&["backfill"]).await;
    scene.drain().await;
    let copied = scene.dashboard.lines().iter().filter(|line| line.starts_with("P-")).count();
    assert_eq!(copied, 30_000);
    let begins = Begins::WithSnapshotBefore(streaming);
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, begins, "L-").await;
    verdict.must_be_exact();
    assert_eq!(verdict.repeated_batches, 0);
    report(&verdict);
}

pub(crate) async fn nothing_is_lost_or_invented_when_the_server_is_killed_under_load<B: Backend>() {
    let _alone = heavy::alone().await;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Scene::<B>::own(|config| config.schedule = "every = \"1s\"\n".into()).await;
    let daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed, 400);
    for _ in 0..3 {
        load.commits(random.random_range(100..400)).await;
        let killed = Arc::clone(&scene.backend);
        // The dashboard must go on answering meanwhile.
        tokio::task::spawn_blocking(move || {
            killed.crash();
            killed.restart();
        })
        .await
        .unwrap();
    }
    load.commits(100).await;
    load.finish().await;
    scene.drain().await;
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "").await;
    verdict.must_be_exact();
    assert_eq!(verdict.repeated_batches, 0);
    let status = daemon.status().await.unwrap();
    assert_eq!(status["gaps"].as_array().unwrap().len(), 0, "{status:#}");
    report(&verdict);
}

/// What was read of a transaction before its commit must not count twice, nor be taken for the whole.
pub(crate) async fn a_large_transaction_that_is_killed_half_way_is_captured_once<B: Backend>() {
    const ROWS: u64 = 200_000;
    let _alone = heavy::alone().await;
    let mut random = StdRng::seed_from_u64(seed());
    let scene = Scene::<B>::own(|_| {}).await;
    let daemon = scene.product.run().await;
    scene.backend.insert_many(ROWS, "2021-01-01").await;
    daemon.kill().await;
    for _ in 0..4 {
        let daemon = scene.product.start().await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        daemon.kill().await;
    }
    let daemon = scene.product.run().await;
    let status = daemon.captured(ROWS).await;
    assert_eq!(status["captured_changes"], ROWS);
    daemon.delta(ROWS).await;
}

fn report(verdict: &Verdict) {
    println!(
        "{} records arrived, each once; {} whole batches were repeated",
        verdict.arrived, verdict.repeated_batches
    );
}
