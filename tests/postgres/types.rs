//! Columns of other types than the suite's own table has.

use super::backend::{Postgres, Release};
use super::on_both_versions;
use crate::support::backend::Session;
use crate::support::scene::Scene;

on_both_versions! {
    enums_domains_and_numbers_are_mapped,
    uuids_chars_and_dates_are_mapped,
    exact_numbers_and_texts_are_mapped,
    moments_that_no_record_can_hold_wait_in_quarantine,
}

/// What each table must lead to: the same by the copy and by the stream.
async fn both_ways<R: Release>(ddl: &str, mapping: &str, values: &[&str], expected: &[[&str; 5]]) {
    let scene = Scene::<Postgres<R>>::with(|config| config.mapping = mapping.to_owned()).await;
    scene.sql.run(&format!("DROP TABLE solicitudes; {ddl}")).await;
    let insert = async || {
        for row in values {
            scene.sql.run(&format!("INSERT INTO solicitudes VALUES ({row})")).await;
        }
    };
    insert().await;
    let daemon = scene.product.run().await;
    scene.product.must(&["backfill"]).await;
    assert_eq!(fields(&scene), expected, "by the copy");
    scene.sql.run("DELETE FROM solicitudes").await;
    daemon.stop().await;

    // A new ledger beside the old one knows of nothing; the slot is another one, too.
    let mut other = scene;
    let source = other.config.source.replace("slot = \"", "slot = \"otra_");
    other.reconfigure(|config| {
        config.source = source;
        config.ledger = "dir = \"other-ledger\"\n".into();
    });
    let daemon = other.product.run().await;
    for row in values {
        other.sql.run(&format!("INSERT INTO solicitudes VALUES ({row})")).await;
    }
    daemon.captured(values.len() as u64).await;
    other.product.flush().await;
    assert_eq!(fields(&other)[expected.len()..], *expected, "by the stream");
}

fn fields<R: Release>(scene: &Scene<Postgres<R>>) -> Vec<[String; 5]> {
    let records = scene.dashboard.records().into_iter().map(|record| {
        let status_id = record.status_id.to_string();
        [record.service_id, record.request_id, record.opening_date, status_id, record.last_modified_date]
    });
    records.collect()
}

async fn enums_domains_and_numbers_are_mapped<R: Release>() {
    both_ways::<R>(
        "CREATE TYPE estado AS ENUM ('En revisión', 'Aprobado');
         CREATE DOMAIN servicio AS varchar(8) CHECK (VALUE <> '');
         CREATE TABLE solicitudes (
             n bigint PRIMARY KEY, s servicio, e estado, a timestamptz, m timestamp(3) without time zone)",
        r#"
        service_id = { column = "s", map = { "Licencia" = "101" } }
        request_id = { column = "n" }
        opening_date = { column = "a" }
        status_id = { column = "e", map = { "En revisión" = 2, "Aprobado" = "3" } }
        last_modified_date = { column = "m", time_zone = "UTC" }
        "#,
        &[
            "9007199254740993, 'Licencia', 'En revisión', '2024-01-01 00:00:00-04', '2024-01-01 01:02:03.4567'",
            "-5, 'Licencia', 'Aprobado', '2024-02-29 23:59:59.999999+00', '2024-03-01'",
        ],
        &[
            ["101", "9007199254740993", "2024-01-01T04:00:00Z", "2", "2024-01-01T01:02:03.457000Z"],
            ["101", "-5", "2024-02-29T23:59:59.999999Z", "3", "2024-03-01T00:00:00Z"],
        ],
    )
    .await;
}

async fn uuids_chars_and_dates_are_mapped<R: Release>() {
    both_ways::<R>(
        "CREATE TABLE solicitudes (
             u uuid PRIMARY KEY, s char(6), e smallint, a date, m timestamptz)",
        r#"
        service_id = { column = "s" }
        request_id = { column = "u" }
        opening_date = { column = "a", time_zone = "America/Santo_Domingo" }
        status_id = { column = "e" }
        last_modified_date = { column = "m" }
        "#,
        &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '101', 21, '2024-01-01', '2024-01-01 00:00:00.000001+00'"],
        &[[
            "101",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "2024-01-01T04:00:00Z",
            "21",
            "2024-01-01T00:00:00.000001Z",
        ]],
    )
    .await;
}

async fn exact_numbers_and_texts_are_mapped<R: Release>() {
    both_ways::<R>(
        "CREATE TABLE solicitudes (
             n numeric(20, 0) PRIMARY KEY, s bigint, e text, a text, m varchar(40))",
        r#"
        service_id = { column = "s" }
        request_id = { column = "n" }
        opening_date = { column = "a", time_zone = "America/Santo_Domingo" }
        status_id = { column = "e" }
        last_modified_date = { column = "m", time_zone = "America/Santo_Domingo" }
        "#,
        &["12345678901234567890, 101, '14', '2024-01-01 08:00:00', '2024-01-01T08:00:00.5-05:00'"],
        &[["101", "12345678901234567890", "2024-01-01T12:00:00Z", "14", "2024-01-01T13:00:00.500000Z"]],
    )
    .await;
}

async fn moments_that_no_record_can_hold_wait_in_quarantine<R: Release>() {
    let scene = Scene::<Postgres<R>>::new().await;
    let insert = "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion)";
    let rows = [
        ("S-1", "'infinity'", "'2024-01-01'"),
        ("S-2", "'2024-01-01'", "'-infinity'"),
        ("S-3", "'2024-01-01'", "'0044-03-15 BC'"),
        ("S-4", "'2024-01-01'", "'20240-01-01'"),
        ("S-5", "'2024-01-01'", "'2024-01-01'"),
    ];
    scene.sql.run("ALTER TABLE solicitudes DISABLE TRIGGER anotar").await;
    let daemon = scene.product.run().await;
    for (numero, opened, modified) in rows {
        scene
            .sql
            .run(&format!("{insert} VALUES ('{numero}', 'LIC', 'RECIBIDA', {opened}, {modified})"))
            .await;
    }
    daemon.captured(rows.len() as u64).await;
    scene.product.command(&["flush"]).await.with_code(3);
    assert_eq!(scene.dashboard.lines(), ["S-5 9"]);
    assert_eq!(daemon.status().await.unwrap()["quarantine"]["rows"], 4);
}
