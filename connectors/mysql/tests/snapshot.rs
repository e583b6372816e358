//! Copies of the table: exact ones, and pages by any key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use change::{
    Beginning, ChangeStream, PageCursor, Position, Since, Snapshot, SnapshotPlan, Source, SourceErrorKind,
    TableScope,
};
use testbed::mysql::{Options, Product, Server, prelude::*};

use crate::database::{
    Database, PRODUCTS, SOLICITUDES, read_pages, read_rows, scope, solicitudes, soon, until,
};

/// What reading the log takes.
const LOG_RIGHTS: &str = "REPLICATION SLAVE, REPLICATION CLIENT ON *.*";

fn pages(rows: u32) -> SnapshotPlan {
    SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows }
}

fn insert(id: u32) -> String {
    format!("INSERT INTO solicitudes VALUES ({id}, 'LIC', 'A-{id}', 'RECIBIDA', '2024-05-01', NULL)")
}

async fn fill(database: &Database, first: u32, last: u32) {
    let rows: Vec<String> = (first..=last)
        .map(|id| format!("({id}, 'LIC', 'A-{id}', 'RECIBIDA', '2024-05-01', repeat('x', 100))"))
        .collect();
    for part in rows.chunks(5000) {
        database.run(&[&format!("INSERT INTO solicitudes VALUES {}", part.join(", "))]).await;
    }
}

fn place(position: &Position) -> (String, u64) {
    let first = position.as_str().split(' ').next().unwrap();
    let (file, offset) = first.rsplit_once(':').unwrap();
    (file.to_owned(), offset.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exact_copy_holds_what_the_log_holds_up_to_its_position_and_nothing_else() {
    for product in PRODUCTS {
        let database = Arc::new(Database::make(product).await);
        database.run(&[SOLICITUDES]).await;
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |number: u32| {
            let (database, stop) = (Arc::clone(&database), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut client = database.client().await;
                let mut id = number * 1_000_000;
                while !stop.load(Ordering::Relaxed) {
                    client.query_drop(insert(id)).await.unwrap();
                    id += 1;
                }
            })
        };
        let start = database.log_end().await;
        let writers: Vec<_> = (1..=4).map(writer).collect();
        for _ in 0..8 {
            let source = database.source(&solicitudes());
            let mut begun = soon("the beginning", source.begin(&Beginning::Present)).await.unwrap();
            let copied = read_rows(begun.snapshot.as_mut().expect("an exact copy")).await;
            let (file, offset) = place(&begun.checkpoint.position);
            assert_eq!(file, start.0, "the log was rotated in the middle of the test");
            let logged = database.rows_logged("solicitudes", &file, (start.1, offset)).await;
            assert_eq!(copied.len(), logged, "{product}");
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_application_goes_on_while_an_exact_copy_is_being_read() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        fill(&database, 1, 20_000).await;
        let source = database.source(&solicitudes());
        let mut begun = source.begin(&Beginning::Present).await.unwrap();
        let copy = begun.snapshot.as_mut().unwrap();
        assert!(soon("the first page", copy.next_page()).await.unwrap().is_some());
        soon("the insert", database.run(&[&insert(1_000_000)])).await;
        let rest = read_rows(copy).await;
        assert!(
            !rest.iter().any(|row| row.contains("A-1000000")),
            "the copy shows what came after its beginning"
        );
    }
}

#[tokio::test]
async fn without_the_right_to_lock_or_with_an_open_transaction_mysql_gives_pages() {
    let database = Database::make(Product::MySql).await;
    database.run(&[SOLICITUDES, &insert(1)]).await;
    let select = format!("SELECT ON `{}`.*", database.name);
    let user = database.user(&[&select, LOG_RIGHTS]).await;
    let unprivileged = mysql_connector::MysqlSource::new(user, solicitudes());
    let begun = unprivileged.begin(&Beginning::Present).await.unwrap();
    assert!(begun.snapshot.is_none());
    assert!(begun.checkpoint.position.as_str().contains(' '), "without GTIDs: {}", begun.checkpoint.position);

    let mut open = database.client().await;
    open.query_drop("BEGIN").await.unwrap();
    open.query_drop(insert(2)).await.unwrap();
    let source = database.source(&solicitudes());
    let begun =
        soon("a beginning beside an open transaction", source.begin(&Beginning::Present)).await.unwrap();
    assert!(begun.snapshot.is_none());
    soon("the commit", open.query_drop("COMMIT")).await.unwrap();
    assert!(source.begin(&Beginning::Present).await.unwrap().snapshot.is_some());
}

#[tokio::test]
async fn a_transaction_number_that_somebody_keeps_for_later_moves_the_beginning_to_the_files_start() {
    let options = Options::new(Product::MySql).without_fsync();
    let server: &'static Server =
        Box::leak(Box::new(Server::start(options).unwrap_or_else(|error| panic!("{error}"))));
    let database = Database::on(server).await;
    database.run(&[SOLICITUDES]).await;
    let user = database.user(&[&format!("SELECT ON `{}`.*", database.name), LOG_RIGHTS]).await;
    let source = mysql_connector::MysqlSource::new(user, solicitudes());
    let plain = source.begin(&Beginning::Present).await.unwrap().checkpoint;
    assert!(place(&plain.position).1 > 4);

    let mut keeper = database.client().await;
    keeper.query_drop("SET gtid_next = 'aaaaaaaa-0000-4000-8000-000000000000:1'").await.unwrap();
    let begun = soon("the beginning", source.begin(&Beginning::Present)).await.unwrap().checkpoint;
    assert_eq!(place(&begun.position).1, 4, "{}", begun.position);
    keeper.query_drop(insert(1)).await.unwrap();

    // The change comes, although its number is lower than others that were used before.
    let mut stream = source.stream(&begun).await.unwrap();
    let mut changes = 0;
    while changes == 0 {
        changes += soon("the change", stream.next()).await.unwrap().changes.len();
    }
    assert_eq!(changes, 1);
    server.stop().unwrap();
}

#[tokio::test]
async fn without_gtids_a_beginning_is_exact_under_the_lock_and_at_the_files_start_without_it() {
    let options = Options::new(Product::MySql).without_fsync().without_gtid();
    let server: &'static Server =
        Box::leak(Box::new(Server::start(options).unwrap_or_else(|error| panic!("{error}"))));
    let database = Database::on(server).await;
    database.run(&[SOLICITUDES, &insert(1)]).await;
    let exact = database.source(&solicitudes()).begin(&Beginning::Present).await.unwrap();
    assert!(exact.snapshot.is_some() && !exact.checkpoint.position.as_str().contains(' '));
    let select = format!("SELECT ON `{}`.*", database.name);
    let user = database.user(&[&select, LOG_RIGHTS]).await;
    let fenced = mysql_connector::MysqlSource::new(user, solicitudes());
    let begun = fenced.begin(&Beginning::Present).await.unwrap();
    assert!(begun.snapshot.is_none());
    assert_eq!(place(&begun.checkpoint.position).1, 4);
    server.stop().unwrap();
}

/// Tables whose keys are of every kind that orders rows in a way of its own.
const KEYS: [&str; 14] = [
    "CREATE TABLE k1 (a varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, b int, PRIMARY KEY (a, b))",
    "INSERT INTO k1 VALUES ('', 1), ('a', 1), ('A', 2), ('á', 3), ('b', -1), ('B ', 2), ('z''x', 1), ('z\\\\y', 0), \
     ('ñ', 1), ('Ñ', 2), ('日本', 1), ('😀', 1)",
    "CREATE TABLE k2 (a enum('z','m','a') CHARACTER SET latin1, b set('q','p'), PRIMARY KEY (a, b))",
    "INSERT INTO k2 VALUES ('z','q'), ('z','p'), ('z','q,p'), ('m',''), ('a','p'), ('a','q')",
    "CREATE TABLE k3 (a binary(4) PRIMARY KEY, b int)",
    "INSERT INTO k3 VALUES (x'00000000', 1), (x'00000001', 2), (x'ff000000', 3), (x'27275c00', 4)",
    "CREATE TABLE k4 (a datetime(3), b decimal(10,2), c date, d time(2), e year, PRIMARY KEY (a, b, c, d, e))",
    "INSERT INTO k4 VALUES ('2024-01-01 00:00:00.5', -1.50, '2024-01-01', '-12:00:00.25', 2020),
      ('2024-01-01 00:00:00.5', -1.50, '2024-01-01', '-11:00:00.25', 2020),
      ('2024-01-01 00:00:00.5', -1.49, '2024-01-01', '-12:00:00.25', 2020),
      ('2024-01-01 00:00:00.5', -1.50, '2024-01-02', '-12:00:00.25', 2021)",
    "CREATE TABLE k5 (a varchar(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY, b int)",
    "INSERT INTO k5 VALUES ('ä', 1), ('a', 2), ('Z', 3), ('å', 4), ('ü', 5), ('€', 6)",
    "CREATE TABLE k6 (f float PRIMARY KEY, a bigint unsigned NOT NULL, b timestamp(6) NOT NULL, c bigint NOT NULL,
      UNIQUE (a, b, c))",
    "INSERT INTO k6 (f, a, b, c) VALUES
      (0.1, 18446744073709551615, '2024-05-05 05:05:05.123456', -9223372036854775808),
      (0.2, 18446744073709551615, '2024-05-05 05:05:05.123457', -9223372036854775808),
      (0.3, 0, '2024-05-05 05:05:05.123456', 9223372036854775807)",
    "CREATE TABLE k7 (a char(5) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, b varbinary(5), PRIMARY KEY (a, b))",
    "INSERT INTO k7 VALUES ('a', ''), ('a', x'00'), ('a', x'0000'), ('A', 'x'), ('a ', 'y')",
];

#[tokio::test]
async fn pages_of_any_size_follow_any_key_and_go_on_from_any_cursor() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&KEYS).await;
        for (table, columns, rows) in [
            ("k1", &["a", "b"][..], 12),
            ("k2", &["a", "b"], 6),
            ("k3", &["b"], 4),
            ("k4", &["a", "b", "c", "d", "e"], 4),
            ("k5", &["a", "b"], 6),
            ("k6", &["a", "b", "c"], 3),
            ("k7", &["a"], 5),
        ] {
            let source = database.source(&TableScope { keys: true, ..scope(table, columns) });
            let whole = read_pages(&mut source.snapshot(&pages(100)).await.unwrap()).await;
            assert_eq!((whole.len(), whole[0].rows.len()), (1, rows), "{product} {table}");
            for size in [1, 2, 3] {
                let parts = read_pages(&mut source.snapshot(&pages(size)).await.unwrap()).await;
                let joined: Vec<_> = parts.iter().flat_map(|page| page.rows.clone()).collect();
                assert_eq!(joined, whole[0].rows, "{product} {table} by {size}");
                for (number, part) in parts.iter().enumerate() {
                    let plan = SnapshotPlan::Pages {
                        tables: vec![0],
                        opened: Vec::new(),
                        after: part.cursor.clone(),
                        rows: 100,
                    };
                    let rest = read_pages(&mut source.snapshot(&plan).await.unwrap()).await;
                    let rest: Vec<_> = rest.iter().flat_map(|page| page.rows.clone()).collect();
                    let expected: Vec<_> =
                        parts[number + 1..].iter().flat_map(|page| page.rows.clone()).collect();
                    assert_eq!(rest, expected, "{product} {table} after page {number} of {size}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_page_carries_a_fence_that_later_ones_cover() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        fill(&database, 1, 25).await;
        let source = database.source(&TableScope { keys: true, ..solicitudes() });
        let pages = read_pages(&mut source.snapshot(&pages(10)).await.unwrap()).await;
        assert_eq!(pages.iter().map(|page| page.rows.len()).collect::<Vec<_>>(), [10, 10, 5]);
        let fences: Vec<_> = pages.iter().map(|page| page.fence.clone().unwrap()).collect();
        assert!(source.covers(&fences[2], &fences[0]).unwrap());
        assert_eq!(pages[1].rows[9].1.as_ref().unwrap().as_str(), "20");
    }
}

#[tokio::test]
async fn pages_of_wide_rows_end_early_and_none_is_missing() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&["CREATE TABLE anchas (id int PRIMARY KEY, t longtext)"]).await;
        let insert = |id| format!("INSERT INTO anchas VALUES ({id}, repeat('x', 1000000))");
        let statements: Vec<String> = (0..50).map(insert).collect();
        database.run(&statements.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let source = database.source(&scope("anchas", &["id", "t"]));
        let pages = read_pages(&mut source.snapshot(&pages(100)).await.unwrap()).await;
        let sizes: Vec<usize> = pages.iter().map(|page| page.rows.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 50, "{product}: {sizes:?}");
        assert!(sizes.iter().all(|size| *size <= 17), "{product}: {sizes:?}");
    }
}

#[tokio::test]
async fn old_rows_are_left_out_and_rows_without_a_day_are_not() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        for (kind, day) in [
            ("date", "2020-01-01"),
            ("datetime", "2020-01-01 00:00:00"),
            ("timestamp NULL", "2020-01-01 00:00:00"),
        ] {
            database
                .run(&[
                    "SET sql_mode = '', time_zone = '+00:00'",
                    "DROP TABLE IF EXISTS dias",
                    &format!("CREATE TABLE dias (id int PRIMARY KEY, d {kind})"),
                    &format!(
                        "INSERT INTO dias VALUES (1, '2019-12-31'), (2, '{day}'), (3, NULL), (4, '2024-01-01'), \
                         (5, '0000-00-00')"
                    ),
                ])
                .await;
            let since = Some(Since { column: "d".to_owned(), day: 18262 });
            let source = database.source(&TableScope { since, ..scope("dias", &["id"]) });
            for plan in [SnapshotPlan::OnePass, pages(2)] {
                let rows = read_rows(&mut source.snapshot(&plan).await.unwrap()).await;
                assert_eq!(rows, ["2", "3", "4", "5"], "{product} {kind}");
            }
        }
    }
}

#[tokio::test]
async fn a_table_without_a_key_is_read_in_one_pass_only() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&["CREATE TABLE sueltas (a int, UNIQUE (a))", "INSERT INTO sueltas VALUES (1), (NULL)"])
            .await;
        let source = database.source(&scope("sueltas", &["a"]));
        let error = source.snapshot(&pages(2)).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Schema);
        assert!(error.hint().unwrap().contains("PRIMARY KEY"), "{error}");
        assert_eq!(read_rows(&mut source.snapshot(&SnapshotPlan::OnePass).await.unwrap()).await.len(), 2);
    }
}

#[tokio::test]
async fn a_cursor_of_another_key_is_refused() {
    let database = Database::make(Product::MariaDb).await;
    database.run(&[SOLICITUDES]).await;
    let source = database.source(&solicitudes());
    for text in ["1;2;", "", "x;", "1 OR 1=1;", "1"] {
        let after = Some(PageCursor::new(text));
        let error = source
            .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after, rows: 2 })
            .await
            .unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Schema, "{text}");
    }
}

#[tokio::test]
async fn a_copy_that_is_dropped_ends_its_connection() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        fill(&database, 1, 60_000).await;
        let source = database.source(&solicitudes());
        let mut copy = source.snapshot(&SnapshotPlan::OnePass).await.unwrap();
        assert!(soon("the first page", copy.next_page()).await.unwrap().is_some());
        drop(copy);
        until("the end of the copy's connection", async || {
            let sql = "SELECT count(*) FROM information_schema.PROCESSLIST
                        WHERE DB = database() AND INFO LIKE 'SELECT `servicio`%'";
            database.ask(sql).await.as_deref() == Some("0")
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_in_another_zone_shows_the_same_moments() {
    for product in PRODUCTS {
        let options = Options::new(product).without_fsync().setting("default_time_zone", "+09:00");
        let server: &'static Server =
            Box::leak(Box::new(Server::start(options).unwrap_or_else(|error| panic!("{error}"))));
        let database = Database::on(server).await;
        database
            .run(&[
                "CREATE TABLE momentos (id int PRIMARY KEY, t timestamp(3) NULL, d datetime(3))",
                "INSERT INTO momentos VALUES (1, '2024-05-01 09:00:00.250', '2024-05-01 09:00:00.250')",
            ])
            .await;
        let source = database.source(&scope("momentos", &["t", "d"]));
        let rows = read_rows(&mut source.snapshot(&SnapshotPlan::OnePass).await.unwrap()).await;
        assert_eq!(rows, ["Instant(1714521600250000)|Local(1714554000250000)"], "{product}");
        server.stop().unwrap();
    }
}
