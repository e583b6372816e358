//! What could not be sent: shown, mended, given up.

use serde_json::Value;

use super::Scene;
use crate::support::backend::Session;
use crate::support::config::replace;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quarantined_rows_are_mapped_again_without_a_daemon() {
    let mut scene = Scene::new().await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "ARCHIVADA").await;
    scene.open("S-2", "PERDIDA").await;
    scene.open("S-3", "RECIBIDA").await;
    daemon.captured(3).await;
    daemon.stop().await;
    scene.reconfigure(|config| replace(&mut config.mapping, "RECIBIDA = 9", "RECIBIDA = 9, ARCHIVADA = 7"));
    let retried = scene.product.command(&["quarantine", "retry"]).await.with_code(3);
    assert!(retried.stdout.contains('1'), "{}", retried.stdout);
    scene.product.command(&["flush"]).await.with_code(3);
    let mut lines = scene.dashboard.lines();
    lines.sort();
    assert_eq!(lines, ["S-1 7", "S-3 9"]);
    let listed: Value =
        serde_json::from_str(&scene.product.must(&["quarantine", "list", "--json"]).await).unwrap();
    assert_eq!(listed["version"], 1);
    assert_eq!(listed["rows"], 1);
    let item = &listed["items"][0];
    assert_eq!(item["request_id"], "S-2");
    assert!(item["reason"].as_str().unwrap().contains("PERDIDA"), "{item:#}");
    assert!(item["row"].is_object(), "the row's mapped columns are kept: {item:#}");
    let id = item["id"].to_string();
    scene.product.must(&["quarantine", "discard", &id]).await;
    assert_eq!(scene.product.status().await["quarantine"]["rows"], 0);
    scene.product.command(&["quarantine", "discard", &id]).await.with_code(1);
    scene.product.flush().await;
    assert_eq!(scene.dashboard.count(), 2);
}

/// A row in quarantine must not make later changes of its request wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_later_changes_invents_nothing() {
    let mut scene = Scene::new().await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.pass("S-1", "ARCHIVADA").await;
    scene.pass("S-1", "APROBADA").await;
    // Back to a status that it had before the one that could not be read.
    scene.open("S-2", "RECIBIDA").await;
    scene.pass("S-2", "ARCHIVADA").await;
    scene.pass("S-2", "RECIBIDA").await;
    daemon.captured(6).await;
    scene.product.command(&["flush"]).await.with_code(3);
    let lines = scene.dashboard.lines();
    assert_eq!(lines, ["S-1 9", "S-1 3", "S-2 9", "S-2 9"], "after an unknown status any status is a change");
    scene.reconfigure(|config| replace(&mut config.mapping, "RECIBIDA = 9", "RECIBIDA = 9, ARCHIVADA = 7"));
    scene.product.must(&["quarantine", "retry"]).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines()[4..], ["S-1 7", "S-2 7"]);
    let records = scene.dashboard.records();
    assert!(records[4].last_modified_date < records[1].last_modified_date, "it says when it happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_given_up_at_once() {
    let scene = Scene::new().await;
    let daemon = scene.product.run().await;
    scene.sql.begin().await;
    for number in 0..30 {
        scene.open(&format!("S-{number}"), "PERDIDA").await;
    }
    scene.sql.commit().await;
    daemon.captured(30).await;
    let listed = scene.product.must(&["quarantine", "list", "--limit", "10"]).await;
    assert!(listed.contains("S-0") && !listed.contains("S-29"), "{listed}");
    scene.product.must(&["quarantine", "discard", "--all"]).await;
    assert_eq!(daemon.status().await.unwrap()["quarantine"]["rows"], 0);
    scene.flushed(&[]).await;
}
