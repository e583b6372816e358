//! What `check` finds of table, slot and rows.

use change::{Beginning, Position, Row, Severity, Source, SourceErrorKind, TableScope, Value};
use postgres_connector::PostgresSource;
use testbed::postgres::Version;

use crate::support::{Database, SOLICITUDES, VERSIONS, check, errors, finding, scope, solicitudes};

#[tokio::test]
async fn a_name_that_is_nearly_right_is_answered_with_the_right_one() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let found = check(&database.config(), &scope("public.Solicitud", &["numero"])).await;
    let table = finding(&found, "table");
    assert_eq!(table.severity, Severity::Error);
    assert!(table.mend.as_ref().unwrap().contains("\"public.solicitudes\""), "{table:?}");

    let found = check(&database.config(), &scope("solicitudes", &["Numero", "fecha_aprtura"])).await;
    let mends: Vec<&str> = errors(&found).iter().filter_map(|finding| finding.mend.as_deref()).collect();
    assert_eq!(mends.len(), 2, "{found:#?}");
    assert!(mends[0].contains("did you mean \"numero\"?"), "{mends:?}");
    assert!(mends[1].contains("did you mean \"fecha_apertura\"?"), "{mends:?}");
}

#[tokio::test]
async fn only_tables_that_are_logged_are_taken() {
    let database = Database::make(Version::Distribution).await;
    database
        .run(
            "CREATE UNLOGGED TABLE sin_registro (id int PRIMARY KEY);
             CREATE VIEW vista AS SELECT 1 AS id;
             CREATE MATERIALIZED VIEW copia AS SELECT 1 AS id;
             CREATE FOREIGN DATA WRAPPER nada; CREATE SERVER lejos FOREIGN DATA WRAPPER nada;
             CREATE FOREIGN TABLE ajena (id int) SERVER lejos",
        )
        .await;
    for (table, what) in [
        ("sin_registro", "an unlogged table"),
        ("vista", "a view"),
        ("copia", "a materialized view"),
        ("ajena", "a foreign table"),
        ("pg_catalog.pg_class", "a system table"),
    ] {
        let column = if table.starts_with("pg_") { "oid" } else { "id" };
        let scope = scope(table, &[column]);
        let found = check(&database.config(), &scope).await;
        let kind = finding(&found, "table");
        assert_eq!(kind.severity, Severity::Error, "{table}: {kind:?}");
        assert!(kind.what.contains(what), "{table}: {kind:?}");
        let source = PostgresSource::new(database.config(), scope);
        assert!(source.begin(&Beginning::Present).await.unwrap_err().to_string().contains(what));
    }
}

#[tokio::test]
async fn a_generated_column_is_taken_from_version_18_on() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database
            .run(
                "CREATE TABLE solicitudes (id int PRIMARY KEY, a int, estado int GENERATED ALWAYS AS (a + \
                 1) STORED)",
            )
            .await;
        let scope = scope("solicitudes", &["id", "estado"]);
        let found = check(&database.config(), &scope).await;
        if database.server.major() < 18 {
            let generated = finding(&found, "generated_column");
            assert_eq!(generated.severity, Severity::Error);
        } else {
            assert!(errors(&found).is_empty(), "{:#?}", errors(&found));
            let source = PostgresSource::new(database.config(), scope);
            drop(source.begin(&Beginning::Present).await.unwrap());
        }
    }
}

#[tokio::test]
async fn rows_hidden_by_a_policy_make_the_copy_fail_and_the_check_say_so() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        let config = database.role().await;
        database
            .run(&format!(
                "ALTER TABLE solicitudes ENABLE ROW LEVEL SECURITY; GRANT SELECT ON solicitudes TO {0};
                 ALTER ROLE {0} REPLICATION",
                config.user
            ))
            .await;
        let found = check(&config, &solicitudes()).await;
        let hidden = finding(&found, "row_security");
        assert_eq!(hidden.severity, Severity::Error);
        let sample = finding(&found, "sample");
        assert!(sample.what.contains("row-level security"), "{sample:?}");
        database.run(hidden.mend.as_ref().unwrap()).await;
        let found = check(&config, &solicitudes()).await;
        assert!(errors(&found).iter().all(|finding| finding.code == "publication"), "{found:#?}");
    }
}

#[tokio::test]
async fn the_sample_reads_as_the_log_will_whatever_the_database_prefers() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database
            .run(&format!(
                "ALTER DATABASE {} SET DateStyle = 'German'; ALTER DATABASE {0} SET TimeZone = \
                 'America/Santo_Domingo';
                 CREATE TYPE estado AS ENUM ('RECIBIDA', 'APROBADA'); CREATE DOMAIN folio AS bigint;
                 CREATE TABLE \"Solicitudes\" (\"Folio\" folio PRIMARY KEY, estado estado, abierta timestamp,
                   cambiada timestamptz, dia date, activa boolean, clase char(5));
                 INSERT INTO \"Solicitudes\" VALUES (7, 'APROBADA', '2024-02-29 13:14:15.25',
                   '2024-02-29 13:14:15+00', '1970-01-11', true, 'AB');
                 INSERT INTO \"Solicitudes\" VALUES (8, NULL, 'infinity', NULL, NULL, false, '')",
                database.name
            ))
            .await;
        let columns = ["Folio", "estado", "abierta", "cambiada", "dia", "activa", "clase"];
        let found = check(&database.config(), &scope("Solicitudes", &columns)).await;
        let moment = 1_709_212_455_000_000;
        assert_eq!(
            found.samples.concat(),
            [
                Row::new(vec![
                    Value::Int(7),
                    Value::text("APROBADA"),
                    Value::Local(moment + 250_000),
                    Value::Instant(moment),
                    Value::Date(10),
                    Value::Bool(true),
                    Value::text("AB"),
                ]),
                Row::new(vec![
                    Value::Int(8),
                    Value::Null,
                    Value::Unusable("infinity".into()),
                    Value::Null,
                    Value::Null,
                    Value::Bool(false),
                    Value::text(""),
                ]),
            ]
        );
    }
}

#[tokio::test]
async fn the_sample_of_a_large_table_is_small_and_the_same_each_time() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    database
        .run(
            "INSERT INTO solicitudes SELECT i, 'LIC', i, 'RECIBIDA', '2024-01-01', repeat('x', 100)
               FROM generate_series(1, 20000) i; ANALYZE solicitudes",
        )
        .await;
    let first = check(&database.config(), &solicitudes()).await.samples.concat();
    assert_eq!(first.len(), 20);
    assert_eq!(first, check(&database.config(), &solicitudes()).await.samples.concat());
}

#[tokio::test]
async fn a_wide_value_in_a_mapped_column_is_warned_about() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', repeat('x', 3000), '2024-01-01')").await;
    let found = check(&database.config(), &solicitudes()).await;
    let wide = finding(&found, "wide_column");
    assert_eq!(wide.severity, Severity::Warning);
    assert!(wide.what.contains("\"estado\"") && wide.what.contains("3000 bytes"), "{wide:?}");
    database.run(wide.mend.as_ref().unwrap()).await;
}

#[tokio::test]
async fn requests_that_nothing_keeps_apart_are_warned_about() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let apart = |columns: &[&str]| TableScope {
        apart_by: columns.iter().map(|column| (*column).to_owned()).collect(),
        ..solicitudes()
    };
    let found = check(&database.config(), &apart(&["servicio", "estado"])).await;
    let warned = finding(&found, "request_id");
    assert_eq!(warned.severity, Severity::Warning);
    let mend = warned.mend.as_ref().unwrap().strip_prefix("if it is meant to be unique: ").unwrap();
    database.run(mend).await;
    for columns in [["servicio", "estado"], ["servicio", "numero"]] {
        let found = check(&database.config(), &apart(&columns)).await;
        assert_eq!(finding(&found, "request_id").severity, Severity::Pass, "{columns:?}");
    }
    // Parents, and rows that are status changes.
    let found = check(&database.config(), &solicitudes()).await;
    assert!(found.findings.iter().all(|finding| finding.code != "request_id"));
}

#[tokio::test]
async fn a_slot_that_belongs_to_something_else_is_left_alone() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        let other = Database::make(version).await;
        database.run(SOLICITUDES).await;
        other
            .run(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", database.name))
            .await;
        let found = check(&database.config(), &solicitudes()).await;
        let slot = finding(&found, "slot");
        assert_eq!(slot.severity, Severity::Error);
        assert!(slot.what.contains(&format!("belongs to database \"{}\"", other.name)), "{slot:?}");
        other.run(&format!("SELECT pg_drop_replication_slot('{}')", database.name)).await;
    }
}

#[tokio::test]
async fn what_a_new_slot_would_wait_for_is_named() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let config = database.role().await;
    let quiet = check(&database.config(), &solicitudes()).await;
    let slot = finding(&quiet, "slot");
    assert!(slot.what.contains("will be made"), "{slot:?}");
    assert!(quiet.findings.iter().all(|finding| finding.code != "open_transactions"));

    let writer = database.client().await;
    writer.batch_execute("BEGIN; CREATE TABLE larga (id int)").await.unwrap();
    let pid: i32 = writer.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let found = check(&config, &solicitudes()).await;
    let open = finding(&found, "open_transactions");
    assert_eq!(open.severity, Severity::Warning);
    assert!(open.what.contains(&format!("process {pid} of \"postgres\" for an unknown time")), "{open:?}");
    writer.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn the_log_held_back_is_counted_and_a_missing_slot_keeps_nothing() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        let source = PostgresSource::new(database.config(), solicitudes());
        let anywhere = Position::new("0/0");
        let before = source.retention(&anywhere).await.unwrap();
        assert_eq!(before.left, Some(std::time::Duration::ZERO));
        assert_eq!(before.kept_bytes, None);
        drop(source.begin(&Beginning::Present).await.unwrap());
        database
            .run(
                "INSERT INTO solicitudes SELECT i, 'LIC', i, 'RECIBIDA', '2024-01-01', repeat('x', 100)
                   FROM generate_series(1, 10000) i",
            )
            .await;
        let after = source.retention(&anywhere).await.unwrap();
        assert!(after.kept_bytes.unwrap() > 1_000_000, "{after:?}");
        assert_eq!(after.left, None);
        let found = check(&database.config(), &solicitudes()).await;
        assert_eq!(finding(&found, "slot_log").severity, Severity::Pass);
    }
}

#[tokio::test]
async fn a_parent_of_which_a_row_could_have_two_is_refused_until_its_key_is_unique() {
    let database = Database::make(Version::Distribution).await;
    // An index of some rows only, and one of more columns, keep nobody apart.
    database
        .run(
            "CREATE TABLE padres (id int PRIMARY KEY, numero text, region text, UNIQUE (region, numero));
             CREATE UNIQUE INDEX ON padres (numero) WHERE region = 'norte'",
        )
        .await;
    let scope = TableScope {
        parent_keys: vec![vec!["id".to_owned()], vec!["numero".to_owned()]],
        apart_by: Vec::new(),
        ..scope("padres", &["id", "numero", "region"])
    };
    let source = PostgresSource::new(database.config(), scope.clone());
    let found = check(&database.config(), &scope).await;
    let refused = finding(&found, "parent_key");
    assert_eq!(refused.severity, Severity::Error, "{refused:?}");
    assert!(refused.what.contains("(\"numero\")"), "{refused:?}");
    let error = source.begin(&Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
    database.run(refused.mend.as_deref().unwrap()).await;
    assert_eq!(finding(&check(&database.config(), &scope).await, "parent_key").severity, Severity::Pass);
    drop(source.begin(&Beginning::Present).await.unwrap());
}
