//! Change data capture: what is captured, when, who may read it, and what is gone.

use standin::{Command, Standin};
use tiberius::AuthMethod;

use crate::support::{ENABLE, config, connect, error, numbers, options, rows, run, started, try_connect};

fn enabled() -> Standin {
    let server = started(options());
    server.sql("app", ENABLE).unwrap();
    server
}

const OPERATIONS: &str = "SELECT __$operation FROM cdc.dbo_solicitud_CT ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation";

#[tokio::test]
async fn updates_are_pairs_and_updates_of_a_key_are_deletion_and_insertion() {
    let server = enabled();
    let mut client = connect(server.port()).await;
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await;
    run(&mut client, "UPDATE solicitud SET estado = 2; UPDATE solicitud SET id = 10; DELETE FROM solicitud")
        .await;
    run(&mut client, "BEGIN TRAN; INSERT INTO solicitud VALUES (5, 'x', 1, NULL); ROLLBACK").await;
    assert_eq!(numbers(&mut client, OPERATIONS).await, [] as [i32; 0]);
    server.capture_now("app").unwrap();
    assert_eq!(numbers(&mut client, OPERATIONS).await, [2, 3, 4, 1, 2, 1]);
    let pair = "SELECT COUNT(DISTINCT __$seqval) FROM cdc.dbo_solicitud_CT WHERE __$operation IN (3, 4)";
    assert_eq!(numbers(&mut client, pair).await, [1]);
    let changed = "SELECT CAST(sys.fn_cdc_has_column_changed('dbo_solicitud', 'estado', __$update_mask) AS int)
        + 2 * CAST(sys.fn_cdc_is_bit_set(1, __$update_mask) AS int) FROM cdc.dbo_solicitud_CT WHERE __$operation = 4";
    assert_eq!(numbers(&mut client, changed).await, [1]);
    let mapped = "SELECT COUNT(*) FROM cdc.lsn_time_mapping WHERE tran_id <> 0x00";
    assert_eq!(numbers(&mut client, mapped).await, [4]);
}

#[tokio::test]
async fn transactions_are_ordered_by_their_commits_and_not_by_their_beginnings() {
    let server = enabled();
    let (mut one, mut two) = (connect(server.port()).await, connect(server.port()).await);
    run(&mut one, "BEGIN TRAN; INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await;
    run(&mut two, "INSERT INTO solicitud VALUES (2, 'b', 1, NULL)").await;
    server.capture_now("app").unwrap();
    run(&mut one, "COMMIT").await;
    server.capture_now("app").unwrap();
    assert_eq!(numbers(&mut one, "SELECT id FROM cdc.dbo_solicitud_CT ORDER BY __$start_lsn").await, [2, 1]);
}

#[tokio::test]
async fn the_function_answers_313_outside_of_what_there_is() {
    let server = enabled();
    let mut client = connect(server.port()).await;
    let before =
        rows(&mut client, "SELECT sys.fn_cdc_get_max_lsn(), sys.fn_cdc_get_min_lsn('dbo_solicitud')").await;
    assert!(
        before[0][0].contains("None") && before[0][1].contains("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"),
        "{before:?}"
    );
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await;
    server.capture_now("app").unwrap();
    let function = |from: &str, to: &str, option: &str| {
        format!(
            "SELECT __$operation FROM cdc.fn_cdc_get_all_changes_dbo_solicitud({from}, {to}, N'{option}')"
        )
    };
    let (low, high) = ("sys.fn_cdc_get_min_lsn('dbo_solicitud')", "sys.fn_cdc_get_max_lsn()");
    assert_eq!(numbers(&mut client, &function(low, high, "all")).await, [2]);
    for (from, to, option) in [
        ("0x00000000000000000001", high, "all"),
        (low, "sys.fn_cdc_increment_lsn(sys.fn_cdc_get_max_lsn())", "all"),
        (high, low, "all"),
        ("NULL", high, "all"),
        (low, high, "some"),
    ] {
        assert_eq!(error(&mut client, &function(from, to, option)).await, 313, "{from} {to} {option}");
    }
}

#[tokio::test]
async fn a_clean_up_moves_the_low_end_before_it_deletes() {
    let server = enabled();
    let mut client = connect(server.port()).await;
    for id in 1..=3 {
        run(&mut client, &format!("INSERT INTO solicitud VALUES ({id}, 'a', 1, NULL)")).await;
    }
    server.capture_now("app").unwrap();
    let below = "SELECT COUNT(*) FROM cdc.dbo_solicitud_CT WHERE __$start_lsn < sys.fn_cdc_get_min_lsn('dbo_solicitud')";
    assert_eq!(numbers(&mut client, below).await, [0]);
    let app = || "app".to_owned();
    // The last commit alone is kept; those of the same moment as the last stay with it.
    run(&mut client, "WAITFOR DELAY '00:00:00.050'; INSERT INTO solicitud VALUES (9, 'z', 1, NULL)").await;
    server.capture_now("app").unwrap();
    server.control(Command::CleanupLowWater { database: app(), retention_minutes: 0 }).unwrap();
    assert_eq!(numbers(&mut client, below).await, [3]);
    server.control(Command::CleanupDelete { database: app() }).unwrap();
    assert_eq!(numbers(&mut client, "SELECT id FROM cdc.dbo_solicitud_CT").await, [9]);
}

#[tokio::test]
async fn net_changes_are_one_row_for_each_key_that_is_not_what_it_was() {
    let server = enabled();
    let mut client = connect(server.port()).await;
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL), (2, 'b', 1, NULL)").await;
    server.capture_now("app").unwrap();
    run(
        &mut client,
        "DECLARE @x int; UPDATE solicitud SET estado = 2; UPDATE solicitud SET estado = 3 WHERE id = 1",
    )
    .await;
    run(&mut client, "DELETE FROM solicitud WHERE id = 2; INSERT INTO solicitud VALUES (3, 'c', 1, NULL)")
        .await;
    run(&mut client, "INSERT INTO solicitud VALUES (4, 'd', 1, NULL); DELETE FROM solicitud WHERE id = 4")
        .await;
    server.capture_now("app").unwrap();
    let net = "DECLARE @from binary(10) = (SELECT sys.fn_cdc_increment_lsn(MIN(__$start_lsn)) FROM cdc.dbo_solicitud_CT);
        SELECT 100 * id + 10 * __$operation + estado FROM
        cdc.fn_cdc_get_net_changes_dbo_solicitud(@from, sys.fn_cdc_get_max_lsn(), N'all') ORDER BY id";
    assert_eq!(numbers(&mut client, net).await, [143, 212, 321]);
}

#[tokio::test]
async fn idle_times_leave_rows_without_a_transaction() {
    let mut options = options();
    options.agent = true;
    options.idle_interval = std::time::Duration::from_millis(50);
    let server = started(options);
    server.sql("app", ENABLE).unwrap();
    let mut client = connect(server.port()).await;
    let idle = "SELECT COUNT(*) FROM cdc.lsn_time_mapping WHERE tran_id = 0x00";
    while numbers(&mut client, idle).await[0] < 3 {
        tokio::task::yield_now().await;
    }
    let last = "SELECT CASE WHEN MAX(start_lsn) = sys.fn_cdc_get_max_lsn() THEN 1 ELSE 0 END FROM cdc.lsn_time_mapping";
    assert_eq!(numbers(&mut client, last).await, [1]);
}

#[tokio::test]
async fn a_reader_needs_the_columns_and_the_gating_role() {
    let server = started(options());
    server
        .sql(
            "app",
            "EXEC sys.sp_cdc_enable_db;
             EXEC sys.sp_cdc_enable_table @source_schema = 'dbo', @source_name = 'solicitud', @role_name = 'lectores',
                 @captured_column_list = 'id, estado', @supports_net_changes = 0;
             CREATE LOGIN lee WITH PASSWORD = 'Pw-12345'; CREATE USER lee FOR LOGIN lee;
             INSERT INTO solicitud VALUES (1, 'a', 1, NULL)",
        )
        .unwrap();
    server.capture_now("app").unwrap();
    let mut config = config(server.port());
    config.authentication(AuthMethod::sql_server("lee", "Pw-12345"));
    let mut reader = try_connect(config).await.unwrap();
    let hidden =
        "SELECT CASE WHEN sys.fn_cdc_get_min_lsn('dbo_solicitud') = 0x00000000000000000000 THEN 1 ELSE 0 END";
    let function = "SELECT id FROM cdc.fn_cdc_get_all_changes_dbo_solicitud(sys.fn_cdc_get_max_lsn(), sys.fn_cdc_get_max_lsn(), 'all')";
    assert_eq!(numbers(&mut reader, hidden).await, [1]);
    assert_eq!(error(&mut reader, function).await, 229);
    server.sql("app", "GRANT SELECT ON dbo.solicitud (id, estado) TO lee").unwrap();
    assert_eq!(numbers(&mut reader, hidden).await, [1]);
    assert_eq!(error(&mut reader, "SELECT servicio FROM solicitud").await, 230);
    server.sql("app", "ALTER ROLE lectores ADD MEMBER lee").unwrap();
    assert_eq!(numbers(&mut reader, hidden).await, [0]);
    assert_eq!(numbers(&mut reader, function).await, [1]);
    assert_eq!(error(&mut reader, "SELECT * FROM cdc.change_tables").await, 229);
    assert_eq!(error(&mut reader, "SELECT * FROM sys.dm_server_services").await, 300);
    assert_eq!(error(&mut reader, "INSERT INTO solicitud VALUES (2, 'a', 1, NULL)").await, 229);
}

#[tokio::test]
async fn a_table_has_two_instances_and_a_dropped_one_is_208() {
    let server = enabled();
    let mut client = connect(server.port()).await;
    run(&mut client, "ALTER TABLE solicitud ADD extra int NULL").await;
    run(
        &mut client,
        "EXEC sys.sp_cdc_enable_table @source_schema = 'dbo', @source_name = 'solicitud', @role_name = NULL, @capture_instance = 'dos'",
    )
    .await;
    let third = "EXEC sys.sp_cdc_enable_table @source_schema = 'dbo', @source_name = 'solicitud', @role_name = NULL, @capture_instance = 'tres'";
    assert_eq!(error(&mut client, third).await, 22_962);
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL, 7)").await;
    server.capture_now("app").unwrap();
    assert_eq!(numbers(&mut client, "SELECT extra FROM cdc.dos_CT").await, [7]);
    assert_eq!(error(&mut client, "SELECT extra FROM cdc.dbo_solicitud_CT").await, 207);
    assert_eq!(numbers(&mut client, "SELECT COUNT(*) FROM cdc.ddl_history").await, [1]);
    run(&mut client, "EXEC sys.sp_cdc_disable_table 'dbo', 'solicitud', 'dbo_solicitud'").await;
    assert_eq!(error(&mut client, "SELECT * FROM cdc.dbo_solicitud_CT").await, 208);
    assert_eq!(numbers(&mut client, "SELECT extra FROM cdc.dos_CT").await, [7]);
    assert_eq!(error(&mut client, "TRUNCATE TABLE solicitud").await, 4711);
}

#[tokio::test]
async fn nothing_is_captured_while_the_agent_is_off_and_times_are_local() {
    let mut options = options();
    options.zone = "+09:00".to_owned();
    let server = started(options);
    server.sql("app", ENABLE).unwrap();
    let mut client = connect(server.port()).await;
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await;
    let status = "SELECT status FROM sys.dm_server_services WHERE servicename LIKE 'SQL Server Agent%'";
    assert_eq!(numbers(&mut client, status).await, [1]);
    assert_eq!(numbers(&mut client, OPERATIONS).await, [] as [i32; 0]);
    server.set_agent(true);
    assert_eq!(numbers(&mut client, status).await, [4]);
    while numbers(&mut client, OPERATIONS).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let ahead = "SELECT DATEDIFF(hour, SYSUTCDATETIME(), tran_end_time) FROM cdc.lsn_time_mapping WHERE tran_id <> 0x00";
    let hours = numbers(&mut client, ahead).await;
    assert!(hours == [9] || hours == [8], "{hours:?}");
}
