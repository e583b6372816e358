//! Servers that are set up differently: what a session sees must not depend on it.

use super::backend::{Dialect, Mysql};
use super::on_both_products;
use crate::support::backend::Session;
use crate::support::scene::Scene;
use crate::support::wait::LATER;

on_both_products! {
    the_servers_zone_charset_and_mode_do_not_matter,
    timestamps_are_instants_whatever_the_servers_zone,
    a_log_without_checksums_is_read,
    a_statement_instead_of_rows_is_noticed_and_mended,
    check_refuses_a_log_of_statements,
}

const ODD: [(&str, &str); 4] = [
    ("default_time_zone", "'+09:00'"),
    ("character_set_server", "latin1"),
    ("sql_mode", "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES"),
    ("binlog_checksum", "CRC32"),
];

const INSERT: &str = "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion)";

async fn the_servers_zone_charset_and_mode_do_not_matter<D: Dialect>() {
    let scene = Scene::on(Mysql::<D>::own_with(&ODD).await, |_| {}).await;
    let row = |numero: &str| {
        format!(
            "{INSERT} VALUES ('{numero}', 'LIC', 'RECIBIDA', '2024-02-03 01:02:03', '2024-02-03 23:02:03.4')"
        )
    };
    scene.sql.run(&row("Ñ\\''-1")).await;
    let daemon = scene.product.run().await;
    scene.sql.run(&row("Ñ\\''-2")).await;
    daemon.captured(1).await;
    scene.product.must(&["backfill"]).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines(), ["Ñ\\'-1 9", "Ñ\\'-2 9"]);
    for record in scene.dashboard.records() {
        assert_eq!(record.opening_date, "2024-02-03T05:02:03Z", "{}", record.request_id);
        assert_eq!(record.last_modified_date, "2024-02-04T03:02:03.400000Z", "{}", record.request_id);
    }
    scene.product.must(&["check"]).await;
}

async fn timestamps_are_instants_whatever_the_servers_zone<D: Dialect>() {
    let scene = Scene::on(Mysql::<D>::own_with(&ODD).await, |config| {
        config.mapping = config.mapping.replace(", time_zone = \"America/Santo_Domingo\"", "");
    })
    .await;
    scene
        .sql
        .run(
            "ALTER TABLE solicitudes MODIFY fecha_apertura timestamp NULL,
                                     MODIFY fecha_modificacion timestamp(3) NULL",
        )
        .await;
    let row = |numero: &str| {
        format!(
            "{INSERT} VALUES ('{numero}', 'LIC', 'RECIBIDA', '2024-02-03 01:02:03', '2024-02-03 09:02:03.25')"
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
        assert_eq!(record.opening_date, "2024-02-02T16:02:03Z", "{}", record.request_id);
        assert_eq!(record.last_modified_date, "2024-02-03T00:02:03.250000Z", "{}", record.request_id);
    }
}

async fn a_log_without_checksums_is_read<D: Dialect>() {
    let scene = Scene::on(Mysql::<D>::own_with(&[("binlog_checksum", "NONE")]).await, |_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    // From the next file on it has them.
    scene.sql.run("SET GLOBAL binlog_checksum = 'CRC32'").await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(2).await;
    daemon.stop().await;
    scene.pass("S-1", "ENTREGADA").await;
    let daemon = scene.product.run().await;
    daemon.captured(3).await;
    scene.flushed(&["S-1 2", "S-1 3", "S-1 14"]).await;
}

/// Which rows a statement has changed cannot be known from the log.
async fn a_statement_instead_of_rows_is_noticed_and_mended<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::own(|_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    let other = scene.backend.client().await;
    other.run("SET SESSION binlog_format = 'STATEMENT'").await;
    other.run("UPDATE solicitudes SET estado = 'APROBADA'").await;
    daemon.until("the gap is mended", LATER, |status| status["gaps"][0]["repaired_at"].is_string()).await;
    daemon.streaming().await;
    scene.pass("S-1", "ENTREGADA").await;
    daemon.delta(4).await;
    scene.product.flush().await;
    let lines = scene.dashboard.lines();
    let of = |numero: &str| lines.iter().filter(|line| line.starts_with(numero)).cloned().collect::<Vec<_>>();
    assert_eq!(of("S-1"), ["S-1 2", "S-1 3", "S-1 14"]);
    assert_eq!(of("S-2"), ["S-2 3"]);
}

async fn check_refuses_a_log_of_statements<D: Dialect>() {
    for format in ["STATEMENT", "MIXED"] {
        let scene = Scene::on(Mysql::<D>::own_with(&[("binlog_format", format)]).await, |_| {}).await;
        let outcome = scene.product.command(&["check"]).await.with_code(1);
        assert!(outcome.stdout.contains("binlog_format"), "{}", outcome.stdout);
    }
}
