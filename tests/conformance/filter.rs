//! Tables that hold more than requests.

use serde_json::Value;

use crate::support::backend::{Backend, Session};
use crate::support::config::{Config, replace};
use crate::support::scene::Scene;

/// Adds the condition.
pub(crate) fn only(config: &mut Config, condition: &str) {
    replace(&mut config.source, "[source]\n", &format!("[source]\nwhere = \"{condition}\"\n"));
}

const NO_COMPLAINTS: &str = "nota IS NULL OR nota IN ('vista', 'urgente')";

pub(crate) async fn rows_cross_the_condition_in_both_directions<B: Backend>() {
    let scene = Scene::<B>::with(|config| only(config, NO_COMPLAINTS)).await;
    cross(&scene, &["S-1 9", "S-1 2", "S-1 3", "S-2 2"]).await;
}

pub(crate) async fn a_row_that_leaves_is_reported_like_a_deletion_where_deletions_are<B: Backend>() {
    let scene = Scene::<B>::with(reporting).await;
    cross(&scene, REPORTED).await;
}

/// The condition, with rows that leave it reported.
pub(crate) fn reporting(config: &mut Config) {
    only(config, NO_COMPLAINTS);
    config.mapping.push_str("on_delete = 10\n");
}

/// What [`cross`] brings then.
pub(crate) const REPORTED: &[&str] =
    &["S-1 9", "S-1 2", "S-1 10", "S-1 3", "S-1 10", "S-1 3", "S-2 2", "S-2 10"];

/// Lets rows enter and leave the condition in every way.
pub(crate) async fn cross<B: Backend>(scene: &Scene<B>, expected: &[&str]) {
    let note = async |numero: &str, nota: &str| {
        scene.sql.run(&format!("UPDATE solicitudes SET nota = {nota} WHERE numero = '{numero}'")).await;
    };
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    note("S-2", "'queja'").await;
    let daemon = scene.product.run().await;
    scene.product.must(&["backfill"]).await;
    // Outside, whatever happens is nobody's business, not even a status that no map lists.
    scene.pass("S-2", "REVISION").await;
    scene.sql.run(&opening(scene, "S-3", "PERDIDA", "'queja'")).await;
    scene.pass("S-3", "RECIBIDA").await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-3'").await;
    scene.pass("S-1", "REVISION").await;
    // Out, on, and in again with another status; then out and in with the same.
    note("S-1", "'queja'").await;
    scene.pass("S-1", "RECHAZADA").await;
    scene.pass("S-1", "APROBADA").await;
    note("S-1", "NULL").await;
    daemon.captured(9).await;
    daemon.kill().await;
    let daemon = scene.product.run().await;
    scene.sql.begin().await;
    note("S-1", "'queja'").await;
    note("S-1", "'vista'").await;
    scene.sql.commit().await;
    note("S-1", "'urgente'").await;
    note("S-2", "NULL").await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-2'").await;
    daemon.captured(14).await;
    scene.flushed(expected).await;
}

/// The statement that opens a request with a note.
fn opening<B: Backend>(scene: &Scene<B>, numero: &str, estado: &str, nota: &str) -> String {
    let moment = scene.moment();
    format!(
        "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion, nota) \
         VALUES ('{numero}', 'LIC', '{estado}', '{moment}', '{moment}', {nota})"
    )
}

pub(crate) async fn copy_and_log_are_judged_alike<B: Backend>() {
    // What a server would not tell apart, or would order otherwise, is told apart letter by letter.
    let scene = Scene::<B>::with(|config| {
        only(
            config,
            "(nota <> 'queja' OR nota IS NULL) AND NOT nota < 'A' AND servicio = 'LIC' OR numero = 's-6'",
        );
    })
    .await;
    let fill = async |from: u32| {
        let notes = ["'queja'", "'QUEJA'", "'queja '", "NULL", "'1'", "'á'"];
        for (numero, nota) in (from..).zip(notes) {
            scene.sql.run(&opening(&scene, &format!("S-{numero}"), "RECIBIDA", nota)).await;
        }
    };
    fill(1).await;
    let dry = scene.product.must(&["backfill", "--dry-run"]).await;
    assert!(dry.contains("3 records would be sent"), "{dry}");
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-2 9", "S-3 9", "S-6 9"]);
    let daemon = scene.product.run().await;
    fill(11).await;
    daemon.captured(6).await;
    scene.flushed(&["S-2 9", "S-3 9", "S-6 9", "S-12 9", "S-13 9", "S-16 9"]).await;
}

pub(crate) async fn a_row_that_cannot_be_compared_goes_to_quarantine<B: Backend>() {
    let mut scene = Scene::<B>::with(|config| only(config, "nota >= 5 AND servicio = 'LIC'")).await;
    let daemon = scene.product.run().await;
    for (numero, nota) in [("S-1", "'07.0'"), ("S-2", "'muchas'"), ("S-3", "'4'"), ("S-4", "'pocas'")] {
        scene.sql.run(&opening(&scene, numero, "RECIBIDA", nota)).await;
    }
    scene.sql.run("UPDATE solicitudes SET servicio = 'PER' WHERE numero = 'S-4'").await;
    daemon.captured(5).await;
    let listed: Value =
        serde_json::from_str(&scene.product.must(&["quarantine", "list", "--json"]).await).unwrap();
    assert_eq!(listed["rows"], 2, "{listed:#}");
    let item = &listed["items"][0];
    assert_eq!((&item["code"], &item["request_id"]), (&"unfit_for_where".into(), &"S-2".into()), "{item:#}");
    assert!(item["reason"].as_str().unwrap().contains("\"muchas\""), "{item:#}");
    assert_eq!(item["row"]["nota"], "muchas");
    daemon.stop().await;
    // Mended, the one counts and the other does not.
    scene.reconfigure(|config| replace(&mut config.source, "nota >= 5", "nota <> 'pocas'"));
    let told = scene.product.must(&["quarantine", "retry"]).await;
    assert!(told.contains("1 row mapped") && told.contains("1 row turned out not to meet"), "{told}");
    scene.flushed(&["S-1 9", "S-2 9"]).await;
}
