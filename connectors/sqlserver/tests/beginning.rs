//! Where a connector without a checkpoint begins.

use change::{Beginning, Position, Source, SourceErrorKind};
use sqlserver_connector::SqlServerSource;

use crate::database::{
    DATABASE, ENABLE_DATABASE, by_hand, captured, changes, config, insert, present, run, scope, source,
    uncaptured,
};

#[tokio::test]
async fn what_is_missing_is_told_apart() {
    let server = uncaptured(by_hand());
    let begin = async |source: &SqlServerSource| source.begin(&Beginning::Present).await.unwrap_err();
    let error = begin(&source(&server)).await;
    assert_eq!(error.kind(), SourceErrorKind::Configuration);
    assert!(error.to_string().contains("not enabled in the database"), "{error}");
    run(&server, ENABLE_DATABASE);
    let error = begin(&source(&server)).await;
    assert_eq!(error.kind(), SourceErrorKind::Configuration);
    assert!(error.to_string().contains("has no capture instance"), "{error}");
    let mut other = scope();
    other.table = "dbo.Solicitudes".to_owned();
    let error = begin(&SqlServerSource::new(config(&server), other)).await;
    assert_eq!(error.kind(), SourceErrorKind::Schema);
    assert_eq!(error.hint(), Some("did you mean \"dbo.solicitudes\"?"));
    let mut other = scope();
    other.columns.push("Nota".to_owned());
    let error = begin(&SqlServerSource::new(config(&server), other)).await;
    assert_eq!(error.kind(), SourceErrorKind::Schema);
    assert_eq!(error.hint(), Some("did you mean \"nota\"?"));
}

#[tokio::test]
async fn a_login_without_rights_is_told_so() {
    let server = captured(by_hand());
    run(
        &server,
        "CREATE LOGIN lee WITH PASSWORD = 'Pw-12345'; CREATE USER lee FOR LOGIN lee; GRANT SELECT ON dbo.solicitudes TO lee",
    );
    let mut config = config(&server);
    config.user = "lee".to_owned();
    config.password = "Pw-12345".to_owned();
    let error = SqlServerSource::new(config, scope()).begin(&Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Permission, "{error}");
}

#[tokio::test]
async fn a_named_position_must_lie_within_what_is_kept() {
    let server = captured(by_hand());
    let source = source(&server);
    let first = present(&source).await;
    insert(&server, 1, 9);
    run(&server, "WAITFOR DELAY '00:00:00.050'");
    insert(&server, 2, 9);
    server.capture_now(DATABASE).unwrap();
    let named = source.begin(&Beginning::At(first.position.clone())).await.unwrap();
    assert!(named.snapshot.is_none() && named.checkpoint == first);
    let lower = Position::new(first.position.as_str().to_lowercase());
    assert_eq!(source.begin(&Beginning::At(lower)).await.unwrap().checkpoint, first);
    let mut stream = source.stream(&named.checkpoint).await.unwrap();
    assert_eq!(changes(&mut stream, 2).await.0.len(), 2);
    server.cleanup(DATABASE, 0).unwrap();
    for position in [first.position.as_str(), "0xFFFFFFFF000000000001", "0/16B3748"] {
        let error = source.begin(&Beginning::At(Position::new(position))).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Configuration, "{position}: {error}");
    }
}
