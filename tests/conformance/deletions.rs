//! Rows that go away.

use chrono::{DateTime, TimeDelta, Utc};

use crate::support::backend::{Backend, Session};
use crate::support::scene::Scene;

pub(crate) async fn a_deleted_row_is_no_record_unless_asked_for<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.open("S-2", "RECIBIDA").await;
    scene.sql.run("DELETE FROM solicitudes").await;
    daemon.captured(3).await;
    scene.flushed(&["S-2 9"]).await;
}

/// The key of the table is not the request id, and all that a deletion carries may be the key.
pub(crate) async fn a_deleted_row_is_reported_with_the_status_that_was_asked_for<B: Backend>() {
    let scene = Scene::<B>::with(|config| config.mapping.push_str("on_delete = 10\n")).await;
    for numero in ["S-1", "S-2", "S-3"] {
        scene.open(numero, "RECIBIDA").await;
    }
    let daemon = scene.product.run().await;
    // Some logs know the whole second of a commit only.
    let began = Utc::now() - TimeDelta::seconds(1);
    // Known since before the first start.
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-1'").await;
    // Known by the stream alone.
    scene.open("S-4", "REVISION").await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-4'").await;
    // Deleted under another id than it was known by.
    scene.sql.run("UPDATE solicitudes SET numero = 'T-2' WHERE numero = 'S-2'").await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'T-2'").await;
    // Come and gone within one transaction, and gone without having happened.
    scene.sql.begin().await;
    scene.open("S-5", "RECIBIDA").await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-5'").await;
    scene.sql.commit().await;
    scene.sql.begin().await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-3'").await;
    scene.sql.rollback().await;
    daemon.captured(7).await;
    scene.flushed(&["S-1 10", "S-4 2", "S-4 10", "T-2 9", "T-2 10", "S-5 9", "S-5 10"]).await;

    let records = scene.dashboard.records();
    assert_eq!(records[0].service_id, "101");
    assert_eq!(records[0].opening_date, "2026-03-02T12:00:00Z");
    let deleted_at = DateTime::parse_from_rfc3339(&records[0].last_modified_date).unwrap();
    assert!((began..Utc::now()).contains(&deleted_at.to_utc()), "the moment of the deletion: {deleted_at}");
    // After a restart, from what the ledger remembers.
    daemon.stop().await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-3'").await;
    let daemon = scene.product.run().await;
    daemon.captured(8).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines().last().unwrap(), "S-3 10");
}
