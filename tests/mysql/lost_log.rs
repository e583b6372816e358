//! The ways in which a server loses what the product would have read next.

use serde_json::Value;

use super::backend::{Dialect, MySql, Mysql};
use super::on_both_products;
use crate::support::backend::{Backend, Session};
use crate::support::product::PASSWORD;
use crate::support::scene::Scene;
use crate::support::wait::LATER;

on_both_products! {
    a_purged_log_is_noticed_and_mended,
    a_log_that_was_purged_after_it_was_read_is_not_missed,
    a_reset_log_is_noticed_and_mended,
    another_server_behind_the_same_address_is_noticed,
}

async fn prepared<D: Dialect>(scene: &Scene<Mysql<D>>) {
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-2", "REVISION").await;
    daemon.captured(1).await;
    daemon.stop().await;
}

async fn mends<D: Dialect>(scene: &Scene<Mysql<D>>) {
    let daemon = scene.product.start().await;
    let mended = |status: &Value| status["gaps"][0]["repaired_at"].is_string();
    daemon.until("the gap is mended", LATER, mended).await;
    daemon.streaming().await;
    scene.open("S-3", "RECIBIDA").await;
    daemon.delta(3).await;
    scene.product.flush().await;
    let mut lines = scene.dashboard.lines();
    assert_eq!(lines.last().unwrap(), "S-3 9");
    lines.sort();
    assert_eq!(lines, ["S-1 3", "S-2 2", "S-3 9"]);
    let status = daemon.status().await.unwrap();
    assert_eq!(status["gaps"].as_array().unwrap().len(), 1, "{status:#}");
}

async fn a_purged_log_is_noticed_and_mended<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::own(|_| {}).await;
    prepared(&scene).await;
    scene.pass("S-1", "APROBADA").await;
    scene.backend.purge_log().await;
    mends(&scene).await;
}

/// Old files are removed every day: what was read of them is nobody's loss.
async fn a_log_that_was_purged_after_it_was_read_is_not_missed<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::own(|_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    for estado in ["APROBADA", "ENTREGADA"] {
        scene.sql.run("FLUSH BINARY LOGS").await;
        scene.pass("S-1", estado).await;
    }
    daemon.captured(3).await;
    scene.backend.purge_log().await;
    scene.pass("S-1", "RECIBIDA").await;
    let status = daemon.captured(4).await;
    assert_eq!(status["gaps"].as_array().unwrap().len(), 0, "{status:#}");
    scene.flushed(&["S-1 2", "S-1 3", "S-1 14", "S-1 9"]).await;
}

async fn a_reset_log_is_noticed_and_mended<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::own(|_| {}).await;
    prepared(&scene).await;
    scene.sql.run(D::RESET_LOG).await;
    scene.pass("S-1", "APROBADA").await;
    mends(&scene).await;
}

/// Without numbers, a log that begins anew soon has a place that looks like ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_log_without_numbers_is_noticed_and_mended() {
    let backend = Mysql::<MySql>::start(Mysql::<MySql>::options(&[]).without_gtid()).await;
    let scene = Scene::on(backend, |_| {}).await;
    prepared(&scene).await;
    scene.sql.run(MySql::RESET_LOG).await;
    scene.pass("S-1", "APROBADA").await;
    mends(&scene).await;
}

/// Nor is a file that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_log_without_numbers_is_noticed_and_mended() {
    let backend = Mysql::<MySql>::start(Mysql::<MySql>::options(&[]).without_gtid()).await;
    let scene = Scene::on(backend, |_| {}).await;
    prepared(&scene).await;
    scene.pass("S-1", "APROBADA").await;
    scene.backend.purge_log().await;
    mends(&scene).await;
}

/// The same address, another server: after a restore elsewhere, say.
async fn another_server_behind_the_same_address_is_noticed<D: Dialect>() {
    let mut scene = Scene::<Mysql<D>>::own(|_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.product.run().await.stop().await;
    let other = Mysql::<D>::own().await;
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
