//! `uninstall`: what the connector has in the database goes, after a clear question.

use super::Scene;
use crate::support::backend::Session;

const LEFT: &str = "DO $$ BEGIN
    ASSERT NOT EXISTS (SELECT FROM pg_replication_slots WHERE database = current_database()), 'a slot is left';
    ASSERT NOT EXISTS (SELECT FROM pg_publication), 'a publication is left';
END $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_goes_only_after_a_yes_and_not_while_a_daemon_runs() {
    let scene = Scene::new().await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
    let refused = scene.product.command(&["uninstall", "--yes"]).await.with_code(1);
    assert!(refused.stderr.contains("is held by pid"), "{}", refused.stderr);
    assert!(refused.stderr.contains("stop the daemon first"), "{}", refused.stderr);
    daemon.stop().await;

    let printed = scene.product.must(&["uninstall", "--dry-run"]).await;
    let slot = scene.backend.slot();
    assert!(printed.contains(&format!("SELECT pg_drop_replication_slot('{slot}');")), "{printed}");
    // The input of a command under test is no terminal.
    let unasked = scene.product.command(&["uninstall"]).await.with_code(2);
    assert!(unasked.stderr.contains("nobody can be asked"), "{}", unasked.stderr);
    assert!(scene.sql.try_run(LEFT).await.is_err(), "something was dropped unasked");

    scene.product.must(&["uninstall", "--yes"]).await;
    scene.sql.run(LEFT).await;
    let again = scene.product.must(&["uninstall"]).await;
    assert!(again.contains("-- Nothing: there is nothing to take away."), "{again}");
    // The delta was captured and can still leave.
    scene.flushed(&["S-1 9"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_never_ran_leaves_no_ledger_behind() {
    let scene = Scene::new().await;
    scene.product.must(&["uninstall", "--yes"]).await;
    assert!(!scene.product.path("ledger").exists());
}
