//! Copies of the table, and the seam between a copy and the stream.

use std::collections::BTreeSet;

use change::{Beginning, ChangeStream, PageCursor, Since, SnapshotPlan, Source, SourceErrorKind, TableScope};
use testbed::postgres::Version;

use crate::capture::{begin, brief, log_end, read_pages, read_past, read_rows, soon, source, text, until};
use crate::support::{Database, SOLICITUDES, VERSIONS, scope, solicitudes};

async fn fill(database: &Database, first: u32, last: u32) {
    database
        .run(&format!(
            "INSERT INTO solicitudes SELECT i, 'LIC', 'A-' || i, 'RECIBIDA', date '2019-12-01' + i, E'x\\ty\\\\z\\n'
               FROM generate_series({first}, {last}) i",
        ))
        .await;
}

#[tokio::test]
async fn a_new_slots_copy_and_its_stream_meet_without_gap_or_overlap() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        fill(&database, 1, 100).await;
        let source = source(&database.config(), &solicitudes());
        // One writer goes on all the while, so that some rows fall on either side.
        let client = database.client().await;
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let writer = tokio::spawn(async move {
            let mut id = 1000_i64;
            while stopped.try_recv().is_err() {
                let sql = "INSERT INTO solicitudes VALUES ($1, 'LIC', $1::bigint::text, 'RECIBIDA', '2024-05-01', NULL)";
                client.execute(sql, &[&id]).await.unwrap();
                id += 1;
            }
            (id, log_end(&client).await)
        });
        let mut begun = begin(&source, Beginning::Present).await;
        let copied = read_rows(begun.snapshot.as_mut().unwrap()).await;
        stop.send(()).unwrap();
        let (next_id, end) = writer.await.unwrap();
        let mut stream = source.stream(&begun.checkpoint).await.unwrap();
        let streamed = read_past(&source, &mut stream, &end).await.changes;
        let copied: Vec<String> = copied.iter().map(text).collect();
        let streamed: Vec<String> =
            streamed.iter().map(|change| text(change.after.as_ref().unwrap())).collect();
        let all: BTreeSet<&String> = copied.iter().chain(&streamed).collect();
        assert_eq!(all.len(), copied.len() + streamed.len(), "a row came twice");
        assert_eq!(all.len(), 100 + usize::try_from(next_id - 1000).unwrap(), "a row is missing");
    }
}

#[tokio::test]
async fn text_with_tabs_and_backslashes_is_copied_as_it_is_streamed() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    fill(&database, 1, 1).await;
    let source = source(&database.config(), &scope("public.solicitudes", &["notas", "numero"]));
    let mut copy = source.snapshot(&SnapshotPlan::OnePass).await.unwrap();
    let rows: Vec<String> = read_rows(&mut copy).await.iter().map(text).collect();
    assert_eq!(rows, ["x\ty\\z\n|A-1"]);
}

/// A copy in one go is read in binary format where every type allows it, pages are read as text.
#[tokio::test]
async fn a_cell_has_the_same_value_however_it_is_copied() {
    let times = [
        "2024-02-29 23:59:59.999999",
        "0001-01-01 00:00:00",
        "9999-12-31 23:59:59.5",
        "10000-01-01 00:00:00.25",
    ];
    let strange = [
        "0044-03-15 12:00:00 BC",
        "4713-01-01 00:00:00 BC",
        "294276-12-31 23:59:59.999999",
        "infinity",
        "-infinity",
    ];
    for version in VERSIONS {
        let database = Database::make(version).await;
        database
            .run(
                "CREATE TYPE estado AS ENUM ('EN TRÁMITE', 'APROBADA'); CREATE DOMAIN numero AS varchar(20);
                 CREATE TABLE celdas (id serial PRIMARY KEY, b boolean, i2 smallint, i4 int, i8 bigint, t text, v varchar(9),
                     c char(7), e estado, n numero, u uuid, d date, ts timestamp, tz timestamptz);
                 INSERT INTO celdas DEFAULT VALUES;
                 INSERT INTO celdas VALUES (DEFAULT, true, -32768, -2147483648, -9223372036854775808, '', E'a\\tñ\\\\', ' x ',
                     'EN TRÁMITE', 'A-1', 'b2f7e2f0-6f4c-4e57-9d4f-6c8f2b0b8a11', 'infinity', '-infinity', 'infinity')",
            )
            .await;
        for time in times.iter().chain(&strange) {
            let sql = format!(
                "INSERT INTO celdas(b, d, ts, tz) VALUES (false, '{time}'::timestamp::date, '{time}', '{time}'::timestamp AT TIME ZONE 'UTC')"
            );
            database.run(&sql).await;
        }
        let columns = ["b", "i2", "i4", "i8", "t", "v", "c", "e", "n", "u", "d", "ts", "tz", "id"];
        let source = source(&database.config(), &scope("public.celdas", &columns));
        let mut whole = source.snapshot(&SnapshotPlan::OnePass).await.unwrap();
        let mut rows = read_rows(&mut whole).await;
        let mut pages = source
            .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 100 })
            .await
            .unwrap();
        let mut paged: Vec<_> =
            read_pages(&mut pages).await.remove(0).rows.into_iter().map(|(row, _)| row).collect();
        for rows in [&mut rows, &mut paged] {
            rows.sort_by_key(text);
        }
        assert_eq!(rows.len(), 2 + times.len() + strange.len());
        assert_eq!(rows, paged);
    }
}

#[tokio::test]
async fn pages_go_on_after_the_cursor_and_carry_their_fences() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        fill(&database, 1, 25).await;
        let source = source(&database.config(), &TableScope { keys: true, ..solicitudes() });
        let mut copy = source
            .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 10 })
            .await
            .unwrap();
        let pages = read_pages(&mut copy).await;
        assert_eq!(pages.iter().map(|page| page.rows.len()).collect::<Vec<_>>(), [10, 10, 5]);
        let fences: Vec<_> = pages.iter().map(|page| page.fence.clone().unwrap()).collect();
        assert!(source.covers(&fences[2], &fences[0]).unwrap());
        let key = pages[1].rows[9].1.clone().unwrap();
        assert_eq!(key.as_str(), "20");
        let after = pages[1].cursor.clone();
        let mut rest = source
            .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after, rows: 10 })
            .await
            .unwrap();
        assert_eq!(read_pages(&mut rest).await[0].rows, pages[2].rows);
    }
}

#[tokio::test]
async fn pages_follow_a_key_of_several_columns_and_odd_texts() {
    let database = Database::make(Version::Distribution).await;
    database
        .run(
            "CREATE TABLE partes (a text, b int, c char(3), PRIMARY KEY (a, b, c));
             INSERT INTO partes SELECT a, b, 'q' FROM unnest(ARRAY['', 'x''y', E'x\\\\y', E'z\\tz', 'ñ']) a, generate_series(-2, 2) b",
        )
        .await;
    let source = source(&database.config(), &scope("public.partes", &["a", "b"]));
    let mut copy = source
        .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 2 })
        .await
        .unwrap();
    let pages = read_pages(&mut copy).await;
    assert_eq!(pages.len(), 13);
    let rows: BTreeSet<String> = pages.iter().flat_map(|page| &page.rows).map(|(row, _)| text(row)).collect();
    assert_eq!(rows.len(), 25);
}

#[tokio::test]
async fn on_an_idle_server_the_stream_passes_every_fence() {
    for version in VERSIONS {
        let database = Database::make(version).await;
        database.run(SOLICITUDES).await;
        fill(&database, 1, 5).await;
        let source = source(&database.config(), &solicitudes());
        let begun = begin(&source, Beginning::Present).await;
        let mut stream = source.stream(&begun.checkpoint).await.unwrap();
        // A new segment leaves the insert position right after a page header.
        database.run("SELECT pg_switch_wal()").await;
        let mut copy = source
            .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 10 })
            .await
            .unwrap();
        for page in read_pages(&mut copy).await {
            read_past(&source, &mut stream, &page.fence.unwrap()).await;
        }
    }
}

#[tokio::test]
async fn old_rows_are_left_out_and_rows_without_a_day_are_not() {
    let database = Database::make(Version::Distribution).await;
    for (kind, day) in
        [("date", "2020-01-01"), ("timestamp", "2020-01-01 00:00"), ("timestamptz", "2020-01-01 00:00+00")]
    {
        database
            .run(&format!(
                "DROP TABLE IF EXISTS dias; CREATE TABLE dias (id int PRIMARY KEY, d {kind});
                 INSERT INTO dias VALUES (1, '2019-12-31 00:00+00'), (2, '{day}'), (3, NULL), (4, '2024-01-01 00:00+00')"
            ))
            .await;
        let since = Some(Since { column: "d".to_owned(), day: 18262 });
        let source = source(&database.config(), &TableScope { since, ..scope("public.dias", &["id"]) });
        for plan in [
            SnapshotPlan::OnePass,
            SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 2 },
        ] {
            let mut copy = source.snapshot(&plan).await.unwrap();
            let rows: Vec<String> = read_rows(&mut copy).await.iter().map(text).collect();
            assert_eq!(rows, ["2", "3", "4"], "{kind}");
        }
    }
}

#[tokio::test]
async fn a_day_in_a_text_column_filters_nothing() {
    let database = Database::make(Version::Distribution).await;
    database.run("CREATE TABLE dias (id int PRIMARY KEY, d text); INSERT INTO dias VALUES (1, 'ayer')").await;
    let since = Some(Since { column: "d".to_owned(), day: 18262 });
    let source = source(&database.config(), &TableScope { since, ..scope("public.dias", &["id"]) });
    let mut copy = source.snapshot(&SnapshotPlan::OnePass).await.unwrap();
    assert_eq!(read_rows(&mut copy).await.len(), 1);
}

#[tokio::test]
async fn a_table_without_a_key_is_not_read_in_pages() {
    let database = Database::make(Version::Distribution).await;
    database.run("CREATE TABLE sueltas (a int); INSERT INTO sueltas VALUES (1)").await;
    let source = source(&database.config(), &scope("public.sueltas", &["a"]));
    let error = source
        .snapshot(&SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows: 2 })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Schema);
    assert!(error.hint().unwrap().contains("PRIMARY KEY"), "{error}");
    let mut copy = source.snapshot(&SnapshotPlan::OnePass).await.unwrap();
    assert_eq!(read_rows(&mut copy).await.len(), 1);
}

#[tokio::test]
async fn a_cursor_of_another_key_is_refused() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    for text in ["[\"1\",\"2\"]", "1", "", "[1]"] {
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
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    fill(&database, 1, 50_000).await;
    let source = source(&database.config(), &solicitudes());
    let mut copy = source.snapshot(&SnapshotPlan::OnePass).await.unwrap();
    assert!(
        !soon("the first page", change::Snapshot::next_page(&mut copy))
            .await
            .unwrap()
            .unwrap()
            .rows
            .is_empty()
    );
    drop(copy);
    let client = database.client().await;
    until("the end of the copy's connection", async || {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}

#[tokio::test]
async fn an_adopted_slot_has_no_exact_copy_and_says_so() {
    let database = Database::make(Version::Distribution).await;
    database.run(SOLICITUDES).await;
    let source = source(&database.config(), &solicitudes());
    let begun = begin(&source, Beginning::Present).await;
    assert!(begun.snapshot.is_some() && begun.adopted.is_none());
    drop(begun.snapshot);
    database.run("INSERT INTO solicitudes VALUES (1, 'LIC', 'A-1', 'RECIBIDA', '2024-05-01', 'x')").await;
    let again = begin(&source, Beginning::Present).await;
    assert!(again.snapshot.is_none());
    assert!(again.adopted.unwrap().contains(&database.name));
    assert_eq!(again.checkpoint, begun.checkpoint);
    let mut stream = source.stream(&again.checkpoint).await.unwrap();
    let read = crate::capture::read_changes(&mut stream, 1).await;
    assert!(brief(&read.changes[0]).contains("A-1"));
    stream.acknowledge(read.position.as_ref().unwrap()).unwrap();
}
