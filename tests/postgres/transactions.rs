//! Prepared transactions, upserts, and publications that hold more than the table.

use super::backend::{Postgres, Release};
use super::on_both_versions;
use crate::support::backend::Session;
use crate::support::scene::Scene;

on_both_versions! {
    a_prepared_transaction_counts_when_it_is_committed,
    upserts_are_what_they_turn_out_to_be,
    other_tables_of_a_publication_are_no_business_of_ours,
}

/// <https://www.postgresql.org/docs/current/sql-prepare-transaction.html>
async fn a_prepared_transaction_counts_when_it_is_committed<R: Release>() {
    let backend = Postgres::<R>::own_with(&[("max_prepared_transactions", "5")]).await;
    let scene = Scene::on(backend, |_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    for (name, estado) in [("una", "REVISION"), ("otra", "APROBADA")] {
        scene.sql.begin().await;
        scene.sql.run(&scene.opening(&format!("S-{name}"), estado)).await;
        scene.sql.run(&format!("PREPARE TRANSACTION '{name}'")).await;
    }
    scene.pass("S-1", "RECHAZADA").await;
    daemon.captured(1).await;
    daemon.stop().await;
    let daemon = scene.product.run().await;
    scene.sql.run("ROLLBACK PREPARED 'una'").await;
    scene.sql.run("COMMIT PREPARED 'otra'").await;
    daemon.captured(2).await;
    scene.flushed(&["S-1 8", "S-otra 3"]).await;
}

async fn upserts_are_what_they_turn_out_to_be<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    let upsert = |numero: &str, estado: &str| {
        let opening = scene.opening(numero, estado);
        format!("{opening} ON CONFLICT (numero) DO UPDATE SET estado = excluded.estado")
    };
    scene.sql.run(&upsert("S-1", "RECIBIDA")).await;
    scene.sql.run(&upsert("S-1", "REVISION")).await;
    scene.sql.run(&upsert("S-2", "RECIBIDA")).await;
    scene.sql.run(&format!("{} ON CONFLICT DO NOTHING", scene.opening("S-2", "APROBADA"))).await;
    daemon.captured(3).await;
    scene.flushed(&["S-1 2", "S-2 9"]).await;
}

async fn other_tables_of_a_publication_are_no_business_of_ours<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene
        .sql
        .run(
            "CREATE SCHEMA otro;
             CREATE TABLE otro.solicitudes (numero text PRIMARY KEY, servicio text, estado text,
                 fecha_apertura timestamp, fecha_modificacion timestamp);
             CREATE TABLE pagos (n int PRIMARY KEY);
             CREATE PUBLICATION bitacora FOR ALL TABLES",
        )
        .await;
    let daemon = scene.product.run().await;
    scene.sql.begin().await;
    scene.sql.run("INSERT INTO otro.solicitudes VALUES ('O-1', 'LIC', 'RECIBIDA', now(), now())").await;
    scene.sql.run("INSERT INTO pagos SELECT generate_series(1, 1000)").await;
    scene.open("S-1", "RECIBIDA").await;
    scene.sql.run("TRUNCATE otro.solicitudes").await;
    scene.sql.commit().await;
    let status = daemon.captured(1).await;
    assert_eq!(status["captured_changes"], 1);
    assert_eq!(status["alerts"].as_array().unwrap().len(), 0, "{status:#}");
    scene.flushed(&["S-1 9"]).await;
}
