//! Replica identities: how much of a row's past the log carries. The records must not depend on it.

use super::backend::{Postgres, Release};
use super::on_both_versions;
use crate::conformance::filter;
use crate::support::backend::Session;
use crate::support::scene::Scene;

on_both_versions! {
    every_replica_identity_gives_the_same_records,
    deletions_are_reported_under_every_replica_identity,
    rows_cross_a_condition_alike_under_every_replica_identity,
}

const IDENTITIES: [&str; 3] = ["DEFAULT", "FULL", "USING INDEX solicitudes_numero_key"];

async fn every_replica_identity_gives_the_same_records<R: Release>() {
    for identity in IDENTITIES {
        let scene = Scene::<Postgres<R>>::new().await;
        scene.sql.run(&format!("ALTER TABLE solicitudes REPLICA IDENTITY {identity}")).await;
        scene.open("S-1", "RECIBIDA").await;
        let daemon = scene.product.run().await;
        scene.open("S-2", "RECIBIDA").await;
        scene.pass("S-1", "REVISION").await;
        scene.sql.run("UPDATE solicitudes SET nota = 'x'").await;
        scene.pass("S-1", "REVISION").await;
        scene.sql.begin().await;
        scene.pass("S-2", "APROBADA").await;
        scene.pass("S-2", "RECIBIDA").await;
        scene.sql.commit().await;
        scene.sql.run("UPDATE solicitudes SET numero = 'T-1' WHERE numero = 'S-1'").await;
        scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-2'").await;
        daemon.captured(9).await;
        scene.product.flush().await;
        let expected = ["S-2 9", "S-1 2", "S-2 3", "S-2 9", "T-1 2"];
        assert_eq!(scene.dashboard.lines(), expected, "replica identity {identity}");
    }
}

async fn rows_cross_a_condition_alike_under_every_replica_identity<R: Release>() {
    for identity in ["FULL", "USING INDEX solicitudes_numero_key"] {
        let scene = Scene::<Postgres<R>>::with(filter::reporting).await;
        scene.sql.run(&format!("ALTER TABLE solicitudes REPLICA IDENTITY {identity}")).await;
        filter::cross(&scene, filter::REPORTED).await;
    }
}

async fn deletions_are_reported_under_every_replica_identity<R: Release>() {
    for identity in IDENTITIES {
        let scene = Scene::<Postgres<R>>::with(|config| config.mapping.push_str("on_delete = 10\n")).await;
        scene.sql.run(&format!("ALTER TABLE solicitudes REPLICA IDENTITY {identity}")).await;
        scene.open("S-1", "RECIBIDA").await;
        let daemon = scene.product.run().await;
        scene.open("S-2", "RECIBIDA").await;
        scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-1'").await;
        scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-2'").await;
        daemon.captured(3).await;
        scene.product.flush().await;
        assert_eq!(scene.dashboard.lines(), ["S-2 9", "S-1 10", "S-2 10"], "replica identity {identity}");
    }
}
