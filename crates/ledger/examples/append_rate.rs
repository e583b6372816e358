//! How many rows a second the ledger takes, commits and syncs included.
//!
//! `cargo run --release -p ledger --example append_rate [ROWS] [FOLDER]`: by default a million rows, in a
//! temporary folder. Give a folder on the disk that counts. Where the system tells it (Linux), the rate by
//! the processor time of this thread stands beside the rate by the clock: on a busy machine they differ.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use change::{Checkpoint, Position, ServerIdentity, Text, Transaction};
use ledger::{
    BodyBuilder, Captured, CapturedRows, CopyKind, Durable, Entry, FlushKind, FlushResult, Ingest, Ledger,
    Limits, NewCopy, Shard, StagedPage, StagedRows,
};
use normalizer::StatusChange;

/// Rows in one commit.
const COMMIT_ROWS: u64 = 10_000;

/// Rows in one transaction of the source.
const TRANSACTION_ROWS: u64 = 1_000;

const START_AT: i64 = 1_577_836_800_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: u64 = arguments.next().map_or(Ok(1_000_000), |rows| rows.parse())?;
    let temporary = tempfile::tempdir()?;
    let dir = arguments.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let mut ledger = Ledger::open(&dir.join("append_rate"), "append_rate")?;
    let services: Vec<Text> = (101..121).map(|id: u32| id.to_string().into()).collect();

    copy(&mut ledger, rows, &services)?;
    say("settle the copy", rows, settle(&mut ledger)?);
    say("append changes", rows, stream(&mut ledger, rows, &services)?);
    say("settle changes", rows, settle(&mut ledger)?);
    ledger.request_backfill(i64::MIN, i64::MAX, START_AT)?;
    say("send the backfill", rows, flush(&mut ledger, FlushKind::Backfill)?);
    say("send the delta", rows, flush(&mut ledger, FlushKind::Delta)?);
    println!("{:>22}: {:.0} MiB", "ledger", ledger.size_bytes()? as f64 / 1_048_576.0);
    println!("{:>22}: {}", "peak memory", peak_memory());
    drop(ledger);
    clean(&dir.join("append_rate"))
}

fn copy(ledger: &mut Ledger, rows: u64, services: &[Text]) -> Result<(), Box<dyn Error>> {
    let copy =
        ledger.begin_copy(&NewCopy { kind: CopyKind::Baseline, exact: true, tables: None, at: START_AT })?;
    let mut spent = Spent::default();
    for first in (0..rows).step_by(COMMIT_ROWS as usize) {
        let mut staged = StagedRows::default();
        for row in first..rows.min(first + COMMIT_ROWS) {
            staged.push(&change(row, 9, services), month(row), None);
        }
        let page =
            StagedPage { scanned: staged.len() as u64, rows: staged, at: START_AT, ..StagedPage::default() };
        spent.during(|| ledger.append_page(copy, &page))?;
    }
    say("append snapshot rows", rows, spent);
    let checkpoint = Checkpoint { position: Position::new("0/0"), server: ServerIdentity::new("here") };
    Ok(ledger.finish_copy(copy, Some(&checkpoint))?)
}

fn stream(ledger: &mut Ledger, rows: u64, services: &[Text]) -> Result<Spent, Box<dyn Error>> {
    let mut spent = Spent::default();
    for first in (0..rows).step_by(COMMIT_ROWS as usize) {
        let pieces: Vec<Ingest> = (first..rows.min(first + COMMIT_ROWS))
            .step_by(TRANSACTION_ROWS as usize)
            .map(|first| piece(first, rows.min(first + TRANSACTION_ROWS), services))
            .collect();
        spent.during(|| ledger.append(&pieces))?;
    }
    Ok(spent)
}

fn piece(first: u64, end: u64, services: &[Text]) -> Ingest {
    let position = Position::new(format!("0/{first:X}"));
    let transaction = Arc::new(Transaction { position: position.clone(), committed_at: START_AT });
    let captured: Vec<Captured> = (first..end)
        .map(|row| Captured {
            table: ledger::TableId::default(),
            // An odd stride visits every request once, in no order that the ledger knows.
            entry: Entry::Candidate(change(row.wrapping_mul(7_919) % 1_000_003, 3, services)),
            row_key: None,
            old_row_key: None,
            transaction: transaction.clone(),
        })
        .collect();
    let captured = CapturedRows::pack(START_AT, &captured);
    Ingest { captured, rejected: Vec::new(), changes: end - first, position: Some(position) }
}

fn change(row: u64, status_id: u8, services: &[Text]) -> StatusChange {
    let service = services.get((row % 20) as usize).or(services.first());
    let opening_at = START_AT + (row as i64 % 2_000) * 86_400_000_000;
    StatusChange {
        service_id: service.map_or_else(|| "101".into(), Text::clone),
        request_id: format!("SOL-{:010}", row.wrapping_mul(48_271) % 2_147_483_647).into(),
        opening_at,
        status_id,
        modified_at: opening_at + 3_600_000_000,
    }
}

fn month(row: u64) -> u32 {
    let months = (row % 72) as u32;
    (2020 + months / 12) * 100 + months % 12 + 1
}

fn settle(ledger: &mut Ledger) -> Result<Spent, Box<dyn Error>> {
    let mut spent = Spent::default();
    while spent.during(|| ledger.settle(100_000))?.more {}
    Ok(spent)
}

fn flush(ledger: &mut Ledger, kind: FlushKind) -> Result<Spent, Box<dyn Error>> {
    let mut spent = Spent::default();
    let mut body = Lines(Vec::new());
    let flush = ledger.start_flush(kind, false, START_AT)?;
    let mut next = spent.during(|| ledger.form_batch(flush.id, limits(&mut body)))?;
    while let Some(batch) = next {
        spent.during(|| ledger.acknowledge(batch.id, START_AT, Some(201)))?;
        next = spent.during(|| ledger.form_batch(flush.id, limits(&mut body)))?;
    }
    ledger.finish_flush(flush.id, FlushResult::Acknowledged, None, START_AT)?;
    Ok(spent)
}

fn limits(body: &mut Lines) -> Limits<'_> {
    Limits {
        builder: body,
        max_records: 1000,
        shard: Shard::ALL,
        durable: Durable::WithNextCommit,
        now: START_AT,
    }
}

/// Time that the ledger took.
#[derive(Default)]
struct Spent {
    clock: Duration,
    processor: Option<Duration>,
}

impl Spent {
    fn during<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (before, started) = (processor_time(), Instant::now());
        let result = work();
        self.clock += started.elapsed();
        let spent = processor_time().zip(before).map(|(after, before)| after.saturating_sub(before));
        self.processor = spent.map(|spent| spent + self.processor.unwrap_or_default());
        result
    }
}

/// What the scheduler has given this thread so far.
fn processor_time() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(told.split(' ').next()?.parse().ok()?))
}

/// Bodies of about the size of the real ones.
struct Lines(Vec<u8>);

impl BodyBuilder for Lines {
    fn push(&mut self, change: &StatusChange) -> bool {
        self.0.extend(change.request_id.as_bytes());
        self.0.resize(self.0.len() + 120, b' ');
        true
    }

    fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

fn say(what: &str, rows: u64, spent: Spent) {
    let rate = |time: Duration| rows as f64 / time.as_secs_f64();
    let processor = spent.processor.map_or_else(|| "unknown".into(), |time| format!("{:.0}", rate(time)));
    println!(
        "{what:>22}: {:>9.0} rows/s by the clock, {processor:>9} by processor time ({rows} in {:.2} s)",
        rate(spent.clock),
        spent.clock.as_secs_f64()
    );
}

/// As Linux tells it; elsewhere unknown.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".into(), |value| value.trim().into())
}

fn clean(dir: &Path) -> Result<(), Box<dyn Error>> {
    Ok(std::fs::remove_dir_all(dir)?)
}
