//! The product stops and starts, by order and by force.

use crate::support::backend::{Backend, Session};
use crate::support::scene::Scene;
use crate::support::wait::SOON;

pub(crate) async fn what_commits_while_the_product_is_stopped_is_captured_afterwards<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    daemon.stop().await;
    scene.pass("S-1", "APROBADA").await;
    scene.open("S-2", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    daemon.captured(3).await;
    daemon.kill().await;
    scene.pass("S-2", "REVISION").await;
    let daemon = scene.product.run().await;
    daemon.captured(4).await;
    scene.flushed(&["S-1 2", "S-1 3", "S-2 9", "S-2 2"]).await;
}

pub(crate) async fn a_transaction_that_was_open_at_a_kill_is_captured_once<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    let other = scene.backend.session().await.unwrap();
    other.begin().await;
    other.run(&scene.passing("S-1", "REVISION")).await;
    scene.open("S-2", "RECIBIDA").await;
    daemon.captured(1).await;
    daemon.kill().await;
    let daemon = scene.product.run().await;
    other.run(&scene.passing("S-1", "APROBADA")).await;
    other.commit().await;
    daemon.captured(3).await;
    daemon.kill().await;
    let daemon = scene.product.run().await;
    scene.open("S-3", "RECIBIDA").await;
    daemon.captured(4).await;
    scene.flushed(&["S-2 9", "S-1 2", "S-1 3", "S-3 9"]).await;
}

pub(crate) async fn two_runs_cannot_share_a_ledger<B: Backend>() {
    let scene = Scene::<B>::new().await;
    let daemon = scene.product.run().await;
    let second = scene.product.command(&["run"]).await.with_code(1);
    assert!(second.stderr.contains(&format!("{}", daemon.pid())), "who holds it: {}", second.stderr);
    // The first one has not noticed.
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
    daemon.kill().await;
    // What a killed process held is free.
    scene.product.run().await.stop().await;
}

/// `--from` is where a ledger without a position begins, in the engine's own words; what `status` shows as the
/// position must be good enough.
pub(crate) async fn a_ledger_begins_at_the_present_end<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.open("S-2", "RECIBIDA").await;
    let status = daemon.captured(1).await;
    let position = status["source"]["position"].as_str().unwrap().to_owned();
    daemon.stop().await;
    // A ledger that has a position cannot begin elsewhere.
    let refused = scene.product.command(&["run", "--from", &position]).await;
    assert!(matches!(refused.code, Some(1 | 2)), "{refused:?}");
    assert!(refused.stderr.contains("--from"), "{}", refused.stderr);
    scene.flushed(&["S-2 9"]).await;
}

pub(crate) async fn the_server_may_be_away_when_the_daemon_starts_again<B: Backend>() {
    let scene = Scene::<B>::own(|_| {}).await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
    scene.backend.crash();
    let away = |status: &serde_json::Value| status["source"]["state"] == "connecting";
    daemon.until("the daemon tries again", SOON, away).await;
    // What it holds can be flushed meanwhile, and a daemon can start without the database.
    scene.flushed(&["S-1 9"]).await;
    daemon.stop().await;
    let daemon = scene.product.start().await;
    daemon.until("the daemon waits for the server", SOON, away).await;
    scene.backend.restart();
    daemon.streaming().await;
    let sql = scene.backend.session().await.unwrap();
    sql.run(&scene.passing("S-1", "APROBADA")).await;
    daemon.captured(2).await;
    scene.flushed(&["S-1 9", "S-1 3"]).await;
}
