//! What is taken away again, and what is left alone.

use change::{Beginning, Source, SourceErrorKind};
use postgres_connector::PostgresSource;

use crate::support::{Database, SOLICITUDES, VERSIONS, solicitudes};

#[tokio::test]
async fn slot_and_publication_go_and_nothing_else() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        let source = PostgresSource::new(database.config(), solicitudes());
        assert_eq!(source.removal().await.unwrap().statements, [], "before anything was made");
        drop(source.begin(&Beginning::Present).await.unwrap());

        let removal = source.removal().await.unwrap();
        let name = &database.name;
        let sql: Vec<&str> = removal.statements.iter().map(|statement| statement.sql.as_str()).collect();
        let expected =
            [format!("SELECT pg_drop_replication_slot('{name}')"), format!("DROP PUBLICATION \"{name}\"")];
        assert_eq!(sql, expected);
        assert!(removal.statements[1].why.ends_with(": public.solicitudes"), "{:?}", removal.statements);
        source.apply(&removal.statements).await.unwrap();
        assert_eq!(source.removal().await.unwrap().statements, []);
        let left = "SELECT count(*)::int FROM pg_replication_slots WHERE slot_name = current_database()";
        let left: i32 = database.client().await.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn a_slot_that_is_read_and_one_of_another_kind_are_left_alone() {
    let database = Database::make(VERSIONS[0]).await;
    database.run(SOLICITUDES).await;
    let source = PostgresSource::new(database.config(), solicitudes());
    let begun = source.begin(&Beginning::Present).await.unwrap();
    let stream = source.stream(&begun.checkpoint).await.unwrap();
    let error = source.removal().await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Busy, "{error}");
    drop(stream);

    let other = Database::make(VERSIONS[0]).await;
    let name = &other.name;
    other.run(&format!("SELECT pg_create_physical_replication_slot('{name}')")).await;
    other.run(&format!("CREATE PUBLICATION {name} FOR ALL TABLES")).await;
    let removal = PostgresSource::new(other.config(), solicitudes()).removal().await.unwrap();
    assert_eq!(removal.statements, []);
    let stays: Vec<&str> = removal.remains.iter().map(|statement| statement.sql.as_str()).collect();
    assert!(stays.contains(&format!("DROP PUBLICATION \"{name}\"").as_str()), "{stays:?}");
    other.run(&format!("SELECT pg_drop_replication_slot('{name}')")).await;
}
