//! How records are put together, and with which headers they leave.

use tablero::TableroConfig;

use super::{Scene, with_delta};
use crate::support::backend::Session;
use crate::support::config::replace;
use crate::support::dashboard::Dashboard;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_holds_at_most_as_many_records_as_was_asked_for() {
    let scene = Scene::with(|config| config.delivery.push_str("batch_size = 7\n")).await;
    let _daemon = with_delta(&scene, 20).await;
    scene.product.flush().await;
    let batches: Vec<usize> = scene.dashboard.batches().iter().map(|batch| batch.record_count).collect();
    assert_eq!(batches, [7, 7, 6]);
    let expected: Vec<String> = (1..=20).map(|number| format!("S-{number} 9")).collect();
    assert_eq!(scene.dashboard.lines(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_a_batch_stays_below_the_limits_of_dashboard_and_server() {
    let mut scene = Scene::new().await;
    // What a NestJS server takes unless told otherwise.
    let config = TableroConfig { body_limit: 102_400, ..TableroConfig::default() };
    scene.dashboard = Dashboard::start_with(config).await;
    let url = scene.dashboard.url();
    scene.reconfigure(|config| {
        let first = config.delivery.lines().next().unwrap().to_owned();
        replace(&mut config.delivery, &first, &format!("url = \"{url}\""));
    });
    let daemon = scene.product.run().await;
    crate::support::backend::Backend::insert_many(&*scene.backend, 2500, "2024-01-01").await;
    daemon.delta(2500).await;
    scene.product.flush().await;
    let attempts = scene.dashboard.attempts();
    assert!(attempts.iter().all(|attempt| attempt.is_stored), "none was too large");
    assert!(scene.dashboard.batches().iter().all(|batch| batch.record_count <= 1000));
    assert_eq!(scene.dashboard.count(), 2500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_leave_apart_when_that_was_asked_for() {
    let scene = Scene::with(|config| config.delivery.push_str("group_by = \"service\"\n")).await;
    let daemon = scene.product.run().await;
    for number in 1..=6 {
        scene.open(&format!("S-{number}"), "RECIBIDA").await;
        if number % 2 == 0 {
            scene
                .sql
                .run(&format!("UPDATE solicitudes SET servicio = 'PER' WHERE numero = 'S-{number}'"))
                .await;
        }
    }
    daemon.captured(9).await;
    scene.product.flush().await;
    for batch in scene.dashboard.batches() {
        let records = batch.records();
        assert!(records.iter().all(|record| record.service_id == records[0].service_id), "{records:?}");
    }
    // Another service is another request to the dashboard.
    assert_eq!(scene.dashboard.count(), 9);
    assert_eq!(scene.dashboard.batches().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_the_x_road_client_leave_with_each_post() {
    let mut scene = Scene::new().await;
    let config = TableroConfig { api_key: Some("llave".into()), ..TableroConfig::default() };
    scene.dashboard = Dashboard::start_with(config).await;
    let url = scene.dashboard.url().replace("/api/load", "/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/api/load");
    scene.product.write("api-key.txt", "llave\n");
    scene.reconfigure(|config| {
        let first = config.delivery.lines().next().unwrap().to_owned();
        replace(&mut config.delivery, &first, &format!("url = \"{url}\""));
        config.delivery.push_str(
            "x_road_client = \"DO/GOB/INSTITUCION/SUBSISTEMA\"\n\
             headers = { api-key = \"${file:api-key.txt}\", x-otra = \"uno\" }\n",
        );
    });
    let _daemon = with_delta(&scene, 1).await;
    scene.product.flush().await;
    let attempt = &scene.dashboard.attempts()[0];
    assert_eq!(attempt.path, "/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/api/load");
    for (name, value) in [
        ("api-key", "llave"),
        ("x-otra", "uno"),
        ("x-road-client", "DO/GOB/INSTITUCION/SUBSISTEMA"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
    ] {
        assert_eq!(attempt.header(name), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fractions_of_seconds_leave_as_fine_as_was_asked_for() {
    for (precision, expected) in [
        ("micros", ["2026-03-02T12:00:00Z", "2026-03-02T12:00:00.123456Z"]),
        ("millis", ["2026-03-02T12:00:00Z", "2026-03-02T12:00:00.123Z"]),
        ("seconds", ["2026-03-02T12:00:00Z", "2026-03-02T12:00:00Z"]),
    ] {
        let scene =
            Scene::with(|config| config.delivery.push_str(&format!("timestamps = \"{precision}\"\n"))).await;
        let daemon = scene.product.run().await;
        scene.open("S-1", "RECIBIDA").await;
        scene
            .sql
            .run(
                "UPDATE solicitudes SET estado = 'APROBADA', fecha_modificacion = '2026-03-02 08:00:00.123456'",
            )
            .await;
        daemon.captured(2).await;
        scene.product.flush().await;
        let records = scene.dashboard.records();
        let moments: Vec<&str> = records.iter().map(|record| record.last_modified_date.as_str()).collect();
        assert_eq!(moments, expected, "{precision}");
    }
}
