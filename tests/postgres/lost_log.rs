//! The ways in which PostgreSQL loses what the product would have read next.

use serde_json::Value;

use super::backend::{Distribution, Postgres, Release};
use super::on_both_versions;
use crate::support::backend::{Backend, Session};
use crate::support::product::PASSWORD;
use crate::support::scene::Scene;
use crate::support::wait::{LATER, SOON, eventually};

on_both_versions! {
    a_slot_that_was_invalidated_is_noticed_and_mended,
    a_slot_that_was_moved_forward_is_noticed_and_mended,
}

async fn loses_and_mends<R: Release>(scene: &Scene<Postgres<R>>) {
    let daemon = scene.product.start().await;
    let mended = |status: &Value| status["gaps"][0]["repaired_at"].is_string();
    daemon.until("the gap is mended", LATER, mended).await;
    daemon.streaming().await;
    scene.open("S-3", "RECIBIDA").await;
    daemon.delta(2).await;
    scene.flushed(&["S-1 3", "S-3 9"]).await;
}

/// <https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-MAX-SLOT-WAL-KEEP-SIZE>
async fn a_slot_that_was_invalidated_is_noticed_and_mended<R: Release>() {
    let backend = Postgres::<R>::own_with(&[
        ("max_slot_wal_keep_size", "1MB"),
        ("min_wal_size", "32MB"),
        ("max_wal_size", "32MB"),
    ])
    .await;
    let scene = Scene::on(backend, |_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    scene.product.run().await.stop().await;
    scene.pass("S-1", "APROBADA").await;
    let status = format!(
        "SELECT wal_status::text FROM pg_replication_slots WHERE slot_name = '{}'",
        scene.backend.slot()
    );
    eventually("the server gives the slot's log up", SOON, async || {
        scene.sql.run("SELECT pg_switch_wal()").await;
        scene.sql.run("CREATE TABLE relleno AS SELECT repeat('x', 100) FROM generate_series(1, 1000)").await;
        scene.sql.run("DROP TABLE relleno").await;
        scene.sql.run("CHECKPOINT").await;
        let row = scene.sql.query_one(&status, &[]).await.unwrap();
        (row.get::<_, String>(0) == "lost").then_some(())
    })
    .await;
    loses_and_mends(&scene).await;
}

/// Somebody has read from our slot, or moved it: what it passed over is gone.
async fn a_slot_that_was_moved_forward_is_noticed_and_mended<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    scene.product.run().await.stop().await;
    scene.pass("S-1", "APROBADA").await;
    let slot = scene.backend.slot();
    scene.sql.run(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")).await;
    loses_and_mends(&scene).await;
}

/// The same address, another server: after a restore elsewhere, say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_behind_the_same_address_is_noticed() {
    type Here = Postgres<Distribution>;
    let mut scene = Scene::<Here>::own(|_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.product.run().await.stop().await;
    let other = Here::own().await;
    other.create_table().await;
    let sql = other.session().await.unwrap();
    sql.run(&scene.opening("S-1", "RECIBIDA")).await;
    sql.run(&scene.passing("S-1", "APROBADA")).await;
    // The configuration's address leads there now.
    let source = other.source();
    scene.reconfigure(|config| config.source = source);
    scene.product = scene.product.with_variable(PASSWORD, &other.password());
    let daemon = scene.product.start().await;
    let mended = |status: &Value| status["gaps"][0]["repaired_at"].is_string();
    daemon.until("the other server is noticed", LATER, mended).await;
    sql.run(&scene.passing("S-1", "RECHAZADA")).await;
    daemon.streaming().await;
    daemon.delta(2).await;
    scene.flushed(&["S-1 3", "S-1 8"]).await;
}
