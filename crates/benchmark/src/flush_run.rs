//! A flush, and how much of its time it spends waiting for the endpoint.
//!
//! The connector and the dashboard's simulator are processes of their own; the delta is written into the ledger
//! beforehand.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use change::{Checkpoint, Position, ServerIdentity, Transaction};
use ledger::{Captured, CapturedRows, Entry, Ingest, Ledger, TableId};
use normalizer::StatusChange;

use crate::connector::{Ran, command};
use crate::endpoint::Endpoint;
use crate::figures::machine;
use crate::{Failure, Options};

/// Lanes that are measured, with as many POSTs side by side.
const CONCURRENCIES: [u32; 3] = [1, 2, 4];

/// Changes that one commit of the ledger takes.
const COMMIT_CHANGES: u32 = 10_000;

/// Changes that one settling takes, as in the daemon.
const SETTLE_ROWS: u64 = 50_000;

/// 2026-06-01, in microseconds since the epoch.
const START_AT: i64 = 1_780_272_000_000_000;

/// Measures flushes of `records` records and prints what they took.
pub(crate) fn run(options: &Options, records: u32) -> Result<(), Failure> {
    println!("machine: {}; the simulator as endpoint, TCP on loopback, no TLS", machine());
    println!("flush of {records} records; answers are put off by {} ms\n", options.answer_after);
    for concurrency in CONCURRENCIES {
        for _ in 0..options.rounds {
            let dir = tempfile::tempdir()?;
            fill(&dir.path().join("ledger"), records)?;
            flush(dir.path(), records, (concurrency, options.answer_after))?;
        }
    }
    Ok(())
}

/// Two changes each of half as many requests.
fn fill(dir: &Path, records: u32) -> Result<(), Failure> {
    let mut ledger = Ledger::open(dir, "benchmark")?;
    ledger.set_checkpoint(&Checkpoint {
        position: Position::new("0/0"),
        server: ServerIdentity::new("benchmark"),
    })?;
    for first in (0..records).step_by(COMMIT_CHANGES as usize) {
        let position = Position::new(format!("0/{first:X}"));
        let transaction = Arc::new(Transaction { position: position.clone(), committed_at: START_AT });
        let captured: Vec<Captured> = (first..records.min(first + COMMIT_CHANGES))
            .map(|number| Captured {
                table: TableId::default(),
                entry: Entry::Record(change(number, records)),
                row_key: None,
                old_row_key: None,
                transaction: Arc::clone(&transaction),
            })
            .collect();
        let changes = captured.len() as u64;
        let position = Some(position);
        let captured = CapturedRows::pack(START_AT, &captured);
        ledger.append(&[Ingest { captured, rejected: Vec::new(), changes, position }])?;
    }
    // The daemon settles what it has captured within a second, so that a night's flush finds it settled.
    while ledger.settle(SETTLE_ROWS)?.more {}
    Ok(())
}

fn change(number: u32, records: u32) -> StatusChange {
    let requests = records.div_ceil(2);
    let request = number % requests;
    StatusChange {
        service_id: format!("{}", 101 + request % 20).into(),
        request_id: format!("SOL-{request:09}").into(),
        opening_at: START_AT - i64::from(request) * 1_000_000,
        status_id: if number < requests { 9 } else { 3 },
        modified_at: START_AT + i64::from(number) * 1_000,
    }
}

fn flush(dir: &Path, records: u32, (concurrency, answer_after): (u32, u32)) -> Result<(), Failure> {
    let endpoint = Endpoint::answering_after(answer_after)?;
    let configuration = dir.join("bitacora.toml");
    fs::write(&configuration, text(&endpoint.url, concurrency))?;
    let Ran { seconds, peak_kib, status, told } = command(&["flush"], &configuration)?;
    if !status.success() {
        return Err(format!("the flush ended with {status}").into());
    }
    println!(
        "concurrency {concurrency}: {:.0} records/s, peak resident memory {:.1} MiB",
        f64::from(records) / seconds,
        f64::from(peak_kib) / 1024.0
    );
    println!("  {}", told.trim());
    Ok(())
}

fn text(url: &str, concurrency: u32) -> String {
    format!(
        r#"
[source]
engine = "postgres"
host = "127.0.0.1"
database = "tramites"
user = "bitacora"
table = "public.solicitudes"
tls = "disable"

[mapping]
service_id = {{ column = "servicio" }}
request_id = {{ column = "numero" }}
opening_date = {{ column = "fecha_apertura", time_zone = "America/Santo_Domingo" }}
status_id = {{ column = "estado", map = {{ RECIBIDA = 9, APROBADA = 3 }} }}
last_modified_date = {{ column = "fecha_modificacion", time_zone = "America/Santo_Domingo" }}

[schedule]
flush_at = ["02:00"]

[delivery]
url = "{url}"
concurrency = {concurrency}

[ledger]
dir = "ledger"
"#
    )
}
