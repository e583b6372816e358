//! What happens to the slot, and slots that exist already.

use super::backend::{Postgres, Release, V18};
use super::on_both_versions;
use crate::support::backend::Session;
use crate::support::scene::Scene;
use crate::support::wait::{SOON, eventually};

on_both_versions! {
    the_slot_advances_while_only_other_tables_are_written,
    the_slot_never_passes_what_is_durable,
    a_slot_that_exists_is_adopted_where_it_stands,
    a_run_may_begin_at_a_given_position,
    nothing_of_ours_stays_open_in_the_database,
}

async fn the_slot_advances_while_only_other_tables_are_written<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene.sql.run("CREATE TABLE otra (n int)").await;
    let _daemon = scene.product.run().await;
    for _ in 0..3 {
        scene.sql.run("INSERT INTO otra SELECT generate_series(1, 5000)").await;
        let end = scene.backend.log_end().await;
        eventually("the slot advances", SOON, async || {
            (scene.backend.confirmed().await >= Some(end)).then_some(())
        })
        .await;
    }
}

/// What the ledger has not committed, the server must keep: a kill at any moment, and the slot is not ahead of
/// the position that `status` then shows.
async fn the_slot_never_passes_what_is_durable<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    let mut changes = 0;
    for _ in 0..5 {
        let daemon = scene.product.run().await;
        for _ in 0..20 {
            scene.open(&format!("S-{changes}"), "RECIBIDA").await;
            changes += 1;
        }
        daemon.captured(changes - 10).await;
        daemon.kill().await;
        let status = scene.product.status().await;
        let position = status["source"]["position"].as_str().unwrap();
        let ahead = format!(
            "SELECT confirmed_flush_lsn > '{position}'::pg_lsn FROM pg_replication_slots WHERE slot_name = $1"
        );
        let row = scene.sql.query_one(&ahead, &[&scene.backend.slot()]).await.unwrap();
        assert!(!row.get::<_, bool>(0), "the slot is ahead of {position}");
    }
    let daemon = scene.product.run().await;
    daemon.captured(changes).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.count() as u64, changes);
}

async fn a_slot_that_exists_is_adopted_where_it_stands<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let slot = scene.backend.slot();
    scene.sql.run("CREATE PUBLICATION bitacora FOR TABLE solicitudes").await;
    scene.sql.run(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    // Between the slot's position and the first start.
    scene.pass("S-1", "REVISION").await;
    scene.open("S-2", "RECIBIDA").await;
    scene.sql.run("UPDATE solicitudes SET nota = 'x'").await;
    let daemon = scene.product.run().await;
    assert!(daemon.log().contains("adopt"), "it must be said: {}", daemon.log());
    scene.pass("S-2", "APROBADA").await;
    daemon.captured(5).await;
    daemon.until("the copy is complete", SOON, |status| status["backfill"]["state"] == "copied").await;
    scene.product.must(&["backfill"]).await;
    scene.product.flush().await;
    let lines = scene.dashboard.lines();
    let of = |numero: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix(numero)?.strip_prefix(' ')).collect()
    };
    assert_eq!(of("S-1"), ["2"]);
    assert_eq!(of("S-2"), ["9", "3"]);
}

async fn a_run_may_begin_at_a_given_position<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let slot = scene.backend.slot();
    scene.sql.run("CREATE PUBLICATION bitacora FOR TABLE solicitudes").await;
    scene.sql.run(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    scene.open("S-2", "RECIBIDA").await;
    let row = scene.sql.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap();
    let position: String = row.get(0);
    scene.open("S-3", "RECIBIDA").await;
    let daemon = scene.product.start_with(&["--from", &position]).await;
    daemon.streaming().await;
    daemon.captured(1).await;
    scene.flushed(&["S-3 9"]).await;
}

/// A polite guest: one connection for streaming, no open transaction, no temporary slot.
async fn nothing_of_ours_stays_open_in_the_database<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.open("S-2", "RECIBIDA").await;
    daemon.captured(1).await;
    let database = scene.backend.database();
    let open = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()
         AND backend_type = 'client backend' AND state LIKE 'idle in transaction%'"
    );
    eventually("no transaction stays open", SOON, async || {
        (scene.sql.query_one(&open, &[]).await.unwrap().get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    let slots = format!("SELECT count(*) FROM pg_replication_slots WHERE database = '{database}'");
    assert_eq!(scene.sql.query_one(&slots, &[]).await.unwrap().get::<_, i64>(0), 1);
    daemon.stop().await;
    let used = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()
         AND backend_type IN ('client backend', 'walsender')"
    );
    eventually("the connections are closed", SOON, async || {
        (scene.sql.query_one(&used, &[]).await.unwrap().get::<_, i64>(0) == 0).then_some(())
    })
    .await;
}

/// <https://www.postgresql.org/docs/current/logical-replication-failover.html>
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_slot_follows_a_failover_where_the_server_can() {
    let scene = Scene::<Postgres<V18>>::new().await;
    let _daemon = scene.product.run().await;
    let sql = "SELECT failover FROM pg_replication_slots WHERE slot_name = $1";
    let row = scene.sql.query_one(sql, &[&scene.backend.slot()]).await.unwrap();
    assert!(row.get::<_, bool>(0));
}
