//! Isolation, blocking, deadlocks, savepoints, and what is left after a kill.

use std::path::Path;

use standin::{Command, Options, Process};

use crate::support::{TABLE, connect, error, numbers, options, run, started};

#[tokio::test]
async fn a_snapshot_sees_its_first_read_and_not_what_came_after() {
    let server = started(options());
    let (mut one, mut two) = (connect(server.port()).await, connect(server.port()).await);
    run(&mut one, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await;
    run(&mut two, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT").await;
    assert_eq!(error(&mut two, "SELECT id FROM solicitud").await, 3952);
    run(&mut one, "ALTER DATABASE app SET ALLOW_SNAPSHOT_ISOLATION ON").await;
    run(&mut two, "BEGIN TRAN").await;
    // The version is fixed by the first read and not by BEGIN.
    run(&mut one, "UPDATE solicitud SET estado = 2").await;
    let read = "SELECT CAST(estado AS int) FROM solicitud";
    assert_eq!(numbers(&mut two, read).await, [2]);
    run(&mut one, "UPDATE solicitud SET estado = 3; INSERT INTO solicitud VALUES (2, 'b', 9, NULL)").await;
    run(&mut one, "DELETE FROM solicitud WHERE id = 1").await;
    assert_eq!(numbers(&mut two, read).await, [2]);
    assert_eq!(error(&mut two, "UPDATE solicitud SET estado = 7 WHERE id = 1").await, 3960);
    assert_eq!(numbers(&mut two, "SELECT @@TRANCOUNT").await, [0]);
    assert_eq!(numbers(&mut two, read).await, [9]);
}

#[tokio::test]
async fn a_changed_row_is_waited_for_and_a_circle_has_a_victim() {
    let server = started(options());
    let (mut one, mut two) = (connect(server.port()).await, connect(server.port()).await);
    run(&mut one, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL), (2, 'b', 1, NULL)").await;
    run(&mut one, "BEGIN TRAN; UPDATE solicitud SET estado = 5 WHERE id = 1").await;
    run(&mut two, "SET LOCK_TIMEOUT 100").await;
    let read = "SELECT CAST(estado AS int) FROM solicitud WHERE id = 1";
    assert_eq!(error(&mut two, read).await, 1222);
    assert_eq!(
        numbers(&mut two, "SELECT CAST(estado AS int) FROM solicitud WITH (NOLOCK) WHERE id = 1").await,
        [5]
    );
    // Another writer commits meanwhile: transactions overlap.
    run(&mut two, "UPDATE solicitud SET estado = 6 WHERE id = 2; SET LOCK_TIMEOUT -1; BEGIN TRAN; UPDATE solicitud SET estado = 8 WHERE id = 2").await;
    let blocked = tokio::spawn(async move {
        let number = error(&mut one, "UPDATE solicitud SET estado = 9 WHERE id = 2").await;
        run(&mut one, "IF @@TRANCOUNT > 0 COMMIT").await;
        number
    });
    let number = error(&mut two, "UPDATE solicitud SET estado = 9 WHERE id = 1").await;
    run(&mut two, "IF @@TRANCOUNT > 0 COMMIT").await;
    let verdicts = [number, blocked.await.unwrap()];
    assert!(verdicts == [0, 1205] || verdicts == [1205, 0], "{verdicts:?}");
}

#[tokio::test]
async fn savepoints_and_rollbacks_take_back_what_came_after_them() {
    let server = started(options());
    let mut client = connect(server.port()).await;
    run(&mut client, "BEGIN TRAN; INSERT INTO solicitud VALUES (1, 'a', 1, NULL); SAVE TRAN s").await;
    run(
        &mut client,
        "DELETE FROM solicitud; INSERT INTO solicitud VALUES (2, 'b', 1, NULL); ROLLBACK TRAN s; COMMIT",
    )
    .await;
    assert_eq!(numbers(&mut client, "SELECT id FROM solicitud").await, [1]);
    run(&mut client, "BEGIN TRAN; UPDATE solicitud SET estado = 2; ROLLBACK").await;
    assert_eq!(numbers(&mut client, "SELECT CAST(estado AS int) FROM solicitud").await, [1]);
    // A connection that ends takes its transaction with it.
    run(&mut client, "BEGIN TRAN; DELETE FROM solicitud").await;
    drop(client);
    let mut client = connect(server.port()).await;
    assert_eq!(numbers(&mut client, "SELECT id FROM solicitud").await, [1]);
}

#[tokio::test]
async fn a_kill_loses_what_was_open_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut chosen: Options = options();
    chosen.dir = Some(dir.path().to_owned());
    let binary = Path::new(env!("CARGO_BIN_EXE_standin"));
    let mut process = Process::start(binary, &chosen).unwrap();
    let sql =
        |database: &str, text: &str| Command::Sql { database: database.to_owned(), text: text.to_owned() };
    process.control(&sql("master", "CREATE DATABASE app")).unwrap();
    process.control(&sql("app", TABLE)).unwrap();
    process.control(&sql("app", crate::support::ENABLE)).unwrap();
    let mut client = connect(process.port()).await;
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await;
    run(
        &mut client,
        "BEGIN TRAN; INSERT INTO solicitud VALUES (2, 'b', 1, NULL); UPDATE solicitud SET estado = 7",
    )
    .await;
    process.kill().unwrap();
    let process = Process::start(binary, &chosen).unwrap();
    process.control(&Command::CaptureNow { database: "app".to_owned() }).unwrap();
    let mut client = connect(process.port()).await;
    assert_eq!(numbers(&mut client, "SELECT CAST(estado AS int) FROM solicitud").await, [1]);
    assert_eq!(numbers(&mut client, "SELECT __$operation FROM cdc.dbo_solicitud_CT").await, [2]);
    // What comes after the kill has higher numbers than all before.
    run(&mut client, "INSERT INTO solicitud VALUES (3, 'c', 1, NULL)").await;
    process.control(&Command::CaptureNow { database: "app".to_owned() }).unwrap();
    let ids = "SELECT id FROM cdc.dbo_solicitud_CT ORDER BY __$start_lsn";
    assert_eq!(numbers(&mut client, ids).await, [1, 3]);
}

#[tokio::test]
async fn an_older_copy_is_another_fork_of_the_same_database() {
    let server = started(options());
    let mut client = connect(server.port()).await;
    let fork = "SELECT recovery_fork_guid FROM sys.database_recovery_status WHERE database_id = DB_ID()";
    let before = crate::support::rows(&mut client, fork).await;
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await;
    server.backup("app", &copy).unwrap();
    run(&mut client, "INSERT INTO solicitud VALUES (2, 'b', 1, NULL)").await;
    server.control(Command::Restore { database: "app".to_owned(), from: copy }).unwrap();
    assert_ne!(error(&mut client, "SELECT id FROM solicitud").await, 0);
    let mut client = connect(server.port()).await;
    assert_eq!(numbers(&mut client, "SELECT id FROM solicitud").await, [1]);
    assert_ne!(crate::support::rows(&mut client, fork).await, before);
}

#[tokio::test]
async fn a_trigger_works_in_the_transaction_of_what_it_fires_for() {
    let server = started(options());
    server
        .sql(
            "app",
            "CREATE TABLE historia (n int IDENTITY PRIMARY KEY, id int NOT NULL, estado tinyint NOT NULL)",
        )
        .unwrap();
    let trigger = "CREATE TRIGGER anotar ON solicitud AFTER INSERT, UPDATE AS
        BEGIN
            SET NOCOUNT ON;
            IF CONTEXT_INFO() IS NOT NULL RETURN;
            INSERT INTO historia (id, estado)
            SELECT i.id, i.estado FROM inserted i LEFT JOIN deleted d ON d.id = i.id
            WHERE d.id IS NULL OR d.estado <> i.estado ORDER BY i.id;
        END";
    assert!(server.sql("app", &format!("SELECT 1; {trigger}")).is_err(), "it must come first");
    server.sql("app", trigger).unwrap();
    let mut client = connect(server.port()).await;
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL), (2, 'it''s', 1, NULL)").await;
    run(&mut client, "UPDATE solicitud SET nota = 'x'; UPDATE solicitud SET estado = id").await;
    run(&mut client, "BEGIN TRAN; UPDATE solicitud SET estado = 9; ROLLBACK").await;
    run(&mut client, "BEGIN TRAN; SAVE TRAN s; UPDATE solicitud SET estado = 8; ROLLBACK TRAN s; COMMIT")
        .await;
    run(&mut client, "SET CONTEXT_INFO 0x01; UPDATE solicitud SET estado = 7").await;
    let history = "SELECT 10 * id + estado FROM historia ORDER BY n";
    assert_eq!(numbers(&mut client, history).await, [11, 21, 22]);
    // What fails in a trigger takes the transaction with it.
    server.sql("app", "CREATE TRIGGER fallar ON solicitud FOR DELETE AS INSERT INTO historia (id) SELECT id FROM deleted").unwrap();
    run(&mut client, "BEGIN TRAN; UPDATE solicitud SET nota = 'y'").await;
    assert_eq!(error(&mut client, "DELETE FROM solicitud WHERE id = 1").await, 515);
    assert_eq!(
        numbers(&mut client, "SELECT @@TRANCOUNT + count(*) FROM solicitud WHERE nota = 'x'").await,
        [2]
    );
    server.sql("app", "DROP TRIGGER fallar; DELETE FROM solicitud").unwrap();
}

#[tokio::test]
async fn a_table_that_is_locked_against_changes_is_changed_by_nobody() {
    let server = started(options());
    let (mut one, mut two) = (connect(server.port()).await, connect(server.port()).await);
    let lock = "SET LOCK_TIMEOUT 50; BEGIN TRAN; SELECT TOP (1) id FROM solicitud WITH (TABLOCK, HOLDLOCK)";
    run(
        &mut one,
        "INSERT INTO solicitud VALUES (1, 'a', 1, NULL); BEGIN TRAN; UPDATE solicitud SET estado = 2",
    )
    .await;
    // It is granted when no transaction that has changed the table is open.
    assert_eq!(error(&mut two, lock).await, 1222);
    run(&mut two, "ROLLBACK").await;
    run(&mut one, "COMMIT; SET LOCK_TIMEOUT 50").await;
    run(&mut two, lock).await;
    for change in ["UPDATE solicitud SET estado = 3", "INSERT INTO solicitud VALUES (2, 'b', 1, NULL)"] {
        assert_eq!(error(&mut one, change).await, 1222, "{change}");
    }
    assert_eq!(numbers(&mut one, "SELECT CAST(estado AS int) FROM solicitud").await, [2]);
    run(&mut two, "COMMIT").await;
    run(&mut one, "DELETE FROM solicitud").await;
}
