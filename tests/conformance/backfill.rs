//! The history, once.

use std::collections::HashSet;

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::support::backend::{Backend, Session};
use crate::support::scene::Scene;
use crate::support::wait::SOON;

/// Opens a request on a day, at noon, with a status of the same moment.
async fn open_on<B: Backend>(scene: &Scene<B>, numero: &str, moment: &str) {
    let sql = format!(
        "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion) \
         VALUES ('{numero}', 'LIC', 'RECIBIDA', '{moment}', '{moment}')"
    );
    scene.sql.run(&sql).await;
}

pub(crate) async fn every_request_is_sent_once_oldest_month_first<B: Backend>() {
    let scene = Scene::<B>::new().await;
    for (numero, day) in [
        ("S-1", "2024-05-03"),
        ("S-2", "2020-01-01"),
        ("S-3", "2023-12-31"),
        ("S-4", "2024-05-01"),
        ("S-5", "2020-02-01"),
    ] {
        open_on(&scene, numero, &format!("{day} 12:00:00")).await;
    }
    // Without a daemon, and without one ever having run.
    let told = scene.product.must(&["backfill"]).await;
    assert!(told.contains('5'), "{told}");
    let months: Vec<String> = scene
        .dashboard
        .records()
        .iter()
        .map(|record| record.opening_date.chars().take(7).collect())
        .collect();
    assert_eq!(months, ["2020-01", "2020-02", "2023-12", "2024-05", "2024-05"]);
    let status = scene.product.status().await;
    assert_eq!(status["backfill"]["state"], "done");
    assert_eq!(status["backfill"]["rows"], 5);
    assert_eq!(status["backfill"]["records"], 5);
    // The copy was also the baseline: the stream goes on from it.
    scene.pass("S-1", "APROBADA").await;
    let daemon = scene.product.run().await;
    daemon.captured(1).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines()[5..], ["S-1 3"]);
}

pub(crate) async fn a_second_backfill_says_that_it_is_done_and_sends_nothing<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.product.must(&["backfill"]).await;
    for _ in 0..2 {
        let told = scene.product.must(&["backfill"]).await;
        assert!(told.contains("done"), "{told}");
    }
    let daemon = scene.product.run().await;
    let told = scene.product.must(&["backfill"]).await;
    assert!(told.contains("done"), "{told}");
    drop(daemon);
    assert_eq!(scene.dashboard.attempts().len(), 1);
    assert_eq!(scene.dashboard.lines(), ["S-1 9"]);
}

pub(crate) async fn a_restarted_backfill_sends_everything_again<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    scene.product.must(&["backfill"]).await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(1).await;
    scene.product.flush().await;
    scene.product.must(&["backfill", "--restart"]).await;
    let lines = scene.dashboard.lines();
    assert_eq!(lines[..3], ["S-1 9", "S-2 9", "S-1 3"]);
    let again: HashSet<&str> = lines[3..].iter().map(String::as_str).collect();
    assert_eq!(again, HashSet::from(["S-1 3", "S-2 9"]), "present statuses, each once");
    assert_eq!(lines.len(), 5);
}

pub(crate) async fn nothing_opened_before_the_floor_leaves<B: Backend>() {
    let scene = Scene::<B>::new().await;
    open_on(&scene, "S-1", "2019-12-31 23:59:59.999999").await;
    open_on(&scene, "S-2", "2020-01-01 00:00:00").await;
    let daemon = scene.product.run().await;
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-2 9"]);
    // By the stream neither.
    scene.pass("S-1", "APROBADA").await;
    open_on(&scene, "S-3", "2011-05-05 12:00:00").await;
    scene.pass("S-3", "APROBADA").await;
    scene.pass("S-2", "APROBADA").await;
    daemon.captured(4).await;
    scene.flushed(&["S-2 9", "S-2 3"]).await;
}

pub(crate) async fn from_and_to_are_whole_days_of_the_schedules_zone<B: Backend>() {
    let scene = Scene::<B>::with(|config| {
        config.schedule.push_str("time_zone = \"America/Santo_Domingo\"\n");
    })
    .await;
    for (numero, moment) in [
        ("S-1", "2024-01-31 23:59:59.999999"),
        ("S-2", "2024-02-01 00:00:00"),
        ("S-3", "2024-02-29 23:59:59.999999"),
        ("S-4", "2024-03-01 00:00:00"),
    ] {
        open_on(&scene, numero, moment).await;
    }
    scene.product.must(&["backfill", "--from", "2024-02-01", "--to", "2024-02-29"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-2 9", "S-3 9"]);
    // A wider range sends what the narrower one left out, and nothing twice.
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-2 9", "S-3 9", "S-1 9", "S-4 9"]);
    let refused = scene.product.command(&["backfill", "--from", "2019-12-31"]).await.with_code(2);
    assert!(refused.stderr.contains("2020-01-01"), "{}", refused.stderr);
    scene.product.command(&["backfill", "--from", "2024-02-02", "--to", "2024-02-01"]).await.with_code(2);
}

pub(crate) async fn a_dry_run_counts_and_stores_nothing<B: Backend>() {
    let scene = Scene::<B>::new().await;
    open_on(&scene, "S-1", "2019-12-31 12:00:00").await;
    open_on(&scene, "S-2", "2024-02-01 12:00:00").await;
    open_on(&scene, "S-3", "2024-02-02 12:00:00").await;
    scene.open("S-4", "DESCONOCIDA").await;
    let told = scene.product.must(&["backfill", "--dry-run"]).await;
    assert!(told.contains("2024-02") && told.contains("2 records would be sent"), "{told}");
    assert!(told.contains("estado"), "why a row would not go: {told}");
    assert_eq!(scene.dashboard.attempts(), []);
    assert!(!scene.product.path("ledger").exists(), "a rehearsal left something behind");
}

pub(crate) async fn it_works_beside_a_running_daemon<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    let copied = |status: &Value| status["backfill"]["state"] == "copied";
    let status = daemon.until("the copy is complete", SOON, copied).await;
    assert_eq!(status["backfill"]["rows"], 1);
    scene.open("S-2", "RECIBIDA").await;
    daemon.captured(1).await;
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-1 9"], "what came by the stream is no history");
    scene.flushed(&["S-1 9", "S-2 9"]).await;
    assert_eq!(daemon.status().await.unwrap()["backfill"]["state"], "done");
}

pub(crate) async fn a_request_whose_streamed_record_has_left_is_not_sent_again<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(1).await;
    scene.product.flush().await;
    scene.product.must(&["backfill"]).await;
    // The status that S-1 had at the copy would be told after a later one: order comes first.
    assert_eq!(scene.dashboard.lines(), ["S-1 3", "S-2 9"]);
}

pub(crate) async fn a_backfill_record_leaves_before_the_requests_streamed_ones<B: Backend>() {
    let scene = Scene::<B>::with(|config| config.delivery.push_str("batch_size = 1\n")).await;
    for (numero, day) in [("S-1", "2021-01-01"), ("S-2", "2022-01-01"), ("S-3", "2023-01-01")] {
        open_on(&scene, numero, &format!("{day} 12:00:00")).await;
    }
    let daemon = scene.product.run().await;
    scene.pass("S-3", "APROBADA").await;
    daemon.captured(1).await;
    // The flush is asked for while the backfill stands still at its first batch.
    scene.dashboard.fail("503");
    let backfill = scene.product.spawn_command(&["backfill"]);
    scene.dashboard.wait_for_attempts(2).await;
    let flush = scene.product.spawn_command(&["flush"]);
    scene.dashboard.wait_for_attempts(4).await;
    scene.dashboard.fail("none");
    assert_eq!(flush.wait().await, Some(0));
    assert_eq!(backfill.wait().await, Some(0));
    let lines = scene.dashboard.lines();
    let third: Vec<&String> = lines.iter().filter(|line| line.starts_with("S-3")).collect();
    assert_eq!(third, ["S-3 9", "S-3 3"]);
    assert_eq!(lines.len(), 4);
}

pub(crate) async fn it_resumes_after_kills_and_stops<B: Backend>() {
    const ROWS: usize = 6000;
    let scene = Scene::<B>::with(|config| config.delivery.push_str("batch_size = 100\n")).await;
    scene.backend.insert_many(ROWS as u64, "2024-01-01").await;
    let mut kills = 0;
    for stop in [10, 20, 30, 40] {
        let backfill = scene.product.spawn_command(&["backfill"]);
        scene.dashboard.wait_for_attempts(stop).await;
        if stop % 20 == 0 {
            let code = backfill.terminate().await;
            assert_eq!(code, Some(1), "stopped before it was done");
        } else {
            backfill.kill().await;
            kills += 1;
        }
    }
    scene.product.must(&["backfill"]).await;
    let (mut whole, mut distinct, mut repeated) = (HashSet::new(), HashSet::new(), 0);
    for batch in scene.dashboard.batches() {
        if whole.insert(batch.body.clone()) {
            for record in batch.records() {
                assert!(distinct.insert(record.request_id.clone()), "{} was sent twice", record.request_id);
            }
        } else {
            repeated += 1;
        }
    }
    assert_eq!(distinct.len(), ROWS);
    assert!(repeated <= kills, "{repeated} batches repeated after {kills} kills");
}

pub(crate) async fn a_closed_window_holds_it_back<B: Backend>() {
    // Two hours from now on, for one hour: closed, whatever the time is.
    let hour = |ahead: i64| (Utc::now() + TimeDelta::hours(ahead)).format("%H:00").to_string();
    let mut scene = Scene::<B>::with(|config| {
        config.schedule.push_str("time_zone = \"UTC\"\n");
        config.backfill.push_str(&format!("window = \"{}-{}\"\n", hour(2), hour(3)));
    })
    .await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    let backfill = scene.product.spawn_command(&["backfill"]);
    daemon
        .until("the backfill waits", SOON, |status| {
            status["backfill"]["state"] == "sending" && status["backfill"]["waiting"] == 1
        })
        .await;
    // The stream and its flushes have no window; the request's own record of the copy goes with them.
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(1).await;
    scene.flushed(&["S-1 9", "S-1 3"]).await;
    scene.open("S-2", "RECIBIDA").await;
    assert_ne!(backfill.terminate().await, None);
    daemon.stop().await;
    scene.reconfigure(|config| config.backfill.clear());
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-1 9", "S-1 3"]);
}
