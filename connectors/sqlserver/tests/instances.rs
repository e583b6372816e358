//! Capture instances that come and go.

use change::{Source, SourceErrorKind};
use sqlserver_connector::SqlServerSource;

use crate::database::{
    DATABASE, by_hand, captured, changes, config, insert, options, present, run, scope, source, told, until,
};

const SECOND: &str = "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'solicitudes',
    @role_name = NULL, @capture_instance = N'segunda', @supports_net_changes = 0";

#[tokio::test]
async fn the_stream_goes_on_with_a_newer_instance_and_tells_each_change_once() {
    let server = captured(options());
    let source = source(&server);
    let checkpoint = present(&source).await;
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let mut seen: Vec<String> = Vec::new();
    let mut next_id = 0;
    for round in 0..4 {
        for _ in 0..5 {
            next_id += 1;
            insert(&server, next_id, 9);
        }
        match round {
            0 => run(&server, SECOND),
            2 => run(&server, "EXEC sys.sp_cdc_disable_table N'dbo', N'solicitudes', N'dbo_solicitudes'"),
            _ => {}
        }
        let wanted = format!("A-{next_id}");
        loop {
            match crate::database::next(&mut stream).await {
                Ok(batch) => seen.extend(told(&batch.changes).into_iter().map(|(_, number, ..)| number)),
                Err(error) => panic!("{error}"),
            }
            if seen.last() == Some(&wanted) {
                break;
            }
        }
    }
    let expected: Vec<String> = (1..=next_id).map(|id| format!("A-{id}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_older_instance_is_drained_before_the_newer_one_is_read() {
    let server = captured(by_hand());
    let mut config = config(&server);
    config.capture_instance = Some("segunda".to_owned());
    let source = SqlServerSource::new(config, scope());
    let checkpoint = present(&source).await;
    insert(&server, 1, 9);
    server.capture_now(DATABASE).unwrap();
    run(&server, SECOND);
    insert(&server, 2, 9);
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (changes, _) = changes(&mut stream, 2).await;
    let numbers: Vec<String> = told(&changes).into_iter().map(|(_, number, ..)| number).collect();
    assert_eq!(numbers, ["A-1", "A-2"]);
}

#[tokio::test]
async fn an_instance_that_goes_away_while_it_is_read_is_tried_again() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    run(&server, SECOND);
    insert(&server, 1, 9);
    server.capture_now(DATABASE).unwrap();
    let drop = "EXEC sys.sp_cdc_disable_table N'dbo', N'solicitudes', N'dbo_solicitudes'";
    let fault =
        standin::Fault::once("FROM [cdc].[dbo_solicitudes_CT]", standin::Action::Before(drop.to_owned()));
    server.control(standin::Command::Fault(fault)).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (_, error) = crate::database::failure(&mut stream).await;
    assert_eq!(error.kind(), SourceErrorKind::Busy, "{error}");
}

#[tokio::test]
async fn a_mapped_column_that_is_not_captured_is_told_with_the_statement_that_captures_it() {
    let server = captured(by_hand());
    let mut scope = scope();
    scope.columns.push("nota".to_owned());
    let source = SqlServerSource::new(config(&server), scope.clone());
    let error = source.begin(&change::Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("sp_cdc_enable_table") && hint.contains("[nota]"), "{hint}");
    run(&server, hint);
    server.capture_now(DATABASE).unwrap();
    present(&source).await;
}

#[tokio::test]
async fn a_mapped_column_that_goes_away_stops_the_stream_before_it_would_read_as_null() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    let mut stream = source.stream(&checkpoint).await.unwrap();
    until(&mut stream, |batch| batch.caught_up).await;
    run(&server, "ALTER TABLE dbo.solicitudes DROP COLUMN abierta");
    run(&server, "INSERT INTO dbo.solicitudes (id, numero, estado) VALUES (1, 'A-1', 9)");
    server.capture_now(DATABASE).unwrap();
    let (batches, error) = crate::database::failure(&mut stream).await;
    assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
    assert!(batches.iter().all(|batch| batch.changes.is_empty()));
}
