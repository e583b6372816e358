//! Several tables in one stream and one copy.

use change::{
    Batch, Beginning, Change, ChangeStream, Checkpoint, Incident, Operation, Page, PageCursor, Scope,
    Severity, SnapshotPlan, Source, SourceErrorKind, TableScope,
};
use mysql_connector::{MysqlSource, MysqlStream};

use crate::database::{Database, PRODUCTS, errors, read_pages, scope, soon, text};
use crate::streaming::{begin, open};

const PARENTS: &str = "CREATE TABLE solicitudes (id int PRIMARY KEY, servicio varchar(20) NOT NULL)";

/// The child table, in a database of its own beside the parent's.
fn children(database: &Database) -> String {
    format!("{}_otra.pasos", database.name)
}

async fn make(database: &Database) {
    database.server.create_database(&format!("{}_otra", database.name)).await.unwrap();
    let steps = children(database);
    let create =
        format!("CREATE TABLE {steps} (id int PRIMARY KEY, solicitud int NOT NULL, estado varchar(20))");
    database.run(&[PARENTS, &create]).await;
}

/// Both tables, the parent first.
fn both(database: &Database) -> Scope {
    let keyed = |scope: TableScope| TableScope { keys: true, ..scope };
    let parents = keyed(scope("solicitudes", &["id", "servicio"]));
    Scope { tables: vec![parents, keyed(scope(&children(database), &["id", "solicitud", "estado"]))] }
}

fn source(database: &Database) -> MysqlSource {
    MysqlSource::new(database.config(), both(database))
}

/// A request with its first step, in one transaction.
fn request(database: &Database, id: u32) -> [String; 4] {
    let steps = children(database);
    [
        "BEGIN".to_owned(),
        format!("INSERT INTO solicitudes VALUES ({id}, 'LIC')"),
        format!("INSERT INTO {steps} VALUES ({id}, {id}, 'RECIBIDA')"),
        "COMMIT".to_owned(),
    ]
}

async fn run(database: &Database, statements: &[String]) {
    database.run(&statements.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

fn told(change: &Change) -> String {
    let side = |row: &Option<change::Row>| row.as_ref().map_or(String::new(), text);
    let what = match change.operation {
        Operation::Insert => format!("+{}", side(&change.after)),
        Operation::Update => format!("{}>{}", side(&change.before), side(&change.after)),
        Operation::Delete => format!("-{}", side(&change.before)),
    };
    format!("{}: {what}", change.table)
}

/// Reads until so many changes have come, and the position after them.
async fn read(stream: &mut MysqlStream, changes: usize) -> (Vec<String>, Batch) {
    let mut seen = Vec::new();
    loop {
        let batch = soon("a batch", stream.next()).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        seen.extend(batch.changes.iter().map(told));
        if seen.len() >= changes && batch.position.is_some() {
            return (seen, batch);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_several_tables_come_in_the_order_of_the_log_and_go_on_where_they_were_stored() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        make(&database).await;
        let source = source(&database);
        let checkpoint = begin(&source).await;
        let steps = children(&database);
        run(&database, &request(&database, 1)).await;
        database
            .run(&[
                "BEGIN",
                &format!("UPDATE {steps} SET estado = 'APROBADA' WHERE id = 1"),
                "UPDATE solicitudes SET servicio = 'PER' WHERE id = 1",
                &format!("INSERT INTO {steps} VALUES (2, 1, 'ENTREGADA')"),
                "COMMIT",
                "DELETE FROM solicitudes",
            ])
            .await;
        let mut stream = open(&source, &checkpoint).await;
        let (seen, last) = read(&mut stream, 6).await;
        let expected = [
            "0: +1|LIC",
            "1: +1|1|RECIBIDA",
            "1: 1|1|RECIBIDA>1|1|APROBADA",
            "0: 1|LIC>1|PER",
            "1: +2|1|ENTREGADA",
            "0: -1|PER",
        ];
        assert_eq!(seen, expected, "{product}");
        drop(stream);
        let after = Checkpoint { position: last.position.unwrap(), server: checkpoint.server };
        run(&database, &request(&database, 7)).await;
        let mut stream = open(&source, &after).await;
        assert_eq!(read(&mut stream, 2).await.0, ["0: +7|LIC", "1: +7|7|RECIBIDA"], "{product}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_one_table_leaves_the_other_alone() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        make(&database).await;
        let source = source(&database);
        let checkpoint = begin(&source).await;
        let steps = children(&database);
        let insert = |id: u32| format!("INSERT INTO solicitudes VALUES ({id}, 'LIC')");
        // The log names no columns: rows of the first table are read by their places on both sides of each change.
        database
            .run(&[
                &insert(1),
                &format!("ALTER TABLE {steps} ADD COLUMN primera int FIRST"),
                &insert(2),
                &format!("INSERT INTO {steps} VALUES (0, 1, 1, 'RECIBIDA')"),
                &format!("TRUNCATE {steps}"),
                &insert(3),
            ])
            .await;
        let mut stream = open(&source, &checkpoint).await;
        let mut incidents = Vec::new();
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let batch = soon("a batch", stream.next()).await.unwrap();
            seen.extend(batch.changes.iter().map(told));
            incidents.extend(batch.incidents);
        }
        assert_eq!(seen, ["0: +1|LIC", "0: +2|LIC", "1: +1|1|RECIBIDA", "0: +3|LIC"], "{product}");
        assert!(matches!(incidents.as_slice(), [Incident::Truncated { table: 1, .. }]), "{incidents:?}");
        // The stream is at the log's end, and what follows is read as the table is then.
        database
            .run(&[
                &format!("ALTER TABLE {steps} DROP COLUMN primera"),
                &format!("INSERT INTO {steps} VALUES (9, 1, 'APROBADA')"),
                &insert(4),
            ])
            .await;
        assert_eq!(read(&mut stream, 2).await.0, ["1: +9|1|APROBADA", "0: +4|LIC"], "{product}");
    }
}

fn rows(pages: &[Page]) -> Vec<String> {
    let rows = pages.iter().flat_map(|page| page.rows.iter().map(|(row, _)| (page.table, row)));
    rows.map(|(table, row)| format!("{table}: {}", text(row))).collect()
}

fn plan(tables: &[u16], after: Option<PageCursor>, rows: u32) -> SnapshotPlan {
    SnapshotPlan::Pages { tables: tables.to_vec(), opened: Vec::new(), after, rows }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_hold_one_table_after_the_other_and_go_on_in_the_middle_of_any() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        make(&database).await;
        for id in 1..=5 {
            run(&database, &request(&database, id)).await;
        }
        let source = source(&database);
        let copy = async |plan: SnapshotPlan| read_pages(&mut source.snapshot(&plan).await.unwrap()).await;
        let parents = (1..=5).map(|id| format!("0: {id}|LIC"));
        let steps: Vec<String> = (1..=5).map(|id| format!("1: {id}|{id}|RECIBIDA")).collect();
        let all: Vec<String> = parents.chain(steps.clone()).collect();
        assert_eq!(rows(&copy(SnapshotPlan::OnePass).await), all, "{product}");
        let mut begun = source.begin(&Beginning::Present).await.unwrap();
        assert!(begun.rows_estimate.is_some(), "{product}");
        assert_eq!(rows(&read_pages(begun.snapshot.as_mut().unwrap()).await), all, "{product}");
        assert_eq!(rows(&copy(plan(&[1], None, 2)).await), steps, "{product}");
        let parts = copy(plan(&[0, 1], None, 2)).await;
        assert_eq!(rows(&parts), all, "{product}");
        assert!(parts.iter().all(|page| page.fence.is_some()));
        for (number, part) in parts.iter().enumerate() {
            let left = [0, 1].get(usize::from(part.table)..).unwrap();
            let rest = copy(plan(left, part.cursor.clone(), 2)).await;
            assert_eq!(rows(&rest), rows(&parts[number + 1..]), "{product} after page {number}");
        }
        // The order is that of the plan, and a cursor tells a place in whatever table comes first.
        let last_parent = parts.iter().rfind(|page| page.table == 0).unwrap().cursor.clone();
        let swapped = copy(plan(&[1, 0], None, 9)).await;
        assert_eq!(swapped.iter().map(|page| page.table).collect::<Vec<_>>(), [1, 0], "{product}");
        assert_eq!(rows(&copy(plan(&[0, 1], last_parent, 2)).await), steps, "{product}");
        let error = source.snapshot(&plan(&[2], None, 2)).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Schema, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_copy_is_as_of_one_moment_in_all_tables() {
    for product in PRODUCTS {
        let database = std::sync::Arc::new(Database::make(product).await);
        make(&database).await;
        let writing = std::sync::Arc::clone(&database);
        let writer = tokio::spawn(async move {
            let mut client = writing.client().await;
            for id in 1..=400 {
                for statement in request(&writing, id) {
                    testbed::mysql::prelude::Queryable::query_drop(&mut client, statement).await.unwrap();
                }
            }
        });
        let source = source(&database);
        let (mut copied, mut checkpoint) = (Vec::new(), None);
        while copied.len() < 100 {
            let mut begun = soon("a beginning", source.begin(&Beginning::Present)).await.unwrap();
            copied = rows(&read_pages(begun.snapshot.as_mut().expect("an exact copy")).await);
            let (parents, steps): (Vec<&String>, Vec<&String>) =
                copied.iter().partition(|row| row.starts_with("0: "));
            assert_eq!(parents.len(), steps.len(), "{product}");
            checkpoint = Some(begun.checkpoint);
        }
        writer.await.unwrap();
        let mut stream = open(&source, &checkpoint.unwrap()).await;
        let left = 800 - copied.len();
        let told: Vec<String> = if left > 0 {
            read(&mut stream, left).await.0.into_iter().map(|told| told.replace('+', "")).collect()
        } else {
            Vec::new()
        };
        let mut all: Vec<String> = copied.into_iter().chain(told).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 800, "{product}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_table_that_is_missing_and_says_once_what_is_the_servers() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        make(&database).await;
        run(&database, &request(&database, 1)).await;
        let found = source(&database).check(10).await;
        assert!(errors(&found).is_empty(), "{product}: {:#?}", errors(&found));
        let samples: Vec<Vec<String>> =
            found.samples.iter().map(|rows| rows.iter().map(text).collect()).collect();
        assert_eq!(samples, [["1|LIC"], ["1|1|RECIBIDA"]], "{product}");
        let mut said: Vec<&str> = found.findings.iter().map(|finding| finding.what.as_str()).collect();
        let count = said.len();
        said.sort_unstable();
        said.dedup();
        assert_eq!(said.len(), count, "{product}: {:#?}", found.findings);

        let mut scope = both(&database);
        scope.tables.push(TableScope { table: "pagos".to_owned(), ..scope.tables[0].clone() });
        let source = MysqlSource::new(database.config(), scope.clone());
        let found = source.check(10).await;
        let wrong = errors(&found);
        assert!(wrong.len() == 1 && wrong[0].what.contains("`pagos`"), "{product}: {wrong:#?}");
        assert_eq!(found.samples.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0]);
        let error = source.begin(&Beginning::Present).await.unwrap_err();
        assert!(error.to_string().contains("`pagos`"), "{product}: {error}");

        scope.tables[2].table = format!("{}.solicitudes", database.name);
        let source = MysqlSource::new(database.config(), scope);
        let found = source.check(10).await;
        let twice = errors(&found);
        assert!(twice.len() == 1 && twice[0].what.contains("configured twice"), "{product}: {twice:#?}");
        let error = source.begin(&Beginning::Present).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Configuration, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_setup_prints_is_enough_for_all_tables() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        make(&database).await;
        let config = database.config_of(&format!("u_{}", database.name), "una clave");
        let source = MysqlSource::new(config, both(&database));
        let printed = source.setup().await.unwrap();
        database.run_printed(&printed, "una clave").await;
        let left = source.setup().await.unwrap();
        assert!(left.is_empty(), "{product}: {left:?}");
        let found = source.check(10).await;
        assert!(
            found.findings.iter().all(|finding| finding.severity != Severity::Error),
            "{product}: {found:#?}"
        );
        assert!(source.begin(&Beginning::Present).await.unwrap().snapshot.is_some(), "{product}");
    }
}
