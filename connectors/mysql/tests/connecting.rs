//! Logging in: encryption, ways to prove a password, and readers that are in each other's way.

use change::{Beginning, ChangeStream, Source, SourceErrorKind};
use mysql_connector::{MysqlConfig, MysqlSource, TlsMode};
use testbed::mysql::{Options, Product, Server};

use crate::database::{Database, PRODUCTS, SOLICITUDES, read_rows, scope, soon};

async fn begin(config: MysqlConfig) -> Result<change::Checkpoint, change::SourceError> {
    let source = MysqlSource::new(config, scope("solicitudes", &["id"]));
    let mut begun = soon("a beginning", source.begin(&Beginning::Present)).await?;
    if let Some(copy) = &mut begun.snapshot {
        read_rows(copy).await;
    }
    Ok(begun.checkpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_of_tls_holds_what_it_promises() {
    for product in PRODUCTS {
        let server = Server::start(Options::new(product).with_tls().without_fsync()).unwrap();
        let database = Database::on(Box::leak(Box::new(server))).await;
        database.run(&[SOLICITUDES]).await;
        let ca = database.server.tls_ca();
        let with = |tls, tls_ca| MysqlConfig { tls, tls_ca, ..database.config() };
        begin(with(TlsMode::Disable, None)).await.unwrap();
        begin(with(TlsMode::Require, None)).await.unwrap();
        for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
            begin(with(mode, ca.clone())).await.unwrap();
            let error = begin(with(mode, None)).await.unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Tls, "{product} {mode}: {error}");
        }
        database.server.stop().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_proved_in_the_way_that_the_server_asks_for() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let ways = match product {
            // Without TLS the first log-in goes through the server's public key, the second through its cache.
            Product::MySql => vec!["IDENTIFIED WITH caching_sha2_password BY 'clave ñ'"],
            Product::MariaDb => vec!["IDENTIFIED VIA mysql_native_password USING PASSWORD('clave ñ')"],
        };
        for (number, way) in ways.into_iter().enumerate() {
            let user = format!("{}_{number}", database.name);
            database
                .run(&[
                    &format!("CREATE USER `{user}`@`%` {way}"),
                    &format!("GRANT ALL ON *.* TO `{user}`@`%`"),
                ])
                .await;
            begin(database.config_of(&user, "clave ñ")).await.unwrap();
            begin(database.config_of(&user, "clave ñ")).await.unwrap();
            let error = begin(database.config_of(&user, "otra")).await.unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Authentication, "{product}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reader_with_the_same_number_is_named_as_the_reason() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let config = MysqlConfig { server_id: Some(77), ..database.config() };
        let checkpoint = begin(config.clone()).await.unwrap();
        let source = MysqlSource::new(config, scope("solicitudes", &["id"]));
        let mut first = soon("a stream", source.stream(&checkpoint)).await.unwrap();
        // It must be read before it can be in anybody's way.
        database.run(&["INSERT INTO solicitudes VALUES (1, 'a', '1', 'RECIBIDA', '2024-01-01', NULL)"]).await;
        while soon("a change", first.next()).await.unwrap().changes.is_empty() {}
        let mut second = soon("a stream", source.stream(&checkpoint)).await.unwrap();
        while soon("a change", second.next()).await.unwrap().changes.is_empty() {}
        let error = loop {
            if let Err(error) = soon("an end", first.next()).await {
                break error;
            }
        };
        assert!(
            matches!(error.kind(), SourceErrorKind::Configuration | SourceErrorKind::Unreachable),
            "{product}: {error}"
        );
        if product == Product::MySql {
            assert!(error.hint().unwrap_or_default().contains("server_id"), "{product}: {error}");
        }
    }
}
