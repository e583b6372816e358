//! What the stream tells of what happens to the table.

use change::{Beginning, ChangeStream, SnapshotPlan, Source, SourceErrorKind, TableScope, Value};
use postgres_connector::{PostgresConfig, TlsMode};
use testbed::postgres::{Options, Server, Version};

use crate::capture::{
    begin, brief, briefs, log_end, next, read_changes, read_past, read_rows, soon, source, start, text, until,
};
use crate::support::{Database, SOLICITUDES, VERSIONS, scope, solicitudes};

async fn confirmed(database: &Database) -> String {
    let sql = format!(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{}'",
        database.name
    );
    database.client().await.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn changes_arrive_in_order_and_rolled_back_work_does_not() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        let scope = TableScope { keys: true, ..solicitudes() };
        let source = source(&database.config(), &scope);
        let (mut stream, _) = start(&source).await;
        database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
        database.run("BEGIN; UPDATE solicitudes SET estado = 'PERDIDA'; ROLLBACK").await;
        database
            .run(
                "BEGIN; UPDATE solicitudes SET estado = 'APROBADA', notas = 'y';
                 SAVEPOINT a; UPDATE solicitudes SET estado = 'PERDIDA'; ROLLBACK TO a;
                 UPDATE solicitudes SET id = 7; DELETE FROM solicitudes; COMMIT",
            )
            .await;
        let read = read_changes(&mut stream, 4).await;
        assert_eq!(
            briefs(&read),
            [
                "insert after LIC|A-1|RECIBIDA|Date(19844) key 1",
                "update after LIC|A-1|APROBADA|Date(19844) key 1",
                "update after LIC|A-1|APROBADA|Date(19844) key 7 old key 1",
                "delete key 7",
            ]
        );
        let (first, last) = (&read.changes[0].transaction, &read.changes[3].transaction);
        assert!(first.committed_at <= last.committed_at && first.position != last.position);
        assert!(source.covers(read.position.as_ref().unwrap(), &last.position).unwrap());
    }
}

#[tokio::test]
async fn the_row_before_is_told_only_under_full_identity() {
    let database = Database::make(Version::Distribution).await;
    database.run(&format!("{SOLICITUDES}; ALTER TABLE solicitudes REPLICA IDENTITY FULL")).await;
    let (mut stream, _) = start(&source(&database.config(), &solicitudes())).await;
    database
        .run(
            "INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x');
             UPDATE solicitudes SET estado = 'APROBADA'; DELETE FROM solicitudes",
        )
        .await;
    assert_eq!(
        briefs(&read_changes(&mut stream, 3).await),
        [
            "insert after LIC|A-1|RECIBIDA|Date(19844)",
            "update before LIC|A-1|RECIBIDA|Date(19844) after LIC|A-1|APROBADA|Date(19844)",
            "delete before LIC|A-1|APROBADA|Date(19844)",
        ]
    );
}

#[tokio::test]
async fn a_wide_value_that_did_not_change_is_not_null() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database
            .run(
                "CREATE TABLE anchas (id int PRIMARY KEY, estado text, anexo text);
                 ALTER TABLE anchas ALTER COLUMN anexo SET STORAGE EXTERNAL;
                 INSERT INTO anchas VALUES (1, 'a', repeat('x', 10000))",
            )
            .await;
        let (mut stream, _) =
            start(&source(&database.config(), &scope("public.anchas", &["anexo", "estado"]))).await;
        database.run("UPDATE anchas SET estado = 'b'; UPDATE anchas SET anexo = NULL").await;
        let read = read_changes(&mut stream, 2).await;
        assert_eq!(briefs(&read), ["update after unchanged|b", "update after null|b"]);
    }
}

#[tokio::test]
async fn every_mapped_type_reads_the_same_whatever_the_server_is_set_to() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database
            .run(&format!(
                "ALTER DATABASE {0} SET datestyle = 'German'; ALTER DATABASE {0} SET timezone = 'America/Caracas';
                 ALTER DATABASE {0} SET client_encoding = 'LATIN1'; ALTER DATABASE {0} SET intervalstyle = 'iso_8601';
                 CREATE TYPE fase AS ENUM ('RECIBIDA', 'EN PROCESO');
                 CREATE DOMAIN codigo AS varchar(12) CHECK (VALUE <> '');
                 CREATE DOMAIN momento AS timestamptz;
                 CREATE TABLE \"Trámites\" (
                   \"Id\" uuid PRIMARY KEY, f fase, c codigo, m momento, i int, b bigint, s smallint, n numeric(10, 2),
                   t timestamp, z timestamptz, d date, v varchar, h char(6), l boolean, infinito timestamp)",
                database.name
            ))
            .await;
        let columns = ["Id", "f", "c", "m", "i", "b", "s", "n", "t", "z", "d", "v", "h", "l", "infinito"];
        let source = source(&database.config(), &scope("public.Trámites", &columns));
        let (mut stream, _) = start(&source).await;
        database
            .run(
                "SET timezone = 'UTC'; INSERT INTO \"Trámites\" VALUES ('6F9619FF-8B86-D011-B42D-00C04FC964FF', 'EN PROCESO',
                 'LIC-1', '1970-01-01 00:00:01+00', -1, 9007199254740993, 3, 10.50, '1970-01-01 00:00:00.000001',
                 '1970-01-02 00:00:00-04', '1970-01-03', 'ñandú', 'AB', true, 'infinity')",
            )
            .await;
        let expected = [
            Value::text("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
            Value::text("EN PROCESO"),
            Value::text("LIC-1"),
            Value::Instant(1_000_000),
            Value::Int(-1),
            Value::Int(9_007_199_254_740_993),
            Value::Int(3),
            Value::text("10.50"),
            Value::Local(1),
            Value::Instant(100_800_000_000),
            Value::Date(2),
            Value::text("ñandú"),
            Value::text("AB"),
            Value::Bool(true),
            Value::Unusable("infinity".into()),
        ];
        let streamed = read_changes(&mut stream, 1).await.changes.remove(0).after.unwrap();
        assert_eq!(streamed.cells(), expected);
        drop(stream);
        let mut copy = begin(&source, Beginning::Anew).await.snapshot.unwrap();
        assert_eq!(read_rows(&mut copy).await, [streamed]);
    }
}

#[tokio::test]
async fn a_truncation_is_told_and_deletes_nothing() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let (mut stream, _) = start(&source).await;
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    database.run("TRUNCATE solicitudes").await;
    let end = log_end(&database.client().await).await;
    let read = read_past(&source, &mut stream, &end).await;
    assert_eq!((read.changes.len(), read.truncations), (1, 1));
}

const PARTITIONED: &str = "
    CREATE TABLE pedidos (id int, zona text, estado text, PRIMARY KEY (id, zona)) PARTITION BY LIST (zona);
    CREATE TABLE pedidos_norte PARTITION OF pedidos FOR VALUES IN ('norte')";

#[tokio::test]
async fn partitions_are_their_table_even_when_attached_while_streaming() {
    for (version, via_root) in VERSIONS.into_iter().flat_map(|version| [(version, true), (version, false)]) {
        let database = Database::make(version).await;
        database.run(PARTITIONED).await;
        database
            .run(&format!(
                "CREATE TABLE ajenos (id int PRIMARY KEY, zona text, estado text);
                 CREATE PUBLICATION {} FOR TABLE pedidos, ajenos WITH (publish_via_partition_root)",
                database.name
            ))
            .await;
        let scope = TableScope { keys: true, ..scope("public.pedidos", &["id", "estado"]) };
        let (mut stream, _) = start(&source(&database.config(), &scope)).await;
        let name = &database.name;
        database
            .run(&format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = {via_root})"))
            .await;
        database.run("INSERT INTO ajenos VALUES (9, 'norte', 'ajeno')").await;
        database.run("INSERT INTO pedidos VALUES (1, 'norte', 'a')").await;
        // Attached with its columns in another order, as tables made elsewhere often are.
        database
            .run(
                "CREATE TABLE pedidos_sur (estado text, zona text NOT NULL, id int NOT NULL, PRIMARY KEY (id, zona));
                 ALTER TABLE pedidos ATTACH PARTITION pedidos_sur FOR VALUES IN ('sur')",
            )
            .await;
        database.run("INSERT INTO pedidos VALUES (2, 'sur', 'b')").await;
        let read = read_changes(&mut stream, 2).await;
        assert_eq!(briefs(&read), ["insert after 1|a key 1, norte", "insert after 2|b key 2, sur"]);
    }
}

#[tokio::test]
async fn a_large_transaction_comes_in_pieces_whose_last_alone_has_a_position() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let (mut stream, _) = start(&source(&database.config(), &solicitudes())).await;
    database
        .run(
            "INSERT INTO solicitudes SELECT i, 'LIC', 'A-' || i, 'RECIBIDA', '2024-05-01', NULL
               FROM generate_series(1, 50000) i",
        )
        .await;
    let (mut count, mut open_batches) = (0, 0);
    while count < 50_000 {
        let batch = next(&mut stream).await;
        assert!(batch.changes.len() <= 4096);
        for (offset, change) in batch.changes.iter().enumerate() {
            assert!(text(change.after.as_ref().unwrap()).contains(&format!("A-{}|", count + offset + 1)));
        }
        count += batch.changes.len();
        if batch.position.is_some() {
            assert!(count == 0 || count == 50_000, "a position after {count} changes");
        } else {
            open_batches += 1;
        }
    }
    assert!(open_batches >= 10, "{open_batches}");
}

#[tokio::test]
async fn a_full_batch_ends_at_the_last_commit() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let begun = begin(&source, Beginning::Present).await;
    for round in 0..10 {
        database
            .run(&format!(
                "INSERT INTO solicitudes SELECT {round} * 1000 + i, 'LIC', 'A-{round}-' || i, 'RECIBIDA', '2024-05-01', NULL
                   FROM generate_series(1, 1000) i",
            ))
            .await;
    }
    let mut stream = source.stream(&begun.checkpoint).await.unwrap();
    let mut count = 0;
    while count < 10_000 {
        let batch = next(&mut stream).await;
        assert!(batch.position.is_some() && batch.changes.len() % 1000 == 0, "{}", batch.changes.len());
        count += batch.changes.len();
    }
}

#[tokio::test]
async fn on_an_idle_table_the_slot_follows_the_log_as_far_as_it_was_acknowledged() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(&format!("{SOLICITUDES}; CREATE TABLE otra (a int)")).await;
        let source = source(&database.config(), &solicitudes());
        let (mut stream, checkpoint) = start(&source).await;
        database.run("INSERT INTO otra SELECT generate_series(1, 1000)").await;
        let end = log_end(&database.client().await).await;
        let read = read_past(&source, &mut stream, &end).await;
        assert!(read.changes.is_empty());
        assert_eq!(confirmed(&database).await, checkpoint.position.as_str(), "nothing was acknowledged yet");
        stream.acknowledge(read.position.as_ref().unwrap()).unwrap();
        until("the slot's advance", async || {
            confirmed(&database).await == read.position.as_ref().unwrap().as_str()
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_and_what_was_stored_does_not() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        let source = source(&database.config(), &solicitudes());
        let (mut stream, checkpoint) = start(&source).await;
        let insert = |id: u32| {
            format!("INSERT INTO solicitudes VALUES ({id}, 'LIC', 'A-{id}', 'RECIBIDA', '2024-05-01', NULL)")
        };
        database.run(&insert(1)).await;
        let first = read_changes(&mut stream, 1).await;
        database.run(&insert(2)).await;
        read_changes(&mut stream, 1).await;
        // Not acknowledged: the checkpoint decides, not the slot.
        drop(stream);
        let mut stream = soon("opening the stream again", source.stream(&checkpoint)).await.unwrap();
        assert_eq!(read_changes(&mut stream, 2).await.changes.len(), 2);
        drop(stream);
        let stored = change::Checkpoint { position: first.position.unwrap(), server: checkpoint.server };
        let mut stream = soon("opening the stream again", source.stream(&stored)).await.unwrap();
        assert!(brief(&read_changes(&mut stream, 1).await.changes[0]).contains("A-2"));
    }
}

#[tokio::test]
async fn the_last_acknowledgement_is_passed_on_when_the_stream_is_dropped() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let (mut stream, _) = start(&source(&database.config(), &solicitudes())).await;
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    let read = read_changes(&mut stream, 1).await;
    stream.acknowledge(read.position.as_ref().unwrap()).unwrap();
    drop(stream);
    until("the slot's advance", async || {
        confirmed(&database).await == read.position.as_ref().unwrap().as_str()
    })
    .await;
}

#[tokio::test]
async fn a_product_that_takes_nothing_for_long_does_not_lose_the_connection() {
    let database = Database::make(Version::Distribution).await;
    let config = database.role().await;
    database
        .run(&format!(
            "{SOLICITUDES}; ALTER ROLE {0} REPLICATION; ALTER ROLE {0} SET wal_sender_timeout = '1s';
             GRANT SELECT ON solicitudes TO {0}; CREATE PUBLICATION {0} FOR TABLE solicitudes",
            database.name
        ))
        .await;
    let (mut stream, _) = start(&source(&config, &solicitudes())).await;
    database
        .run(
            "INSERT INTO solicitudes SELECT i, 'LIC', 'A-' || i, 'RECIBIDA', '2024-05-01', repeat('x', 200)
               FROM generate_series(1, 60000) i",
        )
        .await;
    until("four times the server's patience", async || {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_replication
              WHERE usename = '{}' AND backend_start < clock_timestamp() - interval '4 s'",
            database.name
        );
        database.client().await.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    assert_eq!(read_changes(&mut stream, 60_000).await.changes.len(), 60_000);
}

#[tokio::test]
async fn a_mapped_column_that_is_dropped_stops_the_stream_with_its_name() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    database.run(&format!("CREATE PUBLICATION {} FOR TABLE solicitudes", database.name)).await;
    let (mut stream, _) = start(&source(&database.config(), &solicitudes())).await;
    database.run("ALTER TABLE solicitudes DROP COLUMN servicio").await;
    database.run("INSERT INTO solicitudes VALUES (1, 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    let error = soon("the error", async {
        loop {
            if let Err(error) = stream.next().await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), SourceErrorKind::Schema);
    assert!(error.to_string().contains("\"servicio\""), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn other_columns_may_come_and_go_while_streaming() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    database.run(&format!("CREATE PUBLICATION {} FOR TABLE solicitudes", database.name)).await;
    let (mut stream, _) = start(&source(&database.config(), &solicitudes())).await;
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    database.run("ALTER TABLE solicitudes DROP COLUMN notas; ALTER TABLE solicitudes ADD nueva int").await;
    database.run("INSERT INTO solicitudes VALUES (2, 'LIC', 'A-2', 'RECIBIDA', '2024-05-01', 5)").await;
    database.run("ALTER TABLE solicitudes ALTER estado TYPE varchar(30)").await;
    database.run("UPDATE solicitudes SET estado = 'APROBADA' WHERE id = 2").await;
    assert_eq!(
        briefs(&read_changes(&mut stream, 3).await),
        [
            "insert after LIC|A-1|RECIBIDA|Date(19844)",
            "insert after LIC|A-2|RECIBIDA|Date(19844)",
            "update after LIC|A-2|APROBADA|Date(19844)",
        ]
    );
}

#[tokio::test]
async fn the_log_and_copies_come_over_tls_and_over_a_socket_too() {
    let server = Server::start(Options::new(Version::Distribution).without_fsync().with_tls()).unwrap();
    let server: &'static Server = Box::leak(Box::new(server));
    let database = Database::on(server).await;
    database.run(&format!("{SOLICITUDES}; ALTER TABLE solicitudes ALTER notas SET STORAGE EXTERNAL")).await;
    // A message of a megabyte takes many records of TLS, and several rounds of a small window.
    let insert =
        "INSERT INTO solicitudes SELECT i, 'LIC', 'A-' || i, 'RECIBIDA', '2024-05-01', repeat('x', 1000000)
                    FROM generate_series(1, 20) i";
    let plain = database.config();
    let tls = PostgresConfig {
        host: "localhost".to_owned(),
        tls: TlsMode::VerifyFull,
        tls_ca: server.tls_ca().map(Into::into),
        ..plain.clone()
    };
    let socket = PostgresConfig { host: server.socket_dir().display().to_string(), ..tls.clone() };
    let scope = scope("public.solicitudes", &["numero", "notas"]);
    for config in [&plain, &tls, &socket] {
        let source = source(config, &scope);
        // The exact copy is not wanted here, and its lock would hold the truncation up.
        let checkpoint = begin(&source, Beginning::Anew).await.checkpoint;
        database.run(&format!("TRUNCATE solicitudes; {insert}")).await;
        let mut stream = source.stream(&checkpoint).await.unwrap();
        let streamed = read_changes(&mut stream, 20).await;
        let rows: Vec<_> = streamed.changes.into_iter().filter_map(|change| change.after).collect();
        let mut copy = source.snapshot(&SnapshotPlan::OnePass).await.unwrap();
        assert!(read_rows(&mut copy).await == rows, "copy and stream differ by {}", config.host);
        let sql = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_replication r USING (pid) WHERE s.ssl";
        let encrypted: i64 = database.client().await.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(encrypted == 1, config.host == "localhost");
    }
    server.stop_fast().unwrap();
}
