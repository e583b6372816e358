//! Servers that are set up differently: what a session sees must not depend on it.

use super::backend::{Postgres, Release};
use super::on_both_versions;
use crate::support::backend::Session;
use crate::support::scene::Scene;

on_both_versions! {
    the_servers_date_style_and_zone_do_not_matter,
    timestamps_with_a_zone_are_instants,
}

const ODD: [(&str, &str); 4] = [
    ("datestyle", "German, DMY"),
    ("timezone", "Asia/Tokyo"),
    ("intervalstyle", "sql_standard"),
    ("extra_float_digits", "-2"),
];

async fn the_servers_date_style_and_zone_do_not_matter<R: Release>() {
    let scene = Scene::on(Postgres::<R>::own_with(&ODD).await, |_| {}).await;
    let insert = "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion)";
    let row = |numero: &str| {
        format!(
            "{insert} VALUES ('{numero}', 'LIC', 'RECIBIDA', '2024-02-03 01:02:03', '2024-02-03 23:02:03.4')"
        )
    };
    scene.sql.run(&row("S-1")).await;
    let daemon = scene.product.run().await;
    scene.sql.run(&row("S-2")).await;
    daemon.captured(1).await;
    scene.product.must(&["backfill"]).await;
    scene.product.flush().await;
    let records = scene.dashboard.records();
    assert_eq!(scene.dashboard.lines(), ["S-1 9", "S-2 9"]);
    for record in records {
        assert_eq!(record.opening_date, "2024-02-03T05:02:03Z", "{}", record.request_id);
        assert_eq!(record.last_modified_date, "2024-02-04T03:02:03.400000Z", "{}", record.request_id);
    }
}

async fn timestamps_with_a_zone_are_instants<R: Release>() {
    let scene = Scene::on(Postgres::<R>::own_with(&ODD).await, |config| {
        config.mapping = config.mapping.replace(", time_zone = \"America/Santo_Domingo\"", "");
    })
    .await;
    scene
        .sql
        .run(
            "ALTER TABLE solicitudes DISABLE TRIGGER anotar;
             ALTER TABLE solicitudes ALTER fecha_apertura TYPE timestamptz,
                                     ALTER fecha_modificacion TYPE timestamptz",
        )
        .await;
    let insert = "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion)";
    let row = |numero: &str| {
        format!(
            "{insert} VALUES ('{numero}', 'LIC', 'RECIBIDA', '2024-02-03 01:02:03+05:30', '2024-02-03 01:02:03 UTC')"
        )
    };
    scene.sql.run(&row("S-1")).await;
    let daemon = scene.product.run().await;
    scene.sql.run(&row("S-2")).await;
    daemon.captured(1).await;
    scene.product.must(&["backfill"]).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines(), ["S-1 9", "S-2 9"]);
    for record in scene.dashboard.records() {
        assert_eq!(record.opening_date, "2024-02-02T19:32:03Z", "{}", record.request_id);
        assert_eq!(record.last_modified_date, "2024-02-03T01:02:03Z", "{}", record.request_id);
    }
}
