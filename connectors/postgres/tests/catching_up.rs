//! A long backlog: read in pieces, or streamed where the server does not let us.

use std::ops::Range;

use change::{Batch, Beginning, ChangeStream, Checkpoint, Source, SourceErrorKind};
use postgres_connector::{PostgresSource, PostgresStream};
use testbed::postgres::Version;

use crate::capture::{
    Read, begin, brief, log_end, next, read_changes, read_past, soon, source, start, until,
};
use crate::support::{Database, SOLICITUDES, VERSIONS, scope};

/// Rows of one transaction, and of as many small ones.
const ROWS: usize = 40_000;
/// Rows of a small transaction.
const SMALL: usize = 500;

/// Some four hundred bytes of log a row, and as much to read.
fn insert(from: usize, to: usize) -> String {
    format!(
        "INSERT INTO solicitudes SELECT i, 'LIC', 'A-' || i, 'RECIBIDA', '2024-05-01', repeat('x', 300)
           FROM generate_series({from}, {to}) i;"
    )
}

fn wide(database: &Database) -> PostgresSource {
    source(&database.config(), &scope("public.solicitudes", &["numero", "notas"]))
}

/// Many small transactions and then a large one behind a slot.
async fn backlog(database: &Database, source: &PostgresSource) -> Checkpoint {
    database.run(SOLICITUDES).await;
    let checkpoint = begin(source, Beginning::Present).await.checkpoint;
    let client = database.client().await;
    for from in (1..=ROWS).step_by(SMALL) {
        client.batch_execute(&insert(from, from + SMALL - 1)).await.unwrap();
    }
    client.batch_execute(&insert(ROWS + 1, 2 * ROWS)).await.unwrap();
    checkpoint
}

async fn open(source: &PostgresSource, checkpoint: &Checkpoint) -> PostgresStream {
    soon("opening the stream", source.stream(checkpoint)).await.unwrap()
}

/// Whether temporary copies of a slot are in this database: one, or two where what others have logged on the server
/// makes the backlog longer than a piece.
async fn catching_up(database: &Database) -> bool {
    copies_of_slots(database).await > 0
}

async fn copies_of_slots(database: &Database) -> i64 {
    let sql = "SELECT count(*) FROM pg_replication_slots
                WHERE temporary AND slot_name LIKE 'bitacora\\_catch\\_up\\_%' AND database = current_database()";
    database.client().await.query_one(sql, &[]).await.unwrap().get(0)
}

async fn confirmed(database: &Database) -> String {
    let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1";
    database.client().await.query_one(sql, &[&database.name]).await.unwrap().get(0)
}

/// Rows come in the order in which they were inserted, each once.
fn expect_rows(read: &Read, from: usize) {
    for (row, change) in (from..).zip(&read.changes) {
        let told = brief(change);
        assert!(told.starts_with(&format!("insert after A-{row}|")), "row {row} is {told}");
    }
}

#[tokio::test]
async fn a_long_backlog_arrives_complete_and_in_order_and_streaming_follows() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        let source = wide(&database);
        let checkpoint = backlog(&database, &source).await;
        let mut stream = open(&source, &checkpoint).await;
        until("reading in pieces", async || catching_up(&database).await).await;
        assert_eq!(confirmed(&database).await, checkpoint.position.as_str(), "nothing was acknowledged yet");
        let read = read_changes(&mut stream, 2 * ROWS).await;
        expect_rows(&read, 1);
        stream.acknowledge(read.position.as_ref().unwrap()).unwrap();
        until("the end of reading in pieces", async || !catching_up(&database).await).await;
        database.run(&insert(2 * ROWS + 1, 2 * ROWS + 1)).await;
        let live = read_changes(&mut stream, 1).await;
        expect_rows(&live, 2 * ROWS + 1);
        until("the slot's advance", async || confirmed(&database).await != checkpoint.position.as_str())
            .await;
    }
}

/// More messages than two pieces hold, and enough log behind each of them to be worth another.
const MANY: usize = 1_250_000;

async fn long_backlog(database: &Database) -> Checkpoint {
    database.run(SOLICITUDES).await;
    let superuser = source(&database.config(), &scope("public.solicitudes", &["numero", "estado"]));
    let checkpoint = begin(&superuser, Beginning::Present).await.checkpoint;
    for from in (1..=MANY).step_by(MANY / 10) {
        let to = from + MANY / 10 - 1;
        let row = "SELECT i, 'L', 'A-' || i, 'R', '2024-05-01'";
        database.run(&format!("INSERT INTO solicitudes {row} FROM generate_series({from}, {to}) i")).await;
    }
    checkpoint
}

/// Reads the long backlog up to `row`, and tells how many sessions were seen to read it.
async fn read_pieces(database: &Database, stream: &mut PostgresStream, rows: Range<usize>) -> i64 {
    let (mut next_row, mut sessions) = (rows.start, 0);
    while next_row < rows.end {
        let Batch { changes, .. } = next(stream).await;
        let count = changes.len();
        expect_rows(&Read { changes, ..Read::default() }, next_row);
        next_row += count;
        if next_row / 50_000 != (next_row - count) / 50_000 {
            sessions = sessions.max(copies_of_slots(database).await);
        }
    }
    sessions
}

#[tokio::test]
async fn pieces_are_read_by_two_sessions_in_turn() {
    let database = Database::make(Version::Distribution).await;
    let checkpoint = long_backlog(&database).await;
    let source = source(&database.config(), &scope("public.solicitudes", &["numero", "estado"]));
    let mut stream = open(&source, &checkpoint).await;
    assert_eq!(read_pieces(&database, &mut stream, 1..MANY + 1).await, 2);
}

#[tokio::test]
async fn pieces_are_read_by_one_session_where_the_server_has_no_place_for_another() {
    let database = Database::make(Version::Distribution).await;
    let config = database.role().await;
    let checkpoint = long_backlog(&database).await;
    let name = &database.name;
    database.run(&format!("ALTER ROLE {name} REPLICATION; GRANT SELECT ON solicitudes TO {name}")).await;
    let source = source(&config, &scope("public.solicitudes", &["numero", "estado"]));
    let mut stream = open(&source, &checkpoint).await;
    until("reading in pieces", async || catching_up(&database).await).await;
    database.run(&format!("ALTER ROLE {name} CONNECTION LIMIT 0")).await;
    assert_eq!(read_pieces(&database, &mut stream, 1..700_000).await, 1);
    database.run(&format!("ALTER ROLE {name} CONNECTION LIMIT -1")).await;
    assert!(brief(&next(&mut stream).await.changes[0]).starts_with("insert after A-7"));
}

#[tokio::test]
async fn pieces_of_a_large_transaction_have_no_position_and_nothing_counts_as_caught_up_before_the_end() {
    let database = Database::make(Version::Distribution).await;
    let source = wide(&database);
    let checkpoint = backlog(&database, &source).await;
    let mut stream = open(&source, &checkpoint).await;
    let (mut count, mut caught_up) = (0, false);
    while !caught_up {
        let batch = next(&mut stream).await;
        count += batch.changes.len();
        caught_up = batch.caught_up;
        assert_eq!(batch.position.is_none(), count > ROWS && count < 2 * ROWS, "after {count} changes");
    }
    assert_eq!(count, 2 * ROWS);
}

#[tokio::test]
async fn a_stream_dropped_in_the_middle_goes_on_where_the_product_was() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        let source = wide(&database);
        let checkpoint = backlog(&database, &source).await;
        // At once, while the server may still be decoding.
        drop(open(&source, &checkpoint).await);
        let mut stream = open(&source, &checkpoint).await;
        let read = read_changes(&mut stream, 4000).await;
        expect_rows(&read, 1);
        drop(stream);
        let stored = Checkpoint { position: read.position.unwrap(), ..checkpoint };
        let mut stream = open(&source, &stored).await;
        until("reading in pieces again", async || catching_up(&database).await).await;
        let rest = read_changes(&mut stream, 2 * ROWS - read.changes.len()).await;
        expect_rows(&rest, read.changes.len() + 1);
        // What was stored may be forgotten by the server, and nothing more.
        stream.acknowledge(&stored.position).unwrap();
        until("the slot's advance", async || confirmed(&database).await == stored.position.as_str()).await;
        drop(stream);
        until("the end of all copies of the slot", async || !catching_up(&database).await).await;
    }
}

#[tokio::test]
async fn a_backlog_of_other_tables_moves_the_position() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(&format!("{SOLICITUDES}; CREATE TABLE otra (a int, b text)")).await;
        let source = wide(&database);
        let checkpoint = begin(&source, Beginning::Present).await.checkpoint;
        database.run("INSERT INTO otra SELECT i, repeat('x', 300) FROM generate_series(1, 70000) i").await;
        let end = log_end(&database.client().await).await;
        let mut stream = open(&source, &checkpoint).await;
        let read = read_past(&source, &mut stream, &end).await;
        assert!(read.changes.is_empty());
        stream.acknowledge(read.position.as_ref().unwrap()).unwrap();
        database.run(&insert(1, 1)).await;
        expect_rows(&read_changes(&mut stream, 1).await, 1);
    }
}

#[tokio::test]
async fn a_slot_that_is_dropped_meanwhile_is_a_lost_log_and_one_that_is_moved_into_what_was_read_is_not() {
    let database = Database::make(Version::Distribution).await;
    let source = wide(&database);
    let checkpoint = backlog(&database, &source).await;
    let name = &database.name;
    // What others log on the server meanwhile is not among what is read in pieces.
    let end = log_end(&database.client().await).await;
    let mut stream = open(&source, &checkpoint).await;
    until("reading in pieces", async || catching_up(&database).await).await;
    let first = next(&mut stream).await;
    database.run(&format!("SELECT pg_replication_slot_advance('{name}', '{}')", end.as_str())).await;
    let rest = read_changes(&mut stream, 2 * ROWS - first.changes.len()).await;
    expect_rows(&rest, first.changes.len() + 1);
    database.run(&insert(2 * ROWS + 1, 2 * ROWS + 1)).await;
    expect_rows(&read_changes(&mut stream, 1).await, 2 * ROWS + 1);
    drop(stream);

    let database = Database::make(Version::Distribution).await;
    let source = wide(&database);
    let checkpoint = backlog(&database, &source).await;
    let name = &database.name;
    let mut stream = open(&source, &checkpoint).await;
    until("reading in pieces", async || catching_up(&database).await).await;
    database.run(&format!("SELECT pg_drop_replication_slot('{name}')")).await;
    let error = soon("the error", async {
        loop {
            if let Err(error) = stream.next().await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
}

#[tokio::test]
async fn a_server_that_refuses_is_streamed() {
    for version in VERSIONS {
        for refusal in [
            "REVOKE EXECUTE ON FUNCTION pg_copy_logical_replication_slot(name, name, boolean) FROM PUBLIC",
            "ALTER ROLE {0} SET temp_file_limit = '1MB'; ALTER ROLE {0} SET work_mem = '64kB'",
        ] {
            let database = Database::make(version).await;
            let config = database.role().await;
            let superuser = wide(&database);
            let checkpoint = backlog(&database, &superuser).await;
            let name = &database.name;
            database
                .run(&format!("ALTER ROLE {name} REPLICATION; GRANT SELECT ON solicitudes TO {name}"))
                .await;
            database.run(&refusal.replace("{0}", name)).await;
            let source = source(&config, &scope("public.solicitudes", &["numero", "notas"]));
            let mut stream = open(&source, &checkpoint).await;
            let streaming = format!(
                "SELECT count(*) FROM pg_stat_replication WHERE usename = '{name}' AND state <> 'startup'"
            );
            until("streaming", async || {
                database.client().await.query_one(&streaming, &[]).await.unwrap().get::<_, i64>(0) == 1
            })
            .await;
            expect_rows(&read_changes(&mut stream, 2 * ROWS).await, 1);
        }
    }
}

async fn cancel(database: &Database) {
    let sql = "SELECT count(pg_cancel_backend(active_pid)) FROM pg_replication_slots
                WHERE temporary AND database = current_database()";
    assert!(database.client().await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0);
}

#[tokio::test]
async fn a_statement_cancelled_between_transactions_goes_on_by_streaming() {
    let database = Database::make(Version::Distribution).await;
    let source = wide(&database);
    let checkpoint = backlog(&database, &source).await;
    let mut stream = open(&source, &checkpoint).await;
    let first = next(&mut stream).await;
    until("reading in pieces", async || catching_up(&database).await).await;
    cancel(&database).await;
    let rest = read_changes(&mut stream, 2 * ROWS - first.changes.len()).await;
    expect_rows(&rest, first.changes.len() + 1);
    assert!(!catching_up(&database).await);
}

#[tokio::test]
async fn a_statement_cancelled_within_a_large_transaction_ends_the_stream_and_the_next_one_streams() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = wide(&database);
    let (stream, checkpoint) = start(&source).await;
    drop(stream);
    database.run(&insert(1, 2 * ROWS)).await;
    let mut stream = open(&source, &checkpoint).await;
    let first = next(&mut stream).await;
    assert!(first.position.is_none());
    cancel(&database).await;
    let error = soon("the error", async {
        loop {
            if let Err(error) = stream.next().await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), SourceErrorKind::Busy, "{error}");
    drop(stream);
    let mut stream = open(&source, &checkpoint).await;
    expect_rows(&read_changes(&mut stream, 2 * ROWS).await, 1);
}
