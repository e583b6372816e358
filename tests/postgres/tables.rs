//! Names, partitions, and tables that change under the stream.

use super::backend::{Postgres, Release};
use super::on_both_versions;
use crate::support::backend::Session;
use crate::support::scene::Scene;
use crate::support::wait::SOON;

on_both_versions! {
    names_are_taken_literally,
    partitions_are_read_through_their_root,
    a_long_text_that_did_not_change_is_not_lost,
    columns_may_come_and_go_while_the_stream_runs,
    a_truncated_table_alerts,
    an_unlisted_status_waits_for_the_map_and_nothing_else_does,
}

async fn names_are_taken_literally<R: Release>() {
    let mut scene = Scene::<Postgres<R>>::new().await;
    scene
        .sql
        .run(
            r#"CREATE SCHEMA "Trámites.2024";
               CREATE TABLE "Trámites.2024"."Solicitud ""única""" (
                   "Id" int PRIMARY KEY, "Número" text, "ESTADO" int, "Fecha Apertura" timestamptz,
                   "select" text);
               -- Decoys: the same names in other cases.
               CREATE TABLE "Trámites.2024"."solicitud ""única""" (id int PRIMARY KEY);"#,
        )
        .await;
    let source = scene.backend.source_for(r#""Trámites.2024"."Solicitud ""única""""#);
    scene.reconfigure(|config| {
        config.source = source;
        config.mapping = r#"
            service_id = { value = "77" }
            request_id = { column = "Número" }
            opening_date = { column = "Fecha Apertura" }
            status_id = { column = "ESTADO" }
            last_modified_date = { commit_time = true }
        "#
        .into();
    });
    let insert = r#"INSERT INTO "Trámites.2024"."Solicitud ""única""" VALUES"#;
    scene.sql.run(&format!("{insert} (1, 'A/1', 9, '2024-05-05 12:00Z', 'x')")).await;
    let daemon = scene.product.run().await;
    scene.sql.run(&format!("{insert} (2, 'A/2', 21, '2024-05-05 12:00Z', 'x')")).await;
    scene.sql.run(r#"UPDATE "Trámites.2024"."Solicitud ""única""" SET "ESTADO" = 2 WHERE "Id" = 1"#).await;
    daemon.captured(2).await;
    scene.product.must(&["backfill"]).await;
    scene.flushed(&["A/1 9", "A/2 21", "A/1 2"]).await;
    assert!(scene.dashboard.records().iter().all(|record| record.service_id == "77"));
    scene.product.must(&["check"]).await;
}

async fn partitions_are_read_through_their_root<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene
        .sql
        .run(
            "DROP TABLE solicitudes;
             CREATE TABLE solicitudes (
                 numero text, servicio text, estado text, fecha_apertura timestamp, fecha_modificacion timestamp,
                 nota text, PRIMARY KEY (numero, fecha_apertura)) PARTITION BY RANGE (fecha_apertura);
             CREATE TABLE solicitudes_2026 PARTITION OF solicitudes
                 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
             -- Another order of columns in a partition, and one that the root does not have any more.
             CREATE TABLE solicitudes_antes (
                 nota text, sobra int, estado text, numero text NOT NULL, fecha_modificacion timestamp,
                 servicio text, fecha_apertura timestamp NOT NULL);
             ALTER TABLE solicitudes_antes DROP COLUMN sobra;
             ALTER TABLE solicitudes ATTACH PARTITION solicitudes_antes
                 FOR VALUES FROM ('2000-01-01') TO ('2026-01-01')",
        )
        .await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.open("S-2", "RECIBIDA").await;
    scene.pass("S-1", "REVISION").await;
    // To the other partition: a deletion and an insertion for the server, nothing for the dashboard.
    scene.sql.run("UPDATE solicitudes SET fecha_apertura = '2024-01-01 00:00:00' WHERE numero = 'S-1'").await;
    scene.pass("S-1", "APROBADA").await;
    // A partition that is made while the stream runs.
    scene
        .sql
        .run(
            "CREATE TABLE solicitudes_2027 PARTITION OF solicitudes
                 FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
             INSERT INTO solicitudes VALUES ('S-3', 'LIC', 'RECIBIDA', '2027-05-05', '2027-05-05', NULL)",
        )
        .await;
    daemon.delta(4).await;
    daemon.captured(5).await;
    scene.flushed(&["S-2 9", "S-1 2", "S-1 3", "S-3 9"]).await;
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.count(), 4, "S-1 has left by the stream, nothing else is older");
}

/// Large values are stored apart, and the log leaves them out where they did not change.
async fn a_long_text_that_did_not_change_is_not_lost<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene
        .sql
        .run("ALTER TABLE solicitudes ALTER nota SET STORAGE EXTERNAL, ALTER numero TYPE text, ALTER numero SET STORAGE EXTERNAL")
        .await;
    let numero = "N".repeat(2500);
    scene.open(&numero, "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    scene.sql.run("UPDATE solicitudes SET nota = repeat('x', 10000)").await;
    let daemon = scene.product.run().await;
    scene.pass("S-2", "APROBADA").await;
    daemon.captured(1).await;
    scene.flushed(&["S-2 3"]).await;
    // A mapped column that the log leaves out: never a wrong record, and never silence.
    scene.sql.run("UPDATE solicitudes SET estado = 'APROBADA' WHERE numero <> 'S-2'").await;
    daemon.captured(2).await;
    scene.product.command(&["flush"]).await;
    let lines = scene.dashboard.lines();
    let status = daemon.status().await.unwrap();
    let arrived = lines.contains(&format!("{numero} 3"));
    assert!(arrived || status["quarantine"]["rows"] == 1, "{status:#}");
    assert_eq!(lines.len(), 1 + usize::from(arrived));
}

async fn columns_may_come_and_go_while_the_stream_runs<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    scene.sql.run("ALTER TABLE solicitudes ADD COLUMN prioridad int DEFAULT 1").await;
    scene.pass("S-1", "APROBADA").await;
    // The server itself refuses this for columns that a publication lists by name, such as the mapped ones.
    scene.sql.run("ALTER TABLE solicitudes ALTER nota TYPE varchar(90)").await;
    scene.pass("S-1", "ENTREGADA").await;
    scene.sql.run("ALTER TABLE solicitudes DROP COLUMN nota").await;
    scene.pass("S-1", "RECIBIDA").await;
    daemon.delta(4).await;
    scene.flushed(&["S-1 2", "S-1 3", "S-1 14", "S-1 9"]).await;
    // Neither after a restart, when the log is read with the catalogue of today.
    daemon.stop().await;
    scene.pass("S-1", "REVISION").await;
    scene.sql.run("ALTER TABLE solicitudes DROP COLUMN prioridad").await;
    scene.pass("S-1", "APROBADA").await;
    let daemon = scene.product.run().await;
    daemon.delta(2).await;
    scene.flushed(&["S-1 2", "S-1 3", "S-1 14", "S-1 9", "S-1 2", "S-1 3"]).await;
}

async fn a_truncated_table_alerts<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.sql.run("TRUNCATE solicitudes").await;
    daemon
        .until("the truncation alerts", SOON, |status| {
            status["alerts"].to_string().to_lowercase().contains("truncate")
        })
        .await;
    scene.open("S-2", "RECIBIDA").await;
    daemon.delta(1).await;
    scene.flushed(&["S-2 9"]).await;
}

async fn an_unlisted_status_waits_for_the_map_and_nothing_else_does<R: Release>() {
    let mut scene = Scene::<Postgres<R>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "ARCHIVADA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "ARCHIVADA").await;
    scene.open("S-3", "RECIBIDA").await;
    daemon.captured(2).await;
    scene.product.command(&["flush"]).await.with_code(3);
    assert_eq!(scene.dashboard.lines(), ["S-3 9"]);
    let status = daemon.status().await.unwrap();
    assert_eq!(status["quarantine"]["rows"], 2, "one of the copy, one of the stream");
    let listed = scene.product.must(&["quarantine", "list"]).await;
    assert!(listed.contains("S-1") && listed.contains("S-2") && listed.contains("ARCHIVADA"), "{listed}");
    // Beside the running daemon: the mended map is read by the command.
    scene.reconfigure(|config| {
        crate::support::config::replace(&mut config.mapping, "RECIBIDA = 9", "RECIBIDA = 9, ARCHIVADA = 7");
    });
    scene.product.must(&["quarantine", "retry"]).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines(), ["S-3 9", "S-1 7"]);
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-3 9", "S-1 7", "S-2 7"]);
    assert_eq!(daemon.status().await.unwrap()["quarantine"]["rows"], 0);
    // The daemon goes on with the mended map.
    scene.pass("S-3", "ARCHIVADA").await;
    daemon.captured(3).await;
    scene.flushed(&["S-3 9", "S-1 7", "S-2 7", "S-3 7"]).await;
}
