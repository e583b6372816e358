//! Backfill and stream at the same time: nothing twice, nothing out of order, nothing forgotten.

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::config::Config;
use crate::support::heavy;
use crate::support::load::{Load, seed};
use crate::support::oracle::{self, Begins};
use crate::support::scene::Scene;
use crate::support::wait::LATER;

pub(crate) async fn backfill_and_stream_overlap_under_load<B: Backend>() {
    overlap::<B>(30_000, Begins::WithSnapshotBefore, |_| {}).await;
}

/// A copy that would keep its transaction open for too long is read in fenced pages instead, beside the
/// stream.
pub(crate) async fn a_throttled_copy_overlaps_with_the_stream_under_load<B: Backend>() {
    overlap::<B>(10_000, Begins::WithCopyAround, |config| {
        config.source = config.source.replacen("[source]\n", "[source]\nsnapshot_max = \"1s\"\n", 1);
        config.backfill.push_str("rows_per_second = 3000\n");
    })
    .await;
}

async fn overlap<B: Backend>(rows: u64, begins: fn(i64) -> Begins, change: impl FnOnce(&mut Config)) {
    let _alone = heavy::alone().await;
    let scene = Scene::<B>::with(change).await;
    let load = Load::start(&scene.backend, seed(), 600);
    load.commits(300).await;
    scene.backend.insert_many(rows, "2024-01-01").await;
    let daemon = scene.product.start().await;
    let backfill = scene.product.spawn_command(&["backfill"]);
    daemon.streaming().await;
    let streaming = oracle::now(&*scene.backend).await;
    let asked =
        |status: &Value| status["backfill"]["state"] == "sending" || status["backfill"]["state"] == "done";
    daemon.until("the backfill is asked for", LATER, asked).await;
    // From here on a request's record of the copy leaves first, whatever else leaves meanwhile.
    for _ in 0..5 {
        load.commits(100).await;
        scene.product.flush().await;
    }
    assert_eq!(backfill.wait().await, Some(0), "{}", daemon.log());
    load.commits(200).await;
    load.finish().await;
    scene.drain().await;
    let copied = scene.dashboard.lines().iter().filter(|line| line.starts_with("P-")).count();
    assert_eq!(copied as u64, rows);
    let begins = begins(streaming);
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, begins, "L-").await;
    verdict.must_be_exact();
    assert_eq!(verdict.repeated_batches, 0);
    println!("{} records of the workload arrived, each once", verdict.arrived);
}
