//! Against logs that real servers wrote: `captured/` holds whole files of MySQL 9.7 and MariaDB 10.11, with every kind
//! of event that statements can provoke.

use std::sync::Arc;

use change::{Operation, Value};
use proptest::prelude::*;

use super::*;
use crate::binlog::event::{CHECKSUM_BYTES, HEADER_BYTES};
use crate::binlog::statement::Subjects;
use crate::catalog::{Collations, Column, Kind, Table};
use crate::tables::Catalog;

const MYSQL: &[u8] = include_bytes!("captured/mysql-9.7.binlog");
const MARIADB: &[u8] = include_bytes!("captured/mariadb-10.11.binlog");
const FILE: &str = "binlog.000009";
/// Where an event's length stands.
const SIZE_AT: usize = 9;

/// Keeps what is delivered.
#[derive(Default)]
struct Kept(Vec<Batch>);

impl Outlet for Kept {
    fn deliver(&mut self, batch: Batch) -> Result<(), End> {
        self.0.push(batch);
        Ok(())
    }
}

fn catalog() -> Catalog {
    let columns = [
        ("id", "bigint", "bigint unsigned"),
        ("servicio", "varchar", "varchar(20)"),
        ("numero", "char", "char(10)"),
        ("estado", "enum", "enum('RECIBIDA','APROBADA')"),
        ("marcas", "set", "set('a','b')"),
        ("apertura", "date", "date"),
        ("abierta", "datetime", "datetime(3)"),
        ("tocada", "timestamp", "timestamp(6)"),
        ("monto", "decimal", "decimal(12,2)"),
        ("anio", "year", "year"),
        ("hora", "time", "time(2)"),
        ("notas", "text", "text"),
    ];
    let column = |(index, (name, data_type, column_type)): (usize, &(&str, &str, &str))| Column {
        name: (*name).to_owned(),
        ordinal: u32::try_from(index).unwrap() + 1,
        data_type: (*data_type).to_owned(),
        column_type: (*column_type).to_owned(),
        charset: Some("utf8mb4".to_owned()),
        unsigned: column_type.ends_with("unsigned"),
        nullable: true,
    };
    let table = Table {
        database: "c".to_owned(),
        name: "solicitudes".to_owned(),
        kind: Kind::Ordinary,
        engine: "InnoDB".to_owned(),
        transactional: true,
        columns: columns.iter().enumerate().map(column).collect(),
        mapped: (0..columns.len()).collect(),
        key: vec![0],
        key_name: "PRIMARY".to_owned(),
        rows_estimate: None,
    };
    let collations = Arc::new(Collations::of(&[(8, "latin1"), (45, "utf8mb4"), (255, "utf8mb4")]));
    Catalog { table, collations, read_at: Place { file: FILE.into(), offset: 4 } }
}

fn reader() -> Reader {
    let subjects = Subjects { tables: vec![("c".to_owned(), "solicitudes".to_owned())], case_counts: true };
    let tables = Tables::new(subjects, [(catalog(), true)], Box::new(|_| Ok(catalog())));
    Reader::new(tables, Tracker::new(Place { file: FILE.into(), offset: 4 }, None), None, Checksum::None)
}

/// The events of a file, headers and checksums included.
fn events(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[4..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let size = u32::from_le_bytes(rest[SIZE_AT..SIZE_AT + 4].try_into().unwrap());
        let (event, after) = rest.split_at(size as usize);
        events.push(event.to_vec());
        rest = after;
    }
    events
}

/// An event of the file's form that begins at `start`.
fn event(kind: u8, start: usize, body: &[u8]) -> Vec<u8> {
    let end = u32::try_from(start + HEADER_BYTES + body.len() + CHECKSUM_BYTES).unwrap().to_le_bytes();
    sealed([&[0, 0, 0, 0, kind, 1, 0, 0, 0][..], &[0; 4], &end, &[0; 2], body, &[0; CHECKSUM_BYTES]].concat())
}

/// Where the events of a file end.
fn end(events: &[Vec<u8>]) -> usize {
    4 + events.iter().map(Vec::len).sum::<usize>()
}

/// Sets length and checksum right.
fn sealed(mut event: Vec<u8>) -> Vec<u8> {
    let size = u32::try_from(event.len()).unwrap().to_le_bytes();
    event[SIZE_AT..SIZE_AT + 4].copy_from_slice(&size);
    let covered = event.len() - CHECKSUM_BYTES;
    let sum = crc32fast::hash(&event[..covered]).to_le_bytes();
    event[covered..].copy_from_slice(&sum);
    event
}

/// What the events tell, and how it ended.
fn read(events: &[Vec<u8>]) -> (Vec<String>, usize, Option<SourceError>) {
    let (mut reader, mut kept) = (reader(), Kept::default());
    let mut failed = None;
    for event in events {
        match reader.event(event, &mut kept) {
            Ok(()) => {}
            Err(End::Failed(error)) => {
                failed = Some(error);
                break;
            }
            Err(End::Stopped) => panic!("nobody stopped it"),
        }
    }
    kept.0.extend(reader.assembly.take_committed(|| Position::new("end"), false));
    let incidents = kept.0.iter().map(|batch| batch.incidents.len()).sum();
    let changes = kept.0.iter().flat_map(|batch| &batch.changes).map(told).collect();
    (changes, incidents, failed)
}

/// Number and status of a change's sides.
fn told(change: &Change) -> String {
    let side = |row: &Option<change::Row>| match row.as_ref().map(|row| (row.get(0), row.get(3))) {
        Some((Some(Value::Int(id)), Some(Value::Text(estado)))) => format!("{id} {estado}"),
        other => format!("{other:?}"),
    };
    match change.operation {
        Operation::Insert => format!("+{}", side(&change.after)),
        Operation::Update => format!("{}>{}", side(&change.before), side(&change.after)),
        Operation::Delete => format!("-{}", side(&change.before)),
    }
}

const COMMON: [&str; 11] = [
    "+1 RECIBIDA",
    "+2 APROBADA",
    "1 RECIBIDA>1 APROBADA",
    "-2 APROBADA",
    "+3 RECIBIDA",
    "+5 RECIBIDA",
    "+6 RECIBIDA",
    "+11 APROBADA",
    "+13 RECIBIDA",
    "+15 RECIBIDA",
    "+16 RECIBIDA",
];

#[test]
fn a_captured_log_tells_what_was_executed() {
    for (file, own) in
        [(MYSQL, &["3 RECIBIDA>3 RECIBIDA"][..]), (MARIADB, &["11 APROBADA>11 APROBADA", "-11 APROBADA"])]
    {
        let (changes, incidents, failed) = read(&events(file));
        assert!(failed.is_none(), "{failed:?}");
        assert_eq!(changes, [&COMMON[..], own].concat());
        assert_eq!(incidents, 1);
    }
}

#[test]
fn a_log_without_checksums_tells_the_same() {
    for file in [MYSQL, MARIADB] {
        let mut bare = events(file);
        for event in &mut bare {
            if event[4] == kind::FORMAT_DESCRIPTION {
                let algorithm = event.len() - CHECKSUM_BYTES - 1;
                event[algorithm] = 0;
                continue;
            }
            event.truncate(event.len() - CHECKSUM_BYTES);
            let size = u32::try_from(event.len()).unwrap().to_le_bytes();
            event[SIZE_AT..SIZE_AT + 4].copy_from_slice(&size);
        }
        assert_eq!(read(&bare).0, read(&events(file)).0);
    }
}

#[test]
fn an_unknown_event_ends_the_stream_by_name_and_place_unless_it_may_be_ignored() {
    let mut log = events(MYSQL)[..2].to_vec();
    let mut ignorable = event(99, end(&log), b"abc");
    ignorable[17] = 0x80;
    log.push(sealed(ignorable));
    let place = end(&log);
    log.push(event(99, place, b"abc"));
    let error = read(&log).2.unwrap();
    assert_eq!(error.kind(), SourceErrorKind::Protocol);
    let expected = format!("the event at {FILE}:{place} cannot be decoded: unknown event type 99");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_altered_event_is_named_by_its_place() {
    let mut log = events(MARIADB);
    let place = end(&log[..5]);
    log[5][HEADER_BYTES] ^= 1;
    let error = read(&log).2.unwrap();
    assert!(error.to_string().contains(&format!("{FILE}:{place} ")), "{error}");
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn an_incident_that_the_server_logged_is_a_lost_log() {
    let mut log = events(MYSQL)[..2].to_vec();
    log.push(event(kind::INCIDENT, end(&log), &[1, 0, 4, b'l', b'o', b's', b't']));
    let error = read(&log).2.unwrap();
    assert_eq!(error.kind(), SourceErrorKind::LostLog, "{error}");
    assert!(error.to_string().contains(FILE), "{error}");
}

/// What happens to an event on its way.
#[derive(Debug, Clone)]
enum Damage {
    Flip(u8),
    Cut,
    Insert(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => any::<u8>().prop_map(Damage::Flip),
        1 => Just(Damage::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..12).prop_map(Damage::Insert),
    ]
}

/// The event with one place behind its header damaged, and a checksum that hides it.
fn damaged(event: &[u8], at: usize, damage: &Damage) -> Vec<u8> {
    let body = event.len() - HEADER_BYTES - CHECKSUM_BYTES;
    // Now and then the header's type too.
    let at = if at.is_multiple_of(31) { 4 } else { HEADER_BYTES + at % body.max(1) };
    let mut event = event.to_vec();
    match damage {
        Damage::Flip(bits) => event[at] ^= bits,
        Damage::Cut => event.truncate(at.max(HEADER_BYTES) + CHECKSUM_BYTES),
        Damage::Insert(bytes) => drop(event.splice(at..at, bytes.iter().copied())),
    }
    if event.len() < HEADER_BYTES + CHECKSUM_BYTES {
        event.resize(HEADER_BYTES + CHECKSUM_BYTES, 0);
    }
    sealed(event)
}

/// The most memory that the process ever had, in MiB; `None` where the system does not tell.
fn peak_mebibytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? >> 10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_damaged_event_makes_the_reader_panic_or_take_much_memory(
        of_mysql in any::<bool>(),
        at in any::<prop::sample::Index>(),
        hits in prop::collection::vec((any::<usize>(), damage()), 1..4),
    ) {
        let mut log = events(if of_mysql { MYSQL } else { MARIADB });
        let at = at.index(log.len());
        for (place, damage) in &hits {
            log[at] = damaged(&log[at], *place, damage);
        }
        drop(read(&log));
        // Whole captured files take a few; a length that is believed takes gigabytes.
        prop_assert!(peak_mebibytes().is_none_or(|peak| peak < 512));
    }
}
