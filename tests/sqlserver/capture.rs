//! The server's own capture stands still: that nothing comes does not mean that nothing changes.

use testbed::sqlserver::Command;

use super::backend::SqlServer;
use crate::support::backend::Session;
use crate::support::scene::Scene;
use crate::support::wait::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_agent_is_told_and_nothing_is_lost() {
    let scene = Scene::<SqlServer>::own(|_| {}).await;
    let Some(_) = scene.backend.standin() else { return };
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.backend.control(&Command::Agent(false));
    scene.pass("S-1", "REVISION").await;
    let status = daemon
        .until("the daemon says that nobody captures", SOON, |status| status["source"]["state"] == "silent")
        .await;
    assert!(status["alerts"].to_string().contains("Agent"), "{status:#}");
    scene.backend.control(&Command::Agent(true));
    let status = daemon.captured(1).await;
    daemon.streaming().await;
    assert_eq!(status["captured_changes"], 1);
    scene.flushed(&["S-1 2"]).await;
    assert!(!daemon.status().await.unwrap()["alerts"].to_string().contains("Agent"));
}

/// Jobs live beside the database: after a fail-over or a restore they are missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_capture_job_is_told_by_the_daemon_and_by_check() {
    let scene = Scene::<SqlServer>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.sql.run("EXEC sys.sp_cdc_drop_job @job_type = N'capture'").await;
    scene.pass("S-1", "REVISION").await;
    let status = daemon
        .until("the daemon says that nobody captures", SOON, |status| status["source"]["state"] == "silent")
        .await;
    assert!(status["alerts"].to_string().contains("capture job"), "{status:#}");
    let checked = scene.product.command(&["check"]).await.with_code(1);
    assert!(checked.stdout.contains("sp_cdc_add_job"), "{}", checked.stdout);
    scene.sql.run("EXEC sys.sp_cdc_add_job @job_type = N'capture'").await;
    daemon.captured(1).await;
    daemon.streaming().await;
    scene.flushed(&["S-1 2"]).await;
}

/// The capture lags behind the table, so a copy of the table is newer than what the stream brings next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_lags_tells_nothing_twice() {
    let options = testbed::sqlserver::Options::default();
    let backend = SqlServer::own_with(options).await;
    let Some(_) = backend.standin() else { return };
    backend.control(&Command::CaptureLatency(std::time::Duration::from_millis(700)));
    let scene = Scene::on(backend, |_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.pass("S-1", "REVISION").await;
    // What the copy meets has not been captured yet.
    let daemon = scene.product.run().await;
    scene.pass("S-1", "APROBADA").await;
    daemon.delta(1).await;
    scene.product.must(&["backfill"]).await;
    scene.flushed(&["S-1 2", "S-1 3"]).await;
}
