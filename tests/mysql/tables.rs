//! Names, and tables that change under the stream.

use super::backend::{Dialect, Mysql};
use super::on_both_products;
use crate::support::backend::Session;
use crate::support::scene::Scene;
use crate::support::wait::SOON;

on_both_products! {
    names_are_taken_literally,
    columns_may_come_and_go_while_the_stream_runs,
    columns_may_come_and_go_while_the_product_is_stopped,
    a_renamed_mapped_column_stops_the_capture_and_is_named,
    a_table_that_takes_the_tables_place_is_followed,
    a_truncated_table_alerts,
    tables_of_the_same_name_elsewhere_do_not_matter,
}

async fn names_are_taken_literally<D: Dialect>() {
    let mut scene = Scene::<Mysql<D>>::new().await;
    scene
        .sql
        .run(
            "CREATE TABLE `Solicitud.única ``2024``` (
                 `Id` int PRIMARY KEY, `Número` varchar(40), `ESTADO` int, `Fecha Apertura` timestamp NULL,
                 `select` text) CHARACTER SET utf8mb4",
        )
        .await;
    let source = scene.backend.source_for("\"Solicitud.única `2024`\"");
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
    let insert = "INSERT INTO `Solicitud.única ``2024``` VALUES";
    scene.sql.run(&format!("{insert} (1, 'Á/1 ñ', 9, '2024-05-05 12:00', 'x')")).await;
    let daemon = scene.product.run().await;
    scene.sql.run(&format!("{insert} (2, 'Á/2 日本', 21, '2024-05-05 12:00', 'x')")).await;
    scene.sql.run("UPDATE `Solicitud.única ``2024``` SET `ESTADO` = 2 WHERE `Id` = 1").await;
    daemon.captured(2).await;
    scene.product.must(&["backfill"]).await;
    scene.flushed(&["Á/1 ñ 9", "Á/2 日本 21", "Á/1 ñ 2"]).await;
    assert!(scene.dashboard.records().iter().all(|record| record.opening_date == "2024-05-05T12:00:00Z"));
    scene.product.must(&["check"]).await;
}

/// Where the log names columns, whatever comes and goes beside the mapped ones does not matter. Where it does not, a
/// definition that changed twice before the first change was read is not guessed at: the table is read anew.
async fn columns_may_come_and_go_while_the_stream_runs<D: Dialect>() {
    for metadata in ["MINIMAL", "FULL"] {
        let backend = Mysql::<D>::own_with(&[("binlog_row_metadata", metadata)]).await;
        let scene = Scene::on(backend, |_| {}).await;
        scene.open("S-1", "RECIBIDA").await;
        let daemon = scene.product.run().await;
        scene.pass("S-1", "REVISION").await;
        for (change, estado) in [
            ("ADD COLUMN prioridad int DEFAULT 1 FIRST", "APROBADA"),
            ("MODIFY nota varchar(90) AFTER prioridad", "ENTREGADA"),
            ("CHANGE nota remark varchar(90)", "RECIBIDA"),
            ("DROP COLUMN remark", "REVISION"),
        ] {
            scene.sql.run(&format!("ALTER TABLE solicitudes {change}")).await;
            scene.pass("S-1", estado).await;
        }
        scene.pass("S-1", "RECHAZADA").await;
        if metadata == "FULL" {
            daemon.delta(6).await;
            scene.flushed(&["S-1 2", "S-1 3", "S-1 14", "S-1 9", "S-1 2", "S-1 8"]).await;
            assert_eq!(daemon.status().await.unwrap()["gaps"].as_array().unwrap().len(), 0);
        } else {
            crate::support::wait::eventually("the last status arrives", SOON, async || {
                scene.product.flush().await;
                (scene.dashboard.lines().last()? == "S-1 8").then_some(())
            })
            .await;
        }
    }
}

/// The log is then read with a catalogue that is younger than the rows in it. Names in the log make that exact;
/// without them nothing may be guessed, and what cannot be told is read from the table.
async fn columns_may_come_and_go_while_the_product_is_stopped<D: Dialect>() {
    for metadata in ["MINIMAL", "FULL"] {
        let backend = Mysql::<D>::own_with(&[("binlog_row_metadata", metadata)]).await;
        let scene = Scene::on(backend, |_| {}).await;
        scene.open("S-1", "RECIBIDA").await;
        scene.open("S-2", "RECIBIDA").await;
        scene.product.run().await.stop().await;
        scene.pass("S-1", "REVISION").await;
        scene.sql.run("ALTER TABLE solicitudes ADD COLUMN prioridad int DEFAULT 1 FIRST").await;
        scene.pass("S-1", "APROBADA").await;
        scene.sql.run("ALTER TABLE solicitudes DROP COLUMN nota").await;
        scene.pass("S-2", "RECHAZADA").await;
        let daemon = scene.product.start().await;
        let expected = if metadata == "FULL" { 3 } else { 2 };
        daemon
            .until("what changed is captured or mended", SOON, |status| {
                status["source"]["state"] == "streaming"
                    && status["delta"]["records"].as_u64() >= Some(expected)
            })
            .await;
        scene.product.flush().await;
        let lines = scene.dashboard.lines();
        let of = |numero: &str| lines.iter().rfind(|line| line.starts_with(numero)).unwrap().clone();
        assert_eq!((of("S-1"), of("S-2")), ("S-1 3".into(), "S-2 8".into()), "{metadata}: {lines:?}");
        if metadata == "FULL" {
            assert_eq!(lines, ["S-1 2", "S-1 3", "S-2 8"]);
        }
    }
}

async fn a_renamed_mapped_column_stops_the_capture_and_is_named<D: Dialect>() {
    let mut scene = Scene::<Mysql<D>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    scene.sql.run("DROP TRIGGER anotar_cambio").await;
    scene.sql.run("ALTER TABLE solicitudes CHANGE estado situacion varchar(20) NOT NULL").await;
    scene.sql.run("UPDATE solicitudes SET situacion = 'APROBADA'").await;
    daemon
        .until("the capture stops and says why", SOON, |status| {
            status["source"]["state"] != "streaming" && status["alerts"].to_string().contains("estado")
        })
        .await;
    scene.flushed(&["S-1 2"]).await;
    drop(daemon);
    // Once the mapping names the column, nothing is lost.
    scene.reconfigure(|config| {
        crate::support::config::replace(&mut config.mapping, "column = \"estado\"", "column = \"situacion\"");
    });
    let daemon = scene.product.run().await;
    daemon.delta(1).await;
    scene.flushed(&["S-1 2", "S-1 3"]).await;
}

/// As gh-ost and pt-online-schema-change do it: a copy with another shape, filled and kept up beside the table,
/// takes the table's name in one statement.
async fn a_table_that_takes_the_tables_place_is_followed<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    for statement in [
        "CREATE TABLE _solicitudes_gho LIKE solicitudes",
        "ALTER TABLE _solicitudes_gho ADD COLUMN canal varchar(9) DEFAULT 'web' AFTER id, MODIFY estado varchar(99) NOT NULL",
        "INSERT INTO _solicitudes_gho (id, numero, servicio, estado, fecha_apertura, fecha_modificacion, nota)
         SELECT id, numero, servicio, estado, fecha_apertura, fecha_modificacion, nota FROM solicitudes",
        "UPDATE _solicitudes_gho SET canal = 'papel'",
        "RENAME TABLE solicitudes TO _solicitudes_del, _solicitudes_gho TO solicitudes",
        // What happens to the old table is no business of ours.
        "UPDATE _solicitudes_del SET estado = 'ENTREGADA'",
        "DROP TABLE _solicitudes_del",
    ] {
        scene.sql.run(statement).await;
    }
    scene.pass("S-2", "APROBADA").await;
    scene.pass("S-1", "RECHAZADA").await;
    daemon.delta(3).await;
    scene.flushed(&["S-1 2", "S-2 3", "S-1 8"]).await;
    // The same once more, from the ledger's position on.
    daemon.stop().await;
    scene.pass("S-1", "APROBADA").await;
    let daemon = scene.product.run().await;
    daemon.delta(1).await;
    scene.flushed(&["S-1 2", "S-2 3", "S-1 8", "S-1 3"]).await;
}

async fn a_truncated_table_alerts<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.sql.run("TRUNCATE TABLE solicitudes").await;
    daemon
        .until("the truncation alerts", SOON, |status| {
            status["alerts"].to_string().to_lowercase().contains("truncate")
        })
        .await;
    scene.open("S-2", "RECIBIDA").await;
    daemon.delta(1).await;
    scene.flushed(&["S-2 9"]).await;
}

async fn tables_of_the_same_name_elsewhere_do_not_matter<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::new().await;
    let other = format!("{}_copia", scene.backend.database());
    scene.sql.run(&format!("CREATE DATABASE {other}")).await;
    scene.sql.run(&format!("CREATE TABLE {other}.solicitudes LIKE solicitudes")).await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.sql.run(&format!("INSERT INTO {other}.solicitudes SELECT * FROM solicitudes")).await;
    scene.sql.run(&format!("UPDATE {other}.solicitudes SET estado = 'APROBADA'")).await;
    scene.sql.run(&format!("TRUNCATE TABLE {other}.solicitudes")).await;
    scene.pass("S-1", "REVISION").await;
    daemon.delta(1).await;
    let status = daemon.captured(1).await;
    assert_eq!(status["captured_changes"], 1);
    assert!(!status["alerts"].to_string().to_lowercase().contains("truncate"), "{status:#}");
    scene.sql.run(&format!("DROP DATABASE {other}")).await;
    scene.flushed(&["S-1 2"]).await;
}
