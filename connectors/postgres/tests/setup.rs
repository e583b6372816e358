//! What `setup` prints is enough, and no more than enough.

use change::{Beginning, Severity, Source, SourceErrorKind, Statement};
use postgres_connector::{PostgresConfig, PostgresSource};
use testbed::postgres::{Options, Server, Version};

use crate::support::{Database, SOLICITUDES, VERSIONS, check, errors, finding, solicitudes};

async fn statements(config: &PostgresConfig) -> Vec<Statement> {
    PostgresSource::new(config.clone(), solicitudes()).setup().await.unwrap()
}

async fn run_all(database: &Database, statements: &[Statement]) {
    for statement in statements {
        database.run(&statement.sql).await;
    }
}

#[tokio::test]
async fn a_role_that_does_not_exist_yet_gets_everything_it_needs_and_no_more() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        let config = database.config_of(&format!("rol_{}", database.name), "una clave");
        let printed = statements(&config).await;
        assert!(printed.iter().all(|statement| !statement.sql.contains("una clave")));
        run_all(&database, &printed).await;

        let found = check(&config, &solicitudes()).await;
        assert!(errors(&found).is_empty(), "{:#?}", errors(&found));
        assert_eq!(finding(&found, "replication_connection").severity, Severity::Pass);
        assert_eq!(statements(&config).await, []);
        let source = PostgresSource::new(config.clone(), solicitudes());
        drop(source.begin(&Beginning::Present).await.unwrap());

        let role = database.server.config(&database.name).user(&config.user).password("una clave").clone();
        let (client, connection) = role.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let refused = client.query("SELECT notas FROM public.solicitudes", &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501");
    }
}

#[tokio::test]
async fn a_role_that_exists_gets_only_what_is_missing() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run("CREATE SCHEMA \"Ventanilla.Unica\"").await;
        database
            .run(
                "CREATE TABLE \"Ventanilla.Unica\".\"Solicitudes\" (\"Id\" int PRIMARY KEY, \"Número\" text,
                   \"Estado d'hoy\" text, \"Notas\" text)",
            )
            .await;
        let config = database.role().await;
        let scope = crate::support::scope("\"Ventanilla.Unica\".Solicitudes", &["Número", "Estado d'hoy"]);
        let source = PostgresSource::new(config.clone(), scope.clone());
        let printed = source.setup().await.unwrap();
        let sql: Vec<&str> = printed.iter().map(|statement| statement.sql.as_str()).collect();
        let name = &database.name;
        assert_eq!(
            sql,
            [
                format!("GRANT USAGE ON SCHEMA \"Ventanilla.Unica\" TO \"{name}\""),
                format!(
                    "GRANT SELECT (\"Id\", \"Número\", \"Estado d'hoy\") ON \
                     \"Ventanilla.Unica\".\"Solicitudes\" \
                     TO \"{name}\""
                ),
                format!(
                    "CREATE PUBLICATION \"{name}\" FOR TABLE \"Ventanilla.Unica\".\"Solicitudes\" (\"Id\", \
                     \"Número\", \"Estado d'hoy\") WITH (publish = 'insert, update, delete, truncate', \
                     publish_via_partition_root = true)"
                ),
                format!("ALTER ROLE \"{name}\" REPLICATION"),
            ]
        );
        let refused = source.apply(&printed).await.unwrap_err();
        assert_eq!(refused.kind(), SourceErrorKind::Permission, "{refused}");

        let found = check(&config, &scope).await;
        let codes: Vec<&str> = errors(&found).iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["replication_right", "schema_usage", "select", "sample", "publication"]);
        run_all(&database, &printed).await;
        let found = check(&config, &scope).await;
        assert!(errors(&found).is_empty(), "{:#?}", errors(&found));
        assert_eq!(source.setup().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_server_that_does_not_log_rows_is_told_how_to() {
    let options = Options::new(Version::Distribution).without_fsync().setting("wal_level", "replica");
    let options = options.setting("max_replication_slots", "0").setting("max_wal_senders", "1");
    let options = options.setting("max_prepared_transactions", "2");
    let server: &'static Server =
        Box::leak(Box::new(Server::start(options).unwrap_or_else(|error| panic!("{error}"))));
    let database = Database::on(server).await;
    database.run(SOLICITUDES).await;
    let found = check(&database.config(), &solicitudes()).await;
    let codes: Vec<&str> = errors(&found).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["wal_level", "max_replication_slots"]);

    database.run("BEGIN; CREATE TABLE olvidada (id int); PREPARE TRANSACTION 'olvidada'").await;
    let prepared = check(&database.config(), &solicitudes()).await;
    assert!(finding(&prepared, "prepared_transactions").what.contains("\"olvidada\" since"));
    database.run("ROLLBACK PREPARED 'olvidada'").await;

    let source = PostgresSource::new(database.config(), solicitudes());
    source.apply(&source.setup().await.unwrap()).await.unwrap();
    server.set(&[]).await.unwrap();
    let waiting = check(&database.config(), &solicitudes()).await;
    let level = finding(&waiting, "wal_level");
    assert!(level.what.contains("until the server restarts"), "{level:?}");
    server.restart().unwrap();
    let found = check(&database.config(), &solicitudes()).await;
    assert!(errors(&found).is_empty(), "{:#?}", errors(&found));
    server.stop_fast().unwrap();
}
