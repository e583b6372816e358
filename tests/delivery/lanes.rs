//! Several POSTs under way at once, and the process killed among them. What lanes do otherwise is tested beside the
//! pipeline, without a database.

use std::collections::HashMap;

use super::{Scene, with_delta};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_with_several_posts_under_way_repeats_just_these_whole_and_identical() {
    let scene = Scene::with(|config| config.delivery.push_str("batch_size = 3\nconcurrency = 3\n")).await;
    let daemon = with_delta(&scene, 30).await;
    scene.dashboard.fail("hang-after-store:3");
    let flush = scene.product.spawn_command(&["flush"]);
    scene.dashboard.wait_for_attempts(3).await;
    let under_way: u64 = scene.dashboard.batches().iter().map(|batch| batch.record_count as u64).sum();
    daemon.kill().await;
    let daemon = scene.product.run().await;
    scene.product.flush().await;
    drop(flush);
    daemon.delta(0).await;
    let attempts = scene.dashboard.attempts();
    let mut times: HashMap<&str, usize> = HashMap::new();
    for attempt in &attempts {
        *times.entry(attempt.sha256.as_str()).or_default() += 1;
    }
    assert!(attempts.iter().take(3).all(|attempt| times[attempt.sha256.as_str()] == 2), "{times:?}");
    assert_eq!(attempts.len(), times.len() + 3, "nothing else is repeated: {times:?}");
    assert_eq!(scene.dashboard.count() as u64, 30 + under_way);
    let mut lines = scene.dashboard.lines();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 30, "each record has arrived");
}
