//! Where capture cannot be had, the table is scanned for what was modified.

use super::backend::SqlServer;
use crate::support::backend::Session;
use crate::support::config::replace;
use crate::support::scene::Scene;
use crate::support::wait::{SOON, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_find_what_was_modified_and_check_says_what_they_miss() {
    let scene = Scene::<SqlServer>::with(|config| {
        replace(&mut config.source, "[source.sqlserver]\n", "[source.sqlserver]\nmode = \"poll\"\n");
    })
    .await;
    scene.sql.run("EXEC sys.sp_cdc_disable_db").await;
    scene.open("S-1", "RECIBIDA").await;
    let checked = scene.product.command(&["check"]).await.with_code(0);
    assert!(checked.stdout.contains("between two scans"), "{}", checked.stdout);
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    arrived(&scene, &["S-1 2"]).await;
    scene.open("S-2", "RECIBIDA").await;
    arrived(&scene, &["S-1 2", "S-2 9"]).await;
    daemon.stop().await;
    scene.pass("S-1", "APROBADA").await;
    let _daemon = scene.product.run().await;
    arrived(&scene, &["S-1 2", "S-2 9", "S-1 3"]).await;
}

/// Flushes until everything expected has arrived; what the first scan met may have come as well.
async fn arrived(scene: &Scene<SqlServer>, expected: &[&str]) {
    eventually(&format!("{expected:?} arrived"), SOON, async || {
        scene.product.flush().await;
        let mut lines = scene.dashboard.lines();
        lines.retain(|line| line != "S-1 9");
        (lines == expected).then_some(())
    })
    .await;
}
