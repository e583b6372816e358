//! Files, offsets and numbers of transactions.

use testbed::mysql::Product;

use super::backend::{Dialect, MySql, Mysql};
use super::on_both_products;
use crate::support::backend::{Backend, Session};
use crate::support::daemon::Daemon;
use crate::support::load::{Load, seed};
use crate::support::oracle::{self, Begins};
use crate::support::scene::Scene;
use crate::support::wait::SOON;

on_both_products! {
    a_new_file_of_the_log_is_followed,
    the_position_moves_on_while_only_other_tables_change,
    a_ledger_begins_where_it_was_told_to,
    a_replica_with_our_number_is_named_where_it_matters,
}

async fn position(daemon: &Daemon) -> String {
    daemon.status().await.unwrap()["source"]["position"].as_str().unwrap().to_owned()
}

async fn a_new_file_of_the_log_is_followed<D: Dialect>() {
    // The smallest files that a server makes.
    let backend = Mysql::<D>::own_with(&[("max_binlog_size", "4096")]).await;
    let scene = Scene::on(backend, |config| config.schedule = "every = \"1s\"\n".into()).await;
    let daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed(), 50);
    load.commits(100).await;
    daemon.kill().await;
    load.commits(100).await;
    let daemon = scene.product.run().await;
    load.commits(100).await;
    load.finish().await;
    scene.drain().await;
    let (file, _) = scene.backend.log_end().await;
    assert!(file.as_str() > "binlog.000010", "{file}");
    assert!(position(&daemon).await.contains("binlog.0000"));
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "").await;
    verdict.must_be_exact();
}

/// Where nothing of ours happens for weeks, the place in the log must not stand still: it would be purged.
async fn the_position_moves_on_while_only_other_tables_change<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::own(|_| {}).await;
    scene.sql.run("CREATE TABLE otra (id int PRIMARY KEY)").await;
    let daemon = scene.product.run().await;
    for id in 0..20 {
        scene.sql.run(&format!("INSERT INTO otra VALUES ({id})")).await;
    }
    scene.sql.run("FLUSH BINARY LOGS").await;
    scene.sql.run("INSERT INTO otra VALUES (1000)").await;
    let (file, offset) = scene.backend.log_end().await;
    let end = format!("{file}:{offset}");
    daemon
        .until("the position reaches the log's end", SOON, |status| {
            status["source"]["position"].as_str().is_some_and(|position| position.starts_with(&end))
        })
        .await;
    daemon.stop().await;
    scene.backend.purge_log().await;
    let daemon = scene.product.run().await;
    assert_eq!(daemon.status().await.unwrap()["gaps"].as_array().unwrap().len(), 0);
}

/// Either half of what `status` shows is a place to begin.
async fn a_ledger_begins_where_it_was_told_to<D: Dialect>() {
    let mut scene = Scene::<Mysql<D>>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    let position = position(&daemon).await;
    daemon.stop().await;
    scene.pass("S-1", "APROBADA").await;
    let (place, numbers) = position.split_once(' ').unwrap();
    for (number, from) in [position.as_str(), place, numbers].into_iter().enumerate() {
        scene.reconfigure(|config| config.ledger = format!("dir = \"ledger-{number}\"\n"));
        let daemon = scene.product.start_with(&["--from", from]).await;
        daemon.captured(1).await;
        daemon.stop().await;
    }
    scene.flushed(&["S-1 3"]).await;
}

/// Two readers of one number end each other's connections for ever, with an error that names neither.
/// MySQL tells its readers apart by another number, which everyone makes for himself; MariaDB ends the older one of two
/// with the same.
async fn a_replica_with_our_number_is_named_where_it_matters<D: Dialect>() {
    let scene = Scene::<Mysql<D>>::new().await;
    let first = scene.product.run().await;
    let other = Scene::<Mysql<D>>::with(|_| {}).await;
    let number = scene.backend.server_id().to_string();
    let mut config = other.config.clone();
    config.source = config.source.replace(&other.backend.server_id().to_string(), &number);
    other.product.configure(&config);
    let second = other.product.start().await;
    if D::PRODUCT == Product::MySql {
        second.streaming().await;
        scene.open("S-1", "RECIBIDA").await;
        other.open("S-1", "RECIBIDA").await;
        first.captured(1).await;
        second.captured(1).await;
        return;
    }
    let told = |daemon: &Daemon| daemon.log().contains(&format!("server_id {number}"));
    crate::support::wait::eventually("one of the two says so", SOON, async || {
        (told(&first) || told(&second)).then_some(())
    })
    .await;
}

/// A server that numbers no transactions, as many old ones do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_numbers_is_read_by_file_and_offset() {
    let backend = Mysql::<MySql>::start(Mysql::<MySql>::options(&[]).without_gtid()).await;
    let scene = Scene::on(backend, |config| config.schedule = "every = \"1s\"\n".into()).await;
    let daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed(), 100);
    load.commits(100).await;
    daemon.kill().await;
    load.commits(100).await;
    scene.sql.run("FLUSH BINARY LOGS").await;
    let daemon = scene.product.run().await;
    load.commits(100).await;
    load.finish().await;
    scene.drain().await;
    let position = position(&daemon).await;
    assert!(position.starts_with("binlog.0000") && !position.contains(' '), "{position}");
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "").await;
    verdict.must_be_exact();
    scene.product.must(&["check"]).await;
}

/// Numbers with a tag, which MySQL has since 8.4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tagged_numbers_are_understood() {
    let scene = Scene::<Mysql<MySql>>::own(|_| {}).await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.sql.run("SET SESSION gtid_next = 'AUTOMATIC:tramites'").await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    assert!(position(&daemon).await.contains(":tramites:"), "{}", position(&daemon).await);
    daemon.stop().await;
    scene.pass("S-1", "APROBADA").await;
    let plain = scene.backend.session().await.unwrap();
    plain.run(&scene.passing("S-1", "ENTREGADA")).await;
    let daemon = scene.product.run().await;
    daemon.captured(3).await;
    scene.flushed(&["S-1 2", "S-1 3", "S-1 14"]).await;
}
