//! Whether the server's own capture runs.

use std::time::Duration;

use change::{Incident, Source};
use sqlserver_connector::SqlServerSource;

use crate::database::{
    ENABLE, ENABLE_DATABASE, by_hand, captured, config, insert, next, options, present, run, scope, source,
    uncaptured, until,
};

fn silence(incidents: &[Incident]) -> Option<&str> {
    incidents.iter().find_map(|incident| match incident {
        Incident::CaptureSilent { what, .. } => Some(what.as_str()),
        _ => None,
    })
}

#[tokio::test]
async fn an_agent_that_stops_and_starts_is_told_both_times() {
    let server = captured(options());
    let mut config = config(&server);
    config.silent_after = Duration::from_millis(50);
    config.poll_interval = Duration::from_millis(50);
    let mut far = config.clone();
    far.silent_after = Duration::from_secs(600);
    let source = SqlServerSource::new(config, scope());
    let checkpoint = present(&source).await;
    let mut stream = source.stream(&checkpoint).await.unwrap();
    server.set_agent(false);
    let batches = until(&mut stream, |batch| {
        silence(&batch.incidents).is_some_and(|what| what.contains("SQL Server Agent is stopped"))
    })
    .await;
    assert!(batches.iter().all(|batch| batch.changes.is_empty()));
    server.set_agent(true);
    insert(&server, 1, 9);
    until(&mut stream, |batch| batch.incidents.contains(&Incident::CaptureResumed)).await;
}

#[tokio::test]
async fn a_log_that_does_not_move_is_silent_also_to_a_login_that_may_not_ask_why() {
    let server = captured(by_hand());
    reader(&server);
    let mut config = config(&server);
    config.user = "lee".to_owned();
    config.password = "Pw-12345".to_owned();
    config.silent_after = Duration::from_millis(200);
    let source = SqlServerSource::new(config, scope());
    let checkpoint = present(&source).await;
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let first = next(&mut stream).await.unwrap();
    assert!(first.incidents.is_empty() && first.caught_up);
    until(&mut stream, |batch| {
        silence(&batch.incidents).is_some_and(|what| what.contains("has not moved for"))
    })
    .await;
    insert(&server, 1, 9);
    server.capture_now(crate::database::DATABASE).unwrap();
    let batches = until(&mut stream, |batch| !batch.changes.is_empty()).await;
    assert_eq!(batches.last().unwrap().incidents, [Incident::CaptureResumed]);
}

/// A login with no more rights than reading takes.
pub(crate) fn reader(server: &standin::Standin) {
    run(
        server,
        "CREATE LOGIN lee WITH PASSWORD = 'Pw-12345'; CREATE USER lee FOR LOGIN lee;
         GRANT SELECT ON SCHEMA::cdc TO lee; GRANT SELECT ON dbo.solicitudes TO lee",
    );
}

#[tokio::test]
async fn a_capture_that_has_never_run_is_waited_for() {
    let server = uncaptured(by_hand());
    run(&server, ENABLE_DATABASE);
    run(&server, ENABLE);
    let source = source(&server);
    let error = source.begin(&change::Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), change::SourceErrorKind::Busy, "{error}");
    server.capture_now(crate::database::DATABASE).unwrap();
    present(&source).await;
}
