//! Scans of a table of which nothing is captured.

use std::time::Duration;

use change::{Beginning, Position, SnapshotPlan, Source, SourceErrorKind};
use sqlserver_connector::{Mode, SqlServerSource};
use standin::Standin;

use crate::database::{by_hand, config, next, number, pages, run, scope, status, uncaptured};

fn server() -> Standin {
    let mut options = by_hand();
    options.edition = "Express Edition (64-bit)".to_owned();
    let server = uncaptured(options);
    run(&server, "ALTER TABLE dbo.solicitudes ADD cambiada datetime2(7) NULL");
    server
}

fn set(server: &Standin, id: u32, status: u8, at: &str) {
    run(
        server,
        &format!(
            "DELETE FROM dbo.solicitudes WHERE id = {id};
             INSERT INTO dbo.solicitudes VALUES ({id}, 'A-{id}', {status}, '2024-05-01', NULL, '{at}')"
        ),
    );
}

fn polling(server: &Standin) -> SqlServerSource {
    let mut config = config(server);
    config.mode = Mode::Poll { modified_column: "cambiada".to_owned(), overlap: Duration::from_secs(10) };
    SqlServerSource::new(config, scope())
}

#[tokio::test]
async fn what_changes_is_seen_once_and_what_commits_late_is_seen_within_the_overlap() {
    let server = server();
    set(&server, 1, 9, "2026-11-22T08:00:00");
    let source = polling(&server);
    let begun = source.begin(&Beginning::Present).await.unwrap();
    assert_eq!(begun.checkpoint.position.as_str(), "poll:2026-11-22T08:00:00.0000000");
    let mut stream = source.stream(&begun.checkpoint).await.unwrap();
    let mut seen = Vec::new();
    for (id, status, at) in [
        (2, 3, "2026-11-22T08:00:05.1234567"),
        (3, 3, "2026-11-22T08:00:04"),
        (2, 7, "2026-11-22T08:00:06"),
        (4, 3, "2026-11-22T07:00:00"),
        (5, 3, "2026-11-22T08:30:00"),
    ] {
        set(&server, id, status, at);
        if id == 4 {
            continue;
        }
        loop {
            let batch = next(&mut stream).await.unwrap();
            for change in &batch.changes {
                assert!(change.before.is_none() && change.key.is_some());
                seen.push((number(change.after.as_ref().unwrap()), status_of(change)));
            }
            if seen.last() == Some(&(format!("A-{id}"), i64::from(status))) && batch.position.is_some() {
                break;
            }
        }
    }
    let told = |number: &str, status: i64| (number.to_owned(), status);
    // What was there at the beginning is within the overlap of the first scan; what committed an hour late is not seen.
    assert_eq!(seen, [told("A-1", 9), told("A-2", 3), told("A-3", 3), told("A-2", 7), told("A-5", 3)]);
}

fn status_of(change: &change::Change) -> i64 {
    status(change.after.as_ref()).unwrap()
}

#[tokio::test]
async fn a_page_is_fenced_by_the_newest_time() {
    let server = server();
    for id in 0..20 {
        set(&server, id, 9, &format!("2026-11-22T08:00:{id:02}"));
    }
    let source = polling(&server);
    let pages =
        pages(&source, &SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 7 })
            .await;
    assert_eq!(pages.len(), 3);
    let fence = pages[0].fence.clone().unwrap();
    assert_eq!(fence.as_str(), "poll:2026-11-22T08:00:19.0000000");
    assert!(source.covers(&fence, &fence).unwrap());
    assert!(!source.covers(&Position::new("poll:2026-11-22T08:00:18"), &fence).unwrap());
    assert!(source.covers(&Position::new("0x00000027000007580005"), &fence).is_err());
}

#[tokio::test]
async fn a_column_that_is_no_time_is_refused() {
    let server = server();
    let mut config = config(&server);
    config.mode = Mode::Poll { modified_column: "nota".to_owned(), overlap: Duration::ZERO };
    let error = SqlServerSource::new(config, scope()).begin(&Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
}
