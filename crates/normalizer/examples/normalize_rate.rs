//! Measures how many row changes a second the normalizer understands.
//!
//! `cargo run --release -p normalizer --example normalize_rate`

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use change::{Change, Operation, Position, Row, Transaction, Value};
use chrono::NaiveDate;
use chrono_tz::Tz;
use normalizer::{Field, Mapping, MappingConfig, Normalized, OnDelete, Rows, TimeField, normalize};

const ROWS: usize = 100_000;
const ROUNDS: usize = 10;
/// 2024-01-01T00:00:00 and one minute, in microseconds.
const FIRST_AT: i64 = 1_704_067_200_000_000;
const MINUTE: i64 = 60_000_000;

const SERVICES: [(&str, &str); 4] = [("LIC", "101"), ("PER", "102"), ("CER", "103"), ("REG", "104")];
const STATUSES: [(&str, &str); 4] =
    [("RECIBIDA", "9"), ("EN REVISION", "2"), ("APROBADA", "3"), ("ENTREGADA", "14")];

fn main() -> Result<(), Box<dyn Error>> {
    let mapping = mapping()?;
    let inserts = changes(|number| (None, row(number, number)));
    let passages = changes(|number| (Some(row(number, number)), row(number, number + 1)));
    let touched = changes(|number| (Some(row(number, number)), edited(number)));
    let edits = changes(|number| (Some(row(number, number)), row(number, number)));
    for (name, changes, expected) in [
        ("row alone", &inserts, ROWS),
        ("former row, other status", &passages, ROWS),
        ("former row, same status, later time", &touched, 0),
        ("former row, nothing mapped changed", &edits, 0),
    ] {
        measure(name, &mapping, changes, expected)?;
    }
    Ok(())
}

/// Prints the best round: what else the machine does can only slow a round down.
fn measure(name: &str, mapping: &Mapping, changes: &[Change], expected: usize) -> Result<(), Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let mut records = 0;
        for change in changes {
            let normalized = black_box(normalize(mapping, black_box(change)));
            records += usize::from(matches!(normalized, Normalized::Record(_) | Normalized::Candidate(_)));
        }
        best = best.min(started.elapsed().as_secs_f64());
        if records != expected {
            return Err(format!("{name}: {records} records, expected {expected}").into());
        }
    }
    let rows = f64::from(u32::try_from(changes.len())?);
    println!("{name:<38} {:>11.0} rows/s {:>6.0} ns a row", rows / best, best / rows * 1e9);
    Ok(())
}

fn mapping() -> Result<Mapping, Box<dyn Error>> {
    let zone = Tz::America__Santo_Domingo;
    let map = |entries: &[(&str, &str)]| -> Option<BTreeMap<String, String>> {
        Some(entries.iter().map(|(value, means)| ((*value).into(), (*means).into())).collect())
    };
    Mapping::new(MappingConfig {
        service_id: Field::Column { column: "servicio".into(), map: map(&SERVICES) },
        request_id: Field::Column { column: "numero".into(), map: None },
        opening_date: TimeField::Column { column: "apertura".into(), time_zone: Some(zone) },
        status_id: Field::Column { column: "estado".into(), map: map(&STATUSES) },
        last_modified_date: TimeField::Column { column: "modificada".into(), time_zone: Some(zone) },
        condition: None,
        rows: Rows::Requests,
        on_delete: OnDelete::Ignore,
        floor: NaiveDate::from_ymd_opt(2020, 1, 1).ok_or("no such day")?,
        zone,
    })
    .map_err(|errors| format!("{errors:?}").into())
}

fn row(number: usize, status: usize) -> Row {
    let minutes = i64::try_from(number).unwrap_or(0);
    let pick = |entries: &[(&'static str, &str); 4], index: usize| {
        entries.get(index % 4).map_or(Value::Null, |(value, _)| Value::text(*value))
    };
    Row::new(vec![
        pick(&SERVICES, number),
        Value::text(format!("SOL-2024-{number:08}")),
        Value::Local(FIRST_AT + minutes * MINUTE),
        pick(&STATUSES, status),
        Value::Local(FIRST_AT + (minutes + 600) * MINUTE),
    ])
}

/// The row with a later time of modification.
fn edited(number: usize) -> Row {
    let mut cells = row(number, number).cells().to_vec();
    if let Some(cell) = cells.last_mut() {
        *cell = Value::Local(FIRST_AT + 5_000_000 * MINUTE);
    }
    Row::new(cells)
}

fn changes(rows: impl Fn(usize) -> (Option<Row>, Row)) -> Vec<Change> {
    let transaction = Arc::new(Transaction { position: Position::new("0/16B3748"), committed_at: FIRST_AT });
    let change = |number| {
        let (before, after) = rows(number);
        Change {
            table: 0,
            operation: if before.is_some() { Operation::Update } else { Operation::Insert },
            before,
            after: Some(after),
            key: None,
            old_key: None,
            transaction: Arc::clone(&transaction),
        }
    };
    (0..ROWS).map(change).collect()
}
