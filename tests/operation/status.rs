//! `status --json`, the status page, health and metrics.

use serde_json::Value;

use super::Scene;
use crate::support::http;
use crate::support::wait::SOON;

/// Every key that is promised, whatever its value.
const KEYS: &[&str] = &[
    "/version",
    "/source/engine",
    "/source/state",
    "/source/position",
    "/source/lag_seconds",
    "/source/retention_hours",
    "/captured_changes",
    "/delta/records",
    "/delta/oldest_at",
    "/flush/next_at",
    "/flush/last",
    "/backfill/state",
    "/backfill/rows",
    "/backfill/records",
    "/quarantine/rows",
    "/quarantine/records",
    "/gaps",
];

fn has_the_promised_keys(status: &Value) {
    for key in KEYS {
        assert!(status.pointer(key).is_some(), "{key} is not in {status:#}");
    }
    assert_eq!(status["version"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_is_told_in_the_documented_shape() {
    let scene = Scene::with(|config| config.schedule = "flush_at = [\"02:00\", \"14:00\"]\n".into()).await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    let status = daemon.status().await.unwrap();
    has_the_promised_keys(&status);
    assert_eq!(status["source"]["engine"], "postgres");
    assert!(status["flush"]["last"].is_null());
    assert!(status["flush"]["next_at"].is_string());
    assert!(status["delta"]["oldest_at"].is_null());
    scene.open("S-2", "RECIBIDA").await;
    daemon.captured(1).await;
    let status = daemon.delta(1).await;
    assert!(status["delta"]["oldest_at"].is_string());
    assert!(status["source"]["position"].as_str().unwrap().contains('/'));
    assert!(
        status["source"]["lag_seconds"].as_f64().is_some_and(|lag| (0.0..60.0).contains(&lag)),
        "{status:#}"
    );
    scene.product.flush().await;
    let status = daemon.status().await.unwrap();
    let last = &status["flush"]["last"];
    assert!(last["started_at"].as_str().unwrap() <= last["finished_at"].as_str().unwrap());
    assert_eq!(
        (&last["result"], &last["records"], &last["batches"]),
        (&"acknowledged".into(), &1.into(), &1.into())
    );

    // The command says the same; without a daemon what the ledger knows.
    let told = scene.product.status().await;
    has_the_promised_keys(&told);
    assert_eq!(told["source"]["state"], "streaming");
    assert_eq!(told["flush"], status["flush"]);
    daemon.stop().await;
    let told = scene.product.status().await;
    has_the_promised_keys(&told);
    assert_eq!(told["source"]["state"], "stopped");
    assert_eq!(told["captured_changes"], 1);
    assert_eq!(told["flush"]["last"], status["flush"]["last"]);
    assert!(told["flush"]["next_at"].is_null());
    let text = scene.product.must(&["status"]).await;
    assert!(text.contains("stopped") && text.contains("acknowledged"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_health_and_metrics_are_served() {
    let scene = Scene::own(|_| {}).await;
    let daemon = scene.product.run().await;
    scene.open("S-<b>1", "RECIBIDA").await;
    daemon.delta(1).await;
    assert_eq!(daemon.get("healthz").await.trim(), "ok");
    assert_eq!(daemon.get("readyz").await.trim(), "streaming");
    let page = daemon.get("").await;
    assert!(page.starts_with("<!doctype html>") && page.contains("lang=\"es\""), "{page}");
    let metrics = daemon.get("metrics").await;
    assert!(metrics.lines().any(|line| line == "bitacora_delta_records 1"), "{metrics}");
    assert!(metrics.lines().any(|line| line == "bitacora_captured_changes_total 1"), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    // Alive, but not ready, while the database is away.
    crate::support::backend::Backend::crash(&*scene.backend);
    daemon.until("the loss is noticed", SOON, |status| status["source"]["state"] == "connecting").await;
    assert_eq!(daemon.get("healthz").await.trim(), "ok");
    let ready = http::get(&format!("{}readyz", daemon.page())).await.unwrap();
    assert_eq!(ready.status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_for_machines_is_json_line_by_line() {
    let scene = Scene::new().await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
    scene.product.flush().await;
    let log = daemon.log();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
}
