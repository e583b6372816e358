//! A ledger that may not grow.

use crate::support::backend::Backend;
use crate::support::heavy;
use crate::support::scene::Scene;
use crate::support::wait::LATER;

/// The smallest ledger that can be asked for, and more rows than it can hold.
const MAX_SIZE: &str = "64MiB";
/// How far it may go beyond, for what was on its way already.
const SIZE_MAX: u64 = 80 << 20;

const ROWS: u64 = 100_000;
const ROUNDS: u64 = 12;

pub(crate) async fn a_full_ledger_stops_capture_and_loses_nothing<B: Backend>() {
    let _alone = heavy::alone().await;
    let mut scene =
        Scene::<B>::own(|config| config.ledger.push_str(&format!("max_size = \"{MAX_SIZE}\"\n"))).await;
    let daemon = scene.product.run().await;
    scene.backend.insert_many(ROWS, "2021-01-01").await;
    for round in 1..ROUNDS {
        scene.backend.set_all(if round % 2 == 0 { "RECIBIDA" } else { "APROBADA" }).await;
    }
    let status = daemon
        .until("capture stops because the ledger is full", LATER, |status| {
            status["alerts"].as_array().is_some_and(|alerts| {
                alerts
                    .iter()
                    .any(|alert| alert["what"].as_str().is_some_and(|what| what.contains("max_size")))
            })
        })
        .await;
    let captured = status["captured_changes"].as_u64().unwrap();
    assert!(captured < ROWS * ROUNDS, "{captured} changes fit after all");
    // Delivery goes on: a full ledger must be able to become empty.
    daemon.stop().await;
    let size: u64 = std::fs::read_dir(scene.product.path("ledger"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size <= SIZE_MAX, "the ledger's folder has {size} bytes");

    scene.reconfigure(|config| config.ledger = "dir = \"ledger\"\n".into());
    let daemon = scene.product.run().await;
    let status = daemon.captured(ROWS * ROUNDS).await;
    assert_eq!(status["captured_changes"], ROWS * ROUNDS);
    daemon.delta(ROWS * ROUNDS).await;
}
