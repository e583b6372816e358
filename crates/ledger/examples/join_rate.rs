//! What a join costs: how many changes a second the ledger takes and settles without one, and with one.
//!
//! `cargo run --release -p ledger --example join_rate [ROWS]`: by default half a million changes of a history, whose
//! hundred thousand requests are asked for in no order.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use change::{Operation, Position, Row, RowKey, Transaction, Value};
use chrono::NaiveDate;
use chrono_tz::Tz;
use ledger::{Captured, CapturedRows, Declared, Entry, Ingest, Ledger, TableId, Unjoined};
use normalizer::{Field, JoinConfig, Mapping, MappingConfig, OnDelete, Rows, TableConfig, Tables, TimeField};

/// Rows in one commit.
const COMMIT_ROWS: u64 = 10_000;

/// Requests, of which each is a parent.
const REQUESTS: u64 = 100_003;

fn main() -> Result<(), Box<dyn Error>> {
    let rows: u64 = std::env::args().nth(1).map_or(Ok(500_000), |rows| rows.parse())?;
    let alone = rate(rows, &[], &without)?;
    let joins = [JoinConfig {
        table: "solicitudes".into(),
        on: vec![("solicitud_id".into(), "id".into())],
        columns: vec!["numero".into(), "fecha".into()],
    }];
    let joined = rate(rows, &joins, &with)?;
    println!("without a join: {alone:.0} changes/s");
    println!("with one join:  {joined:.0} changes/s, {:.2} x", joined / alone);
    Ok(())
}

type Making<'a> = &'a dyn Fn(u64) -> Result<Row, Box<dyn Error>>;

/// Appends and settles `rows` changes of a history; parents, where there are some, before the clock starts.
fn rate(rows: u64, joins: &[JoinConfig], make: Making<'_>) -> Result<f64, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut ledger = Ledger::open(dir.path(), "join_rate")?;
    let mapping = mapping();
    let config = TableConfig { table: "historial".into(), mapping: mapping.clone(), joins: joins.to_vec() };
    let tables = Tables::new(vec![config], Tz::UTC).map_err(|errors| format!("{errors:?}"))?;
    let mapping = Mapping::new(mapping).map_err(|errors| format!("{errors:?}"))?;
    let declared = ledger.declare_tables(Arc::new(tables))?;
    if !joins.is_empty() {
        for first in (0..REQUESTS).step_by(COMMIT_ROWS as usize) {
            let captured = (first..first + COMMIT_ROWS).map(|id| parent(&declared, id)).collect();
            ledger.append(&[piece(captured)])?;
        }
        while ledger.settle(50_000)?.more {}
    }
    let started = Instant::now();
    for first in (0..rows).step_by(COMMIT_ROWS as usize) {
        let mut captured = Vec::new();
        for row in first..rows.min(first + COMMIT_ROWS) {
            let cells = make(row)?;
            captured.push(if joins.is_empty() {
                mapped(&mapping, row, cells)?
            } else {
                child(&declared, row, cells)
            });
        }
        ledger.append(&[piece(captured)])?;
    }
    while ledger.settle(50_000)?.more {}
    let rate = rows as f64 / started.elapsed().as_secs_f64();
    let found = ledger.delta()?.records;
    if found == rows { Ok(rate) } else { Err(format!("{found} records, expected {rows}").into()) }
}

/// An odd stride visits the requests in no order that the ledger knows.
fn request(row: u64) -> u64 {
    row.wrapping_mul(7_919) % REQUESTS
}

fn without(row: u64) -> Result<Row, Box<dyn Error>> {
    let number = format!("SOL-{:010}", request(row));
    Ok(Row::new(vec![
        Value::text(number),
        Value::text("2025-06-01"),
        Value::Int(9),
        Value::text("2026-01-01"),
    ]))
}

fn with(row: u64) -> Result<Row, Box<dyn Error>> {
    let id = i64::try_from(request(row))?;
    Ok(Row::new(vec![Value::Int(9), Value::text("2026-01-01"), Value::Int(id)]))
}

fn mapped(mapping: &Mapping, row: u64, cells: Row) -> Result<Captured, Box<dyn Error>> {
    let transaction = Arc::new(Transaction { position: Position::new("0/1"), committed_at: 0 });
    let change = change::Change {
        table: 0,
        operation: Operation::Insert,
        before: None,
        after: Some(cells),
        key: None,
        old_key: None,
        transaction,
    };
    let entry = Entry::of(normalizer::normalize(mapping, &change)).map_err(|rejection| rejection.reason)?;
    Ok(capture(TableId::default(), row, entry.ok_or("the row says nothing")?))
}

fn child(declared: &Declared, row: u64, cells: Row) -> Captured {
    let shape = declared.shape(1);
    let (operation, row_cells) = (Some(Operation::Insert), Some(cells));
    let unjoined = Unjoined { shape, operation, row: row_cells, former: None, is_child: true };
    capture(declared.id(1), row, Entry::Unjoined(unjoined))
}

fn parent(declared: &Declared, id: u64) -> Captured {
    let cells = vec![
        Value::Int(i64::try_from(id).unwrap_or_default()),
        Value::text(format!("SOL-{id:010}")),
        Value::text("2025-06-01"),
    ];
    let shape = declared.shape(0);
    let (operation, row) = (Some(Operation::Insert), Some(Row::new(cells)));
    let unjoined = Unjoined { shape, operation, row, former: None, is_child: false };
    capture(declared.id(0), id, Entry::Unjoined(unjoined))
}

fn capture(table: TableId, row: u64, entry: Entry) -> Captured {
    let transaction = Transaction { position: Position::new("0/1"), committed_at: 0 };
    let row_key = Some(RowKey::from_columns([row.to_string().as_str()]));
    Captured { table, entry, row_key, old_row_key: None, transaction: Arc::new(transaction) }
}

fn piece(captured: Vec<Captured>) -> Ingest {
    let changes = captured.len() as u64;
    let position = Some(Position::new("0/1"));
    Ingest { captured: CapturedRows::pack(0, &captured), rejected: Vec::new(), changes, position }
}

fn mapping() -> MappingConfig {
    let column = |name: &str| Field::Column { column: name.into(), map: None };
    let time = |name: &str| TimeField::Column { column: name.into(), time_zone: Some(Tz::UTC) };
    MappingConfig {
        service_id: Field::Value("101".into()),
        request_id: column("numero"),
        opening_date: time("fecha"),
        status_id: column("estado"),
        last_modified_date: time("desde"),
        on_delete: OnDelete::Ignore,
        condition: None,
        rows: Rows::History,
        floor: NaiveDate::from_ymd_opt(2020, 1, 1).unwrap_or_default(),
        zone: Tz::UTC,
    }
}
