//! What every test needs: a ledger with a delta, a simulator, and a courier between them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use change::{Checkpoint, Position, ServerIdentity, Transaction};
use delivery::{Delivery, DeliveryConfig, Precision, RetryPolicy};
use ledger::{
    Captured, CapturedRows, CopyKind, Entry, Ingest, Ledger, NewCopy, StagedPage, StagedRows, TableId,
};
use normalizer::StatusChange;
use pipeline::{Courier, DeliverySettings, FlushReport, GroupBy, Health, LedgerThread};
use tablero::{Tablero, TableroConfig};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) struct Desk {
    dir: TempDir,
    pub(crate) tablero: Tablero,
    pub(crate) settings: DeliverySettings,
    next_moment: i64,
}

impl Desk {
    /// A desk whose batches hold ten records, unless `change` says otherwise.
    pub(crate) async fn new(change: impl FnOnce(&mut DeliverySettings)) -> Self {
        Self::facing(TableroConfig::default(), change).await
    }

    pub(crate) async fn facing(tablero: TableroConfig, change: impl FnOnce(&mut DeliverySettings)) -> Self {
        // In memory where the system has such a folder: these tests are about deliveries, not about disks.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let mut settings = DeliverySettings {
            batch_records_max: 10,
            batch_bytes_max: 1_000_000,
            group_by: GroupBy::None,
            precision: Precision::Micros,
            retry: RetryPolicy {
                first: Duration::from_millis(10),
                factor: 1.0,
                cap: Duration::from_millis(10),
                give_up_after: Duration::from_secs(30),
            },
            concurrency: 1,
            requests_per_minute: None,
            window: None,
            backfill_window: None,
            alert_after_failures: 3,
        };
        change(&mut settings);
        let tablero = Tablero::start(tablero).await.unwrap();
        Self { dir, tablero, settings, next_moment: 1_750_000_000_000_000 }
    }

    /// Commits `rounds` status changes of each of `requests` requests, round after round.
    pub(crate) fn captured(&mut self, requests: u32, rounds: u8) {
        let mut ledger = self.ledger();
        let checkpoint = Checkpoint { position: Position::new("0/0"), server: ServerIdentity::new("here") };
        if ledger.checkpoint().unwrap().is_none() {
            ledger.set_checkpoint(&checkpoint).unwrap();
        }
        let transaction =
            Arc::new(Transaction { position: Position::new("0/1"), committed_at: self.next_moment });
        let mut captured = Vec::new();
        for round in 0..rounds {
            for request in 0..requests {
                self.next_moment += 1_000_000;
                let change = StatusChange {
                    service_id: "101".into(),
                    request_id: format!("R{request}").into(),
                    opening_at: 1_749_000_000_000_000,
                    status_id: 1 + round % 21,
                    modified_at: self.next_moment,
                };
                let entry = Entry::Record(change);
                let transaction = Arc::clone(&transaction);
                let table = TableId::default();
                captured.push(Captured { table, entry, row_key: None, old_row_key: None, transaction });
            }
        }
        let changes = captured.len() as u64;
        let ingest = Ingest {
            captured: CapturedRows::pack(self.next_moment, &captured),
            rejected: Vec::new(),
            changes,
            position: Some(Position::new("0/1")),
        };
        ledger.append(&[ingest]).unwrap();
    }

    /// Copies so many requests with status 1, none of which `captured` knows, and asks for their backfill.
    pub(crate) fn copied(&mut self, requests: u32) {
        let mut ledger = self.ledger();
        let copy = NewCopy { kind: CopyKind::Baseline, exact: true, tables: None, at: self.next_moment };
        let copy = ledger.begin_copy(&copy).unwrap();
        let mut rows = StagedRows::default();
        for request in 0..requests {
            let request_id = format!("C{request}").into();
            let (opening_at, modified_at) = (1_749_000_000_000_000, self.next_moment);
            let row =
                StatusChange { service_id: "101".into(), request_id, opening_at, status_id: 1, modified_at };
            rows.push(&row, 202_506, None);
        }
        let page =
            StagedPage { rows, scanned: u64::from(requests), at: self.next_moment, ..StagedPage::default() };
        ledger.append_page(copy, &page).unwrap();
        let checkpoint = Checkpoint { position: Position::new("0/0"), server: ServerIdentity::new("here") };
        ledger.finish_copy(copy, Some(&checkpoint)).unwrap();
        while ledger.settle(1000).unwrap().more {}
        ledger.request_backfill(i64::MIN, i64::MAX, self.next_moment).unwrap();
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::open(self.dir.path(), "courier test").unwrap()
    }

    /// Flushes by a courier of its own, as a process that has just started does.
    pub(crate) async fn flush(&self) -> FlushReport {
        let courier = self.courier();
        let report = courier.flush(&|_| {}).await.unwrap();
        self.closed(courier).await;
        report
    }

    /// Flushes, and stops in the middle as soon as the simulator has met so many POSTs: nothing is finished or noted.
    pub(crate) async fn flush_until(&self, posts: usize) {
        let courier = self.courier();
        tokio::select! {
            report = courier.flush(&|_| {}) => panic!("the flush ended: {report:?}"),
            () = self.tablero.wait_for_requests(posts) => {}
        }
        self.closed(courier).await;
    }

    /// Delivers the backfill.
    pub(crate) async fn backfill(&self) -> FlushReport {
        let courier = self.courier();
        let report = courier.backfill(&CancellationToken::new(), &|_| {}).await.unwrap();
        self.closed(courier).await;
        report
    }

    fn courier(&self) -> Courier {
        let config = DeliveryConfig {
            url: self.tablero.url(),
            headers: Vec::new(),
            x_road_client: None,
            timeout: Duration::from_secs(30),
            tls_ca_pem: None,
            tls_client: None,
            tls_insecure: false,
            timestamps: Precision::Micros,
        };
        let delivery = Arc::new(Delivery::new(config).unwrap());
        let thread = LedgerThread::start(self.ledger()).unwrap();
        let stop = CancellationToken::new();
        Courier::new(thread, delivery, self.settings.clone(), Health::default(), stop)
    }

    /// Waits until the courier's ledger is closed, so that it can be opened again.
    async fn closed(&self, courier: Courier) {
        drop(courier);
        while Ledger::open(self.dir.path(), "courier test").is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Each request's statuses in the order in which they were stored; a batch that came again counts once.
    pub(crate) fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        let mut seen = std::collections::HashSet::new();
        let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for batch in self.tablero.received().iter().filter(|batch| seen.insert(batch.body.clone())) {
            for record in batch.records() {
                stored.entry(record.request_id).or_default().push(record.status_id);
            }
        }
        stored
    }

    /// What `captured` has committed, in the shape of [`Desk::stored`].
    pub(crate) fn expected(requests: u32, rounds: u8) -> BTreeMap<String, Vec<u8>> {
        (0..requests).map(|request| (format!("R{request}"), (1..=rounds).collect())).collect()
    }
}
