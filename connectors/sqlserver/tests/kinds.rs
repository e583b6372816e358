//! Servers of other kinds: older ones, those of Azure, those whose Windows speaks Spanish.

use change::{Beginning, Finding, Severity, Source, SourceErrorKind};
use sqlserver_connector::{SqlServerConfig, SqlServerSource};
use standin::{Action, Command, Fault, Standin};

use crate::capturing::reader;
use crate::database::{
    DATABASE, PASSWORD, by_hand, captured, changes, config, insert, options, pages, present, run, scope,
    source, told,
};

fn found<'a>(findings: &'a [Finding], code: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.code == code).unwrap_or_else(|| panic!("no {code}: {findings:?}"))
}

fn as_lee(server: &Standin) -> SqlServerSource {
    let lee = SqlServerConfig { user: "lee".to_owned(), password: "Pw-12345".to_owned(), ..config(server) };
    SqlServerSource::new(lee, scope())
}

/// On Azure DB_ID() is not what `sys.databases` has, and there are no agent, no `msdb` and no recovery fork to ask for.
#[tokio::test]
async fn a_database_of_azure_is_checked_copied_and_followed() {
    let mut azure = by_hand();
    azure.edition = "SQL Azure".to_owned();
    let server = captured(azure);
    run(&server, "ALTER DATABASE tramites SET ALLOW_SNAPSHOT_ISOLATION ON");
    insert(&server, 1, 9);
    server.capture_now(DATABASE).unwrap();
    let source = source(&server);
    let findings = source.check(0).await.findings;
    let wrong: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(findings.iter().all(|finding| !["agent", "capture_job"].contains(&finding.code)), "{findings:?}");
    let begun = source.begin(&Beginning::Present).await.unwrap();
    assert!(begun.snapshot.is_some());
    let mut stream = source.stream(&begun.checkpoint).await.unwrap();
    insert(&server, 2, 9);
    server.capture_now(DATABASE).unwrap();
    let (seen, _) = changes(&mut stream, 1).await;
    assert_eq!(told(&seen)[0].1, "A-2");
    assert!(source.retention(&begun.checkpoint.position).await.unwrap().left.is_some());
}

/// The statements go nowhere else, and need no login.
#[tokio::test]
async fn what_setup_prints_for_azure_is_run_in_the_database_alone() {
    let mut azure = by_hand();
    azure.edition = "SQL Azure".to_owned();
    let server = captured(azure);
    run(&server, "ALTER DATABASE tramites SET ALLOW_SNAPSHOT_ISOLATION ON");
    run(&server, "CREATE USER lee WITH PASSWORD = 'Pw-12345'");
    let source = as_lee(&server);
    let statements = source.setup().await.unwrap();
    assert!(statements.iter().all(|statement| !statement.sql.contains("USE ")), "{statements:?}");
    for statement in statements {
        run(&server, &statement.sql.replace("<password>", PASSWORD));
    }
    let left = source.setup().await.unwrap();
    assert!(left.iter().all(|statement| statement.sql.contains("sp_cdc_change_job")), "{left:?}");
    assert!(source.begin(&Beginning::Present).await.unwrap().snapshot.is_some());
}

#[tokio::test]
async fn a_change_table_from_before_commands_were_numbered_is_read_all_the_same() {
    let mut old = by_hand();
    old.without_command_ids = true;
    let server = captured(old);
    let source = source(&server);
    let checkpoint = present(&source).await;
    run(
        &server,
        "BEGIN TRAN; INSERT INTO dbo.solicitudes VALUES (1, 'A-1', 9, '2024-05-01', NULL); \
         UPDATE dbo.solicitudes SET estado = 3 WHERE id = 1; DELETE FROM dbo.solicitudes WHERE id = 1; COMMIT",
    );
    insert(&server, 2, 9);
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (seen, _) = changes(&mut stream, 4).await;
    let statuses: Vec<_> = told(&seen).into_iter().map(|(_, _, before, after)| (before, after)).collect();
    assert_eq!(statuses, [(None, Some(9)), (Some(9), Some(3)), (Some(3), None), (None, Some(9))]);
}

/// As on 2016 with its first service pack, which has no such function.
#[tokio::test]
async fn a_server_that_does_not_tell_where_its_log_ends_is_copied_in_pages() {
    let server = captured(options());
    run(&server, "ALTER DATABASE tramites SET ALLOW_SNAPSHOT_ISOLATION ON");
    insert(&server, 1, 9);
    server
        .control(Command::Fault(Fault::once("dm_db_log_stats", Action::Fail(208)).times(u32::MAX)))
        .unwrap();
    let source = source(&server);
    let findings = source.check(0).await.findings;
    let finding = found(&findings, "log_end");
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.mend.as_deref().unwrap().contains("service packs"), "{finding:?}");
    assert!(source.begin(&Beginning::Present).await.unwrap().snapshot.is_none());
}

/// The right to look at the server is what it takes: the database's alone will not do.
#[tokio::test]
async fn a_login_that_may_not_ask_where_the_log_ends_is_told_the_right() {
    let server = captured(options());
    reader(&server);
    run(&server, "GRANT VIEW DATABASE STATE TO lee");
    let source = as_lee(&server);
    let finding = found(&source.check(0).await.findings, "log_end").clone();
    assert_eq!(finding.severity, Severity::Warning);
    run(&server, &finding.mend.unwrap());
    assert_eq!(found(&source.check(0).await.findings, "log_end").severity, Severity::Pass);
}

/// The jobs are in another database, where a login is a guest without rights.
#[tokio::test]
async fn the_jobs_are_seen_with_the_right_that_check_names() {
    let server = captured(options());
    reader(&server);
    let source = as_lee(&server);
    let position = present(&source).await.position;
    assert_eq!(source.retention(&position).await.unwrap().left, None);
    let finding = found(&source.check(0).await.findings, "capture_job").clone();
    assert_eq!(finding.severity, Severity::Warning);
    run(&server, &finding.mend.unwrap());
    assert_eq!(found(&source.check(0).await.findings, "capture_job").severity, Severity::Pass);
    assert!(source.retention(&position).await.unwrap().left.is_some());
}

#[tokio::test]
async fn an_agent_whose_service_has_a_spanish_name_is_found() {
    let mut spanish = options();
    spanish.agent_service = "Agente SQL Server (MSSQLSERVER)".to_owned();
    let server = captured(spanish);
    let source = source(&server);
    assert_eq!(found(&source.check(0).await.findings, "agent").severity, Severity::Pass);
    server.set_agent(false);
    let findings = source.check(0).await.findings;
    let stopped = found(&findings, "agent");
    assert!(stopped.severity == Severity::Error && stopped.what.contains("stopped"), "{stopped:?}");
}

/// A server that takes nothing but strict encryption ends a connection that begins otherwise.
#[tokio::test]
async fn a_server_that_hangs_up_at_once_may_demand_strict_encryption_and_check_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let server = captured(by_hand());
    let source = SqlServerSource::new(SqlServerConfig { port, ..config(&server) }, scope());
    let error = source.begin(&Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unreachable);
    let findings = source.check(0).await.findings;
    let mend = found(&findings, "connection").mend.clone().unwrap();
    assert!(mend.contains("strict"), "{mend}");
}

#[tokio::test]
async fn about_how_many_rows_there_are_is_told_before_they_are_copied() {
    let server = captured(options());
    for id in 0..7 {
        insert(&server, id, 9);
    }
    run(&server, "CREATE INDEX por_estado ON dbo.solicitudes (estado)");
    let source = source(&server);
    assert_eq!(source.begin(&Beginning::Present).await.unwrap().rows_estimate, Some(7));
    let rows: usize =
        pages(&source, &change::SnapshotPlan::OnePass).await.iter().map(|page| page.rows.len()).sum();
    assert_eq!(rows, 7);
}
