//! Copies of the table: pages by any key, and fences that hold while the capture lags behind.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use change::{
    Batch, Beginning, Condition, Literal, Operation, Operator, Page, PageCursor, Position, Since, Snapshot,
    SnapshotPlan, Source, Value,
};
use rand::{Rng, SeedableRng};
use sqlserver_connector::SqlServerSource;
use standin::{Command, Standin};

use crate::capturing::reader;
use crate::database::{
    DATABASE, by_hand, captured, changes, config, insert, next, number, options, pages, present, run, scope,
    source, status, uncaptured,
};

fn by_pages(rows: u32) -> SnapshotPlan {
    SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: None, rows }
}

/// What a reader of pages and stream ends up with: the statuses of each request, in order.
#[derive(Default)]
struct Ledger {
    told: BTreeMap<String, Vec<i64>>,
    touched: HashSet<String>,
    waiting: VecDeque<Page>,
    reached: Option<Position>,
}

impl Ledger {
    fn take(&mut self, batch: Batch) {
        for change in &batch.changes {
            let row = change.after.as_ref().or(change.before.as_ref()).unwrap();
            let number = number(row);
            self.touched.insert(number.clone());
            if change.operation != Operation::Delete {
                self.tell(number, status(change.before.as_ref()), status(change.after.as_ref()).unwrap());
            }
        }
        if batch.position.is_some() {
            self.reached = batch.position;
        }
    }

    /// An update whose former status is known is a status change if it differs from it, whatever was told before.
    fn tell(&mut self, number: String, before: Option<i64>, after: i64) {
        let told = self.told.entry(number).or_default();
        let known = before.or(told.last().copied());
        if known != Some(after) {
            told.push(after);
        }
    }

    fn pass_fences(&mut self, source: &SqlServerSource) {
        let Some(reached) = &self.reached else { return };
        while let Some(page) = self.waiting.front() {
            if !source.covers(reached, page.fence.as_ref().unwrap()).unwrap() {
                return;
            }
            let page = self.waiting.pop_front().unwrap();
            for (row, _) in &page.rows {
                let number = number(row);
                if !self.touched.contains(&number) {
                    self.told.entry(number).or_default().push(status(Some(row)).unwrap());
                }
            }
        }
    }
}

const REQUESTS: u32 = 40;

/// Raises the status of random requests by one, over and over.
fn write(server: &Standin, seed: u64, stop: &AtomicBool) {
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let id = random.random_range(0..REQUESTS);
        run(
            server,
            &format!("UPDATE dbo.solicitudes SET estado = estado + 1 WHERE id = {id} AND estado < 250"),
        );
        if random.random_bool(0.1) {
            // To the other side of every page, with another status.
            run(
                server,
                &format!(
                    "UPDATE dbo.solicitudes SET id = 1000 - id, estado = estado + 1 WHERE numero = 'A-{id}' AND estado < 250"
                ),
            );
        }
    }
}

/// Copies the table in small pages, again and again, while others write and the capture lags behind by `latency`.
async fn copy_beside_writers(user: &str, latency: Duration, isolation: &str) {
    let mut options = options();
    options.capture_latency = latency;
    let server = Arc::new(captured(options));
    run(&server, isolation);
    reader(&server);
    for id in 0..REQUESTS {
        insert(&server, id, 1);
    }
    let mut config = config(&server);
    if user != "sa" {
        config.user = user.to_owned();
        config.password = "Pw-12345".to_owned();
    }
    let source = SqlServerSource::new(config, scope());
    println!("{user}, latency {latency:?}, {isolation}");
    let (writers, stop, seed) = writers(&server);
    let checkpoint = present(&source).await;
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let mut snapshot = source.snapshot(&by_pages(7)).await.unwrap();
    let mut ledger = Ledger::default();
    let mut copied = false;
    while !copied || !ledger.waiting.is_empty() {
        tokio::select! {
            batch = next(&mut stream) => ledger.take(batch.unwrap()),
            page = snapshot.next_page(), if !copied => match page.unwrap() {
                Some(page) => ledger.waiting.push_back(page),
                None => copied = true,
            },
        }
        ledger.pass_fences(&source);
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    insert(&server, 5000, 1);
    while !ledger.told.contains_key("A-5000") {
        ledger.take(next(&mut stream).await.unwrap());
    }
    expect_whole(&source, &ledger, seed).await;
}

type Writers = (Vec<std::thread::JoinHandle<()>>, Arc<AtomicBool>, u64);

/// Two writers, what stops them, and the seed of what they do.
fn writers(server: &Arc<Standin>) -> Writers {
    let stop = Arc::new(AtomicBool::new(false));
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let spawn = |writer: u64| {
        let (server, stop) = (Arc::clone(server), Arc::clone(&stop));
        std::thread::spawn(move || write(&server, seed.wrapping_add(writer), &stop))
    };
    ((0..2).map(spawn).collect(), stop, seed)
}

const SNAPSHOTS: &str = "ALTER DATABASE tramites SET ALLOW_SNAPSHOT_ISOLATION ON";
const VERSIONS: &str = "ALTER DATABASE tramites SET READ_COMMITTED_SNAPSHOT ON";
const LOCKS: &str = "ALTER DATABASE tramites SET READ_COMMITTED_SNAPSHOT OFF";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fenced_by_the_logs_end_repeat_nothing_however_far_the_capture_lags() {
    for isolation in [SNAPSHOTS, VERSIONS, LOCKS] {
        copy_beside_writers("sa", Duration::from_millis(300), isolation).await;
    }
    copy_beside_writers("sa", Duration::ZERO, SNAPSHOTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fenced_by_the_time_repeat_nothing_however_far_the_capture_lags() {
    for isolation in [SNAPSHOTS, LOCKS] {
        copy_beside_writers("lee", Duration::from_millis(300), isolation).await;
    }
}

/// Checks that each request's statuses were told one after the other, and that the last is the true one.
async fn expect_whole(source: &SqlServerSource, ledger: &Ledger, seed: u64) {
    let last = pages(source, &SnapshotPlan::OnePass).await;
    let rows = last.iter().flat_map(|page| &page.rows);
    let truth: BTreeMap<String, i64> =
        rows.map(|(row, _)| (number(row), status(Some(row)).unwrap())).collect();
    assert_eq!(truth.len(), usize::try_from(REQUESTS).unwrap() + 1);
    for (number, truth) in &truth {
        let told = ledger.told.get(number).unwrap_or_else(|| panic!("{number} was forgotten, seed {seed}"));
        assert!(told.windows(2).all(|pair| pair[1] == pair[0] + 1), "{number}: {told:?}, seed {seed}");
        assert_eq!(told.last(), Some(truth), "{number}, seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exact_copy_and_the_stream_after_it_tell_each_status_once() {
    let mut options = options();
    options.capture_latency = Duration::from_millis(300);
    let server = Arc::new(captured(options));
    run(&server, SNAPSHOTS);
    for id in 0..REQUESTS {
        insert(&server, id, 1);
    }
    let source = source(&server);
    let (writers, stop, seed) = writers(&server);
    let begun = source.begin(&Beginning::Present).await.unwrap();
    let mut ledger = Ledger::default();
    let mut snapshot = begun.snapshot.expect("a table that can be locked for a moment has an exact copy");
    while let Some(page) = snapshot.next_page().await.unwrap() {
        assert!(page.fence.is_none());
        for (row, _) in &page.rows {
            ledger.told.entry(number(row)).or_default().push(status(Some(row)).unwrap());
        }
    }
    let mut stream = source.stream(&begun.checkpoint).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    insert(&server, 5000, 1);
    while !ledger.told.contains_key("A-5000") {
        ledger.take(next(&mut stream).await.unwrap());
    }
    expect_whole(&source, &ledger, seed).await;
}

#[tokio::test]
async fn pages_by_any_key_hold_each_row_once_and_go_on_where_they_stopped() {
    let server = captured(by_hand());
    for (key, values) in [
        ("a uniqueidentifier", "NEWID()"),
        ("a varchar(10)", "CONCAT('ñ', n, ' x')"),
        ("a nvarchar(10)", "CONCAT(N'日', n)"),
        ("a char(10)", "CONCAT('c', n)"),
        ("a decimal(20, 3)", "n / 7.0"),
        ("a money", "n / 7.0"),
        ("a datetime", "DATEADD(millisecond, n * 7, '2024-05-01')"),
        ("a datetime2(7)", "DATEADD(nanosecond, n * 700, CAST('2024-05-01' AS datetime2(7)))"),
        (
            "a datetimeoffset(7)",
            "DATEADD(nanosecond, n * 700, CAST('2024-05-01T00:00:00+03:00' AS datetimeoffset(7)))",
        ),
        ("a date", "DATEADD(day, n, CAST('2024-05-01' AS date))"),
        ("a bigint", "CAST(n AS bigint) * 1000000007"),
        ("a varbinary(8)", "CAST(n * 7919 AS varbinary(8))"),
    ] {
        run(&server, "IF OBJECT_ID('dbo.otra') IS NOT NULL DROP TABLE dbo.otra");
        run(&server, &format!("CREATE TABLE dbo.otra ({key} NOT NULL PRIMARY KEY, numero int NOT NULL)"));
        for n in 0..40 {
            run(&server, &format!("INSERT INTO dbo.otra VALUES ({}, {n})", replace_word(values, n)));
        }
        let mut scope = scope();
        scope.table = "otra".to_owned();
        scope.columns = vec!["numero".to_owned()];
        let source = SqlServerSource::new(config(&server), scope);
        let numbers = |pages: &[Page]| -> Vec<i64> {
            pages
                .iter()
                .flat_map(|page| &page.rows)
                .map(|(row, _)| match row.get(0) {
                    Some(Value::Int(number)) => *number,
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        let all = pages(&source, &by_pages(7)).await;
        let mut sorted = numbers(&all);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..40).collect::<Vec<i64>>(), "{key}");
        assert_eq!(all.len(), 6, "{key}");
        let cursor: PageCursor = all[2].cursor.clone().unwrap();
        let rest = pages(
            &source,
            &SnapshotPlan::Pages { tables: vec![0], opened: Vec::new(), after: Some(cursor), rows: 100 },
        )
        .await;
        assert_eq!(numbers(&rest), numbers(&all)[21..], "{key}");
    }
}

/// `n` as a word of its own, replaced.
fn replace_word(text: &str, n: i32) -> String {
    let mut out = String::new();
    let letters: Vec<char> = text.chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        let beside =
            |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(|one| one.is_alphanumeric());
        if *letter == 'n' && !beside(at.checked_sub(1)) && !beside(Some(at + 1)) {
            out.push_str(&n.to_string());
        } else {
            out.push(*letter);
        }
    }
    out
}

/// A column of each type that can be mapped, and a value of it.
const CELLS: [(&str, &str, &str); 21] = [
    ("c_bit", "bit", "1"),
    ("c_tinyint", "tinyint", "255"),
    ("c_smallint", "smallint", "-32768"),
    ("c_int", "int", "2147483647"),
    ("c_bigint", "bigint", "-9223372036854775808"),
    ("c_decimal", "decimal(38, 10)", "-1234567890123456789012345678.0123456789"),
    ("c_numeric", "numeric(5, 0)", "12345"),
    ("c_money", "money", "922337203685477.5807"),
    ("c_smallmoney", "smallmoney", "-214748.3648"),
    ("c_char", "char(6)", "'ab'"),
    ("c_nchar", "nchar(6)", "N'ñ日'"),
    ("c_varchar", "varchar(20)", "'cd  '"),
    ("c_nvarchar", "nvarchar(20)", "N'日本'"),
    ("c_long", "nvarchar(max)", "N'largo'"),
    ("c_guid", "uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'"),
    ("c_datetime", "datetime", "'1753-01-01T23:59:59.997'"),
    ("c_datetime2", "datetime2(7)", "'9999-12-31T23:59:59.9999999'"),
    ("c_datetime2_0", "datetime2(0)", "'2024-05-01T10:00:00'"),
    ("c_smalldatetime", "smalldatetime", "'2024-05-01T10:59:00'"),
    ("c_offset", "datetimeoffset(3)", "'2024-05-01T10:00:00.123-04:00'"),
    ("c_date", "date", "'0001-01-01'"),
];

/// What those values are read as.
fn expected_cells() -> Vec<Value> {
    let text = |text: &str| Value::text(text);
    vec![
        Value::Int(1),
        Value::Int(255),
        Value::Int(-32768),
        Value::Int(2_147_483_647),
        Value::Int(i64::MIN),
        text("-1234567890123456789012345678.0123456789"),
        text("12345"),
        text("922337203685477.5807"),
        text("-214748.3648"),
        text("ab"),
        text("ñ日"),
        text("cd  "),
        text("日本"),
        text("largo"),
        text("6F9619FF-8B86-D011-B42D-00C04FC964FF"),
        Value::Local(-6_847_718_400_003_000),
        Value::Local(253_402_300_799_999_999),
        Value::Local(1_714_557_600_000_000),
        Value::Local(1_714_561_140_000_000),
        Value::Instant(1_714_572_000_123_000),
        Value::Date(-719_162),
    ]
}

#[tokio::test]
async fn a_cell_reads_the_same_from_the_table_and_from_its_changes() {
    let server = uncaptured(by_hand());
    let columns = CELLS;
    let definitions: Vec<String> = columns.iter().map(|(name, of, _)| format!("{name} {of} NULL")).collect();
    let values: Vec<&str> = columns.iter().map(|(.., value)| *value).collect();
    run(
        &server,
        &format!("CREATE TABLE dbo.tipos (id int NOT NULL PRIMARY KEY, {})", definitions.join(", ")),
    );
    run(&server, crate::database::ENABLE_DATABASE);
    run(
        &server,
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'tipos', @role_name = NULL",
    );
    server.capture_now(DATABASE).unwrap();
    let mut scope = scope();
    scope.table = "dbo.tipos".to_owned();
    scope.columns = columns.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let source = SqlServerSource::new(config(&server), scope);
    let checkpoint = present(&source).await;
    run(&server, &format!("INSERT INTO dbo.tipos VALUES (1, {})", values.join(", ")));
    let nulls = vec!["NULL"; columns.len()];
    run(&server, &format!("INSERT INTO dbo.tipos VALUES (2, {})", nulls.join(", ")));
    server.capture_now(DATABASE).unwrap();
    let copied = pages(&source, &by_pages(10)).await;
    let rows: Vec<change::Row> =
        copied.iter().flat_map(|page| &page.rows).map(|(row, _)| row.clone()).collect();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (changes, _) = changes(&mut stream, 2).await;
    let streamed: Vec<change::Row> = changes.iter().map(|change| change.after.clone().unwrap()).collect();
    assert_eq!(rows, streamed);
    let keys: Vec<_> = copied.iter().flat_map(|page| &page.rows).map(|(_, key)| key.clone()).collect();
    assert_eq!(keys, changes.iter().map(|change| change.key.clone()).collect::<Vec<_>>());
    assert_eq!(streamed[0].cells(), expected_cells());
    assert!(streamed[1].cells().iter().all(Value::is_null));
}

#[tokio::test]
async fn old_rows_are_left_out_and_rows_without_a_day_are_not() {
    let server = uncaptured(by_hand());
    for (of, old, new) in [
        ("datetime", "'2019-12-30T23:59:59.997'", "'2019-12-31'"),
        ("datetime2(7)", "'2019-12-30T23:59:59.9999999'", "'2019-12-31'"),
        ("date", "'2019-12-30'", "'2019-12-31'"),
        ("smalldatetime", "'2019-12-30T23:59:00'", "'2019-12-31'"),
        ("datetimeoffset(0)", "'2019-12-30T23:59:59Z'", "'2019-12-31T00:00:00Z'"),
    ] {
        run(&server, "IF OBJECT_ID('dbo.dias') IS NOT NULL DROP TABLE dbo.dias");
        run(&server, &format!("CREATE TABLE dbo.dias (numero int NOT NULL PRIMARY KEY, abierta {of} NULL)"));
        run(&server, &format!("INSERT INTO dbo.dias VALUES (1, {old}), (2, {new}), (3, NULL)"));
        let mut scope = scope();
        scope.table = "dbo.dias".to_owned();
        scope.columns = vec!["numero".to_owned(), "abierta".to_owned()];
        scope.since = Some(Since { column: "abierta".to_owned(), day: 18_261 });
        let source = SqlServerSource::new(config(&server), scope);
        for plan in [SnapshotPlan::OnePass, by_pages(10)] {
            let rows = pages(&source, &plan).await;
            let numbers: Vec<_> =
                rows.iter().flat_map(|page| &page.rows).map(|(row, _)| row.get(0).cloned()).collect();
            assert_eq!(numbers, [Some(Value::Int(2)), Some(Value::Int(3))], "{of}");
        }
    }
}

#[tokio::test]
async fn rows_that_do_not_count_are_left_out_and_no_others() {
    let server = uncaptured(by_hand());
    for (id, status) in [(1, 3), (2, 9), (3, 9)] {
        insert(&server, id, status);
    }
    run(&server, "UPDATE dbo.solicitudes SET numero = 'a-3' WHERE id = 3");
    let equal = |column: &str, literal| Condition::Compare {
        column: column.to_owned(),
        operator: Operator::Equal,
        literal,
    };
    let text = |text: &str| Literal::Text(text.to_owned());
    let list = Condition::In { column: "numero".to_owned(), literals: vec![text("A-1"), text("A-3")] };
    for (condition, left) in [
        (equal("estado", Literal::Number("9".to_owned())), vec!["A-2", "a-3"]),
        (Condition::Not(Box::new(equal("estado", Literal::Number("9.0".to_owned())))), vec!["A-1"]),
        // The server takes no notice of case; the product does, and judges the row itself.
        (list, vec!["A-1", "a-3"]),
        (Condition::IsNull { column: "estado".to_owned() }, vec![]),
    ] {
        let mut scope = scope();
        scope.condition = Some(condition.clone());
        let source = SqlServerSource::new(config(&server), scope);
        for plan in [SnapshotPlan::OnePass, by_pages(1)] {
            let rows = pages(&source, &plan).await;
            let numbers: Vec<String> =
                rows.iter().flat_map(|page| &page.rows).map(|(row, _)| number(row)).collect();
            assert_eq!(numbers, left, "{condition:?}");
        }
    }
}

#[tokio::test]
async fn a_table_without_a_key_cannot_be_read_in_pages_and_can_be_read_in_one_pass() {
    let server = captured(by_hand());
    run(&server, "CREATE TABLE dbo.suelta (numero int NOT NULL); INSERT INTO dbo.suelta VALUES (1), (1)");
    let mut scope = scope();
    scope.table = "suelta".to_owned();
    scope.columns = vec!["numero".to_owned()];
    let source = SqlServerSource::new(config(&server), scope);
    let error = source.snapshot(&by_pages(10)).await.unwrap_err();
    assert_eq!(error.kind(), change::SourceErrorKind::Schema);
    assert!(error.hint().unwrap().contains("ADD PRIMARY KEY"));
    let rows = pages(&source, &SnapshotPlan::OnePass).await;
    assert_eq!(rows[0].rows.len(), 2);
}

#[tokio::test]
async fn a_page_waits_for_a_lock_no_longer_than_it_has_to() {
    let server = captured(by_hand());
    insert(&server, 1, 9);
    server
        .control(Command::Fault(standin::Fault::once("ORDER BY [id]", standin::Action::Fail(1222)).times(2)))
        .unwrap();
    let rows = pages(&source(&server), &by_pages(10)).await;
    assert_eq!(rows[0].rows.len(), 1);
}
