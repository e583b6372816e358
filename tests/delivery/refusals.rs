//! Records and bodies that the dashboard does not take.

use tablero::TableroConfig;

use super::{Scene, with_delta};
use crate::support::config::replace;
use crate::support::dashboard::Dashboard;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_dashboard_refuses_ends_alone_in_quarantine() {
    let scene = Scene::new().await;
    let daemon = with_delta(&scene, 40).await;
    scene.dashboard.fail("poison:S-23");
    let flush = scene.product.command(&["flush"]).await.with_code(3);
    assert!(flush.stdout.contains("quarantine"), "{}", flush.stdout);
    let lines = scene.dashboard.lines();
    assert_eq!(lines.len(), 39);
    assert!(!lines.contains(&"S-23 9".to_owned()));
    let status = daemon.delta(0).await;
    assert_eq!(status["quarantine"]["records"], 1);
    assert_eq!(status["quarantine"]["rows"], 0);
    assert_eq!(status["flush"]["last"]["result"], "partial");
    let listed = scene.product.must(&["quarantine", "list"]).await;
    assert!(listed.contains("S-23") && listed.contains("request_id is not valid"), "{listed}");

    // Later changes of the same request go their way.
    scene.pass("S-1", "APROBADA").await;
    daemon.delta(1).await;
    scene.product.command(&["flush"]).await;
    assert_eq!(scene.dashboard.lines().last().unwrap(), "S-1 3");
    // Retried in vain it comes back; after the mend it arrives.
    scene.product.command(&["quarantine", "retry"]).await;
    scene.product.command(&["flush"]).await.with_code(3);
    scene.dashboard.fail("none");
    scene.product.must(&["quarantine", "retry"]).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines().last().unwrap(), "S-23 9");
    assert_eq!(daemon.status().await.unwrap()["quarantine"]["records"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_passes_costs_no_record() {
    let scene = Scene::new().await;
    let daemon = with_delta(&scene, 10).await;
    scene.dashboard.fail("400:1");
    scene.product.flush().await;
    let mut lines = scene.dashboard.lines();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 10);
    assert_eq!(scene.dashboard.count(), 10);
    daemon.delta(0).await;
}

/// A dashboard that refuses everything is broken; the records are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dashboard_that_refuses_everything_puts_nothing_in_quarantine() {
    let scene = Scene::with(|config| {
        replace(&mut config.delivery, "give_up_after = \"60s\"", "give_up_after = \"2s\"");
    })
    .await;
    let daemon = with_delta(&scene, 30).await;
    for fault in ["400", "422", "success-false"] {
        scene.dashboard.fail(fault);
        scene.product.command(&["flush"]).await.with_code(1);
        let status = daemon.delta(30).await;
        assert_eq!(status["quarantine"]["records"], 0, "{fault}");
    }
    scene.dashboard.fail("none");
    scene.product.flush().await;
    let mut lines = scene.dashboard.lines();
    lines.sort();
    lines.dedup();
    assert_eq!((lines.len(), scene.dashboard.count()), (30, 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_halved_until_it_fits() {
    let mut scene = Scene::new().await;
    scene.dashboard =
        Dashboard::start_with(TableroConfig { body_limit: 2000, ..TableroConfig::default() }).await;
    let url = scene.dashboard.url();
    scene.reconfigure(|config| {
        let first = config.delivery.lines().next().unwrap().to_owned();
        replace(&mut config.delivery, &first, &format!("url = \"{url}\""));
    });
    let daemon = with_delta(&scene, 100).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.count(), 100);
    let mut lines = scene.dashboard.lines();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 100);
    daemon.delta(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_was_too_large_once_is_halved_once() {
    let scene = Scene::new().await;
    let daemon = with_delta(&scene, 10).await;
    scene.dashboard.fail("413:1");
    scene.product.flush().await;
    let batches: Vec<usize> = scene.dashboard.batches().iter().map(|batch| batch.record_count).collect();
    assert_eq!(batches, [5, 5]);
    let expected: Vec<String> = (1..=10).map(|number| format!("S-{number} 9")).collect();
    assert_eq!(scene.dashboard.lines(), expected);
    daemon.delta(0).await;
}
