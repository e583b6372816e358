//! Several tables in one stream and one copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use change::{
    Beginning, Change, Inspection, Operation, Page, PageCursor, Row, Scope, Severity, SnapshotPlan, Source,
    SourceErrorKind, TableScope, Value,
};
use sqlserver_connector::{Mode, SqlServerSource, SqlServerStream};
use standin::{Action, Command, Fault, Options, Standin};

use crate::database::{
    DATABASE, ENABLE_DATABASE, PASSWORD, after, by_hand, captured, config, failure, insert, next, options,
    pages, present, run, scope, uncaptured, until, update,
};

const STEPS: &str =
    "CREATE TABLE dbo.pasos (id int NOT NULL PRIMARY KEY, solicitud int NOT NULL, paso varchar(20) NOT NULL)";

const ENABLE_STEPS: &str = "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'pasos',
    @role_name = NULL, @supports_net_changes = 0";

/// A server with requests and their steps, both captured.
fn server(options: Options) -> Standin {
    let server = captured(options);
    run(&server, STEPS);
    run(&server, ENABLE_STEPS);
    server.capture_now(DATABASE).unwrap();
    server
}

/// Both tables, the parent first.
fn both() -> Scope {
    let parents = TableScope { columns: vec!["numero".to_owned(), "estado".to_owned()], ..scope() };
    let columns = ["id", "solicitud", "paso"].map(str::to_owned).to_vec();
    let steps = TableScope { table: "dbo.pasos".to_owned(), columns, ..scope() };
    Scope { tables: vec![parents, steps] }
}

fn source(server: &Standin) -> SqlServerSource {
    SqlServerSource::new(config(server), both())
}

fn step(server: &Standin, id: u32, request: u32, step: &str) {
    run(server, &format!("INSERT INTO dbo.pasos VALUES ({id}, {request}, '{step}')"));
}

fn text(row: &Row) -> String {
    let cell = |cell: &Value| match cell {
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    };
    row.cells().iter().map(cell).collect::<Vec<_>>().join("|")
}

fn told(change: &Change) -> String {
    let side = |row: &Option<Row>| row.as_ref().map_or(String::new(), text);
    let what = match change.operation {
        Operation::Insert => format!("+{}", side(&change.after)),
        Operation::Update => format!("{}>{}", side(&change.before), side(&change.after)),
        Operation::Delete => format!("-{}", side(&change.before)),
    };
    format!("{}: {what}", change.table)
}

async fn changes(stream: &mut SqlServerStream, count: usize) -> Vec<String> {
    crate::database::changes(stream, count).await.0.iter().map(told).collect()
}

#[tokio::test]
async fn changes_of_several_tables_come_in_the_order_in_which_they_were_made() {
    let server = server(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    run(
        &server,
        "BEGIN TRAN;
         INSERT INTO dbo.pasos VALUES (1, 1, 'uno');
         INSERT INTO dbo.solicitudes VALUES (1, 'A-1', 9, '2024-05-01', NULL);
         UPDATE dbo.pasos SET paso = 'dos' WHERE id = 1;
         UPDATE dbo.solicitudes SET estado = 3 WHERE id = 1;
         INSERT INTO dbo.pasos VALUES (2, 1, 'tres');
         COMMIT",
    );
    update(&server, 1, 7);
    step(&server, 3, 1, "cuatro");
    run(&server, "DELETE FROM dbo.solicitudes");
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (seen, last) = crate::database::changes(&mut stream, 8).await;
    let texts: Vec<String> = seen.iter().map(told).collect();
    let expected = [
        "1: +1|1|uno",
        "0: +A-1|9",
        "1: 1|1|uno>1|1|dos",
        "0: A-1|9>A-1|3",
        "1: +2|1|tres",
        "0: A-1|3>A-1|7",
        "1: +3|1|cuatro",
        "0: -A-1|7",
    ];
    assert_eq!(texts, expected);
    assert!(seen[..5].iter().all(|change| change.transaction == seen[0].transaction));
    drop(stream);
    insert(&server, 2, 9);
    step(&server, 4, 2, "uno");
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&after(&last, &checkpoint)).await.unwrap();
    assert_eq!(changes(&mut stream, 2).await, ["0: +A-2|9", "1: +4|2|uno"]);
}

#[tokio::test]
async fn a_huge_transaction_over_several_tables_keeps_its_order_across_their_pages() {
    read_a_huge_transaction(by_hand()).await;
}

#[tokio::test]
async fn so_it_does_where_the_change_tables_number_no_commands() {
    let mut old = by_hand();
    old.without_command_ids = true;
    read_a_huge_transaction(old).await;
}

async fn read_a_huge_transaction(options: Options) {
    let server = server(options);
    let source = source(&server);
    let checkpoint = present(&source).await;
    let mut statements = Vec::new();
    let mut expected = Vec::new();
    for chunk in 0..7_u32 {
        let ids = chunk * 1000..(chunk + 1) * 1000;
        let requests: Vec<String> =
            ids.clone().map(|id| format!("({id}, 'A-{id}', 9, '2024-05-01', NULL)")).collect();
        statements.push(format!("INSERT INTO dbo.solicitudes VALUES {}", requests.join(", ")));
        expected.extend(ids.clone().map(|id| format!("0: +A-{id}|9")));
        // One table has far more rows than the other in the end.
        if chunk < 5 {
            let steps: Vec<String> = ids.clone().map(|id| format!("({id}, {id}, 'uno')")).collect();
            statements.push(format!("INSERT INTO dbo.pasos VALUES {}", steps.join(", ")));
            expected.extend(ids.map(|id| format!("1: +{id}|{id}|uno")));
        }
    }
    run(&server, &format!("BEGIN TRAN; {}; COMMIT", statements.join("; ")));
    server.capture_now(DATABASE).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let mut batches = Vec::new();
    loop {
        let batch = next(&mut stream).await.unwrap();
        let ends = batch.position.is_some();
        batches.push(batch);
        if ends {
            break;
        }
    }
    assert!(batches.iter().all(|batch| batch.changes.len() <= 8192));
    let seen: Vec<String> = batches.iter().flat_map(|batch| &batch.changes).map(told).collect();
    assert!(seen == expected, "{} changes, expected {} in another order", seen.len(), expected.len());
}

#[tokio::test]
async fn each_table_goes_on_with_a_newer_instance_of_its_own() {
    let server = server(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    let mut stream = source.stream(&checkpoint).await.unwrap();
    insert(&server, 1, 9);
    step(&server, 1, 1, "uno");
    server.capture_now(DATABASE).unwrap();
    assert_eq!(changes(&mut stream, 2).await, ["0: +A-1|9", "1: +1|1|uno"]);
    run(&server, &format!("{ENABLE_STEPS}, @capture_instance = N'segunda'"));
    insert(&server, 2, 9);
    step(&server, 2, 2, "uno");
    server.capture_now(DATABASE).unwrap();
    assert_eq!(changes(&mut stream, 2).await, ["0: +A-2|9", "1: +2|2|uno"]);
    // The newer one is read: the stream does not notice that the older one goes.
    run(&server, "EXEC sys.sp_cdc_disable_table N'dbo', N'pasos', N'dbo_pasos'");
    step(&server, 3, 2, "dos");
    insert(&server, 3, 9);
    server.capture_now(DATABASE).unwrap();
    assert_eq!(changes(&mut stream, 2).await, ["1: +3|2|dos", "0: +A-3|9"]);
}

#[tokio::test]
async fn a_clean_up_of_one_table_while_it_is_read_is_a_lost_log() {
    let server = server(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    for id in 1..=3 {
        insert(&server, id, 9);
        step(&server, id, id, "uno");
        run(&server, "WAITFOR DELAY '00:00:00.050'");
    }
    server.capture_now(DATABASE).unwrap();
    let clean = "DECLARE @end binary(10) = sys.fn_cdc_get_max_lsn();
        EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_pasos', @low_water_mark = @end";
    let fault = Fault::once("FROM [cdc].[dbo_pasos_CT]", Action::Before(clean.to_owned()));
    server.control(Command::Fault(fault)).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (batches, error) = failure(&mut stream).await;
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
    assert!(error.to_string().contains("dbo_pasos"), "{error}");
    assert!(batches.iter().all(|batch| batch.position.is_none()), "{batches:?}");
    assert_eq!(source.retention(&checkpoint.position).await.unwrap().left, Some(Duration::ZERO));
}

#[tokio::test]
async fn a_definition_that_changes_stops_the_stream_only_where_a_mapped_column_goes_away() {
    let server = server(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    let mut stream = source.stream(&checkpoint).await.unwrap();
    run(&server, "ALTER TABLE dbo.pasos ADD nota varchar(20) NULL");
    insert(&server, 1, 9);
    run(&server, "INSERT INTO dbo.pasos (id, solicitud, paso) VALUES (1, 1, 'uno')");
    server.capture_now(DATABASE).unwrap();
    assert_eq!(changes(&mut stream, 2).await, ["0: +A-1|9", "1: +1|1|uno"]);
    run(&server, "ALTER TABLE dbo.pasos DROP COLUMN paso");
    insert(&server, 2, 9);
    server.capture_now(DATABASE).unwrap();
    let (batches, error) = failure(&mut stream).await;
    assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
    assert!(error.to_string().contains("[pasos]"), "{error}");
    assert!(batches.iter().all(|batch| batch.changes.is_empty()));
}

#[tokio::test]
async fn an_instance_of_one_table_that_goes_away_while_it_is_read_is_named() {
    let server = server(by_hand());
    let source = source(&server);
    let checkpoint = present(&source).await;
    insert(&server, 1, 9);
    step(&server, 1, 1, "uno");
    server.capture_now(DATABASE).unwrap();
    let drop = "EXEC sys.sp_cdc_disable_table N'dbo', N'pasos', N'dbo_pasos'";
    let fault = Fault::once("FROM [cdc].[dbo_pasos_CT]", Action::Before(drop.to_owned()));
    server.control(Command::Fault(fault)).unwrap();
    let mut stream = source.stream(&checkpoint).await.unwrap();
    let (_, error) = failure(&mut stream).await;
    assert!(error.kind() == SourceErrorKind::Busy && error.to_string().contains("dbo_pasos"), "{error}");
}

fn plan(tables: &[u16], after: Option<PageCursor>, rows: u32) -> SnapshotPlan {
    SnapshotPlan::Pages { tables: tables.to_vec(), opened: Vec::new(), after, rows }
}

fn rows(pages: &[Page]) -> Vec<String> {
    let rows = pages.iter().flat_map(|page| page.rows.iter().map(|(row, _)| (page.table, row)));
    rows.map(|(table, row)| format!("{table}: {}", text(row))).collect()
}

#[tokio::test]
async fn copies_hold_one_table_after_the_other_and_go_on_in_the_middle_of_any() {
    let server = server(by_hand());
    run(&server, "ALTER DATABASE tramites SET ALLOW_SNAPSHOT_ISOLATION ON");
    for id in 1..=5 {
        insert(&server, id, 9);
        step(&server, id, id, "uno");
    }
    let source = source(&server);
    let parents = (1..=5).map(|id| format!("0: A-{id}|9"));
    let steps: Vec<String> = (1..=5).map(|id| format!("1: {id}|{id}|uno")).collect();
    let all: Vec<String> = parents.chain(steps.clone()).collect();
    // What comes between the two tables' statements is not in the copy.
    let later = Action::Before("INSERT INTO dbo.pasos VALUES (6, 5, 'dos')".to_owned());
    server.control(Command::Fault(Fault::once("FROM [dbo].[pasos]", later))).unwrap();
    assert_eq!(rows(&pages(&source, &SnapshotPlan::OnePass).await), all);
    run(&server, "DELETE FROM dbo.pasos WHERE id = 6");
    assert_eq!(rows(&pages(&source, &plan(&[1], None, 2)).await), steps);
    let parts = pages(&source, &plan(&[0, 1], None, 2)).await;
    assert_eq!(rows(&parts), all);
    assert!(parts.iter().all(|page| page.fence.is_some()));
    for (number, part) in parts.iter().enumerate() {
        let left = [0, 1].get(usize::from(part.table)..).unwrap();
        let rest = pages(&source, &plan(left, part.cursor.clone(), 2)).await;
        assert_eq!(rows(&rest), rows(&parts[number + 1..]), "after page {number}");
    }
    let swapped = pages(&source, &plan(&[1, 0], None, 9)).await;
    assert_eq!(swapped.iter().map(|page| page.table).collect::<Vec<_>>(), [1, 0]);
    let error = source.snapshot(&plan(&[2], None, 2)).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exact_copy_is_as_of_one_moment_in_all_tables() {
    let mut options = options();
    options.capture_latency = Duration::from_millis(100);
    let server = Arc::new(server(options));
    run(&server, "ALTER DATABASE tramites SET ALLOW_SNAPSHOT_ISOLATION ON");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut id = 0;
            while !stop.load(Ordering::Relaxed) {
                id += 1;
                run(
                    &server,
                    &format!(
                        "BEGIN TRAN; INSERT INTO dbo.solicitudes VALUES ({id}, 'A-{id}', 9, '2024-05-01', NULL);
                         INSERT INTO dbo.pasos VALUES ({id}, {id}, 'uno'); COMMIT"
                    ),
                );
            }
            id
        })
    };
    let source = source(&server);
    let (mut copied, mut checkpoint) = (Vec::new(), None);
    while copied.len() < 40 {
        let begun = source.begin(&Beginning::Present).await.unwrap();
        let mut snapshot = begun.snapshot.expect("tables that can be locked for a moment have an exact copy");
        let mut read = Vec::new();
        while let Some(page) = change::Snapshot::next_page(&mut snapshot).await.unwrap() {
            read.push(page);
        }
        copied = rows(&read);
        let parents = copied.iter().filter(|row| row.starts_with("0: ")).count();
        assert_eq!(2 * parents, copied.len());
        checkpoint = Some(begun.checkpoint);
    }
    stop.store(true, Ordering::Relaxed);
    let written = 2 * writer.join().unwrap();
    step(&server, 1_000_000, 1, "fin");
    let mut stream = source.stream(&checkpoint.unwrap()).await.unwrap();
    let batches =
        until(&mut stream, |batch| batch.changes.iter().any(|change| told(change) == "1: +1000000|1|fin"))
            .await;
    let streamed =
        batches.iter().flat_map(|batch| &batch.changes).map(|change| told(change).replace('+', ""));
    let mut all: Vec<String> = copied.iter().cloned().chain(streamed).collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), count), (written + 1, written + 1), "{} were copied", copied.len());
}

fn errors(found: &Inspection) -> Vec<&change::Finding> {
    found.findings.iter().filter(|finding| finding.severity == Severity::Error).collect()
}

#[tokio::test]
async fn check_names_the_table_that_is_missing_and_says_once_what_is_the_servers() {
    let server = server(options());
    insert(&server, 1, 9);
    step(&server, 1, 1, "uno");
    let found = source(&server).check(10).await;
    assert!(errors(&found).is_empty(), "{:#?}", errors(&found));
    let samples: Vec<Vec<String>> =
        found.samples.iter().map(|rows| rows.iter().map(text).collect()).collect();
    assert_eq!(samples, [["A-1|9"], ["1|1|uno"]]);
    let mut said: Vec<&str> = found.findings.iter().map(|finding| finding.what.as_str()).collect();
    let count = said.len();
    said.sort_unstable();
    said.dedup();
    assert_eq!(said.len(), count, "{:#?}", found.findings);

    let mut scope = both();
    scope.tables.push(TableScope { table: "dbo.pagos".to_owned(), ..scope.tables[0].clone() });
    let found = SqlServerSource::new(config(&server), scope.clone()).check(10).await;
    let wrong = errors(&found);
    assert!(wrong.len() == 1 && wrong[0].what.contains("[pagos]"), "{wrong:#?}");
    assert_eq!(found.samples.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0]);

    run(&server, &STEPS.replace("pasos", "pagos"));
    scope.tables[2].columns = vec!["id".to_owned()];
    let source = SqlServerSource::new(config(&server), scope.clone());
    let found = source.check(10).await;
    let wrong = errors(&found);
    assert!(wrong.len() == 1 && wrong[0].what.contains("[pagos] has no capture instance"), "{wrong:#?}");
    let error = source.begin(&Beginning::Present).await.unwrap_err();
    assert!(error.to_string().contains("[pagos] has no capture instance"), "{error}");

    scope.tables[2] = TableScope { table: "solicitudes".to_owned(), ..scope.tables[0].clone() };
    let source = SqlServerSource::new(config(&server), scope);
    let found = source.check(10).await;
    let twice = errors(&found);
    assert!(twice.len() == 1 && twice[0].what.contains("configured twice"), "{twice:#?}");
    let error = source.begin(&Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Configuration, "{error}");
}

#[tokio::test]
async fn scans_are_of_one_table_only_and_say_so() {
    let server = uncaptured(by_hand());
    run(&server, STEPS);
    let mut config = config(&server);
    config.mode = Mode::Poll { modified_column: "abierta".to_owned(), overlap: Duration::ZERO };
    let source = SqlServerSource::new(config, both());
    let found = source.check(10).await;
    assert!(
        errors(&found).iter().any(|finding| finding.what.contains("2 tables are configured")),
        "{found:#?}"
    );
    for error in [
        source.begin(&Beginning::Present).await.map(drop).unwrap_err(),
        source.snapshot(&SnapshotPlan::OnePass).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), SourceErrorKind::Configuration, "{error}");
    }
}

#[tokio::test]
async fn what_setup_prints_is_enough_for_all_tables() {
    let server = uncaptured(by_hand());
    run(&server, STEPS);
    let mut config = config(&server);
    config.user = "lee".to_owned();
    let source = SqlServerSource::new(config, both());
    for statement in source.setup().await.unwrap() {
        run(&server, &statement.sql.replace("<password>", PASSWORD));
    }
    server.capture_now(DATABASE).unwrap();
    let left = source.setup().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert!(source.begin(&Beginning::Present).await.unwrap().snapshot.is_some());
}

#[tokio::test]
async fn the_instances_of_all_tables_are_taken_away() {
    let server = uncaptured(by_hand());
    run(&server, STEPS);
    run(&server, ENABLE_DATABASE);
    let source = source(&server);
    source.apply(&source.setup().await.unwrap()).await.unwrap();
    let removal = source.removal().await.unwrap();
    let sql: Vec<&str> = removal.statements.iter().map(|statement| statement.sql.as_str()).collect();
    assert_eq!(sql.len(), 2, "{sql:?}");
    assert!(sql[0].contains("N'solicitudes'") && sql[1].contains("N'pasos'"), "{sql:?}");
    source.apply(&removal.statements).await.unwrap();
    assert_eq!(source.removal().await.unwrap().statements, []);
}

#[tokio::test]
async fn a_parent_of_which_a_row_could_have_two_is_refused_until_its_key_is_unique() {
    let server = server(by_hand());
    let mut scope = both();
    // Several steps may have one name.
    scope.tables[1].parent_keys = vec![vec!["id".to_owned()], vec!["paso".to_owned()]];
    let source = SqlServerSource::new(config(&server), scope);
    let parent_key = async || {
        let found = source.check(10).await;
        found.findings.into_iter().find(|finding| finding.code == "parent_key").unwrap()
    };
    let refused = parent_key().await;
    assert_eq!(refused.severity, Severity::Error, "{refused:?}");
    let error = source.begin(&Beginning::Present).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
    run(&server, refused.mend.as_deref().unwrap());
    assert_eq!(parent_key().await.severity, Severity::Pass);
}
