//! Tables of which each row is a status change: here the one that the suite's triggers fill.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::support::backend::{Backend, Session};
use crate::support::config::{Config, replace};
use crate::support::heavy;
use crate::support::load::{Load, seed};
use crate::support::oracle::{self, Begins};
use crate::support::scene::Scene;
use crate::support::wait::LATER;

/// Watches the table of status changes.
pub(crate) fn history(config: &mut Config) {
    replace(&mut config.source, "solicitudes", "historia");
    replace(&mut config.source, "[source]\n", "[source]\nrows = \"history\"\n");
}

/// Where it is watched, on the shared server.
async fn watching<B: Backend>(change: impl FnOnce(&mut Config)) -> Scene<B> {
    let scene = Scene::<B>::with(|config| {
        history(config);
        change(config);
    })
    .await;
    scene.backend.capture("historia").await;
    scene
}

/// Writes a status change, opened on the first of March 2026, or on another day.
async fn note<B: Backend>(scene: &Scene<B>, numero: &str, estado: &str, opened: Option<&str>) {
    let (moment, opened) = (scene.moment(), opened.unwrap_or("2026-03-01"));
    let sql = format!(
        "INSERT INTO historia (numero, servicio, estado, fecha_apertura, fecha_modificacion) \
         VALUES ('{numero}', 'LIC', '{estado}', '{opened} 12:00:00', '{moment}')"
    );
    scene.sql.run(&sql).await;
}

/// Rows enough for a copy of several pages, and for more of one request than a page of a batch: fifty requests `H-…`,
/// each with 256 rows.
async fn fill<B: Backend>(scene: &Scene<B>) {
    for number in 0..50 {
        note(scene, &format!("H-{number}"), "RECIBIDA", None).await;
    }
    let columns = "numero, servicio, estado, fecha_apertura, fecha_modificacion";
    for _ in 0..8 {
        scene.sql.run(&format!("INSERT INTO historia ({columns}) SELECT {columns} FROM historia")).await;
    }
    // What the application fills in later, and nobody reports.
    scene.sql.run("ALTER TABLE historia ADD hasta integer").await;
}

/// A copy of that many rows keeps its transaction open for too long.
fn in_pages(config: &mut Config) {
    replace(&mut config.source, "[source]\n", "[source]\nsnapshot_max = \"1s\"\n");
    config.backfill.push_str("rows_per_second = 3000\n");
}

const COPIED_IN_PAGES: &str = "the copy of the table is complete";

pub(crate) async fn each_row_is_a_record_and_corrections_follow_the_written_rule<B: Backend>() {
    let scene = watching::<B>(|_| {}).await;
    note(&scene, "S-0", "RECIBIDA", None).await;
    let daemon = scene.product.run().await;
    note(&scene, "S-1", "RECIBIDA", None).await;
    note(&scene, "S-1", "RECIBIDA", None).await;
    scene.sql.begin().await;
    note(&scene, "S-1", "APROBADA", None).await;
    note(&scene, "S-1", "RECIBIDA", None).await;
    scene.sql.rollback().await;
    scene.sql.begin().await;
    note(&scene, "S-1", "APROBADA", None).await;
    note(&scene, "S-1", "REVISION", None).await;
    scene.sql.commit().await;
    let of = |estado: &str| format!("WHERE numero = 'S-1' AND estado = '{estado}'");
    // Older rows are touched: only what alters the status is news, whoever wrote last.
    scene
        .sql
        .run(&format!("UPDATE historia SET fecha_apertura = '2026-03-01 13:00:00' {}", of("APROBADA")))
        .await;
    scene.sql.run("UPDATE historia SET estado = 'REVISION' WHERE numero = 'S-0'").await;
    scene.sql.run("UPDATE historia SET estado = 'REVISION' WHERE numero = 'S-0'").await;
    scene.sql.run(&format!("UPDATE historia SET estado = 'RECHAZADA' {}", of("APROBADA"))).await;
    scene.sql.run(&format!("DELETE FROM historia {}", of("RECIBIDA"))).await;
    scene
        .sql
        .run(&format!("UPDATE historia SET fecha_apertura = '2026-03-01 14:00:00' {}", of("REVISION")))
        .await;
    // A row that cannot be mapped is news when it is mended, and only then.
    note(&scene, "S-2", "PERDIDA", None).await;
    scene.sql.run("UPDATE historia SET estado = 'ENTREGADA' WHERE numero = 'S-2'").await;
    scene.sql.run("UPDATE historia SET fecha_apertura = '2026-03-01 15:00:00' WHERE numero = 'S-2'").await;
    // Updates that alter nothing are left out by MySQL of its log, and by SQL Server of what it captures.
    let captured = if B::ENGINE == "postgres" { 14 } else { 13 };
    daemon.captured(captured).await;
    scene.product.command(&["flush"]).await.with_code(3);
    let expected = ["S-1 9", "S-1 9", "S-1 3", "S-1 2", "S-0 2", "S-1 8", "S-2 14"];
    assert_eq!(scene.dashboard.lines(), expected);
}

pub(crate) async fn a_backfill_sends_every_row_since_the_floor_in_order<B: Backend>() {
    let scene = watching::<B>(|_| {}).await;
    for (numero, estado, opened) in [
        ("S-1", "RECIBIDA", "2024-05-03"),
        ("S-2", "RECIBIDA", "2021-01-01"),
        ("S-3", "RECIBIDA", "2019-12-31"),
        ("S-1", "REVISION", "2024-05-03"),
        ("S-2", "RECIBIDA", "2021-01-01"),
        ("S-1", "RECIBIDA", "2024-05-03"),
        ("S-3", "APROBADA", "2019-12-31"),
        ("S-1", "APROBADA", "2024-05-03"),
    ] {
        note(&scene, numero, estado, Some(opened)).await;
    }
    // Where two rows have the same moment, the one that was written first comes first.
    scene
        .sql
        .run("UPDATE historia SET fecha_modificacion = '2026-03-02 08:00:00' WHERE numero = 'S-1'")
        .await;
    let told = scene.product.must(&["backfill", "--dry-run"]).await;
    assert!(told.contains("6 records would be sent"), "{told}");
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-2 9", "S-2 9", "S-1 9", "S-1 2", "S-1 9", "S-1 3"]);
    let again = scene.product.must(&["backfill"]).await;
    assert!(again.contains("done"), "{again}");
    let daemon = scene.product.run().await;
    note(&scene, "S-1", "APROBADA", Some("2024-05-03")).await;
    daemon.captured(1).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines()[6..], ["S-1 3"]);
}

pub(crate) async fn a_ledger_does_not_change_from_requests_to_history<B: Backend>() {
    let mut scene = Scene::<B>::new().await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
    daemon.stop().await;
    scene.reconfigure(|config| replace(&mut config.source, "[source]\n", "[source]\nrows = \"history\"\n"));
    let refused = scene.product.command(&["run"]).await.with_code(1);
    assert!(refused.stderr.contains("rows = \"requests\""), "{}", refused.stderr);
    assert!(refused.stderr.contains("[ledger] dir"), "{}", refused.stderr);
}

pub(crate) async fn every_row_arrives_once_when_the_product_is_killed_under_load<B: Backend>() {
    let _alone = heavy::alone().await;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let scene = watching::<B>(|config| config.schedule = "every = \"1s\"\n".into()).await;
    let daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed, 400);
    daemon.captured(50).await;
    daemon.kill().await;
    for _ in 0..5 {
        let daemon = scene.product.spawn(&[]);
        // Any moment will do, those before the stream has begun included: it is the point of the test.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2500))).await;
        daemon.kill().await;
        load.commits(20).await;
    }
    load.finish().await;
    let _daemon = scene.product.run().await;
    scene.drain().await;
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "").await;
    verdict.must_be_exact();
    println!("{verdict:?}");
}

pub(crate) async fn backfill_and_stream_bring_the_whole_history_under_load<B: Backend>() {
    overlap::<B>(false).await;
}

/// A copy that would keep its transaction open for too long is read in fenced pages instead, beside the
/// stream.
pub(crate) async fn a_throttled_copy_and_the_stream_bring_the_whole_history_under_load<B: Backend>() {
    overlap::<B>(true).await;
}

async fn overlap<B: Backend>(paged: bool) {
    let _alone = heavy::alone().await;
    let scene = watching::<B>(|config| {
        if paged {
            in_pages(config);
        }
    })
    .await;
    fill(&scene).await;
    let load = Load::start(&scene.backend, seed(), 300);
    load.commits(300).await;
    let daemon = scene.product.start().await;
    let backfill = scene.product.spawn_command(&["backfill"]);
    let asked =
        |status: &Value| status["backfill"]["state"] == "sending" || status["backfill"]["state"] == "done";
    daemon.until("the backfill is asked for", LATER, asked).await;
    // From here on a request's copied rows leave first, whatever else leaves meanwhile. Old rows are touched, too.
    for _ in 0..5 {
        load.commits(60).await;
        scene.product.flush().await;
        scene.sql.run("UPDATE historia SET hasta = coalesce(hasta, 0) + 1 WHERE seq % 17 = 0").await;
    }
    assert_eq!(backfill.wait().await, Some(0), "{}", daemon.log());
    load.commits(100).await;
    load.finish().await;
    scene.drain().await;
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "").await;
    verdict.must_be_exact();
    assert_eq!(verdict.repeated_batches, 0);
    assert_eq!(daemon.log().contains(COPIED_IN_PAGES), paged);
    println!("{verdict:?}");
}

/// Unlike a request's row, rows of a history tell what was passed through meanwhile.
pub(crate) async fn a_lost_log_loses_nothing_of_a_history<B: Backend>() {
    let _alone = heavy::alone().await;
    lose::<B>(false).await;
}

/// The same with a repair in fenced pages beside the stream.
pub(crate) async fn a_lost_log_that_is_repaired_in_pages_loses_nothing_of_a_history<B: Backend>() {
    let _alone = heavy::alone().await;
    lose::<B>(true).await;
}

async fn lose<B: Backend>(paged: bool) {
    let scene = Scene::<B>::own(|config| {
        history(config);
        config.schedule = "every = \"1s\"\n".into();
        if paged {
            in_pages(config);
        }
    })
    .await;
    scene.backend.capture("historia").await;
    fill(&scene).await;
    let daemon = scene.product.run().await;
    // Before that, what a lost log hid could not be told from history, and would wait for the backfill.
    let is_copied = |status: &Value| status["backfill"]["state"] == "copied";
    daemon.until("the table is copied", LATER, is_copied).await;
    let load = Load::start(&scene.backend, seed(), 300);
    for gaps in 1..=2 {
        load.commits(250).await;
        scene.backend.lose_log().await;
        let mended = |status: &Value| {
            let found = status["gaps"].as_array().unwrap();
            found.len() == gaps && found.iter().all(|gap| gap["repaired_at"].is_string())
        };
        daemon.until("the gap is mended", LATER, mended).await;
    }
    daemon.streaming().await;
    load.commits(50).await;
    load.finish().await;
    scene.drain().await;
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "L-").await;
    verdict.must_be_exact();
    let repaired = daemon.log().matches(COPIED_IN_PAGES).count();
    assert_eq!(repaired > 1, paged, "{}", daemon.log());
    println!("{verdict:?}");
}
