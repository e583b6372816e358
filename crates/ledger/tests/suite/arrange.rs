//! What every test needs: a ledger in a folder of its own, and short ways to feed and drain it.

use std::path::Path;
use std::sync::Arc;

use change::{Checkpoint, Position, RowKey, ServerIdentity, Transaction};
use chrono::NaiveDate;
use chrono_tz::Tz;
use ledger::{
    Batch, BodyBuilder, Captured, CapturedRows, CopyId, CopyKind, Entry, FlushKind, FlushResult, Ingest,
    Ledger, NewCopy, RejectedRow, StagedPage, StagedRows, TableId,
};
use normalizer::{
    Field, Mapping, MappingConfig, OnDelete, RequestKey, Rows, StatusChange, Tables, TimeField,
};
use tempfile::TempDir;

/// A day in 2026; tests count in microseconds from here.
pub(crate) const NOW: i64 = 1_795_000_000_000_000;

/// Every opening.
pub(crate) const EVER: (i64, i64) = (i64::MIN, i64::MAX);

pub(crate) struct Desk {
    pub(crate) ledger: Ledger,
    pub(crate) dir: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        // In memory where the system has such a folder: these tests are about commits, not about disks.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        Self { ledger: open(dir.path()), dir }
    }

    /// Ends without any farewell, as a crash does, and starts again.
    pub(crate) fn reopen(self) -> Self {
        let Self { ledger, dir } = self;
        drop(ledger);
        Self { ledger: open(dir.path()), dir }
    }

    /// Appends one committed piece of the stream.
    pub(crate) fn commit(&mut self, entries: Vec<Entry>) {
        self.ledger.append(&[piece(entries, Some("0/1"))]).unwrap();
    }

    pub(crate) fn settle(&mut self) -> u64 {
        let mut records = 0;
        loop {
            let settled = self.ledger.settle(1).unwrap();
            records += settled.records;
            if !settled.more {
                return records;
            }
        }
    }

    /// Copies `rows` exactly, as at the first start, and merges the copy.
    pub(crate) fn baseline(&mut self, rows: &[StatusChange]) -> CopyId {
        let copy = self.begin(CopyKind::Baseline, true);
        self.ledger.append_page(copy, &page(rows)).unwrap();
        self.ledger.finish_copy(copy, Some(&checkpoint("0/0"))).unwrap();
        self.settle();
        copy
    }

    pub(crate) fn begin(&mut self, kind: CopyKind, exact: bool) -> CopyId {
        self.ledger.begin_copy(&NewCopy { kind, exact, tables: None, at: NOW }).unwrap()
    }

    /// Stages a fenced page and lets the stream pass its fence.
    pub(crate) fn fenced_page(&mut self, copy: CopyId, rows: &[StatusChange]) {
        let page = StagedPage { fence: Some(Position::new("0/9")), ..page(rows) };
        let page = self.ledger.append_page(copy, &page).unwrap();
        self.ledger.pass_fence(page).unwrap();
    }

    /// Sends everything of one kind; returns what each batch held, in order.
    pub(crate) fn flush(&mut self, kind: FlushKind, by_service: bool) -> Vec<Vec<String>> {
        self.settle();
        let flush = match self.ledger.open_flush(kind).unwrap() {
            Some(open) => open,
            None => self.ledger.start_flush(kind, by_service, NOW).unwrap(),
        };
        let mut sent = Vec::new();
        while let Some(batch) = self.next(flush.id) {
            sent.push(lines(&batch));
            self.ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
        }
        self.ledger.finish_flush(flush.id, FlushResult::Acknowledged, None, NOW).unwrap();
        sent
    }

    pub(crate) fn next(&mut self, flush: i64) -> Option<Batch> {
        self.ledger.next_batch(flush, &mut Lines::default(), 4, NOW).unwrap()
    }

    pub(crate) fn start(&mut self, kind: FlushKind) -> i64 {
        self.settle();
        self.ledger.start_flush(kind, false, NOW).unwrap().id
    }
}

pub(crate) fn open(dir: &Path) -> Ledger {
    Ledger::open(dir, "bitacora test since 2026-11-22T02:00:00Z").unwrap()
}

/// One table, whose rows are requests, or with `history` status changes.
pub(crate) fn single(history: bool) -> Arc<Tables> {
    let rows = if history { Rows::History } else { Rows::Requests };
    let mapping = Mapping::new(MappingConfig { rows, ..mapping("numero", "fecha") }).unwrap();
    Arc::new(Tables::single("solicitudes", mapping, Tz::UTC))
}

/// A mapping that takes number and opening from these columns.
pub(crate) fn mapping(number: &str, opening: &str) -> MappingConfig {
    let column = |name: &str| Field::Column { column: name.into(), map: None };
    MappingConfig {
        service_id: Field::Value("101".into()),
        request_id: column(number),
        opening_date: TimeField::Column { column: opening.into(), time_zone: Some(Tz::UTC) },
        status_id: column("estado"),
        last_modified_date: TimeField::Column { column: "desde".into(), time_zone: Some(Tz::UTC) },
        on_delete: OnDelete::Ignore,
        condition: None,
        rows: Rows::Requests,
        floor: NaiveDate::from_ymd_opt(2020, 1, 1).unwrap(),
        zone: Tz::UTC,
    }
}

/// `"101 A 9"` or `"101 A 9 77"`: service, request, status, and the moment it is told apart by.
pub(crate) fn change(text: &str) -> StatusChange {
    let mut parts = text.split(' ');
    let (service, request) = (parts.next().unwrap(), parts.next().unwrap());
    let status_id = parts.next().unwrap().parse().unwrap();
    let modified_at = parts.next().map_or(0, |moment| moment.parse().unwrap());
    StatusChange {
        service_id: service.into(),
        request_id: request.into(),
        opening_at: 1_577_900_000_000_000,
        status_id,
        modified_at,
    }
}

pub(crate) fn record(text: &str) -> Entry {
    Entry::Record(change(text))
}

pub(crate) fn candidate(text: &str) -> Entry {
    Entry::Candidate(change(text))
}

pub(crate) fn broken(service: &str, request: &str) -> Entry {
    Entry::Broken(key(service, request))
}

pub(crate) fn key(service: &str, request: &str) -> RequestKey {
    RequestKey { service_id: service.into(), request_id: request.into() }
}

pub(crate) fn piece(entries: Vec<Entry>, position: Option<&str>) -> Ingest {
    let captured: Vec<_> = entries.into_iter().map(|entry| captured(entry, None, None)).collect();
    let changes = captured.len() as u64;
    Ingest {
        captured: packed(&captured),
        rejected: Vec::new(),
        changes,
        position: position.map(Position::new),
    }
}

/// Row changes that were captured just now.
pub(crate) fn packed(captured: &[Captured]) -> CapturedRows {
    CapturedRows::pack(NOW, captured)
}

pub(crate) fn captured(entry: Entry, row_key: Option<&str>, old_row_key: Option<&str>) -> Captured {
    let named = |key: &str| RowKey::from_columns([key]);
    let transaction = Arc::new(Transaction { position: Position::new("0/1"), committed_at: NOW });
    let table = TableId::default();
    Captured { table, entry, row_key: row_key.map(named), old_row_key: old_row_key.map(named), transaction }
}

pub(crate) fn rejected(request: Option<RequestKey>) -> RejectedRow {
    RejectedRow {
        table: TableId::default(),
        code: "unknown_status",
        reason: "estado is \"X\", which is not in the map".into(),
        request,
        row_key: None,
        row: r#"{"estado":"X"}"#.into(),
        position: Some(Position::new("0/1")),
        at: NOW,
    }
}

pub(crate) fn page(rows: &[StatusChange]) -> StagedPage {
    let mut staged = StagedRows::default();
    rows.iter().for_each(|change| staged.push(change, 202_001, None));
    StagedPage { rows: staged, scanned: rows.len() as u64, at: NOW, ..StagedPage::default() }
}

pub(crate) fn checkpoint(position: &str) -> Checkpoint {
    Checkpoint { position: Position::new(position), server: ServerIdentity::new("here") }
}

/// A body that can be read back: one record a line.
#[derive(Default)]
pub(crate) struct Lines {
    body: String,
}

impl BodyBuilder for Lines {
    fn push(&mut self, change: &StatusChange) -> bool {
        let StatusChange { service_id, request_id, status_id, modified_at, .. } = change;
        self.body.push_str(&format!("{service_id} {request_id} {status_id} {modified_at}\n"));
        true
    }

    fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body).into_bytes()
    }
}

pub(crate) fn lines(batch: &Batch) -> Vec<String> {
    String::from_utf8(batch.body.clone())
        .unwrap()
        .lines()
        .map(|line| line.trim_end_matches(" 0").into())
        .collect()
}
