//! Transactions of other kinds than the suite's own.

use super::backend::{Dialect, MariaDb, MySql, Mysql};
use super::on_both_products;
use crate::support::backend::{Backend, Session};
use crate::support::heavy;
use crate::support::scene::Scene;

on_both_products! {
    a_prepared_transaction_counts_when_it_commits,
    a_prepared_transaction_survives_a_restart_of_the_product,
    upserts_and_replacements_are_captured,
    rows_of_several_tables_in_one_statement_are_told_apart,
}

async fn prepare<D: Dialect>(scene: &Scene<Mysql<D>>, name: &str, statement: &str) {
    let other = scene.backend.session().await.unwrap();
    other.run(&format!("XA START '{name}'")).await;
    other.run(statement).await;
    other.run(&format!("XA END '{name}'")).await;
    other.run(&format!("XA PREPARE '{name}'")).await;
}

async fn a_prepared_transaction_counts_when_it_commits<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::own(|_| {}).await;
    for numero in ["S-1", "S-2", "S-3"] {
        scene.open(numero, "RECIBIDA").await;
    }
    let daemon = scene.product.run().await;
    prepare(&scene, "a", &scene.passing("S-1", "APROBADA")).await;
    prepare(&scene, "b", &scene.passing("S-2", "APROBADA")).await;
    scene.pass("S-3", "REVISION").await;
    daemon.captured(1).await;
    scene.flushed(&["S-3 2"]).await;
    scene.sql.run("XA ROLLBACK 'b'").await;
    scene.sql.run("XA COMMIT 'a'").await;
    scene.pass("S-1", "ENTREGADA").await;
    let status = daemon.captured(3).await;
    assert_eq!(status["captured_changes"], 3);
    scene.flushed(&["S-3 2", "S-1 3", "S-1 14"]).await;
}

/// Its rows stand in the log before others that are stored already.
async fn a_prepared_transaction_survives_a_restart_of_the_product<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::own(|_| {}).await;
    for numero in ["S-1", "S-2"] {
        scene.open(numero, "RECIBIDA").await;
    }
    let daemon = scene.product.run().await;
    prepare(&scene, "a", &scene.passing("S-1", "APROBADA")).await;
    scene.pass("S-2", "REVISION").await;
    scene.sql.run("FLUSH BINARY LOGS").await;
    scene.pass("S-2", "RECHAZADA").await;
    daemon.delta(2).await;
    daemon.stop().await;
    let daemon = scene.product.run().await;
    scene.sql.run("XA COMMIT 'a'").await;
    scene.pass("S-1", "ENTREGADA").await;
    daemon.delta(4).await;
    daemon.kill().await;
    let daemon = scene.product.run().await;
    scene.pass("S-2", "RECIBIDA").await;
    daemon.delta(5).await;
    scene.product.flush().await;
    let lines = scene.dashboard.lines();
    let of = |numero: &str| lines.iter().filter(|line| line.starts_with(numero)).cloned().collect::<Vec<_>>();
    assert_eq!(of("S-1"), ["S-1 3", "S-1 14"]);
    assert_eq!(of("S-2"), ["S-2 2", "S-2 8", "S-2 9"]);
}

async fn upserts_and_replacements_are_captured<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    let opening = scene.opening("S-1", "REVISION");
    scene.sql.run(&format!("{opening} ON DUPLICATE KEY UPDATE estado = 'APROBADA'")).await;
    scene.sql.run(&scene.opening("S-2", "RECIBIDA").replace("INSERT", "INSERT IGNORE")).await;
    scene.sql.run(&scene.opening("S-2", "RECHAZADA").replace("INSERT", "INSERT IGNORE")).await;
    // For the server a deletion and an insertion, or an update: one transition in any case.
    scene.sql.run(&scene.opening("S-1", "ENTREGADA").replace("INSERT", "REPLACE")).await;
    scene.pass("S-2", "REVISION").await;
    daemon.delta(4).await;
    scene.flushed(&["S-1 3", "S-2 9", "S-1 14", "S-2 2"]).await;
}

async fn rows_of_several_tables_in_one_statement_are_told_apart<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::new().await;
    scene.sql.run("CREATE TABLE pagos (numero varchar(40) PRIMARY KEY, estado varchar(20))").await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    scene.sql.run("INSERT INTO pagos SELECT numero, 'NADA' FROM solicitudes").await;
    let daemon = scene.product.run().await;
    scene
        .sql
        .run(
            "UPDATE solicitudes s JOIN pagos p ON p.numero = s.numero
             SET s.estado = 'APROBADA', p.estado = 'RECHAZADA' WHERE s.numero = 'S-2'",
        )
        .await;
    scene.pass("S-1", "REVISION").await;
    let status = daemon.captured(2).await;
    assert_eq!(status["captured_changes"], 2);
    scene.flushed(&["S-2 3", "S-1 2"]).await;
}

async fn survives_compression<D: Dialect>(settings: &[(&str, &str)]) {
    let scene = Scene::on(Mysql::<D>::own_with(settings).await, |_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    scene.backend.insert_many(5_000, "2024-01-01").await;
    scene.pass("S-1", "APROBADA").await;
    daemon.delta(5_002).await;
    daemon.stop().await;
    scene.sql.run("UPDATE solicitudes SET nota = REPEAT('x', 2000), estado = 'ENTREGADA'").await;
    scene.sql.run("DELETE FROM solicitudes WHERE id % 2 = 0").await;
    let daemon = scene.product.run().await;
    daemon.delta(10_003).await;
}

/// <https://dev.mysql.com/doc/refman/en/binary-log-transaction-compression.html>
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_transactions_are_read() {
    survives_compression::<MySql>(&[("binlog_transaction_compression", "ON")]).await;
}

/// <https://mariadb.com/docs/server/server-management/server-monitoring-logs/binary-log/compressing-events-to-reduce-size-of-the-binary-log>
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_events_are_read() {
    survives_compression::<MariaDb>(&[("log_bin_compress", "ON"), ("log_bin_compress_min_len", "10")]).await;
}

/// <https://dev.mysql.com/doc/refman/en/replication-options-binary-log.html#sysvar_binlog_row_value_options>
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_updates_of_json_elsewhere_in_the_row_do_not_matter() {
    let backend = Mysql::<MySql>::own_with(&[("binlog_row_value_options", "PARTIAL_JSON")]).await;
    let scene = Scene::on(backend, |_| {}).await;
    // Before and behind the mapped columns.
    scene.sql.run("ALTER TABLE solicitudes ADD COLUMN antes json FIRST, ADD COLUMN datos json").await;
    scene.open("S-1", "RECIBIDA").await;
    scene.sql.run("UPDATE solicitudes SET antes = '{\"a\": [1, 2, 3]}', datos = '{\"b\": \"texto largo y más largo\"}'").await;
    let daemon = scene.product.run().await;
    scene
        .sql
        .run(
            "UPDATE solicitudes SET antes = JSON_SET(antes, '$.a[1]', 7), estado = 'REVISION',
                                    datos = JSON_REPLACE(datos, '$.b', 'corto')",
        )
        .await;
    scene.sql.run("UPDATE solicitudes SET datos = JSON_SET(datos, '$.b', 'otro')").await;
    scene.sql.run("UPDATE solicitudes SET antes = JSON_REMOVE(antes, '$.a[0]'), estado = 'APROBADA'").await;
    daemon.captured(3).await;
    scene.flushed(&["S-1 2", "S-1 3"]).await;
}

/// Rows that come as one compressed piece.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_compressed_transaction_needs_little_memory() {
    const ROWS: u64 = 400_000;
    const RESIDENT_MAX: u64 = 96 << 20;
    let _alone = heavy::alone().await;
    let backend = Mysql::<MySql>::own_with(&[("binlog_transaction_compression", "ON")]).await;
    let scene = Scene::on(backend, |_| {}).await;
    let daemon = scene.product.run().await;
    scene.backend.insert_many(ROWS, "2021-01-01").await;
    let status = daemon.captured(ROWS).await;
    assert_eq!(status["captured_changes"], ROWS);
    let most = daemon.peak_memory();
    assert!(most <= RESIDENT_MAX, "{} MiB", most >> 20);
    println!("resident at most: {} MiB", most >> 20);
}
