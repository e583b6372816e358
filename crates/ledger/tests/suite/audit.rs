//! The table compared with what the dashboard was told.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;
use ledger::{
    Audit, AuditScope, CopyKind, Discard, Entry, FlushKind, Ingest, MonthAudit, Origin, Repair, RepairAt,
    StagedPage, TableId,
};
use normalizer::{Mapping, MappingConfig, OnDelete, Rows, StatusChange, TableConfig, Tables};

use crate::arrange::{
    Desk, EVER, NOW, broken, candidate, captured, change, key, mapping, packed, page, piece, record,
    rejected, single,
};

const MONTH: u32 = 202_001;

/// Every opening lies in one month.
fn scope() -> AuditScope {
    AuditScope { from_at: 0, month: None, month_of: Box::new(|_| MONTH) }
}

/// The table of requests, of whose deletions the dashboard is told.
fn reporting() -> Arc<Tables> {
    let mapping = MappingConfig { on_delete: OnDelete::Report(10), ..mapping("numero", "fecha") };
    Arc::new(Tables::single("solicitudes", Mapping::new(mapping).unwrap(), Tz::UTC))
}

/// A comparison: what it counted, and what differs.
pub(crate) struct Audited {
    counts: MonthAudit,
    pub(crate) differences: Vec<String>,
    /// Whether the digests sufficed.
    by_digest: bool,
    desk: Audit,
}

impl Audited {
    fn expect(&self, counts: MonthAudit, differences: &[&str]) {
        assert_eq!(
            (self.counts, self.differences.iter().map(String::as_str).collect()),
            (counts, differences.to_vec())
        );
    }
}

/// Compares, as if the table were read now.
pub(crate) fn audit(desk: &mut Desk, table: &StagedPage) -> Audited {
    audit_since(desk, table, None, &scope())
}

/// With `since`, the table was read when the log had come to that seq.
fn audit_since(desk: &mut Desk, table: &StagedPage, since: Option<i64>, scope: &AuditScope) -> Audited {
    audit_of(desk, &single(false), std::slice::from_ref(table), (since, scope))
}

/// A ledger of one table of requests.
fn requests() -> Desk {
    let mut desk = Desk::new();
    desk.ledger.declare_tables(single(false)).unwrap();
    desk
}

/// Compares these pages of tables.
fn audit_of(
    desk: &mut Desk,
    tables: &Tables,
    pages: &[StagedPage],
    (since, scope): (Option<i64>, &AuditScope),
) -> Audited {
    desk.settle();
    let audit = Audit::open(desk.dir.path(), tables).unwrap();
    let mut tallies = audit.tallies();
    pages.iter().for_each(|page| tallies.add_page(page));
    let known = audit.known(scope, tallies.other_side()).unwrap();
    let differing = tallies.differing(&known.tallies);
    let mut months: BTreeMap<u32, MonthAudit> = known.months_but(&differing);
    if !differing.is_empty() {
        let since = since.unwrap_or_else(|| audit.captured().unwrap().1);
        pages.iter().for_each(|page| audit.keep(page, Some(&differing)).unwrap());
        months.extend(audit.compare(scope, &differing, since).unwrap());
    }
    let mut differences = Vec::new();
    audit
        .differences(None, |found| {
            let status =
                |status: Option<u8>| status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            let (known, database) = (status(found.known_status), status(found.database_status));
            differences.push(format!("{} {} {known} {database}", found.kind.as_str(), found.request_id));
            Ok::<_, ledger::LedgerError>(())
        })
        .unwrap();
    let counts = months.remove(&MONTH).unwrap_or_default();
    Audited { counts, differences, by_digest: differing.is_empty(), desk: audit }
}

fn table(rows: &[&str]) -> StagedPage {
    page(&rows.iter().map(|row| change(row)).collect::<Vec<StatusChange>>())
}

/// A ledger whose dashboard knows these requests.
fn told(rows: &[&str]) -> Desk {
    let mut desk = requests();
    let rows: Vec<_> = rows.iter().map(|row| change(row)).collect();
    desk.baseline(&rows);
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    desk.flush(FlushKind::Backfill, false);
    desk
}

fn counts(equal: u64, on_their_way: u64) -> MonthAudit {
    MonthAudit { equal, on_their_way, ..MonthAudit::default() }
}

fn at() -> RepairAt {
    RepairAt { position: None, read_at: NOW, now: NOW }
}

#[test]
fn what_was_acknowledged_is_equal_also_when_its_records_are_forgotten() {
    let mut desk = told(&["1 A 9", "1 B 9"]);
    desk.commit(vec![candidate("1 A 3")]);
    desk.flush(FlushKind::Delta, false);
    let now = table(&["1 A 3", "1 B 9"]);
    audit(&mut desk, &now).expect(counts(2, 0), &[]);
    while desk.ledger.prune(NOW + 1).unwrap().more {}
    let audited = audit(&mut desk, &now);
    audited.expect(counts(2, 0), &[]);
    assert!(audited.by_digest);
}

#[test]
fn what_was_captured_and_not_acknowledged_is_on_its_way() {
    let mut desk = requests();
    desk.baseline(&[change("1 A 9"), change("1 B 9"), change("1 C 9")]);
    let now = table(&["1 A 3", "1 B 9", "1 C 9"]);
    desk.commit(vec![candidate("1 A 2"), candidate("1 A 3")]);
    audit(&mut desk, &now).expect(counts(0, 3), &[]);
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    let flush = desk.start(FlushKind::Backfill);
    let batch = desk.next(flush).unwrap();
    audit(&mut desk, &now).expect(counts(0, 3), &[]);
    desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    audit(&mut desk, &now).expect(counts(2, 1), &[]);
    let flush = desk.start(FlushKind::Delta);
    let batch = desk.next(flush).unwrap();
    audit(&mut desk, &now).expect(counts(2, 1), &[]);
    desk.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
    audit(&mut desk, &now).expect(counts(3, 0), &[]);
}

#[test]
fn what_differs_is_found_and_nothing_else() {
    let mut desk = told(&["1 A 9", "1 B 9", "1 C 9", "1 D 9"]);
    desk.commit(vec![candidate("1 D 2")]);
    // One that is on its way differs all the same, if the table says a third thing.
    let audited = audit(&mut desk, &table(&["1 A 3", "1 B 9", "1 D 7", "1 E 9", "2 B 9"]));
    let expected = MonthAudit { equal: 1, missing: 2, different: 2, unknown: 1, ..MonthAudit::default() };
    audited.expect(
        expected,
        &["missing E - 9", "missing B - 9", "different A 9 3", "different D 2 7", "unknown C 9 -"],
    );
}

#[test]
fn what_was_captured_since_the_table_was_read_is_no_difference() {
    let mut desk = told(&["1 A 9", "1 B 9"]);
    desk.settle();
    let before = Audit::open(desk.dir.path(), &single(false)).unwrap().captured().unwrap().1;
    desk.commit(vec![candidate("1 A 3"), candidate("1 C 9"), broken("1", "B")]);
    // Read before A changed and C was opened.
    let audited = audit_since(&mut desk, &table(&["1 A 9", "1 B 9"]), Some(before), &scope());
    audited.expect(MonthAudit { on_their_way: 2, set_aside: 1, ..MonthAudit::default() }, &[]);
    let audited = audit(&mut desk, &table(&["1 A 9", "1 C 9"]));
    assert_eq!(audited.differences, ["different A 3 9"]);
}

#[test]
fn what_is_in_quarantine_is_set_aside() {
    let mut desk = told(&["1 A 9", "1 B 9"]);
    desk.commit(vec![record("1 A 3 5")]);
    let flush = desk.start(FlushKind::Delta);
    let batch = desk.next(flush).unwrap();
    desk.ledger.refuse(batch.id, "refused", "no", NOW).unwrap();
    let mut ingest = piece(vec![broken("1", "B")], Some("0/2"));
    ingest.rejected.push(rejected(Some(key("1", "B"))));
    desk.ledger.append(&[ingest]).unwrap();
    let mut now = table(&["1 A 3 5"]);
    now.rejected.push(rejected(Some(key("1", "B"))));
    let aside = MonthAudit { set_aside: 2, ..MonthAudit::default() };
    audit(&mut desk, &now).expect(aside, &[]);
    // Mended in the configuration, and not tried again.
    audit(&mut desk, &table(&["1 A 3 5", "1 B 9"])).expect(aside, &[]);
    // Sent again, and given up.
    desk.ledger.retry_records(NOW).unwrap();
    audit(&mut desk, &now).expect(MonthAudit { set_aside: 1, on_their_way: 1, ..MonthAudit::default() }, &[]);
    desk.ledger.discard(Discard::All, NOW).unwrap();
    let audited = audit(&mut desk, &table(&["1 A 3 5", "1 B 9"]));
    assert_eq!(audited.differences, ["missing B - 9"]);
}

#[test]
fn a_row_that_cannot_be_mapped_is_neither_missing_nor_unknown() {
    let mut desk = told(&["1 A 9", "1 B 9"]);
    let mut now = table(&["1 A 9"]);
    now.rejected.extend([rejected(Some(key("1", "B"))), rejected(Some(key("1", "C"))), rejected(None)]);
    audit(&mut desk, &now).expect(MonthAudit { equal: 1, set_aside: 1, ..MonthAudit::default() }, &[]);
}

#[test]
fn a_reported_deletion_is_equal_to_a_row_that_is_gone() {
    let mut desk = told(&["1 A 9", "1 B 9"]);
    desk.commit(vec![record("1 A 10"), record("1 B 10")]);
    desk.flush(FlushKind::Delta, false);
    let now = table(&["1 B 10"]);
    let reported = audit_of(&mut desk, &reporting(), std::slice::from_ref(&now), (None, &scope()));
    reported.expect(counts(2, 0), &[]);
    audit(&mut desk, &now).expect(MonthAudit { unknown: 1, ..counts(1, 0) }, &["unknown A 10 -"]);
    let unseen = audit_of(&mut desk, &reporting(), &[], (None, &scope()));
    assert_eq!((unseen.counts.unknown, unseen.counts.equal), (0, 2));
    desk.commit(vec![record("1 B 9")]);
    let unseen = audit_of(&mut desk, &reporting(), &[], (None, &scope()));
    unseen.expect(MonthAudit { unknown: 1, unreported: 1, ..counts(1, 0) }, &["unknown B 9 -"]);
}

#[test]
fn of_a_request_that_the_table_holds_several_times_the_newest_modification_counts() {
    let mut desk = told(&["1 A 9 7"]);
    for now in [["1 A 9 7", "1 A 3 5"], ["1 A 3 5", "1 A 9 7"]] {
        audit(&mut desk, &table(&now)).expect(counts(1, 0), &[]);
    }
    assert_eq!(audit(&mut desk, &table(&["1 A 9 5", "1 A 3 7"])).differences, ["different A 9 3"]);
}

#[test]
fn a_repair_sends_exactly_what_differs_and_the_next_audit_finds_nothing() {
    let mut desk = told(&["1 A 9", "1 B 9", "1 C 9"]);
    let now = table(&["1 A 3", "1 B 9", "1 D 9"]);
    let audited = audit(&mut desk, &now);
    let first = audited.desk.repairs(None, 1).unwrap();
    let rest = audited.desk.repairs(first.first(), 10).unwrap();
    let repairs: Vec<Repair> = first.into_iter().chain(rest).collect();
    assert_eq!(desk.ledger.repair(&repairs, &at()).unwrap(), 2);
    // Asked again, it is known.
    assert_eq!(desk.ledger.repair(&repairs, &at()).unwrap(), 0);
    let unknown = MonthAudit { unknown: 1, ..counts(1, 2) };
    audit(&mut desk, &now).expect(unknown, &["unknown C 9 -"]);
    assert_eq!(desk.flush(FlushKind::Delta, false).concat(), ["1 A 3", "1 D 9"]);
    audit(&mut desk, &now).expect(MonthAudit { unknown: 1, ..counts(3, 0) }, &["unknown C 9 -"]);
    assert_eq!(desk.ledger.explain("D").unwrap()[0].origin, Origin::Repair);
}

#[test]
fn what_went_on_since_the_comparison_is_left_to_the_stream() {
    let mut desk = told(&["1 A 9", "1 B 9"]);
    let audited = audit(&mut desk, &table(&["1 A 3", "1 B 3", "1 C 9"]));
    let repairs = audited.desk.repairs(None, 10).unwrap();
    desk.commit(vec![candidate("1 A 7"), record("1 C 8")]);
    assert_eq!(desk.ledger.repair(&repairs, &at()).unwrap(), 1);
    assert_eq!(desk.flush(FlushKind::Delta, false).concat(), ["1 A 7", "1 C 8", "1 B 3"]);
}

#[test]
fn a_repair_waits_for_the_commit_of_what_is_being_read() {
    let mut desk = told(&["1 A 9"]);
    let audited = audit(&mut desk, &table(&["1 A 3"]));
    let repairs = audited.desk.repairs(None, 10).unwrap();
    desk.ledger.append(&[piece(vec![record("1 B 9")], None)]).unwrap();
    let error = desk.ledger.repair(&repairs, &at()).unwrap_err();
    assert_eq!(error.kind(), ledger::LedgerErrorKind::OpenTransaction);
    desk.commit(vec![]);
    assert_eq!(desk.ledger.repair(&repairs, &at()).unwrap(), 1);
}

#[test]
fn months_outside_are_nobodys_business() {
    let mut desk = told(&["1 A 9"]);
    let now = table(&["1 A 3"]);
    let late = AuditScope { from_at: i64::MAX, ..scope() };
    audit_since(&mut desk, &table(&[]), None, &late).expect(MonthAudit::default(), &[]);
    let other = AuditScope { month: Some(MONTH + 1), ..scope() };
    audit_since(&mut desk, &now, None, &other).expect(MonthAudit::default(), &[]);
}

#[test]
fn a_table_that_was_never_copied_whole_is_not_compared() {
    let mut desk = requests();
    desk.begin(CopyKind::Baseline, false);
    let error = Audit::open(desk.dir.path(), &single(false)).unwrap_err();
    assert_eq!(error.kind(), ledger::LedgerErrorKind::Misuse);
    assert_eq!(error.to_string(), "the first copy of table \"solicitudes\" is not complete yet");
}

#[test]
fn of_a_history_each_row_is_compared_by_its_key() {
    let mut desk = Desk::new();
    desk.ledger.declare_tables(single(true)).unwrap();
    let audit = |desk: &mut Desk, table: &StagedPage| {
        audit_of(desk, &single(true), std::slice::from_ref(table), (None, &scope()))
    };
    let rows = |rows: &[(&str, &str)]| {
        let mut page = page(&[]);
        for (text, key) in rows {
            page.rows.push(&change(text), MONTH, Some(&change::RowKey::from_columns([*key])));
        }
        page
    };
    let copy = desk.begin(CopyKind::Baseline, true);
    desk.ledger.append_page(copy, &rows(&[("1 A 9 1", "1"), ("1 A 3 2", "2"), ("1 B 9 3", "3")])).unwrap();
    desk.ledger.finish_copy(copy, Some(&crate::arrange::checkpoint("0/0"))).unwrap();
    desk.settle();
    let now = rows(&[("1 A 9 1", "1"), ("1 A 3 2", "2"), ("1 B 9 3", "3"), ("1 A 9 4", "4")]);
    let captured = vec![captured(Entry::Record(change("1 A 9 4")), Some("4"), None)];
    desk.ledger.append(&[Ingest { captured: packed(&captured), ..piece(vec![], Some("0/1")) }]).unwrap();
    audit(&mut desk, &now).expect(counts(0, 4), &[]);
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    desk.flush(FlushKind::Backfill, false);
    audit(&mut desk, &now).expect(counts(3, 1), &[]);
    desk.flush(FlushKind::Delta, false);
    audit(&mut desk, &now).expect(counts(4, 0), &[]);

    // An older row was altered, one went, and two of one request were added, the later of which is told last.
    let now =
        rows(&[("1 A 8 1", "1"), ("1 A 3 2", "2"), ("1 A 9 4", "4"), ("1 C 2 7", "10"), ("1 C 9 7", "9")]);
    let audited = audit(&mut desk, &now);
    let expected = MonthAudit { equal: 2, missing: 2, different: 1, unknown: 1, ..MonthAudit::default() };
    audited.expect(expected, &["missing C - 9", "missing C - 2", "different A 9 8", "unknown B 9 -"]);
    let repairs = audited.desk.repairs(None, 10).unwrap();
    assert_eq!(desk.ledger.repair(&repairs, &at()).unwrap(), 3);
    assert_eq!(desk.ledger.repair(&repairs, &at()).unwrap(), 0);
    assert_eq!(desk.flush(FlushKind::Delta, false).concat(), ["1 A 8 1", "1 C 9 7", "1 C 2 7"]);
    audit(&mut desk, &now).expect(MonthAudit { unknown: 1, ..counts(5, 0) }, &["unknown B 9 -"]);
}

/// Requests in one table, status changes in another, as the configuration and the ledger number them.
fn two_tables() -> (Desk, Arc<Tables>, [TableId; 2]) {
    let config = |table: &str, rows| TableConfig {
        table: table.into(),
        mapping: MappingConfig { rows, ..mapping("numero", "fecha") },
        joins: Vec::new(),
    };
    let configs = vec![config("licencias", Rows::Requests), config("historial", Rows::History)];
    let tables = Arc::new(Tables::new(configs, Tz::UTC).unwrap());
    let mut desk = Desk::new();
    let declared = desk.ledger.declare_tables(tables.clone()).unwrap();
    (desk, tables, [declared.id(0), declared.id(1)])
}

fn keyed(table: TableId, rows: &[(&str, &str)]) -> StagedPage {
    let mut page = StagedPage { table, ..page(&[]) };
    for (text, key) in rows {
        page.rows.push(&change(text), MONTH, Some(&change::RowKey::from_columns([*key])));
    }
    page
}

#[test]
fn each_of_several_tables_is_compared_by_its_own_rule() {
    let (mut desk, tables, [licences, steps]) = two_tables();
    // Rows of both tables have the same key.
    let told = |licence: &str, step: &str| {
        [keyed(licences, &[("1 L 9", "1"), (licence, "2")]), keyed(steps, &[("2 S 9 1", "1"), (step, "2")])]
    };
    let copy = desk.begin(CopyKind::Baseline, true);
    for page in told("1 M 9", "2 S 3 2") {
        desk.ledger.append_page(copy, &page).unwrap();
    }
    desk.ledger.finish_copy(copy, Some(&crate::arrange::checkpoint("0/0"))).unwrap();
    let audit = |desk: &mut Desk, pages: &[StagedPage]| audit_of(desk, &tables, pages, (None, &scope()));
    audit(&mut desk, &told("1 M 9", "2 S 3 2")).expect(counts(0, 4), &[]);
    desk.ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
    desk.flush(FlushKind::Backfill, false);
    let equal = audit(&mut desk, &told("1 M 9", "2 S 3 2"));
    equal.expect(counts(4, 0), &[]);
    assert!(equal.by_digest);

    let altered = told("1 N 9", "2 S 7 2");
    let audited = audit(&mut desk, &altered);
    let expected = MonthAudit { missing: 1, different: 1, unknown: 1, ..counts(2, 0) };
    audited.expect(expected, &["missing N - 9", "different S 3 7", "unknown M 9 -"]);
    let repairs = audited.desk.repairs(None, 10).unwrap();
    assert_eq!(repairs.iter().map(|repair| repair.table).collect::<Vec<_>>(), [licences, steps]);
    assert_eq!(desk.ledger.repair(&repairs, &at()).unwrap(), 2);
    assert_eq!(desk.ledger.repair(&repairs, &at()).unwrap(), 0);
    assert_eq!(desk.flush(FlushKind::Delta, false).concat(), ["1 N 9", "2 S 7 2"]);
    audit(&mut desk, &altered).expect(MonthAudit { unknown: 1, ..counts(4, 0) }, &["unknown M 9 -"]);
}

#[test]
fn what_a_table_told_that_is_not_configured_any_more_is_nobodys_business() {
    let (mut desk, _, [licences, steps]) = two_tables();
    let copy = desk.begin(CopyKind::Baseline, true);
    for page in [keyed(licences, &[("1 L 9", "1")]), keyed(steps, &[("2 S 9 1", "1")])] {
        desk.ledger.append_page(copy, &page).unwrap();
    }
    desk.ledger.finish_copy(copy, Some(&crate::arrange::checkpoint("0/0"))).unwrap();
    let config =
        TableConfig { table: "licencias".into(), mapping: mapping("numero", "fecha"), joins: Vec::new() };
    let alone = Tables::new(vec![config], Tz::UTC).unwrap();
    let now = keyed(licences, &[("1 L 9", "1")]);
    audit_of(&mut desk, &alone, &[now], (None, &scope())).expect(counts(0, 1), &[]);
}
