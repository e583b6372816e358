//! The publication: what is made, what of an existing one is refused, and that the mends mend.

use change::{Beginning, Severity, Source, SourceErrorKind};
use postgres_connector::PostgresSource;
use testbed::postgres::Version;

use crate::support::{Database, SOLICITUDES, VERSIONS, check, errors, finding, scope, solicitudes};

/// The columns that the publication lists, or all.
async fn published(database: &Database) -> String {
    let client = database.client().await;
    let sql = "SELECT coalesce(string_agg(c::text, ',' ORDER BY c), '') FROM pg_publication_tables t,
               unnest(t.attnames) c WHERE t.pubname = $1";
    client.query_one(sql, &[&database.name]).await.unwrap().get(0)
}

async fn begin(database: &Database, scope: &change::TableScope) -> Result<(), change::SourceError> {
    let source = PostgresSource::new(database.config(), scope.clone());
    source.begin(&Beginning::Present).await.map(drop)
}

#[tokio::test]
async fn it_lists_the_key_and_the_mapped_columns_and_the_application_goes_on_updating() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        begin(&database, &solicitudes()).await.unwrap();
        assert_eq!(published(&database).await, "estado,fecha_apertura,id,numero,servicio");
        database
            .run(
                "INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-01-01', 'x');
                 UPDATE solicitudes SET notas = 'y'; DELETE FROM solicitudes",
            )
            .await;
    }
}

#[tokio::test]
async fn under_replica_identity_full_it_lists_no_columns_and_the_application_goes_on_updating() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        database.run("ALTER TABLE solicitudes REPLICA IDENTITY FULL").await;
        begin(&database, &solicitudes()).await.unwrap();
        assert_eq!(published(&database).await, "estado,fecha_apertura,id,notas,numero,servicio");
        database
            .run(
                "INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-01-01', 'x');
                 UPDATE solicitudes SET notas = 'y'; DELETE FROM solicitudes",
            )
            .await;
    }
}

#[tokio::test]
async fn a_table_without_identity_is_refused_before_its_application_is_hurt() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run("CREATE TABLE solicitudes (numero text UNIQUE, estado text)").await;
        let scope = scope("solicitudes", &["numero", "estado"]);
        let found = check(&database.config(), &scope).await;
        let identity = finding(&found, "replica_identity");
        assert_eq!(identity.severity, Severity::Error);
        assert!(identity.why.contains("the application's own UPDATE"), "{identity:?}");
        let error = begin(&database, &scope).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
        database
            .run("INSERT INTO solicitudes VALUES ('A-1', 'X'); UPDATE solicitudes SET estado = 'Y'")
            .await;
    }
}

/// Makes a publication by hand, expects the fault, runs what is said to mend it, and expects none.
async fn mended(version: Version, publication: &str, fault: &str) {
    let database = Database::make(version).await;
    database.run(SOLICITUDES).await;
    database.run("CREATE TABLE otra (id int PRIMARY KEY)").await;
    database.run(&publication.replace("NOMBRE", &database.name)).await;
    let before = check(&database.config(), &solicitudes()).await;
    let found = finding(&before, "publication");
    assert_eq!(found.severity, Severity::Error, "{publication}: {found:?}");
    assert!(found.what.contains(fault), "{publication}: {found:?}");
    let error = begin(&database, &solicitudes()).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Configuration, "{error}");

    database.run(found.mend.as_ref().unwrap()).await;
    let after = check(&database.config(), &solicitudes()).await;
    assert!(errors(&after).is_empty(), "{publication}: {:#?}", errors(&after));
    begin(&database, &solicitudes()).await.unwrap();
    database
        .run(
            "INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-01-01', 'x');
             UPDATE solicitudes SET id = 2; DELETE FROM solicitudes",
        )
        .await;
}

#[tokio::test]
async fn what_an_existing_one_lacks_is_named_with_the_statement_that_mends_it() {
    for version in VERSIONS {
        mended(
            version,
            "CREATE PUBLICATION NOMBRE FOR TABLE otra",
            "does not publish \"public\".\"solicitudes\"",
        )
        .await;
        mended(
            version,
            "CREATE PUBLICATION NOMBRE FOR TABLE solicitudes WITH (publish = 'insert')",
            "does not publish update",
        )
        .await;
        mended(
            version,
            "CREATE PUBLICATION NOMBRE FOR TABLE solicitudes (id, numero, servicio)",
            "does not publish the mapped column estado, fecha_apertura",
        )
        .await;
        mended(
            version,
            "CREATE PUBLICATION NOMBRE FOR TABLE otra, solicitudes WHERE (id > 7)",
            "filters rows by (id > 7)",
        )
        .await;
        mended(
            version,
            "CREATE PUBLICATION NOMBRE FOR TABLE solicitudes (servicio, numero, estado, fecha_apertura)",
            "not \"id\", which its replica identity needs",
        )
        .await;
    }
}

#[tokio::test]
async fn one_that_publishes_everything_will_do() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        database.run(&format!("CREATE PUBLICATION {} FOR ALL TABLES", database.name)).await;
        begin(&database, &solicitudes()).await.unwrap();
    }
}

#[tokio::test]
async fn partitions_come_under_the_tables_own_name() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database
            .run(
                "CREATE TABLE solicitudes (id int, anio int, estado text, PRIMARY KEY (id, anio))
                   PARTITION BY RANGE (anio);
                 CREATE TABLE s_2024 PARTITION OF solicitudes FOR VALUES FROM (2024) TO (2025);
                 CREATE TABLE s_2025 PARTITION OF solicitudes FOR VALUES FROM (2025) TO (2026)",
            )
            .await;
        let scope = scope("solicitudes", &["id", "estado"]);
        database.run(&format!("CREATE PUBLICATION {} FOR TABLE solicitudes", database.name)).await;
        let found = check(&database.config(), &scope).await;
        let fault = finding(&found, "publication");
        assert!(fault.what.contains("under their own names"), "{fault:?}");
        database.run(fault.mend.as_ref().unwrap()).await;
        let found = check(&database.config(), &scope).await;
        assert!(errors(&found).is_empty(), "{:#?}", errors(&found));
        begin(&database, &scope).await.unwrap();

        database.run("ALTER TABLE s_2025 REPLICA IDENTITY NOTHING").await;
        let found = check(&database.config(), &scope).await;
        assert!(finding(&found, "replica_identity").what.contains("s_2025"), "{found:#?}");
    }
}
