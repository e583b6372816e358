//! The database has thrown away what the product would have read next. Where the log belongs to the whole server, that
//! cannot be done to a shared one.

use std::collections::BTreeMap;

use serde_json::Value;
use tablero::Record;

use crate::support::backend::{Backend, Session};
use crate::support::heavy;
use crate::support::load::{Load, seed};
use crate::support::oracle;
use crate::support::scene::Scene;
use crate::support::wait::LATER;

/// Whether the status has `count` gaps, all of them mended.
fn mended(status: &Value, count: usize) -> bool {
    let gaps = status["gaps"].as_array().unwrap();
    gaps.len() == count && gaps.iter().all(|gap| gap["repaired_at"].is_string())
}

pub(crate) async fn a_log_lost_while_stopped_is_noticed_and_mended<B: Backend>() {
    let scene = Scene::<B>::own(|_| {}).await;
    for numero in ["S-1", "S-2", "S-3"] {
        scene.open(numero, "RECIBIDA").await;
    }
    let daemon = scene.product.run().await;
    scene.pass("S-2", "REVISION").await;
    daemon.captured(1).await;
    daemon.stop().await;
    scene.backend.lose_log().await;
    // Seen by nobody: two transitions of one request, one new request, one deletion, one edit.
    scene.pass("S-1", "REVISION").await;
    scene.pass("S-1", "APROBADA").await;
    scene.open("S-4", "REVISION").await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-3'").await;
    scene.sql.run("UPDATE solicitudes SET nota = 'x' WHERE numero = 'S-2'").await;

    let daemon = scene.product.start().await;
    let status = daemon.until("the gap is mended", LATER, |status| mended(status, 1)).await;
    let gap = &status["gaps"][0];
    assert_eq!(gap["records"], 2, "{gap:#}");
    assert!(gap["found_at"].is_string() && gap["to"].is_string(), "{gap:#}");
    assert!(daemon.log().contains("lost"), "the log must say so");
    daemon.streaming().await;
    scene.pass("S-4", "APROBADA").await;
    daemon.delta(4).await;
    scene.product.flush().await;
    let mut lines = scene.dashboard.lines();
    lines.sort();
    assert_eq!(lines, ["S-1 3", "S-2 2", "S-4 2", "S-4 3"]);
    assert_eq!(scene.dashboard.lines().last().unwrap(), "S-4 3");
    // Once found, it is not found again.
    daemon.stop().await;
    let daemon = scene.product.run().await;
    assert!(mended(&daemon.status().await.unwrap(), 1));
}

pub(crate) async fn a_log_lost_while_streaming_is_noticed_and_mended<B: Backend>() {
    let scene = Scene::<B>::own(|_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    scene.backend.lose_log().await;
    scene.pass("S-2", "APROBADA").await;
    daemon.until("the gap is mended", LATER, |status| mended(status, 1)).await;
    daemon.streaming().await;
    scene.pass("S-1", "RECHAZADA").await;
    daemon.delta(3).await;
    scene.product.flush().await;
    let mut lines = scene.dashboard.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("S-1")).collect::<Vec<_>>(), ["S-1 2", "S-1 8"]);
    lines.sort();
    assert_eq!(lines, ["S-1 2", "S-1 8", "S-2 3"]);
}

/// What was passed through inside a gap cannot be known. What must hold: nothing that never happened, the
/// order in which it happened, and the last status of every request.
pub(crate) async fn a_log_lost_under_load_ends_with_the_right_statuses<B: Backend>() {
    let _alone = heavy::alone().await;
    let scene = Scene::<B>::own(|config| config.schedule = "every = \"1s\"\n".into()).await;
    let daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed(), 300);
    for gaps in 1..=2 {
        load.commits(300).await;
        scene.backend.lose_log().await;
        daemon.until("the gap is mended", LATER, |status| mended(status, gaps)).await;
    }
    daemon.streaming().await;
    load.commits(100).await;
    load.finish().await;
    scene.drain().await;

    let mut happened: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for row in scene.backend.history().await {
        happened.entry(row.numero.clone()).or_default().push(oracle::record(&row));
    }
    let mut arrived: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in scene.dashboard.records() {
        arrived.entry(record.request_id.clone()).or_default().push(record);
    }
    assert_eq!(happened.keys().collect::<Vec<_>>(), arrived.keys().collect::<Vec<_>>());
    for (numero, records) in &arrived {
        let mut rest = happened[numero].iter();
        for record in records {
            let found = rest.any(|known| known == record);
            assert!(found, "{numero}: {records:#?} is not within {:#?}", happened[numero]);
        }
        // Passed through another status and back to the known one: nothing differs, so nothing is sent.
        let last = |records: &[Record]| records.last().map(|record| record.status_id);
        assert_eq!(last(records), last(&happened[numero]), "{numero}");
    }
}
