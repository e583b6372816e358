//! The log, read from a checkpoint.

use change::{
    Batch, Beginning, ChangeStream, Checkpoint, Operation, Position, Snapshot, Source, SourceErrorKind,
};
use mysql_connector::{MysqlSource, MysqlStream};
use testbed::mysql::{Options, Product, Server};

use crate::database::{Database, PRODUCTS, SOLICITUDES, read_rows, scope, solicitudes, soon, text, until};

/// What a stream has told so far.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) changes: Vec<String>,
    incidents: usize,
    position: Option<Position>,
}

impl Told {
    fn take(&mut self, batch: &Batch) {
        for change in &batch.changes {
            let side = |row: &Option<change::Row>| row.as_ref().map_or("-".to_owned(), text);
            self.changes.push(match change.operation {
                Operation::Insert => format!("+{}", side(&change.after)),
                Operation::Update => format!("{}>{}", side(&change.before), side(&change.after)),
                Operation::Delete => format!("-{}", side(&change.before)),
            });
        }
        self.incidents += batch.incidents.len();
        self.position = batch.position.clone().or(self.position.take());
    }
}

/// Reads until so many changes have come, and the position after them.
pub(crate) async fn read(stream: &mut MysqlStream, changes: usize) -> Told {
    let mut told = Told::default();
    let mut open = true;
    while told.changes.len() < changes || open {
        let batch = soon("a batch", stream.next()).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        open = batch.position.is_none();
        told.take(&batch);
    }
    told
}

pub(crate) async fn begin(source: &MysqlSource) -> Checkpoint {
    let mut begun = soon("a beginning", source.begin(&Beginning::Present)).await.unwrap();
    if let Some(copy) = &mut begun.snapshot {
        read_rows(copy).await;
    }
    begun.checkpoint
}

pub(crate) async fn open(source: &MysqlSource, checkpoint: &Checkpoint) -> MysqlStream {
    let opened = soon("a stream", source.stream(checkpoint)).await;
    opened.unwrap_or_else(|error| panic!("{error} ({:?}): {error:?}", error.hint()))
}

pub(crate) fn after(checkpoint: &Checkpoint, told: &Told) -> Checkpoint {
    Checkpoint { position: told.position.clone().unwrap(), server: checkpoint.server.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_with_both_images_and_go_on_where_they_were_stored() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let source = database.source(&solicitudes());
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        database
            .run(&[
                "INSERT INTO solicitudes VALUES (1, 'Ñandú', 'A-1', 'RECIBIDA', '2024-02-29', 'x')",
                "UPDATE solicitudes SET estado = 'APROBADA' WHERE id = 1",
            ])
            .await;
        let told = read(&mut stream, 2).await;
        let row = |estado: &str| format!("Ñandú|A-1|{estado}|Date(19782)");
        assert_eq!(
            told.changes,
            [format!("+{}", row("RECIBIDA")), format!("{}>{}", row("RECIBIDA"), row("APROBADA"))],
            "{product}"
        );
        drop(stream);
        database.run(&["BEGIN", "DELETE FROM solicitudes", "COMMIT"]).await;
        let mut stream = open(&source, &after(&checkpoint, &told)).await;
        let told = read(&mut stream, 1).await;
        assert_eq!(told.changes, [format!("-{}", row("APROBADA"))], "{product}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_work_never_comes() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let source = database.source(&scope("solicitudes", &["id"]));
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        let insert = |id: u32| {
            format!("INSERT INTO solicitudes VALUES ({id}, 'a', '{id}', 'RECIBIDA', '2024-01-01', NULL)")
        };
        database
            .run(&[
                "BEGIN",
                &insert(1),
                "ROLLBACK",
                "BEGIN",
                &insert(2),
                "SAVEPOINT a",
                &insert(3),
                "ROLLBACK TO a",
                "COMMIT",
            ])
            .await;
        assert_eq!(read(&mut stream, 1).await.changes, ["+2"], "{product}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xa_changes_come_at_their_commit_also_after_a_restart_between() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let source = database.source(&scope("solicitudes", &["id"]));
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        let insert = |id: u32| {
            format!("INSERT INTO solicitudes VALUES ({id}, 'a', '{id}', 'RECIBIDA', '2024-01-01', NULL)")
        };
        database
            .run(&["XA START 'uno','b',7", &insert(1), "XA END 'uno','b',7", "XA PREPARE 'uno','b',7"])
            .await;
        database.run(&[&insert(2)]).await;
        let told = read(&mut stream, 1).await;
        assert_eq!(told.changes, ["+2"], "{product}");
        drop(stream);
        let mut stream = open(&source, &after(&checkpoint, &told)).await;
        database.run(&[&insert(3), "XA COMMIT 'uno','b',7", &insert(4)]).await;
        let told = read(&mut stream, 3).await;
        assert_eq!(told.changes, ["+3", "+1", "+4"], "{product}");
        assert!(!told.position.unwrap().as_str().contains("xa="), "{product}");
        database.run(&["XA START 'dos'", &insert(5), "XA END 'dos'", "XA COMMIT 'dos' ONE PHASE"]).await;
        assert_eq!(read(&mut stream, 1).await.changes, ["+5"], "{product}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_comes_as_the_uncompressed_one_would() {
    for product in PRODUCTS {
        let options = match product {
            Product::MySql => Options::new(product).setting("binlog_transaction_compression", "ON"),
            Product::MariaDb => Options::new(product)
                .setting("log_bin_compress", "ON")
                .setting("log_bin_compress_min_len", "10"),
        };
        let server = Server::start(options.without_fsync()).unwrap();
        let database = Database::on(Box::leak(Box::new(server))).await;
        database.run(&[SOLICITUDES]).await;
        let source = database.source(&scope("solicitudes", &["id", "notas"]));
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        // Random bytes do not compress: the event is longer than what is gathered before it is inflated.
        database
            .run(&[
                "CREATE TABLE digitos (d int)",
                "INSERT INTO digitos VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)",
                "INSERT INTO solicitudes SELECT n, 'a', n, 'RECIBIDA', '2024-01-01', hex(concat(rand(), rand(), rand()))
                 FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n
                 FROM digitos a, digitos b, digitos c, digitos e, digitos f) numeros ORDER BY n",
                "UPDATE solicitudes SET notas = repeat('y', 50) WHERE id = 7",
            ])
            .await;
        let told = read(&mut stream, 100_001).await;
        assert_eq!(told.changes.len(), 100_001, "{product}");
        assert!(
            told.changes[0].starts_with("+0|") && told.changes[99_999].starts_with("+99999|"),
            "{product}"
        );
        assert!(told.changes[100_000].ends_with(&format!(">7|{}", "y".repeat(50))), "{product}");
        database.server.stop().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_reads_the_same_from_the_log_and_from_a_copy() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        let uuid = if product == Product::MariaDb { "uuid" } else { "char(36)" };
        let columns = [
            ("i1", "tinyint", "-128"),
            ("u1", "tinyint unsigned", "255"),
            ("i2", "smallint", "-32768"),
            ("y", "year", "2024"),
            ("u2", "smallint unsigned", "65535"),
            ("i3", "mediumint", "-8388608"),
            ("u3", "mediumint unsigned", "16777215"),
            ("i4", "int", "-2147483648"),
            ("u4", "int unsigned zerofill", "42"),
            ("i8", "bigint", "-9223372036854775808"),
            ("u8", "bigint unsigned", "18446744073709551615"),
            ("b", "bool", "1"),
            ("d1", "decimal(14,4)", "-1234567890.1234"),
            ("d2", "decimal(5,0)", "10"),
            ("d3", "decimal(30,18)", "0.000000000000000001"),
            ("c", "char(5)", "'ñ  '"),
            ("v", "varchar(300)", "'año €'"),
            ("l", "varchar(20) CHARACTER SET latin1", "'año €'"),
            ("a", "char(3) CHARACTER SET ascii", "'abc'"),
            ("t", "text", "'tex\\nto'"),
            ("e", "enum('ñu','b')", "'ñu'"),
            ("el", "enum('x','año') CHARACTER SET latin1", "'año'"),
            ("s", "set('p','q','ñ')", "'p,ñ'"),
            ("g", uuid, "'01234567-89ab-4def-8123-456789abcdef'"),
            ("dt0", "datetime", "'2024-02-29 23:59:59'"),
            ("dt3", "datetime(3)", "'1000-01-01 00:00:00.123'"),
            ("dt6", "datetime(6)", "'9999-12-31 23:59:59.999999'"),
            ("ts", "timestamp NULL", "'2024-02-29 23:59:59'"),
            ("ts6", "timestamp(6) NULL", "'1999-01-01 00:00:00.000001'"),
            ("da", "date", "'0001-01-01'"),
            ("ti", "time", "'-838:59:59'"),
            ("ti2", "time(2)", "'-00:00:01.50'"),
            ("z", "date", "'0000-00-00'"),
            ("zt", "datetime(2)", "'0000-00-00'"),
            ("zp", "date", "'2020-00-10'"),
            ("n", "varchar(5)", "NULL"),
            ("blobs", "longblob", "repeat('x', 70000)"),
            ("fl", "double", "1.5"),
            ("bi", "bit(11)", "b'10000000001'"),
        ];
        let ddl: Vec<String> = columns.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
        let values: Vec<&str> = columns.iter().map(|(_, _, value)| *value).collect();
        let create =
            format!("CREATE TABLE tipos (id int PRIMARY KEY, {}) CHARACTER SET utf8mb4", ddl.join(", "));
        database.run(&["SET time_zone = '+09:00'", &create]).await;
        let names: Vec<&str> = columns
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| !["blobs", "fl", "bi"].contains(name))
            .collect();
        let source = database.source(&scope("tipos", &names));
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        let insert = format!("INSERT INTO tipos VALUES (1, {})", values.join(", "));
        database.run(&["SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+09:00'", &insert]).await;
        let told = read(&mut stream, 1).await;
        let mut copy = source.snapshot(&change::SnapshotPlan::OnePass).await.unwrap();
        let mut page = soon("a page", copy.next_page()).await.unwrap().unwrap();
        let (row, _) = page.rows.pop().unwrap();
        let (logged, copied) = (told.changes[0].clone(), format!("+{}", text(&row)));
        for ((logged, copied), name) in logged.split('|').zip(copied.split('|')).zip(&names) {
            assert_eq!(logged, copied, "{product} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_columns_may_change_and_a_mapped_one_stops_the_stream_by_name() {
    for product in PRODUCTS {
        // Without names in the log a reader that falls behind could not tell.
        let options = Options::new(product).setting("binlog_row_metadata", "FULL").without_fsync();
        let database = Database::on(Box::leak(Box::new(Server::start(options).unwrap()))).await;
        database.run(&[SOLICITUDES]).await;
        let source = database.source(&scope("solicitudes", &["id", "estado"]));
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        database
            .run(&[
                "INSERT INTO solicitudes VALUES (1, 'a', '1', 'RECIBIDA', '2024-01-01', NULL)",
                "ALTER TABLE solicitudes ADD COLUMN primera int FIRST, DROP COLUMN notas, MODIFY numero varchar(30) AFTER estado",
                "UPDATE solicitudes SET primera = 5, estado = 'APROBADA'",
                "CREATE TABLE _solicitudes_gho LIKE solicitudes",
                "ALTER TABLE _solicitudes_gho ADD COLUMN extra int FIRST",
                "INSERT INTO _solicitudes_gho SELECT 0, solicitudes.* FROM solicitudes",
                "RENAME TABLE solicitudes TO _solicitudes_del, _solicitudes_gho TO solicitudes",
                "UPDATE solicitudes SET estado = 'RECIBIDA'",
            ])
            .await;
        let told = read(&mut stream, 3).await;
        assert_eq!(
            told.changes,
            ["+1|RECIBIDA", "1|RECIBIDA>1|APROBADA", "1|APROBADA>1|RECIBIDA"],
            "{product}"
        );
        database
            .run(&["ALTER TABLE solicitudes RENAME COLUMN estado TO fase", "UPDATE solicitudes SET fase = 2"])
            .await;
        let error = loop {
            match soon("an error", stream.next()).await {
                Ok(batch) => assert!(batch.changes.is_empty(), "{product}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), SourceErrorKind::Schema, "{product}: {error}");
        assert!(error.to_string().contains("`estado`"), "{product}: {error}");
        database.server.stop().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_is_an_incident_and_a_statement_on_the_table_is_a_lost_log() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&[
                SOLICITUDES,
                "INSERT INTO solicitudes VALUES (1, 'a', '1', 'RECIBIDA', '2024-01-01', NULL)",
            ])
            .await;
        let source = database.source(&scope("solicitudes", &["id"]));
        let checkpoint = begin(&source).await;
        let mut stream = open(&source, &checkpoint).await;
        database.run(&["TRUNCATE TABLE solicitudes"]).await;
        while soon("an incident", stream.next()).await.unwrap().incidents.is_empty() {}
        database
            .run(&[
                "SET SESSION binlog_format = 'STATEMENT'",
                "INSERT INTO solicitudes VALUES (2, 'a', '2', 'RECIBIDA', '2024-01-01', NULL)",
            ])
            .await;
        let error = loop {
            if let Err(error) = soon("an error", stream.next()).await {
                break error;
            }
        };
        assert_eq!(error.kind(), SourceErrorKind::LostLog, "{product}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_purged_or_reset_is_found_before_anything_is_read() {
    for product in PRODUCTS {
        let server = Server::start(Options::new(product).without_fsync()).unwrap();
        let database = Database::on(Box::leak(Box::new(server))).await;
        database.run(&[SOLICITUDES]).await;
        let insert = |id: u32| {
            format!("INSERT INTO solicitudes VALUES ({id}, 'a', '{id}', 'RECIBIDA', '2024-01-01', NULL)")
        };
        let source = database.source(&scope("solicitudes", &["id"]));
        let checkpoint = begin(&source).await;
        database.run(&[&insert(1), "FLUSH BINARY LOGS", &insert(2), "FLUSH BINARY LOGS", &insert(3)]).await;
        let first = checkpoint.position.as_str().split(':').next().unwrap();
        let first = database.server.data_dir().join(first);
        assert!(first.exists(), "{product}");
        // MariaDB keeps files that it would need itself after a crash, for a moment.
        until("the purge", async || {
            database.run(&["PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"]).await;
            !first.exists()
        })
        .await;
        let error = soon(&format!("a purge of {product}"), first_error(&source, &checkpoint)).await;
        assert_eq!(error.kind(), SourceErrorKind::LostLog, "{product}: {error}");

        let checkpoint = begin(&source).await;
        let reset = if product == Product::MySql { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
        database.run(&[reset, &insert(4)]).await;
        let error = soon(&format!("a reset of {product}"), first_error(&source, &checkpoint)).await;
        assert_eq!(error.kind(), SourceErrorKind::LostLog, "{product}: {error}");
        database.server.stop().unwrap();
    }
}

/// The error of opening a stream, or of reading from it.
pub(crate) async fn first_error(source: &MysqlSource, checkpoint: &Checkpoint) -> change::SourceError {
    let mut stream = match source.stream(checkpoint).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    loop {
        if let Err(error) = stream.next().await {
            return error;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_the_place_alone_leads_back_and_tags_are_understood_with_them() {
    let server = Server::start(Options::new(Product::MySql).without_gtid().without_fsync()).unwrap();
    let database = Database::on(Box::leak(Box::new(server))).await;
    database.run(&[SOLICITUDES]).await;
    let insert = |id: u32| {
        format!("INSERT INTO solicitudes VALUES ({id}, 'a', '{id}', 'RECIBIDA', '2024-01-01', NULL)")
    };
    let source = database.source(&scope("solicitudes", &["id"]));
    let checkpoint = begin(&source).await;
    let mut stream = open(&source, &checkpoint).await;
    database.run(&[&insert(1), "FLUSH BINARY LOGS", &insert(2)]).await;
    let told = read(&mut stream, 2).await;
    assert!(!told.position.as_ref().unwrap().as_str().contains(' '), "{:?}", told.position);
    drop(stream);
    database.run(&[&insert(3)]).await;
    let mut stream = open(&source, &after(&checkpoint, &told)).await;
    assert_eq!(read(&mut stream, 1).await.changes, ["+3"]);
    database.server.stop().unwrap();

    let database = Database::make(Product::MySql).await;
    database.run(&[SOLICITUDES]).await;
    let source = database.source(&scope("solicitudes", &["id"]));
    let checkpoint = begin(&source).await;
    let mut stream = open(&source, &checkpoint).await;
    database.run(&["SET gtid_next = 'AUTOMATIC:nocturno'", &insert(1)]).await;
    let told = read(&mut stream, 1).await;
    assert!(told.position.as_ref().unwrap().as_str().contains(":nocturno:1"), "{:?}", told.position);
    drop(stream);
    database.run(&[&insert(2)]).await;
    let mut stream = open(&source, &after(&checkpoint, &told)).await;
    assert_eq!(read(&mut stream, 1).await.changes, ["+2"]);
}
