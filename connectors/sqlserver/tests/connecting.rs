//! Connections: encrypted as asked, sent on, refused.

use std::io::Write;

use change::{Source, SourceErrorKind};
use sqlserver_connector::{SqlServerConfig, SqlServerSource, TlsMode};
use standin::{Action, Command, Encryption, Fault, Standin};

use crate::database::{by_hand, captured, config, present, scope};

fn encrypting(encryption: Encryption) -> Standin {
    let mut options = by_hand();
    options.encryption = encryption;
    captured(options)
}

async fn connects(config: SqlServerConfig) -> Result<(), (SourceErrorKind, String)> {
    let source = SqlServerSource::new(config, scope());
    let begun = source.begin(&change::Beginning::Present).await;
    begun.map(drop).map_err(|error| (error.kind(), error.to_string()))
}

#[tokio::test]
async fn each_mode_believes_as_much_as_it_says() {
    let server = encrypting(Encryption::On);
    let mut authority = tempfile::NamedTempFile::new().unwrap();
    authority.write_all(server.certificate_pem().as_bytes()).unwrap();
    let mut stranger = tempfile::NamedTempFile::new().unwrap();
    stranger.write_all(encrypting(Encryption::On).certificate_pem().as_bytes()).unwrap();
    let with = |tls: TlsMode, file: Option<&tempfile::NamedTempFile>, host: &str| SqlServerConfig {
        tls,
        tls_ca: file.map(|file| file.path().to_owned()),
        host: host.to_owned(),
        ..config(&server)
    };
    connects(with(TlsMode::Disable, None, "127.0.0.1")).await.unwrap();
    connects(with(TlsMode::Require, None, "127.0.0.1")).await.unwrap();
    connects(with(TlsMode::VerifyCa, Some(&authority), "127.0.0.1")).await.unwrap();
    connects(with(TlsMode::VerifyFull, Some(&authority), "localhost")).await.unwrap();
    for refused in [
        with(TlsMode::VerifyCa, Some(&stranger), "127.0.0.1"),
        with(TlsMode::VerifyFull, Some(&stranger), "localhost"),
        with(TlsMode::VerifyFull, None, "localhost"),
    ] {
        let (kind, told) = connects(refused).await.unwrap_err();
        assert_eq!(kind, SourceErrorKind::Tls, "{told}");
    }
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_that_was_to_be_encrypted_nor_the_other_way_round() {
    let plain = encrypting(Encryption::NotSupported);
    let (kind, told) =
        connects(SqlServerConfig { tls: TlsMode::Require, ..config(&plain) }).await.unwrap_err();
    assert_eq!(kind, SourceErrorKind::Tls);
    assert!(told.contains("nothing was sent in the clear"), "{told}");
    let strict = encrypting(Encryption::Required);
    let (kind, told) = connects(config(&strict)).await.unwrap_err();
    assert_eq!(kind, SourceErrorKind::Tls);
    assert!(told.contains("demands TLS"), "{told}");
    connects(SqlServerConfig { tls: TlsMode::Require, ..config(&strict) }).await.unwrap();
}

#[tokio::test]
async fn what_a_server_says_to_a_login_is_told_apart() {
    let server = encrypting(Encryption::On);
    let wrong = SqlServerConfig { password: "wrong".to_owned(), ..config(&server) };
    assert_eq!(connects(wrong).await.unwrap_err().0, SourceErrorKind::Authentication);
    for (number, kind) in [(4060, SourceErrorKind::Configuration), (40_613, SourceErrorKind::Busy)] {
        server.control(Command::Fault(Fault::once("", Action::RefuseLogin(number)))).unwrap();
        assert_eq!(connects(config(&server)).await.unwrap_err().0, kind, "{number}");
    }
    let nobody = SqlServerConfig { port: 1, ..config(&server) };
    let (kind, told) = connects(nobody).await.unwrap_err();
    assert_eq!(kind, SourceErrorKind::Unreachable);
    assert!(told.contains("nothing listens at 127.0.0.1:1"), "{told}");
}

#[tokio::test]
async fn a_reader_is_sent_on_to_the_replica_that_takes_readers() {
    let replica = encrypting(Encryption::On);
    let mut options = by_hand();
    options.read_only_route = Some(("127.0.0.1".to_owned(), replica.port()));
    let primary = captured(options);
    for tls in [TlsMode::Disable, TlsMode::Require] {
        let writer = SqlServerSource::new(SqlServerConfig { tls, ..config(&primary) }, scope());
        let reader = SqlServerConfig { tls, read_only: true, ..config(&primary) };
        let reader = SqlServerSource::new(reader, scope());
        let there = SqlServerSource::new(config(&replica), scope());
        assert_eq!(present(&reader).await.server, present(&there).await.server);
        assert_ne!(present(&writer).await.server, present(&there).await.server);
    }
}

#[tokio::test]
async fn something_else_that_answers_is_not_taken_for_a_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
        }
    });
    let server = encrypting(Encryption::On);
    let wrong = SqlServerConfig { port, ..config(&server) };
    assert_eq!(connects(wrong).await.unwrap_err().0, SourceErrorKind::Unreachable);
}
