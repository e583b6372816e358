//! Reaching the server: every way in which it can go wrong says so.

use std::net::TcpListener;

use change::{Severity, Source, SourceError, SourceErrorKind};
use postgres_connector::{PostgresConfig, PostgresSource, TlsMode};
use testbed::postgres::{Options, Server, Version};

use crate::support::{Database, SOLICITUDES, check, finding, solicitudes};

async fn refusal(config: &PostgresConfig) -> SourceError {
    let source = PostgresSource::new(config.clone(), solicitudes());
    source.apply(&[]).await.unwrap_err()
}

#[tokio::test]
async fn a_refused_log_in_names_what_to_mend() {
    let database = Database::make(Version::Distribution).await;
    let right = database.config();
    for (config, kind, what) in [
        (
            PostgresConfig { password: Some("otra".to_owned()), ..right.clone() },
            SourceErrorKind::Authentication,
            "password authentication failed",
        ),
        (
            PostgresConfig { password: None, ..right.clone() },
            SourceErrorKind::Authentication,
            "as \"postgres\"",
        ),
        (
            PostgresConfig { database: "no_existe".to_owned(), ..right.clone() },
            SourceErrorKind::Configuration,
            "database \"no_existe\" does not exist",
        ),
    ] {
        let error = refusal(&config).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.hint().is_some(), "{error}");
        let inspection = check(&config, &solicitudes()).await;
        assert_eq!(finding(&inspection, "connection").severity, Severity::Error);
    }
}

#[tokio::test]
async fn an_unreachable_server_is_told_from_an_unknown_host_and_a_missing_socket() {
    let database = Database::make(Version::Distribution).await;
    let free_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (host, what) in [
        ("127.0.0.1", "nothing listens at"),
        ("no-existe.invalid", "host name \"no-existe.invalid\" is not known here"),
        ("/no/existe", "there is no server socket at"),
    ] {
        let config = PostgresConfig { host: host.to_owned(), port: free_port, ..database.config() };
        let error = refusal(&config).await;
        assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_answers_nothing_is_given_up_after_ten_seconds() {
    // Connections queue up here and nobody ever accepts one.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let database = Database::make(Version::Distribution).await;
    let config = PostgresConfig { port: silent.local_addr().unwrap().port(), ..database.config() };
    let error = refusal(&config).await;
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("no answer within 10 s"), "{error}");
}

#[tokio::test]
async fn the_servers_socket_serves_as_host_and_needs_no_tls() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let host = database.server.socket_dir().display().to_string();
    let config = PostgresConfig { host, tls: TlsMode::VerifyFull, ..database.config() };
    let inspection = check(&config, &solicitudes()).await;
    assert_eq!(finding(&inspection, "connection").severity, Severity::Pass);
    assert_eq!(finding(&inspection, "tls").severity, Severity::Pass);
    assert_eq!(finding(&inspection, "replication_connection").severity, Severity::Pass);
}

#[tokio::test]
async fn a_server_without_tls_is_never_spoken_to_in_the_clear() {
    let database = Database::make(Version::Distribution).await;
    for tls in [TlsMode::Require, TlsMode::VerifyFull] {
        let error = refusal(&PostgresConfig { tls, ..database.config() }).await;
        assert_eq!(error.kind(), SourceErrorKind::Tls, "{error}");
        assert!(error.to_string().contains("does not offer TLS"), "{error}");
    }
}

#[tokio::test]
async fn tls_is_checked_as_far_as_the_mode_says() {
    let server = Server::start(Options::new(Version::Distribution).without_fsync().with_tls());
    let server: &'static Server = Box::leak(Box::new(server.unwrap_or_else(|error| panic!("{error}"))));
    let database = Database::on(server).await;
    database.run(SOLICITUDES).await;
    let ca = server.tls_ca().map(std::path::Path::to_path_buf);
    let with = |tls, tls_ca| PostgresConfig { tls, tls_ca, ..database.config() };

    for host in ["127.0.0.1", "localhost"] {
        let config = PostgresConfig { host: host.to_owned(), ..with(TlsMode::VerifyFull, ca.clone()) };
        let inspection = check(&config, &solicitudes()).await;
        let tls = finding(&inspection, "tls");
        assert_eq!(tls.severity, Severity::Pass, "{tls:?}");
        assert!(tls.what.contains("TLSv1.3"), "{tls:?}");
        assert_eq!(finding(&inspection, "replication_connection").severity, Severity::Pass);
    }
    let inspection = check(&with(TlsMode::Require, None), &solicitudes()).await;
    assert_eq!(finding(&inspection, "tls").severity, Severity::Warning);
    let error = refusal(&with(TlsMode::VerifyCa, None)).await;
    assert_eq!(error.kind(), SourceErrorKind::Tls, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("tls_ca")), "{error}");
    server.stop_fast().unwrap();
}

#[tokio::test]
async fn the_line_that_pg_hba_lacks_is_given_so_that_it_works() {
    let server = Server::start(Options::new(Version::Distribution).without_fsync());
    let server: &'static Server = Box::leak(Box::new(server.unwrap_or_else(|error| panic!("{error}"))));
    let database = Database::on(server).await;
    database.run(SOLICITUDES).await;
    let config = database.role().await;
    let file = server.data_dir().join("pg_hba.conf");
    let admits = "host all postgres 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(&file, admits).unwrap();
    server.set(&[]).await.unwrap();

    let error = refusal(&config).await;
    assert_eq!(error.kind(), SourceErrorKind::Authentication, "{error}");
    let (_, line) = error.hint().unwrap().split_once("pg_reload_conf(): ").unwrap();
    std::fs::write(&file, format!("{line}\n{admits}")).unwrap();
    server.set(&[]).await.unwrap();
    // Logical replication is admitted by the same line.
    database.run(&format!("ALTER ROLE {} REPLICATION", config.user)).await;
    let found = check(&config, &solicitudes()).await;
    assert_eq!(finding(&found, "connection").severity, Severity::Pass);
    assert_eq!(finding(&found, "replication_connection").severity, Severity::Pass);
    server.stop_fast().unwrap();
}
