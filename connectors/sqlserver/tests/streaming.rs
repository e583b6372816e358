//! What the stream tells of what was committed.

use change::{ChangeStream, Operation, RowKey, Source, Value};
use standin::{Action, Command, Fault};

use crate::database::{
    DATABASE, after, by_hand, captured, changes, config, failure, insert, next, options, present, run, scope,
    source, told, until, update,
};

#[tokio::test]
async fn changes_come_in_the_order_of_their_commits_with_what_rows_were_and_became() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    insert(&server, 1, 9);
    insert(&server, 2, 9);
    update(&server, 1, 3);
    run(&server, "DELETE FROM dbo.solicitudes WHERE id = 2");
    run(&server, "BEGIN TRAN; UPDATE dbo.solicitudes SET estado = 7 WHERE id = 1; ROLLBACK");
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (changes, last) = changes(&mut stream, 4).await;
    assert_eq!(
        told(&changes),
        [
            (Operation::Insert, "A-1".to_owned(), None, Some(9)),
            (Operation::Insert, "A-2".to_owned(), None, Some(9)),
            (Operation::Update, "A-1".to_owned(), Some(9), Some(3)),
            (Operation::Delete, "A-2".to_owned(), Some(9), None),
        ]
    );
    assert_eq!(changes[3].key, Some(RowKey::from_columns(["2"])));
    assert_eq!(changes[2].old_key, None);
    assert_eq!(last.position.as_ref(), Some(&changes[3].transaction.position));
    assert!(last.caught_up);
    let positions: Vec<&str> = changes.iter().map(|change| change.transaction.position.as_str()).collect();
    assert!(positions.is_sorted() && positions[0] > checkpoint.position.as_str(), "{positions:?}");
    stream.acknowledge(last.position.as_ref().unwrap()).unwrap();
}

#[tokio::test]
async fn a_stream_that_opens_again_repeats_nothing_and_skips_nothing() {
    let server = captured(options());
    let source = source(&server);
    let mut checkpoint = present(&source).await;
    let mut seen = Vec::new();
    for round in 0..6_u32 {
        insert(&server, round, 9);
        let mut stream = source.stream(&checkpoint).await.unwrap();
        insert(&server, 100 + round, 9);
        let (changes, last) = changes(&mut stream, 1).await;
        seen.extend(told(&changes).into_iter().map(|(_, number, ..)| number));
        checkpoint = after(&last, &checkpoint);
    }
    let mut stream = source.stream(&checkpoint).await.unwrap();
    insert(&server, 999, 9);
    until(&mut stream, |batch| {
        seen.extend(told(&batch.changes).into_iter().map(|(_, number, ..)| number));
        seen.last().is_some_and(|number| number == "A-999")
    })
    .await;
    let expected: Vec<String> = (0..6)
        .flat_map(|round| [format!("A-{round}"), format!("A-{}", 100 + round)])
        .chain(["A-999".to_owned()])
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_altered_key_is_an_update_of_one_row_or_of_many() {
    let server = captured(by_hand());
    let source = source(&server);
    for id in 1..=3 {
        insert(&server, id, 9);
    }
    server.capture_now(DATABASE).unwrap();
    let checkpoint = present(&source).await;
    run(&server, "UPDATE dbo.solicitudes SET id = 10, estado = 3 WHERE id = 1");
    run(&server, "UPDATE dbo.solicitudes SET id = id + 1 WHERE id < 10");
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (changes, _) = changes(&mut stream, 3).await;
    assert!(changes.iter().all(|change| change.operation == Operation::Update), "{changes:?}");
    assert_eq!(told(&changes)[0], (Operation::Update, "A-1".to_owned(), Some(9), Some(3)));
    assert_eq!(changes[0].old_key, Some(RowKey::from_columns(["1"])));
    assert_eq!(changes[0].key, Some(RowKey::from_columns(["10"])));
    assert_eq!(changes.len(), 3);
}

#[tokio::test]
async fn a_huge_transaction_has_no_position_before_its_end_and_is_read_anew_from_its_start() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    insert(&server, 1, 9);
    let values: Vec<String> =
        (10..30_010).map(|id| format!("({id}, 'B-{id}', 9, '2024-05-01', NULL)")).collect();
    let inserts: Vec<String> = values
        .chunks(1000)
        .map(|part| format!("INSERT INTO dbo.solicitudes VALUES {}", part.join(", ")))
        .collect();
    run(&server, &format!("BEGIN TRAN; {}; COMMIT", inserts.join("; ")));
    insert(&server, 2, 9);
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let first = next(&mut stream).await.unwrap();
    assert!(first.position.is_none() && !first.changes.is_empty());
    drop(stream);
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let mut seen = 0;
    let batches = until(&mut stream, |batch| {
        seen += batch.changes.len();
        batch.position.is_some()
    })
    .await;
    let numbers: Vec<String> =
        batches.iter().flat_map(|batch| told(&batch.changes)).map(|(_, number, ..)| number).collect();
    let expected: Vec<String> = std::iter::once("A-1".to_owned())
        .chain((10..30_010).map(|id| format!("B-{id}")))
        .chain(["A-2".to_owned()])
        .collect();
    assert!(numbers == expected, "{} changes, expected {}", numbers.len(), expected.len());
    assert!(batches.len() > 3 && batches.iter().all(|batch| batch.changes.len() <= 8192));
}

#[tokio::test]
async fn the_position_goes_on_while_nothing_changes() {
    let mut idle = options();
    idle.idle_interval = std::time::Duration::from_millis(60);
    let server = captured(idle);
    let source = source(&server);
    let checkpoint = present(&source).await;
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let batches =
        until(&mut stream, |batch| batch.position.as_ref().is_some_and(|at| *at != checkpoint.position))
            .await;
    assert!(batches.iter().all(|batch| batch.changes.is_empty() && batch.caught_up));
}

#[tokio::test]
async fn a_commit_has_the_time_that_the_servers_zone_makes_of_its_clock() {
    for zone in ["America/New_York", "+09:00", "UTC"] {
        let mut options = by_hand();
        options.zone = zone.to_owned();
        let server = captured(options);
        let source = source(&server);
        let checkpoint = present(&source).await;
        let before = micros_now();
        insert(&server, 1, 9);
        server.capture_now(DATABASE).unwrap();
        let mut stream = source.stream(&checkpoint).await.unwrap();
        let (changes, _) = changes(&mut stream, 1).await;
        let committed_at = changes[0].transaction.committed_at;
        // The server rounds to 1/300 s.
        assert!(
            (before - 4_000..=micros_now() + 4_000).contains(&committed_at),
            "{zone}: {committed_at} {before}"
        );
    }
}

fn micros_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_of_a_row_costs_nothing() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    for id in 1..=5 {
        insert(&server, id, 9);
    }
    server.capture_now(DATABASE).unwrap();
    server.control(Command::Fault(Fault::once("dbo_solicitudes_CT", Action::CutAfterRows(2)))).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (before, error) = failure(&mut stream).await;
    assert_eq!(error.kind(), change::SourceErrorKind::Unreachable, "{error}");
    assert!(before.iter().all(|batch| batch.changes.is_empty() || batch.position.is_none()));
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (changes, _) = changes(&mut stream, 5).await;
    assert_eq!(changes.len(), 5);
}

#[tokio::test]
async fn a_server_that_stops_answering_is_left_in_time() {
    let server = captured(by_hand());
    let mut config = config(&server);
    config.call_timeout = std::time::Duration::from_millis(300);
    let source = sqlserver_connector::SqlServerSource::new(config, scope());
    let checkpoint = present(&source).await;
    insert(&server, 1, 9);
    server.capture_now(DATABASE).unwrap();
    server.control(Command::Fault(Fault::once("dbo_solicitudes_CT", Action::Hang))).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (_, error) = failure(&mut stream).await;
    assert_eq!(error.kind(), change::SourceErrorKind::Unreachable);
    assert!(error.to_string().contains("no answer within 0.3 s"), "{error}");
}

#[tokio::test]
async fn refusals_that_pass_are_told_as_such() {
    let server = captured(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    insert(&server, 1, 9);
    server.capture_now(DATABASE).unwrap();
    for number in [1205, 1222, 40_613] {
        server.control(Command::Fault(Fault::once("dbo_solicitudes_CT", Action::Fail(number)))).unwrap();
        let mut stream = source.stream(&checkpoint).await.unwrap();
        let (_, error) = failure(&mut stream).await;
        assert_eq!(error.kind(), change::SourceErrorKind::Busy, "{error}");
    }
    let mut stream = source.stream(&checkpoint).await.unwrap();
    assert_eq!(changes(&mut stream, 1).await.0.len(), 1);
}

#[tokio::test]
async fn long_texts_that_an_update_did_not_touch_are_not_taken_for_null() {
    let server = crate::database::uncaptured(by_hand());
    run(&server, crate::database::ENABLE_DATABASE);
    run(
        &server,
        "CREATE TABLE dbo.largas (id int NOT NULL PRIMARY KEY, numero nvarchar(max) NULL, estado int NULL);
         EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'largas', @role_name = NULL;
         INSERT INTO dbo.largas VALUES (1, N'uno', 1), (2, NULL, 1)",
    );
    server.capture_now(DATABASE).unwrap();
    let mut scope = scope();
    scope.table = "largas".to_owned();
    scope.columns = vec!["numero".to_owned(), "estado".to_owned()];
    let source = sqlserver_connector::SqlServerSource::new(config(&server), scope);
    let checkpoint = present(&source).await;
    run(&server, "UPDATE dbo.largas SET estado = 2 WHERE id = 1");
    run(&server, "UPDATE dbo.largas SET numero = N'dos' WHERE id = 1");
    run(&server, "UPDATE dbo.largas SET estado = 2 WHERE id = 2");
    run(&server, "UPDATE dbo.largas SET numero = REPLICATE(CAST(N'x' AS nvarchar(max)), 5000) WHERE id = 2");
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (changes, _) = changes(&mut stream, 4).await;
    let first = |row: &Option<change::Row>| row.as_ref().map(|row| row.get(0).cloned().unwrap());
    // NULL, or left out: that cannot be told apart.
    assert_eq!(first(&changes[0].before), None);
    assert_eq!(first(&changes[0].after), Some(Value::Unchanged));
    assert_eq!(first(&changes[1].before), Some(Value::text("uno")));
    assert_eq!(first(&changes[1].after), Some(Value::text("dos")));
    assert_eq!(first(&changes[2].before), None);
    assert_eq!(first(&changes[2].after), Some(Value::Unchanged));
    assert!(matches!(first(&changes[3].after), Some(Value::Unusable(_))), "{:?}", changes[3].after);
}
