//! Slots: made, given up, in use, lost.

use std::process::{Child, Stdio};
use std::sync::Arc;

use change::{
    Beginning, ChangeStream, Checkpoint, Position, ServerIdentity, Source, SourceError, SourceErrorKind,
};
use testbed::postgres::{Options, Server, Version};

use crate::capture::{begin, read_changes, soon, source, start, until};
use crate::support::{Database, SOLICITUDES, VERSIONS, solicitudes};

async fn refusal(source: &impl Source, checkpoint: &Checkpoint) -> SourceError {
    match soon("opening the stream", source.stream(checkpoint)).await {
        Ok(_) => panic!("the stream was opened"),
        Err(error) => error,
    }
}

async fn count(database: &Database, from: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {from}");
    database.client().await.query_one(&sql, &[]).await.unwrap().get(0)
}

async fn slots(database: &Database) -> i64 {
    count(database, &format!("pg_replication_slots WHERE slot_name = '{}'", database.name)).await
}

#[tokio::test]
async fn a_slot_that_was_dropped_moved_or_belongs_to_another_server_is_a_lost_log() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        let source = source(&database.config(), &solicitudes());
        let checkpoint = begin(&source, Beginning::Present).await.checkpoint;

        let text = checkpoint.server.as_str().replace("system=", "system=1");
        let other = Checkpoint { server: ServerIdentity::new(text), ..checkpoint.clone() };
        let error = refusal(&source, &other).await;
        assert_eq!(error.kind(), SourceErrorKind::LostLog);
        assert!(error.to_string().contains("another server answers"), "{error}");

        let text = checkpoint.server.as_str().replace("timeline=1", "timeline=2");
        let later = Checkpoint { server: ServerIdentity::new(text), ..checkpoint.clone() };
        assert!(refusal(&source, &later).await.to_string().contains("later timeline 2"));

        let beyond = Checkpoint { position: Position::new("FFFF/0"), ..checkpoint.clone() };
        let error = refusal(&source, &beyond).await;
        assert_eq!(error.kind(), SourceErrorKind::LostLog);
        assert!(error.to_string().contains("before the checkpoint FFFF/0"), "{error}");

        database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
        let name = &database.name;
        database.run(&format!("SELECT pg_replication_slot_advance('{name}', pg_current_wal_lsn())")).await;
        let error = refusal(&source, &checkpoint).await;
        assert_eq!(error.kind(), SourceErrorKind::LostLog);
        assert!(error.to_string().contains("past the checkpoint"), "{error}");

        database.run(&format!("SELECT pg_drop_replication_slot('{name}')")).await;
        let error = refusal(&source, &checkpoint).await;
        assert_eq!(error.kind(), SourceErrorKind::LostLog);
        assert!(error.to_string().contains("does not exist any more"), "{error}");
    }
}

#[tokio::test]
async fn a_slot_whose_log_was_removed_is_a_lost_log() {
    for version in VERSIONS {
        let options = Options::new(version).without_fsync().setting("max_slot_wal_keep_size", "1MB");
        let options = options.setting("min_wal_size", "32MB").setting("max_wal_size", "32MB");
        let server: &'static Server = Box::leak(Box::new(Server::start(options).unwrap()));
        let database = Database::on(server).await;
        database.run(SOLICITUDES).await;
        let source = source(&database.config(), &solicitudes());
        let checkpoint = begin(&source, Beginning::Present).await.checkpoint;
        until("the removal of the log", async || {
            database
                .run("CREATE TABLE IF NOT EXISTS r (a int); INSERT INTO r SELECT generate_series(1, 99)")
                .await;
            database.run("SELECT pg_switch_wal()").await;
            database.run("CHECKPOINT").await;
            count(&database, "pg_replication_slots WHERE wal_status = 'lost'").await == 1
        })
        .await;
        assert_eq!(refusal(&source, &checkpoint).await.kind(), SourceErrorKind::LostLog);
        // Beginning anew gives the lost slot up.
        let begun = begin(&source, Beginning::Anew).await;
        assert!(begun.snapshot.is_some());
        soon("opening the stream", source.stream(&begun.checkpoint)).await.unwrap();
        server.stop_fast().unwrap();
    }
}

#[tokio::test]
async fn a_slot_in_use_names_its_reader_and_is_left_alone() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let (mut stream, checkpoint) = start(&source).await;
    let error = refusal(&source, &checkpoint).await;
    assert_eq!(error.kind(), SourceErrorKind::Busy);
    assert!(error.to_string().contains("application \"bitacora\""), "{error}");
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    read_changes(&mut stream, 1).await;
}

/// A reader of the slot that is stopped in its tracks.
struct FrozenReader(Child);

impl FrozenReader {
    async fn start(database: &Database, application: &str) -> Self {
        let mut command = database.server.program("pg_recvlogical");
        command.args(["-d", &database.name, "--slot", &database.name, "--start", "-f", "-", "--no-loop"]);
        command.args(["-o", "proto_version=1", "-o", &format!("publication_names={}", database.name)]);
        command.env("PGAPPNAME", application).stdout(Stdio::null()).stderr(Stdio::null());
        let reader = Self(command.spawn().unwrap());
        let active = format!("pg_replication_slots WHERE slot_name = '{}' AND active", database.name);
        until("the start of pg_recvlogical", async || count(database, &active).await == 1).await;
        let stopped = std::process::Command::new("kill").args(["-STOP", &reader.0.id().to_string()]).status();
        assert!(stopped.unwrap().success());
        reader
    }
}

impl Drop for FrozenReader {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn our_own_stale_reader_is_ended_and_nobody_elses() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let checkpoint = begin(&source, Beginning::Present).await.checkpoint;
    let other = FrozenReader::start(&database, "otro_programa").await;
    let error = refusal(&source, &checkpoint).await;
    assert_eq!(error.kind(), SourceErrorKind::Busy);
    assert!(error.to_string().contains("application \"otro_programa\""), "{error}");
    drop(other);
    let active = format!("pg_replication_slots WHERE slot_name = '{}' AND active", database.name);
    until("the end of the other reader", async || count(&database, &active).await == 0).await;
    let ours = FrozenReader::start(&database, "bitacora").await;
    let mut stream = soon("opening the stream", source.stream(&checkpoint)).await.unwrap();
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    read_changes(&mut stream, 1).await;
    drop(ours);
}

#[tokio::test]
async fn making_a_slot_that_nobody_waits_for_any_more_is_given_up() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let blocker = database.client().await;
    blocker
        .batch_execute("BEGIN; INSERT INTO solicitudes VALUES (1, 'L', 'A', 'R', '2024-05-01', 'x')")
        .await
        .unwrap();
    let source = Arc::new(source(&database.config(), &solicitudes()));
    database.run(&format!("CREATE PUBLICATION {} FOR TABLE solicitudes", database.name)).await;
    let waiting = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.begin(&Beginning::Present).await.map(|begun| begun.checkpoint) }
    });
    let walsenders = "pg_stat_activity WHERE datname = current_database() AND backend_type = 'walsender'
                      AND wait_event = 'transactionid'";
    until("the wait for the open transaction", async || count(&database, walsenders).await == 1).await;
    waiting.abort();
    until("the end of the wait", async || count(&database, walsenders).await == 0).await;
    assert_eq!(slots(&database).await, 0);
    blocker.batch_execute("COMMIT").await.unwrap();
    begin(&source, Beginning::Present).await;
    assert_eq!(slots(&database).await, 1);
}

#[tokio::test]
async fn a_named_position_needs_a_slot_that_reaches_back_to_it() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let at = Beginning::At(Position::new("0/1000"));
    let error = source.begin(&at).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Configuration);
    assert!(error.to_string().contains("does not exist"), "{error}");
    let checkpoint = begin(&source, Beginning::Present).await.checkpoint;
    let error = source.begin(&at).await.unwrap_err();
    assert!(error.to_string().contains("only, not since 0/1000"), "{error}");
    let begun = begin(&source, Beginning::At(checkpoint.position.clone())).await;
    assert_eq!(begun.checkpoint, checkpoint);
    let error = source.begin(&Beginning::At(Position::new("FFFF/0"))).await.unwrap_err();
    assert!(error.to_string().contains("before FFFF/0"), "{error}");
}

#[tokio::test]
async fn a_slot_of_another_kind_is_not_touched() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let name = &database.name;
    database.run(&format!("SELECT pg_create_physical_replication_slot('{name}')")).await;
    let error = source(&database.config(), &solicitudes()).begin(&Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Configuration);
    assert!(error.to_string().contains("is physical, expected logical"), "{error}");
    database.run(&format!("SELECT pg_drop_replication_slot('{name}')")).await;
}

#[tokio::test]
async fn a_publication_that_lost_the_table_is_told_before_streaming() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let checkpoint = begin(&source, Beginning::Present).await.checkpoint;
    database.run(&format!("ALTER PUBLICATION {} DROP TABLE solicitudes", database.name)).await;
    let error = refusal(&source, &checkpoint).await;
    assert_eq!(error.kind(), SourceErrorKind::Configuration);
    assert!(error.hint().unwrap().contains("ALTER PUBLICATION"), "{error}");
}

#[tokio::test]
async fn changes_older_than_their_publication_are_a_lost_log() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let checkpoint = begin(&source, Beginning::Present).await.checkpoint;
    let name = &database.name;
    database.run(&format!("DROP PUBLICATION {name}")).await;
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    // Opening makes the publication again, which does not help what happened before.
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let error = soon("the error", async {
        loop {
            if let Err(error) = stream.next().await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), SourceErrorKind::LostLog);
    assert!(error.to_string().contains("did not exist yet"), "{error}");
}

#[tokio::test]
async fn a_crash_of_the_server_loses_nothing() {
    let server = Server::start(Options::new(Version::Distribution)).unwrap();
    let server: &'static Server = Box::leak(Box::new(server));
    let database = Database::on(server).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let (mut stream, checkpoint) = start(&source).await;
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    let read = read_changes(&mut stream, 1).await;
    server.kill().unwrap();
    let error = soon("the error", async {
        loop {
            if let Err(error) = stream.next().await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error}");
    assert_eq!(refusal(&source, &checkpoint).await.kind(), SourceErrorKind::Unreachable);
    server.restart().unwrap();
    database.run("INSERT INTO solicitudes VALUES (2, 'LIC', 'A-2', 'RECIBIDA', '2024-05-01', 'x')").await;
    let stored = Checkpoint { position: read.position.unwrap(), ..checkpoint };
    let mut stream = soon("opening the stream again", source.stream(&stored)).await.unwrap();
    let read = read_changes(&mut stream, 1).await;
    assert!(crate::capture::brief(&read.changes[0]).contains("A-2"));
    server.stop_fast().unwrap();
}

#[tokio::test]
async fn an_orderly_stop_of_the_server_does_not_wait_for_us() {
    let server = Server::start(Options::new(Version::Distribution).without_fsync()).unwrap();
    let server: &'static Server = Box::leak(Box::new(server));
    let database = Database::on(server).await;
    database.run(SOLICITUDES).await;
    let (mut stream, _) = start(&source(&database.config(), &solicitudes())).await;
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    // Nothing is acknowledged, as when the ledger's disk is full.
    let stopping = tokio::task::spawn_blocking(|| server.stop_fast().unwrap());
    let error = soon("the end of the stream", async {
        loop {
            if let Err(error) = stream.next().await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error}");
    soon("the server's stop", stopping).await.unwrap();
}
