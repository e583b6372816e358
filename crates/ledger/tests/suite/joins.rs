//! Rows that are joined to their parents, and several tables in one ledger.

use std::sync::Arc;

use change::{Operation, PageCursor, Position, Row, RowKey, Transaction, Value};
use chrono_tz::Tz;
use ledger::{
    Captured, CopyKind, Declared, Entry, FlushKind, GapFound, Ingest, StagedPage, TableId, Unjoined,
    UnjoinedRows,
};
use normalizer::{JoinConfig, MappingConfig, Rows, TableConfig, Tables};

use crate::arrange::{Desk, EVER, NOW, checkpoint, mapping, packed, piece};

/// The parent's place in the configuration, and the child's.
const PARENT: u16 = 0;
const CHILD: u16 = 1;

fn history() -> TableConfig {
    let join = JoinConfig {
        table: "solicitudes".into(),
        on: vec![("solicitud_id".into(), "id".into())],
        columns: vec!["numero".into(), "fecha".into()],
    };
    let mapping = MappingConfig { rows: Rows::History, ..mapping("numero", "fecha") };
    TableConfig { table: "historial".into(), mapping, joins: vec![join] }
}

fn tables() -> Arc<Tables> {
    Arc::new(Tables::new(vec![history()], Tz::UTC).unwrap())
}

/// A ledger of a history that is joined to its requests.
struct Joined {
    desk: Desk,
    declared: Declared,
}

impl Joined {
    fn new() -> Self {
        let mut desk = Desk::new();
        let declared = desk.ledger.declare_tables(tables()).unwrap();
        Self { desk, declared }
    }

    fn reopen(self) -> Self {
        let mut desk = self.desk.reopen();
        let declared = desk.ledger.declare_tables(tables()).unwrap();
        Self { desk, declared }
    }

    fn captured(&self, table: u16, unjoined: Unjoined, key: &str) -> Captured {
        let transaction = Arc::new(Transaction { position: Position::new("0/1"), committed_at: NOW });
        Captured {
            table: self.declared.id(table),
            entry: Entry::Unjoined(unjoined),
            row_key: Some(RowKey::from_columns([key])),
            old_row_key: None,
            transaction,
        }
    }

    /// A request passes to a number, which no request does in life, so that it shows which one was read.
    fn parent(&self, operation: Operation, id: i64, number: &str) -> Captured {
        self.parent_from(operation, id, number, None)
    }

    fn parent_from(&self, operation: Operation, id: i64, number: &str, former: Option<&str>) -> Captured {
        let row = Some(parent_row(id, number));
        let former = former.map(|number| parent_row(id, number));
        let shape = self.declared.shape(PARENT);
        let unjoined = Unjoined { shape, operation: Some(operation), row, former, is_child: false };
        self.captured(PARENT, unjoined, &id.to_string())
    }

    /// A status change with a number of its own.
    fn child(&self, id: i64, parent: i64, status: i64) -> Captured {
        let row = Some(child_row(parent, status));
        let shape = self.declared.shape(CHILD);
        let unjoined =
            Unjoined { shape, operation: Some(Operation::Insert), row, former: None, is_child: true };
        self.captured(CHILD, unjoined, &id.to_string())
    }

    fn commit(&mut self, captured: Vec<Captured>) {
        let changes = captured.len() as u64;
        self.desk
            .ledger
            .append(&[Ingest { captured: packed(&captured), changes, ..piece(vec![], Some("0/1")) }])
            .unwrap();
    }

    /// What a flush sends, without the moment, which is the same for all.
    fn delta(&mut self) -> Vec<String> {
        self.sent(FlushKind::Delta)
    }

    fn sent(&mut self, kind: FlushKind) -> Vec<String> {
        let sent = self.desk.flush(kind, false).concat();
        sent.iter().map(|line| line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    fn reasons(&self) -> Vec<String> {
        let items = self.desk.ledger.quarantine(None, 0, 100).unwrap();
        items.into_iter().map(|item| format!("{} {}", item.code, item.reason)).collect()
    }

    /// A page of requests, or of status changes as triples of number, request and status.
    fn page(&self, table: u16, rows: Vec<(String, Row)>) -> StagedPage {
        let mut unjoined = UnjoinedRows::default();
        for (key, row) in &rows {
            unjoined.push(self.declared.shape(table), row, Some(&RowKey::from_columns([key.as_str()])));
        }
        let scanned = rows.len() as u64;
        StagedPage { table: self.declared.id(table), unjoined, scanned, at: NOW, ..StagedPage::default() }
    }

    fn parents(&self, rows: &[(i64, &str)]) -> StagedPage {
        let row = |(id, number): &(i64, &str)| (id.to_string(), parent_row(*id, number));
        self.page(PARENT, rows.iter().map(row).collect())
    }

    fn children(&self, rows: &[(i64, i64, i64)]) -> StagedPage {
        let row = |(id, parent, status): &(i64, i64, i64)| (id.to_string(), child_row(*parent, *status));
        self.page(CHILD, rows.iter().map(row).collect())
    }

    fn exact(&mut self, kind: CopyKind, parents: &[(i64, &str)], children: &[(i64, i64, i64)]) {
        let copy = self.desk.begin(kind, true);
        for page in [self.parents(parents), self.children(children)] {
            self.desk.ledger.append_page(copy, &page).unwrap();
        }
        self.desk.ledger.finish_copy(copy, Some(&checkpoint("0/0"))).unwrap();
    }

    fn fenced(&mut self, copy: i64, page: StagedPage) {
        let page = StagedPage { fence: Some(Position::new("0/9")), ..page };
        let page = self.desk.ledger.append_page(copy, &page).unwrap();
        self.desk.ledger.pass_fence(page).unwrap();
    }
}

fn parent_row(id: i64, number: &str) -> Row {
    Row::new(vec![Value::Int(id), Value::text(number), Value::text("2025-06-01")])
}

fn child_row(parent: i64, status: i64) -> Row {
    Row::new(vec![Value::Int(status), Value::text("2026-01-01"), Value::Int(parent)])
}

#[test]
fn a_row_is_joined_to_its_parent_as_it_was_at_its_own_place() {
    let mut joined = Joined::new();
    joined.commit(vec![
        joined.parent(Operation::Insert, 1, "A"),
        joined.child(1, 1, 9),
        joined.parent(Operation::Update, 1, "B"),
        joined.child(2, 1, 3),
    ]);
    joined.commit(vec![joined.parent(Operation::Update, 1, "C"), joined.parent(Operation::Update, 1, "D")]);
    let mut joined = joined.reopen();
    joined.commit(vec![joined.child(3, 1, 7)]);
    assert_eq!(joined.delta(), ["A 9", "B 3", "D 7"]);
    joined.commit(vec![joined.child(4, 1, 8)]);
    assert_eq!(joined.reopen().delta(), ["D 8"]);
}

#[test]
fn a_parents_change_alone_says_nothing() {
    let mut joined = Joined::new();
    joined.commit(vec![joined.parent(Operation::Insert, 1, "A")]);
    joined.commit(vec![joined.parent(Operation::Update, 1, "B")]);
    assert!(joined.delta().is_empty());
    assert_eq!(joined.desk.ledger.captured_changes().unwrap(), 2);
}

#[test]
fn a_row_whose_parent_comes_later_leaves_in_its_order_and_holds_nobody_up() {
    let mut joined = Joined::new();
    joined.commit(vec![
        joined.child(1, 1, 9),
        joined.parent(Operation::Insert, 2, "B"),
        joined.child(2, 2, 9),
    ]);
    assert_eq!(joined.delta(), ["B 9"]);
    assert_eq!(joined.desk.ledger.waiting_rows().unwrap(), 1);
    let mut joined = joined.reopen();
    joined.commit(vec![
        joined.child(3, 1, 7),
        joined.parent(Operation::Insert, 1, "A"),
        joined.child(4, 1, 3),
    ]);
    assert_eq!(joined.delta(), ["A 9", "A 7", "A 3"]);
    assert!(joined.reasons().is_empty());
    assert_eq!(joined.desk.ledger.delta().unwrap().records, 0);
}

#[test]
fn a_row_that_comes_out_of_waiting_during_a_flush_leaves_with_the_next() {
    let mut joined = Joined::new();
    joined.commit(vec![
        joined.child(1, 1, 9),
        joined.parent(Operation::Insert, 2, "B"),
        joined.child(2, 2, 9),
    ]);
    let flush = joined.desk.start(FlushKind::Delta);
    let batch = joined.desk.next(flush).unwrap();
    joined.commit(vec![joined.parent(Operation::Insert, 1, "A")]);
    joined.desk.settle();
    joined.desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    while let Some(batch) = joined.desk.next(flush) {
        joined.desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    }
    joined.desk.ledger.finish_flush(flush, ledger::FlushResult::Acknowledged, None, NOW).unwrap();
    assert_eq!(joined.desk.ledger.delta().unwrap().records, 1);
    assert_eq!(joined.delta(), ["A 9"]);
}

#[test]
fn a_row_without_its_parent_goes_to_quarantine_when_a_second_flush_begins() {
    let mut joined = Joined::new();
    joined.commit(vec![joined.child(1, 1, 9)]);
    assert!(joined.delta().is_empty());
    assert!(joined.reasons().is_empty());
    assert!(joined.delta().is_empty());
    assert_eq!(
        joined.reasons(),
        [
            "missing_parent no row of table \"solicitudes\" has in \"id\" what the row of table \"historial\" holds in \"solicitud_id\""
        ]
    );
    let rows = joined.desk.ledger.rows_for_retry(0, 10).unwrap();
    let whole = |joined: &Joined| joined.desk.ledger.complete_row(&rows[0]).unwrap();
    assert!(whole(&joined).is_err());
    joined.commit(vec![joined.parent(Operation::Insert, 1, "A")]);
    joined.desk.settle();
    let whole = whole(&joined).unwrap();
    let mapped = tables();
    let mapping = &mapped.table(CHILD).unwrap().mapped.as_ref().unwrap().mapping;
    assert!(matches!(
        normalizer::normalize_stored(mapping, &whole, NOW),
        normalizer::NormalizedRow::Record(record) if record.request_id == "A"
    ));
}

#[test]
fn a_deleted_parent_is_missing_until_it_comes_again() {
    let mut joined = Joined::new();
    joined.commit(vec![
        joined.parent(Operation::Insert, 1, "A"),
        joined.child(1, 1, 9),
        joined.parent(Operation::Delete, 1, "A"),
        joined.child(2, 1, 3),
    ]);
    assert_eq!(joined.delta(), ["A 9"]);
    joined.commit(vec![joined.parent(Operation::Insert, 1, "B")]);
    assert_eq!(joined.delta(), ["B 3"]);
}

#[test]
fn a_copy_is_joined_to_the_parents_that_were_copied_with_it() {
    let mut joined = Joined::new();
    joined.desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    joined.exact(CopyKind::Baseline, &[(1, "A"), (2, "B")], &[(1, 1, 9), (2, 2, 9), (3, 1, 3), (4, 5, 3)]);
    joined.commit(vec![joined.child(6, 2, 7)]);
    assert_eq!(joined.sent(FlushKind::Backfill), ["A 9", "A 3", "B 9"]);
    assert_eq!(joined.delta(), ["B 7"]);
    assert_eq!(joined.reasons().len(), 1);
}

#[test]
fn after_a_lost_log_parents_are_known_anew_before_their_rows_are_compared() {
    let mut joined = Joined::new();
    joined.exact(CopyKind::Baseline, &[(1, "A"), (2, "B")], &[(1, 1, 9)]);
    joined.commit(vec![joined.child(2, 1, 3)]);
    let gap = joined.desk.ledger.open_gap(&GapFound { found_at: NOW, reason: "lost".into() }).unwrap();
    joined.exact(CopyKind::Repair { gap }, &[(1, "A"), (3, "C")], &[(1, 1, 9), (2, 1, 3), (3, 3, 9)]);
    assert_eq!(joined.delta(), ["A 3", "C 9"]);
    // The request that vanished with the log is not known any more.
    joined.commit(vec![joined.child(4, 2, 7)]);
    assert!(joined.delta().is_empty());
    assert_eq!(joined.desk.ledger.waiting_rows().unwrap(), 1);
}

#[test]
fn beside_a_copy_in_pages_a_row_waits_for_its_parents_page_and_sees_it_as_it_was() {
    let mut joined = Joined::new();
    joined.desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = joined.desk.begin(CopyKind::Baseline, false);
    // The page was read when 1 was B already; the log tells that it was A before.
    joined.commit(vec![
        joined.child(11, 1, 9),
        joined.parent_from(Operation::Update, 1, "B", Some("A")),
        joined.child(12, 1, 3),
        joined.child(13, 2, 9),
    ]);
    joined.fenced(copy, joined.parents(&[(1, "old"), (2, "C")]));
    joined.fenced(copy, joined.children(&[(1, 2, 1)]));
    joined.desk.ledger.finish_copy(copy, None).unwrap();
    assert_eq!(joined.delta(), ["C 1", "A 9", "B 3", "C 9"].map(String::from)[1..]);
    assert_eq!(joined.desk.ledger.waiting_rows().unwrap(), 0);
}

#[test]
fn rows_of_two_tables_with_one_key_are_told_apart() {
    let one = TableConfig {
        table: "a".into(),
        mapping: MappingConfig { rows: Rows::History, ..mapping("numero", "fecha") },
        joins: vec![],
    };
    let other = TableConfig { table: "b".into(), ..one.clone() };
    let mut desk = Desk::new();
    let tables = Arc::new(Tables::new(vec![one.clone(), other.clone()], Tz::UTC).unwrap());
    let declared = desk.ledger.declare_tables(tables).unwrap();
    let captured = |table: TableId, text: &str| Captured {
        table,
        ..crate::arrange::captured(crate::arrange::record(text), Some("7"), None)
    };
    let captured = vec![captured(declared.id(0), "101 A 9"), captured(declared.id(1), "101 B 9")];
    desk.ledger.append(&[Ingest { captured: packed(&captured), ..piece(vec![], Some("0/1")) }]).unwrap();
    assert_eq!(desk.flush(FlushKind::Delta, false).concat(), ["101 A 9", "101 B 9"]);
    let life = desk.ledger.explain("B").unwrap();
    assert_eq!(life[0].table, declared.id(1));
    // Another order in the configuration changes nothing.
    let again =
        desk.ledger.declare_tables(Arc::new(Tables::new(vec![other, one], Tz::UTC).unwrap())).unwrap();
    assert_eq!((again.id(0), again.id(1)), (declared.id(1), declared.id(0)));
}

#[test]
fn a_table_that_comes_later_is_to_be_copied_and_one_that_goes_is_forgotten_by_nobody() {
    let mut joined = Joined::new();
    joined.exact(CopyKind::Baseline, &[(1, "A")], &[(1, 1, 9)]);
    joined.desk.settle();
    let more = TableConfig { table: "licencias".into(), mapping: mapping("numero", "fecha"), joins: vec![] };
    let tables = Arc::new(Tables::new(vec![history(), more], Tz::UTC).unwrap());
    let declared = joined.desk.ledger.declare_tables(tables.clone()).unwrap();
    let missing = joined.desk.ledger.tables_to_copy(&declared).unwrap();
    let number = (0..).zip(tables.tables()).find(|(_, table)| table.name == "licencias").unwrap().0;
    assert_eq!(missing, [declared.id(number)]);
    // What was captured of a table that is mapped no more is put aside.
    joined.commit(vec![joined.child(2, 1, 3)]);
    joined.desk.ledger.declare_tables(crate::arrange::single(false)).unwrap();
    joined.desk.settle();
    assert_eq!(joined.reasons(), ["missing_table table \"historial\" is not mapped any more"]);
}

#[test]
fn parents_of_a_table_that_was_emptied_are_joined_to_nothing_that_comes_after() {
    let mut joined = Joined::new();
    joined.exact(CopyKind::Baseline, &[(1, "A"), (2, "B")], &[(1, 1, 9)]);
    let emptied = joined.captured(PARENT, Unjoined::emptied(joined.declared.shape(PARENT)), "");
    joined.commit(vec![
        joined.child(2, 1, 3),
        joined.parent(Operation::Insert, 3, "C"),
        Captured { row_key: None, ..emptied },
        joined.child(3, 1, 7),
        joined.child(4, 3, 7),
        joined.parent(Operation::Insert, 2, "D"),
        joined.child(5, 2, 9),
    ]);
    assert_eq!(joined.delta(), ["A 3", "D 9"]);
    assert_eq!(joined.desk.ledger.waiting_rows().unwrap(), 2);
    // What is known of it outlives the process, and the parent may come back.
    let mut joined = joined.reopen();
    joined.commit(vec![joined.child(6, 1, 2), joined.parent(Operation::Insert, 1, "E")]);
    assert_eq!(joined.delta(), ["E 7", "E 2"]);
}

#[test]
fn a_page_that_was_read_before_its_table_was_emptied_brings_no_parent_back() {
    let mut joined = Joined::new();
    joined.desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let copy = joined.desk.begin(CopyKind::Baseline, false);
    let emptied = joined.captured(PARENT, Unjoined::emptied(joined.declared.shape(PARENT)), "");
    joined.commit(vec![Captured { row_key: None, ..emptied }, joined.parent(Operation::Insert, 2, "D")]);
    joined.fenced(copy, joined.parents(&[(1, "A"), (2, "B")]));
    joined.desk.ledger.finish_copy(copy, None).unwrap();
    joined.commit(vec![joined.child(1, 1, 9), joined.child(2, 2, 9)]);
    assert_eq!(joined.delta(), ["D 9"]);
    assert_eq!(joined.desk.ledger.waiting_rows().unwrap(), 1);
}

/// Two tables that stand for themselves.
fn two(order: [&str; 2]) -> Arc<Tables> {
    let config =
        |table: &str| TableConfig { table: table.into(), mapping: mapping("numero", "fecha"), joins: vec![] };
    Arc::new(Tables::new(order.map(config).to_vec(), Tz::UTC).unwrap())
}

#[test]
fn a_copy_goes_on_in_its_tables_whatever_their_order_in_the_configuration() {
    let mut desk = Desk::new();
    let before = desk.ledger.declare_tables(two(["b", "a"])).unwrap();
    desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
    let (b, a) = (before.id(0), before.id(1));
    let copy = desk.begin(CopyKind::Baseline, false);
    let page = StagedPage {
        table: b,
        cursor: Some(PageCursor::new("7")),
        fence: Some(Position::new("0/9")),
        ..StagedPage::default()
    };
    desk.ledger.append_page(copy, &page).unwrap();
    let left = |desk: &Desk| desk.ledger.unfinished_copy().unwrap().unwrap();
    let after = desk.ledger.declare_tables(two(["a", "b"])).unwrap();
    assert_eq!((after.id(0), after.id(1)), (a, b));
    assert_eq!((left(&desk).tables, left(&desk).cursor), (vec![b, a], Some(PageCursor::new("7"))));
    desk.ledger
        .append_page(copy, &StagedPage { table: a, cursor: Some(PageCursor::new("1")), ..page })
        .unwrap();
    assert_eq!((left(&desk).tables, left(&desk).cursor), (vec![a], Some(PageCursor::new("1"))));
}

#[test]
fn a_table_that_comes_back_is_copied_again_and_so_are_parents() {
    let mut joined = Joined::new();
    joined.exact(CopyKind::Baseline, &[(1, "A")], &[(1, 1, 9)]);
    joined.desk.settle();
    assert!(joined.desk.ledger.tables_to_copy(&joined.declared).unwrap().is_empty());
    joined.desk.ledger.declare_tables(two(["a", "b"])).unwrap();
    // Nobody heard of the parents meanwhile.
    joined.declared = joined.desk.ledger.declare_tables(tables()).unwrap();
    let missing = joined.desk.ledger.tables_to_copy(&joined.declared).unwrap();
    assert_eq!(missing, [joined.declared.id(PARENT), joined.declared.id(CHILD)]);
    joined.commit(vec![joined.child(2, 1, 3)]);
    assert!(joined.delta().is_empty());
    assert_eq!(joined.desk.ledger.waiting_rows().unwrap(), 1);
}

#[test]
fn what_there_is_of_each_table_is_counted() {
    let mut joined = Joined::new();
    joined.exact(CopyKind::Baseline, &[(1, "A"), (2, "B")], &[(1, 1, 9), (2, 5, 9)]);
    joined.commit(vec![joined.child(3, 1, 3), joined.child(4, 7, 3)]);
    joined.desk.settle();
    let counts = joined.desk.ledger.table_counts().unwrap();
    let of = |table| {
        let counts = &counts[&joined.declared.id(table)];
        (counts.name.as_str(), [counts.copied, counts.delta, counts.waiting, counts.quarantine])
    };
    assert_eq!(of(PARENT), ("solicitudes", [2, 0, 0, 0]));
    assert_eq!(of(CHILD), ("historial", [2, 1, 1, 1]));
}
