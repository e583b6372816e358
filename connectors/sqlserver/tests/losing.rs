//! Logs that no longer hold what follows.

use change::{Position, Source, SourceErrorKind};
use standin::{Action, Command, Fault};

use crate::database::{
    DATABASE, ENABLE, ENABLE_DATABASE, by_hand, captured, failure, insert, options, present, run, source,
    until,
};

/// Lets a moment pass by the server's clock, which counts in 1/300 s.
fn pass(server: &standin::Standin) {
    run(server, "WAITFOR DELAY '00:00:00.050'");
}

#[tokio::test]
async fn a_clean_up_past_the_position_is_a_lost_log() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    for id in 1..=3 {
        insert(&server, id, 9);
        pass(&server);
    }
    server.capture_now(DATABASE).unwrap();
    server.cleanup(DATABASE, 0).unwrap();
    let error = source.stream(&checkpoint).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
    assert!(error.to_string().contains("cleaned up"), "{error}");
}

#[tokio::test]
async fn a_clean_up_while_the_change_table_is_read_is_a_lost_log_and_no_position_covers_it() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    for id in 1..=3 {
        insert(&server, id, 9);
        pass(&server);
    }
    server.capture_now(DATABASE).unwrap();
    // The low end moves and rows go after the first look at it, before the rows are read.
    let clean = "DECLARE @end binary(10) = sys.fn_cdc_get_max_lsn();
        EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_solicitudes', @low_water_mark = @end";
    server
        .control(Command::Fault(Fault::once(
            "FROM [cdc].[dbo_solicitudes_CT]",
            Action::Before(clean.to_owned()),
        )))
        .unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (batches, error) = failure(&mut stream).await;
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
    assert!(batches.iter().all(|batch| batch.position.is_none()), "{batches:?}");
    assert!(source.stream(&checkpoint).await.is_err());
}

#[tokio::test]
async fn a_clean_up_behind_the_position_loses_nothing() {
    let server = captured(by_hand());
    let source = source(&server);
    for id in 1..=3 {
        insert(&server, id, 9);
        pass(&server);
    }
    server.capture_now(DATABASE).unwrap();
    let checkpoint = present(&source).await;
    server.cleanup(DATABASE, 0).unwrap();
    insert(&server, 4, 9);
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    until(&mut stream, |batch| batch.changes.len() == 1).await;
}

#[tokio::test]
async fn a_restored_database_is_another_history() {
    let server = captured(options());
    let source = source(&server);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copia");
    server.backup(DATABASE, &copy).unwrap();
    let checkpoint = present(&source).await;
    server.control(Command::Restore { database: DATABASE.to_owned(), from: copy }).unwrap();
    let error = source.stream(&checkpoint).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
    assert!(error.to_string().contains("restored"), "{error}");
}

#[tokio::test]
async fn capture_that_was_disabled_and_enabled_again_is_a_lost_log() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    insert(&server, 1, 9);
    server.capture_now(DATABASE).unwrap();
    run(&server, "EXEC sys.sp_cdc_disable_table N'dbo', N'solicitudes', N'dbo_solicitudes'");
    let error = source.stream(&checkpoint).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Configuration, "{error}");
    run(&server, ENABLE);
    server.capture_now(DATABASE).unwrap();
    let error = source.stream(&checkpoint).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
    run(&server, "EXEC sys.sp_cdc_disable_db");
    let error = source.stream(&checkpoint).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Configuration, "{error}");
    run(&server, ENABLE_DATABASE);
    run(&server, ENABLE);
    server.capture_now(DATABASE).unwrap();
    let error = source.stream(&checkpoint).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
}

#[tokio::test]
async fn a_position_behind_the_captured_end_is_a_lost_log() {
    let server = captured(by_hand());
    let source = source(&server);
    let mut checkpoint = present(&source).await;
    checkpoint.position = Position::new("0xFFFFFFFF000000000001");
    let error = source.stream(&checkpoint).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
}
