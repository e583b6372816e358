//! The life of one request.

use chrono::DateTime;
use serde_json::Value;

use super::Scene;
use crate::support::backend::Session;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_life_of_a_request_is_told() {
    let scene = Scene::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.product.must(&["backfill"]).await;
    scene.pass("S-1", "REVISION").await;
    scene.pass("S-1", "APROBADA").await;
    daemon.delta(2).await;
    scene.product.flush().await;
    scene.pass("S-1", "ENTREGADA").await;
    daemon.delta(1).await;
    scene.sql.run("UPDATE solicitudes SET estado = 'PERDIDA' WHERE numero = 'S-1'").await;
    daemon.captured(4).await;

    // Beside the daemon, and without it.
    let beside: Value =
        serde_json::from_str(&scene.product.must(&["explain", "S-1", "--json"]).await).unwrap();
    daemon.stop().await;
    let alone: Value =
        serde_json::from_str(&scene.product.must(&["explain", "S-1", "--json"]).await).unwrap();
    assert_eq!(beside, alone);
    assert_eq!(alone["version"], 1);
    assert_eq!(alone["request_id"], "S-1");
    let events = alone["events"].as_array().unwrap();
    let statuses: Vec<Option<u64>> = events.iter().map(|event| event["status_id"].as_u64()).collect();
    assert_eq!(statuses[..4], [Some(9), Some(2), Some(3), Some(14)]);
    assert_eq!(events.len(), 5, "{alone:#}");
    for acknowledged in &events[..3] {
        assert_eq!(acknowledged["state"], "acknowledged");
        let at = |key: &str| DateTime::parse_from_rfc3339(acknowledged[key].as_str().unwrap()).unwrap();
        assert!(at("captured_at") <= at("acknowledged_at"));
        assert!(acknowledged["batch"].is_number());
    }
    assert!(events[1]["position"].is_string(), "{alone:#}");
    assert_eq!(events[1]["batch"], events[2]["batch"], "one flush, one batch");
    assert_ne!(events[0]["batch"], events[1]["batch"]);
    assert_eq!(events[3]["state"], "delta");
    assert_eq!(events[4]["state"], "quarantined");
    assert!(events[4]["reason"].as_str().unwrap().contains("PERDIDA"), "{alone:#}");

    let text = scene.product.must(&["explain", "S-1"]).await;
    for expected in ["Recibido", "En revisión", "Aprobado", "Entregado", "acknowledged", "PERDIDA"] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let unknown = scene.product.command(&["explain", "S-99"]).await.with_code(1);
    assert!(unknown.stdout.contains("S-99") || unknown.stderr.contains("S-99"), "{unknown:?}");
}
