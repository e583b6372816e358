//! Columns of other types than the suite's own table has.

use super::backend::{Dialect, MariaDb, Mysql};
use super::on_both_products;
use crate::support::backend::Session;
use crate::support::scene::Scene;

on_both_products! {
    enums_and_accents_are_mapped,
    numbers_of_every_size_and_sign_are_mapped,
    other_charsets_and_collations_are_mapped,
    dates_and_moments_are_mapped,
    moments_that_no_record_can_hold_wait_in_quarantine,
}

/// What each table must lead to: the same by the copy and by the stream.
async fn both_ways<D: Dialect>(ddl: &str, mapping: &str, values: &[&str], expected: &[[&str; 5]]) {
    for metadata in ["MINIMAL", "FULL"] {
        let backend = Mysql::<D>::own_with(&[("binlog_row_metadata", metadata)]).await;
        let scene = Scene::on(backend, |config| config.mapping = mapping.to_owned()).await;
        scene.sql.run("DROP TABLE solicitudes").await;
        scene.sql.run(ddl).await;
        for row in values {
            scene.sql.run(&format!("INSERT INTO solicitudes VALUES ({row})")).await;
        }
        let daemon = scene.product.run().await;
        scene.product.must(&["backfill"]).await;
        assert_eq!(fields(&scene, 0), sorted(expected), "by the copy, {metadata}");
        daemon.stop().await;
        scene.sql.run("DELETE FROM solicitudes").await;

        // A new ledger beside the old one knows of nothing.
        let mut other = scene;
        other.reconfigure(|config| config.ledger = "dir = \"other-ledger\"\n".into());
        let daemon = other.product.run().await;
        for row in values {
            other.sql.run(&format!("INSERT INTO solicitudes VALUES ({row})")).await;
        }
        daemon.captured(values.len() as u64).await;
        other.product.flush().await;
        assert_eq!(fields(&other, expected.len()), sorted(expected), "by the stream, {metadata}");
    }
}

/// What arrived after the first `skipped` records; a copy goes by key, the stream by commit.
fn fields<D: Dialect>(scene: &Scene<Mysql<D>>, skipped: usize) -> Vec<[String; 5]> {
    let records = scene.dashboard.records().into_iter().skip(skipped).map(|record| {
        let status_id = record.status_id.to_string();
        [record.service_id, record.request_id, record.opening_date, status_id, record.last_modified_date]
    });
    let mut records: Vec<_> = records.collect();
    records.sort();
    records
}

fn sorted(expected: &[[&str; 5]]) -> Vec<[String; 5]> {
    let mut records: Vec<_> = expected.iter().map(|record| record.map(str::to_owned)).collect();
    records.sort();
    records
}

async fn enums_and_accents_are_mapped<D: Dialect>() {
    both_ways::<D>(
        "CREATE TABLE solicitudes (
             n bigint PRIMARY KEY, s enum('Licencia', 'Permiso', 'Año ''nuevo''') NOT NULL,
             e enum('En revisión', 'Aprobado') CHARACTER SET latin1, c set('web', 'móvil', 'papel'),
             a datetime(3), m datetime) CHARACTER SET utf8mb4",
        r#"
        service_id = { column = "s", map = { "Licencia" = "101", "Año 'nuevo'" = "103" } }
        request_id = { column = "n" }
        opening_date = { column = "a", time_zone = "UTC" }
        status_id = { column = "e", map = { "En revisión" = 2, "Aprobado" = "3" } }
        last_modified_date = { column = "m", time_zone = "UTC" }
        "#,
        &[
            "9007199254740993, 'Licencia', 'En revisión', 'web,papel', '2024-01-01 04:00:00.124', '2024-01-01 01:02:03'",
            "-5, 'Año ''nuevo''', 'Aprobado', '', '2024-02-29 23:59:59.999', '2024-03-01'",
        ],
        &[
            ["103", "-5", "2024-02-29T23:59:59.999000Z", "3", "2024-03-01T00:00:00Z"],
            ["101", "9007199254740993", "2024-01-01T04:00:00.124000Z", "2", "2024-01-01T01:02:03Z"],
        ],
    )
    .await;
}

async fn numbers_of_every_size_and_sign_are_mapped<D: Dialect>() {
    both_ways::<D>(
        "CREATE TABLE solicitudes (
             n bigint unsigned PRIMARY KEY, s mediumint unsigned, e tinyint unsigned, a year, m timestamp NULL)",
        r#"
        service_id = { column = "s" }
        request_id = { column = "n" }
        opening_date = { column = "m" }
        status_id = { column = "e" }
        last_modified_date = { column = "m" }
        "#,
        &[
            "1, 16777215, 21, 2024, '2024-01-01 00:00:01'",
            "18446744073709551615, 8388608, 3, 1999, '2024-01-01 00:00:00'",
        ],
        &[
            ["16777215", "1", "2024-01-01T00:00:01Z", "21", "2024-01-01T00:00:01Z"],
            ["8388608", "18446744073709551615", "2024-01-01T00:00:00Z", "3", "2024-01-01T00:00:00Z"],
        ],
    )
    .await;
}

async fn other_charsets_and_collations_are_mapped<D: Dialect>() {
    both_ways::<D>(
        "CREATE TABLE solicitudes (
             n char(20) CHARACTER SET latin1 PRIMARY KEY, s varchar(20) CHARACTER SET utf8mb3,
             e varchar(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, a decimal(20, 0), m datetime)",
        r#"
        service_id = { column = "s" }
        request_id = { column = "n" }
        opening_date = { column = "m", time_zone = "UTC" }
        status_id = { column = "e", map = { "Sí €" = 3, "sí €" = 9 } }
        last_modified_date = { column = "m", time_zone = "UTC" }
        "#,
        &[
            "'Ñandú € 1', 'Ñ101', 'Sí €', 12345678901234567890, '2024-01-01 08:00:00'",
            "'Ñandú € 2', '102', 'sí €', -1, '2024-01-01 09:00:00'",
        ],
        &[
            ["Ñ101", "Ñandú € 1", "2024-01-01T08:00:00Z", "3", "2024-01-01T08:00:00Z"],
            ["102", "Ñandú € 2", "2024-01-01T09:00:00Z", "9", "2024-01-01T09:00:00Z"],
        ],
    )
    .await;
}

async fn dates_and_moments_are_mapped<D: Dialect>() {
    both_ways::<D>(
        "CREATE TABLE solicitudes (n decimal(20, 0) PRIMARY KEY, e smallint, a date, m timestamp(6) NULL)",
        r#"
        service_id = { value = "101" }
        request_id = { column = "n" }
        opening_date = { column = "a", time_zone = "America/Santo_Domingo" }
        status_id = { column = "e" }
        last_modified_date = { column = "m" }
        "#,
        &["12345678901234567890, 14, '2024-01-01', '2024-01-01 00:00:00.000001'"],
        &[["101", "12345678901234567890", "2024-01-01T04:00:00Z", "14", "2024-01-01T00:00:00.000001Z"]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uuids_are_mapped() {
    both_ways::<MariaDb>(
        "CREATE TABLE solicitudes (u uuid PRIMARY KEY, e smallint, m datetime)",
        r#"
        service_id = { value = "101" }
        request_id = { column = "u" }
        opening_date = { column = "m", time_zone = "UTC" }
        status_id = { column = "e" }
        last_modified_date = { column = "m", time_zone = "UTC" }
        "#,
        &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 21, '2024-01-01'"],
        &[[
            "101",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "2024-01-01T00:00:00Z",
            "21",
            "2024-01-01T00:00:00Z",
        ]],
    )
    .await;
}

async fn moments_that_no_record_can_hold_wait_in_quarantine<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::new().await;
    scene.sql.run("SET SESSION sql_mode = ''").await;
    // It keeps the strict mode in which it was made.
    scene.sql.run("DROP TRIGGER anotar_alta").await;
    let insert = "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion)";
    let rows = [
        ("S-1", "'0000-00-00 00:00:00'", "'2024-01-01'"),
        ("S-2", "'2024-01-01'", "'2024-00-00 00:00:00'"),
        ("S-3", "'2024-02-00'", "'2024-01-01'"),
        ("S-4", "'2024-01-01'", "'2024-01-01'"),
    ];
    let row = |numero: &str, opened: &str, modified: &str| {
        format!("{insert} VALUES ('{numero}', 'LIC', 'RECIBIDA', {opened}, {modified})")
    };
    scene.sql.run(&row("C-1", "'0000-00-00 00:00:00'", "'2024-01-01'")).await;
    let daemon = scene.product.run().await;
    for (numero, opened, modified) in rows {
        scene.sql.run(&row(numero, opened, modified)).await;
    }
    daemon.captured(rows.len() as u64).await;
    scene.product.command(&["flush"]).await.with_code(3);
    assert_eq!(scene.dashboard.lines(), ["S-4 9"]);
    let listed = scene.product.must(&["quarantine", "list"]).await;
    assert!(listed.contains("0000-00-00"), "{listed}");
    assert_eq!(daemon.status().await.unwrap()["quarantine"]["rows"], 4, "{listed}");
}
