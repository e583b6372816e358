//! A cell reads the same in a copy and in the log, and a stream passes the fences of pages.

use std::collections::BTreeMap;

use change::{Beginning, ChangeStream, Checkpoint, Row, RowKey, SnapshotPlan, Source, TableScope};
use mysql_connector::{MysqlSource, MysqlStream};
use testbed::mysql::{Product, prelude::*};

use crate::database::{Database, PRODUCTS, SOLICITUDES, read_pages, scope, solicitudes, soon};

/// Every type that may be mapped, with values at its edges.
const TYPES: [(&str, &[&str]); 27] = [
    ("tinyint", &["-128", "127", "0"]),
    ("tinyint unsigned", &["255", "0"]),
    ("smallint", &["-32768", "32767"]),
    ("smallint unsigned", &["65535"]),
    ("mediumint", &["-8388608", "8388607"]),
    ("mediumint unsigned zerofill", &["16777215", "7"]),
    ("int", &["-2147483648", "2147483647"]),
    ("int unsigned", &["4294967295"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("bigint unsigned", &["18446744073709551615", "9223372036854775808", "1"]),
    ("bool", &["true", "false"]),
    ("decimal(10,2)", &["-99999999.99", "0.05", "-0.50", "0"]),
    ("decimal(12,2) zerofill", &["10.5", "0"]),
    ("decimal(65,30)", &["-12345678901234567890123456789012345.123456789012345678901234567891", "1"]),
    ("char(10) CHARACTER SET utf8mb4", &["'ñandú'", "''", "'x  '", "'😀'"]),
    ("varchar(300) CHARACTER SET latin1", &["'ñ€'", "'  a '", "repeat('á', 300)"]),
    ("varchar(20) CHARACTER SET ascii", &["'abc'"]),
    ("varchar(20) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin", &["'ñ'", "'日本'"]),
    ("mediumtext CHARACTER SET utf8mb4", &["repeat('ü', 30000)", "''"]),
    ("enum('RECIBIDA','d''hoy','ñ') CHARACTER SET latin1", &["'ñ'", "'d''hoy'", "''"]),
    ("set('a','b','ñ') CHARACTER SET utf8mb4", &["'a,ñ'", "''", "'b'"]),
    (
        "datetime",
        &["'2024-02-29 23:59:59'", "'0000-00-00'", "'2020-00-10'", "'9999-12-31 23:59:59'", "'0001-01-01'"],
    ),
    ("datetime(3)", &["'2024-02-29 23:59:59.999'", "'0000-00-00'", "'1969-12-31 23:59:59.5'"]),
    (
        "timestamp(6) NULL",
        &["'2024-05-05 05:05:05.123456'", "'1970-01-01 00:00:01'", "'0000-00-00'", "'2038-01-19 03:14:07'"],
    ),
    ("date", &["'2024-02-29'", "'0000-00-00'", "'2020-00-10'", "'1000-01-01'", "'9999-12-31'"]),
    ("year", &["1901", "2155", "'0000'"]),
    ("time(2)", &["'-838:59:59'", "'10:11:12.34'", "'00:00:00'", "'-00:00:00.5'"]),
];

/// Reads the stream until it has passed `fence`; returns the rows as they became, by key.
async fn read_past(
    source: &MysqlSource,
    stream: &mut MysqlStream,
    fence: &change::Position,
) -> BTreeMap<RowKey, Row> {
    let mut rows = BTreeMap::new();
    loop {
        let batch = soon("a batch", stream.next()).await.unwrap();
        for change in batch.changes {
            rows.insert(change.key.clone().unwrap(), change.after.clone().unwrap());
        }
        if batch.position.is_some_and(|position| source.covers(&position, fence).unwrap()) {
            return rows;
        }
    }
}

async fn compare(database: &Database, scope: &TableScope, checkpoint: &Checkpoint) {
    let source = database.source(scope);
    let mut copy = source
        .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 1000 })
        .await
        .unwrap();
    let pages = read_pages(&mut copy).await;
    let fence = pages.last().unwrap().fence.clone().unwrap();
    let copied: BTreeMap<RowKey, Row> =
        pages.into_iter().flat_map(|page| page.rows).map(|(row, key)| (key.unwrap(), row)).collect();
    let mut stream = source.stream(checkpoint).await.unwrap();
    let streamed = read_past(&source, &mut stream, &fence).await;
    assert_eq!(copied, streamed);
}

#[tokio::test]
async fn a_cell_of_any_type_reads_the_same_in_a_copy_and_in_the_log() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        let columns: Vec<String> =
            TYPES.iter().enumerate().map(|(number, (kind, _))| format!("c{number} {kind}")).collect();
        database.run(&[&format!("CREATE TABLE tipos (id int PRIMARY KEY, {})", columns.join(", "))]).await;
        let mut names: Vec<String> = (0..TYPES.len()).map(|number| format!("c{number}")).collect();
        names.push("id".to_owned());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let scope = TableScope { keys: true, ..scope("tipos", &names) };
        let begun = database.source(&scope).begin(&Beginning::Present).await.unwrap();
        let mut client = database.client().await;
        client.query_drop("SET NAMES utf8mb4, sql_mode = '', time_zone = '+00:00'").await.unwrap();
        let mut id = 0;
        for (number, (_, values)) in TYPES.iter().enumerate() {
            for value in *values {
                id += 1;
                let sql = format!("INSERT INTO tipos (id, c{number}) VALUES ({id}, {value})");
                client.query_drop(&sql).await.unwrap_or_else(|error| panic!("{product} {sql}: {error}"));
            }
        }
        compare(&database, &scope, &begun.checkpoint).await;
    }
}

#[tokio::test]
async fn a_key_reads_the_same_in_a_copy_and_in_the_log() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&["CREATE TABLE claves (a varchar(10) CHARACTER SET latin1, b binary(4), c varbinary(4), \
                    d decimal(6,2), e date, f enum('x','y'), n int, PRIMARY KEY (f, e, d, c, b, a))"])
            .await;
        let scope = TableScope { keys: true, ..scope("claves", &["n"]) };
        let begun = database.source(&scope).begin(&Beginning::Present).await.unwrap();
        database
            .run(&["INSERT INTO claves VALUES ('ñ', x'01020000', x'0100', -1.50, '2024-01-01', 'y', 1), \
                    ('', x'00000000', '', 0, '1999-12-31', 'x', 2)"])
            .await;
        compare(&database, &scope, &begun.checkpoint).await;
    }
}

#[tokio::test]
async fn on_an_idle_server_the_stream_passes_every_fence() {
    for product in PRODUCTS {
        let server = testbed::mysql::Server::start(testbed::mysql::Options::new(product).without_fsync());
        let database =
            Database::on(Box::leak(Box::new(server.unwrap_or_else(|error| panic!("{error}"))))).await;
        database
            .run(&[
                SOLICITUDES,
                "INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', NULL)",
            ])
            .await;
        let source = database.source(&TableScope { keys: true, ..solicitudes() });
        let begun = source.begin(&Beginning::Present).await.unwrap();
        let mut stream = source.stream(&begun.checkpoint).await.unwrap();
        // A new file of the log begins with events that are nobody's transaction.
        database.run(&["FLUSH BINARY LOGS"]).await;
        let mut copy = source
            .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 10 })
            .await
            .unwrap();
        for page in read_pages(&mut copy).await {
            assert!(read_past(&source, &mut stream, &page.fence.unwrap()).await.is_empty());
        }
        database.server.stop().unwrap();
    }
}

#[tokio::test]
async fn a_uuid_of_mariadbs_reads_the_same_in_a_copy_and_in_the_log() {
    let database = Database::make(Product::MariaDb).await;
    database.run(&["CREATE TABLE uuids (id uuid PRIMARY KEY, n int)"]).await;
    let scope = TableScope { keys: true, ..scope("uuids", &["id", "n"]) };
    let begun = database.source(&scope).begin(&Beginning::Present).await.unwrap();
    database
        .run(&["INSERT INTO uuids VALUES ('b2f7e2f0-6f4c-4e57-9d4f-6c8f2b0b8a11', 1), \
                ('6ccd780c-baba-1026-9564-5b8c656024db', 2)"])
        .await;
    compare(&database, &scope, &begun.checkpoint).await;
}
