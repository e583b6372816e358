//! What a server leaves out of its log: refused by `check`, and never guessed.

use super::backend::{Dialect, Mysql};
use super::on_both_products;
use crate::support::backend::Session;
use crate::support::scene::Scene;
use crate::support::wait::LATER;

on_both_products! {
    check_refuses_partial_images_and_says_how_to_have_whole_ones,
    a_partial_image_never_leads_to_a_wrong_record,
    an_image_without_long_texts_is_exact_where_none_is_mapped,
}

async fn check_refuses_partial_images_and_says_how_to_have_whole_ones<D: Dialect>() {
    let scene = Scene::on(Mysql::<D>::own_with(&[("binlog_row_image", "MINIMAL")]).await, |_| {}).await;
    let outcome = scene.product.command(&["check"]).await.with_code(1);
    assert!(outcome.stdout.contains("binlog_row_image"), "{}", outcome.stdout);
    let mend = outcome.stdout.lines().find(|line| line.contains("SET ") && line.contains("binlog_row_image"));
    let mend = mend.unwrap_or_else(|| panic!("no statement that mends it:\n{}", outcome.stdout));
    let statement = mend.get(mend.find("SET ").unwrap()..).unwrap();
    scene.sql.run(statement.split(';').next().unwrap()).await;
    scene.product.must(&["check"]).await;
}

/// One session can do it, whatever the server's own setting is.
async fn a_partial_image_never_leads_to_a_wrong_record<D: Dialect>() {
    for image in ["MINIMAL", "NOBLOB"] {
        let scene = Scene::<Mysql<D>>::own(|_| {}).await;
        scene.open("S-1", "RECIBIDA").await;
        scene.open("S-2", "RECIBIDA").await;
        let daemon = scene.product.run().await;
        scene.pass("S-1", "REVISION").await;
        daemon.captured(1).await;
        scene.sql.run(&format!("SET SESSION binlog_row_image = '{image}'")).await;
        scene.sql.run("UPDATE solicitudes SET estado = 'APROBADA' WHERE numero = 'S-1'").await;
        scene.sql.run("UPDATE solicitudes SET nota = 'x' WHERE numero = 'S-2'").await;
        scene.pass("S-2", "RECHAZADA").await;
        scene.open("S-3", "RECIBIDA").await;
        daemon
            .until("everything is captured or mended", LATER, |status| {
                status["source"]["state"] == "streaming" && status["delta"]["records"] == 4
            })
            .await;
        scene.product.flush().await;
        let lines = scene.dashboard.lines();
        let of =
            |numero: &str| lines.iter().filter(|line| line.starts_with(numero)).cloned().collect::<Vec<_>>();
        assert_eq!(of("S-1"), ["S-1 2", "S-1 3"], "{image}");
        assert_eq!(of("S-2"), ["S-2 8"], "{image}");
        assert_eq!(of("S-3"), ["S-3 9"], "{image}");
    }
}

async fn an_image_without_long_texts_is_exact_where_none_is_mapped<D: Dialect>() {
    let scene = Scene::on(Mysql::<D>::own_with(&[("binlog_row_image", "NOBLOB")]).await, |_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.product.must(&["check"]).await;
    let daemon = scene.product.run().await;
    scene.sql.run("UPDATE solicitudes SET nota = REPEAT('x', 5000)").await;
    scene.pass("S-1", "REVISION").await;
    scene.sql.run("UPDATE solicitudes SET nota = 'y'").await;
    scene.sql.run("DELETE FROM solicitudes").await;
    let status = daemon.captured(4).await;
    assert_eq!(status["gaps"].as_array().unwrap().len(), 0, "{status:#}");
    scene.flushed(&["S-1 2"]).await;
}
