//! Flushes by command and by schedule.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Scene, with_delta};
use crate::support::wait::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_flushes_again_and_again() {
    let scene = Scene::with(|config| config.schedule = "every = \"1s\"\n".into()).await;
    let daemon = with_delta_or_less(&scene).await;
    scene.dashboard.wait_for(1).await;
    scene.pass("S-1", "APROBADA").await;
    scene.dashboard.wait_for(2).await;
    let status = daemon.delta(0).await;
    let next = DateTime::parse_from_rfc3339(status["flush"]["next_at"].as_str().unwrap()).unwrap();
    assert!(next.to_utc() <= Utc::now() + TimeDelta::seconds(2), "{status:#}");
}

/// The interval may have flushed before anybody could see the delta.
async fn with_delta_or_less(scene: &Scene) -> crate::support::daemon::Daemon {
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
    daemon
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cron_expression_flushes_at_its_minute() {
    let scene = Scene::with(|config| config.schedule = "cron = \"* * * * *\"\n".into()).await;
    let _daemon = with_delta_or_less(&scene).await;
    scene.dashboard.wait_for(1).await;
    let at = DateTime::from_timestamp_micros(scene.dashboard.attempts()[0].at).unwrap();
    let second = at.timestamp() % 60;
    assert!(second < 30, "sent at {at}, expected soon after a full minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_of_day_is_a_time_of_the_schedules_zone() {
    // Far enough for the daemon to start before it, near enough to wait for.
    let now = Utc::now();
    let due = DateTime::from_timestamp((now.timestamp() + 75) / 60 * 60, 0).unwrap();
    let tokyo = due.with_timezone(&chrono::FixedOffset::east_opt(9 * 3600).unwrap());
    let at = tokyo.format("%H:%M").to_string();
    let scene = Scene::with(|config| {
        config.schedule = format!("flush_at = [\"{at}\"]\ntime_zone = \"Asia/Tokyo\"\n");
    })
    .await;
    let daemon = with_delta_or_less(&scene).await;
    let status = daemon.status().await.unwrap();
    assert_eq!(status["flush"]["next_at"].as_str().unwrap(), due.format("%Y-%m-%dT%H:%M:00Z").to_string());
    scene.dashboard.wait_for(1).await;
    assert!(DateTime::from_timestamp_micros(scene.dashboard.attempts()[0].at).unwrap() >= due);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_works_beside_the_daemon_and_without_it() {
    let scene = Scene::new().await;
    let daemon = with_delta(&scene, 2).await;
    scene.flushed(&["S-1 9", "S-2 9"]).await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(3).await;
    daemon.stop().await;
    scene.flushed(&["S-1 9", "S-2 9", "S-1 3"]).await;
    let status = scene.product.status().await;
    assert_eq!(status["delta"]["records"], 0);
    assert_eq!(status["flush"]["last"]["result"], "acknowledged");
    assert_eq!(status["flush"]["last"]["records"], 1);
    assert_eq!(status["flush"]["last"]["batches"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rehearsed_flush_counts_and_sends_nothing() {
    let scene = Scene::new().await;
    let daemon = with_delta(&scene, 3).await;
    let told = scene.product.must(&["flush", "--dry-run"]).await;
    assert!(told.contains("3 records"), "{told}");
    assert_eq!(scene.dashboard.attempts(), []);
    daemon.delta(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_during_a_flush_goes_with_the_next_one() {
    let scene = Scene::new().await;
    let daemon = with_delta(&scene, 2).await;
    scene.dashboard.fail("503");
    let flush = scene.product.spawn_command(&["flush"]);
    scene.dashboard.wait_for_attempts(2).await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(3).await;
    scene.dashboard.fail("none");
    assert_eq!(flush.wait().await, Some(0));
    assert_eq!(scene.dashboard.lines(), ["S-1 9", "S-2 9"]);
    scene.flushed(&["S-1 9", "S-2 9", "S-1 3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_a_flush_comes_in_time_and_the_flush_goes_on_later() {
    let scene = Scene::with(|config| config.delivery.push_str("batch_size = 2\n")).await;
    let daemon = with_delta(&scene, 6).await;
    scene.dashboard.fail("hang");
    let flush = scene.product.spawn_command(&["flush"]);
    scene.dashboard.wait_for_attempts(1).await;
    daemon.stop().await;
    assert_eq!(flush.wait().await, Some(1));
    // Without a daemon the command itself must stop as well.
    let flush = scene.product.spawn_command(&["flush"]);
    scene.dashboard.wait_for_attempts(2).await;
    assert_eq!(flush.terminate().await, Some(1));
    scene.dashboard.fail("none");
    let daemon = scene.product.run().await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines(), (1..=6).map(|n| format!("S-{n} 9")).collect::<Vec<_>>());
    daemon.until("the delta is empty", SOON, |status| status["delta"]["records"] == 0).await;
}
