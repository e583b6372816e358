//! How a courier behaves towards the dashboard: hours, pace, sizes.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use pipeline::{FlushResult, Window};
use tablero::TableroConfig;

use crate::arrange::Desk;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_closes_ends_the_flush_cleanly_and_the_next_night_goes_on() {
    let mut desk = Desk::new(|settings| {
        settings.concurrency = 2;
        settings.requests_per_minute = Some(1200);
    })
    .await;
    desk.captured(20, 10);
    let now = Utc::now();
    let (opens, closes) = (now - TimeDelta::hours(2), now + TimeDelta::milliseconds(300));
    desk.settings.window = Some(Window::new(opens.time(), closes.time(), chrono_tz::UTC));
    let report = desk.flush().await;
    assert_eq!((report.result, report.error.clone()), (FlushResult::Interrupted, None), "{report:?}");
    assert_eq!(report.waiting_until, Some((opens + TimeDelta::days(1)).timestamp_micros()));
    assert!((1..20).contains(&report.batches), "{report:?}");
    assert_eq!(desk.tablero.requests().len() as u64, report.batches, "what had begun was finished");

    // Outside the window nothing at all is sent, however often it is asked for.
    assert_eq!(desk.flush().await.result, FlushResult::Interrupted);
    assert_eq!(desk.tablero.requests().len() as u64, report.batches);

    (desk.settings.window, desk.settings.requests_per_minute) = (None, None);
    let rest = desk.flush().await;
    assert_eq!((rest.result, rest.records), (FlushResult::Acknowledged, 200 - report.records));
    assert_eq!(desk.stored(), Desk::expected(20, 10));
    assert_eq!(desk.tablero.summary().repeats, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_that_its_window_has_ended_holds_no_flush_up() {
    let mut desk = Desk::new(|settings| settings.requests_per_minute = Some(1200)).await;
    desk.copied(100);
    desk.captured(5, 1);
    let now = Utc::now();
    let (opens, closes) = (now - TimeDelta::hours(2), now + TimeDelta::milliseconds(300));
    desk.settings.backfill_window = Some(Window::new(opens.time(), closes.time(), chrono_tz::UTC));
    let begun = desk.backfill().await;
    assert_eq!(begun.result, FlushResult::Interrupted);
    assert!((1..10).contains(&begun.batches), "{begun:?}");
    // What the backfill has formed leaves ahead of the delta, and the rest waits for its own hours.
    let report = desk.flush().await;
    assert_eq!((report.result, report.records), (FlushResult::Acknowledged, 5));
    let records = desk.tablero.records();
    assert_eq!(records.iter().filter(|record| record.request_id.starts_with('R')).count(), 5);
    assert!(records.len() < 100, "{} records", records.len());
    assert_eq!(desk.backfill().await.result, FlushResult::Interrupted);
    desk.settings.backfill_window = None;
    assert_eq!(desk.backfill().await.result, FlushResult::Acknowledged);
    assert_eq!((desk.tablero.summary().records, desk.tablero.summary().repeats), (105, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_keep_to_the_pace_whatever_the_number_of_lanes() {
    let mut desk = Desk::new(|settings| {
        settings.concurrency = 3;
        settings.requests_per_minute = Some(1200);
    })
    .await;
    desk.captured(10, 6);
    desk.flush().await;
    let moments: Vec<i64> = desk.tablero.requests().iter().map(|attempt| attempt.at).collect();
    let taken = Duration::from_micros((moments[moments.len() - 1] - moments[0]).unsigned_abs());
    // One turn every 50 ms, but for what the first and the last POST took on their way.
    let least = Duration::from_millis(50) * u32::try_from(moments.len() - 1).unwrap();
    assert!(moments.len() >= 6 && taken + Duration::from_millis(40) >= least, "{moments:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_asks_to_be_left_alone_is_left_alone_by_every_lane() {
    let mut desk = Desk::new(|settings| settings.concurrency = 4).await;
    desk.captured(20, 10);
    // One lane is told to wait for a second; the others may have a POST under way, or be about to send one.
    desk.tablero.set_fault("429:1".parse().unwrap());
    assert_eq!(desk.flush().await.result, FlushResult::Acknowledged);
    let attempts = desk.tablero.requests();
    let throttled = attempts.iter().position(|attempt| attempt.status == Some(429)).unwrap();
    let second = 1_000_000;
    let meanwhile = attempts[throttled + 1..].iter().filter(|it| it.at < attempts[throttled].at + second);
    assert!(meanwhile.count() <= 6, "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_was_learned_is_kept_beyond_the_process() {
    let config = TableroConfig { body_limit: 30_000, ..TableroConfig::default() };
    let mut desk = Desk::facing(config, |settings| settings.batch_records_max = 1000).await;
    desk.captured(1000, 1);
    assert_eq!(desk.flush().await.records, 1000);
    let refused = |desk: &Desk| desk.tablero.requests().iter().filter(|it| it.status == Some(413)).count();
    let first = refused(&desk);
    assert!(first > 0);
    assert_eq!(desk.stored(), Desk::expected(1000, 1));

    desk.captured(1000, 1);
    assert_eq!(desk.flush().await.records, 1000);
    assert_eq!(refused(&desk), first, "the second process asks for no refusal");
    // A change of the setting is a wish to try anew.
    desk.settings.batch_bytes_max = 900_000;
    desk.captured(1000, 1);
    assert_eq!(desk.flush().await.records, 1000);
    assert!(refused(&desk) > first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_tells_how_long_the_endpoint_took() {
    let mut desk = Desk::new(|_| {}).await;
    desk.captured(1, 1);
    // The simulator's acknowledgement dribbles in for two seconds.
    desk.tablero.set_fault("slow:1".parse().unwrap());
    let report = desk.flush().await;
    assert!(report.waited_seconds > 1.0 && report.waited_seconds <= report.seconds, "{report:?}");
}
