//! A mapping and rows for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use change::{Change, Operation, Position, Row, Transaction, Value};
use chrono::NaiveDate;
use chrono_tz::Tz;
use proptest::prelude::*;

use crate::{Field, Mapping, MappingConfig, OnDelete, Rows, TimeField};

/// 2025-06-13T12:00:00Z, which is 08:00 in Santo Domingo.
pub(crate) const OPENED_AT: i64 = 1_749_816_000_000_000;
/// 2025-06-13T14:15:00Z.
pub(crate) const MODIFIED_AT: i64 = 1_749_824_100_000_000;
/// 2025-06-13T14:15:01Z.
pub(crate) const COMMITTED_AT: i64 = 1_749_824_101_000_000;

const STATUSES: [(&str, &str); 4] =
    [("RECIBIDA", "9"), ("ENTRADA", "9"), ("APROBADA", "3"), ("ANULADA", "10")];

pub(crate) fn config() -> MappingConfig {
    config_of(&STATUSES)
}

pub(crate) fn mapping() -> Mapping {
    mapping_of(&STATUSES)
}

/// The sample's mapping with another map of statuses.
pub(crate) fn mapping_of(statuses: &[(&str, &str)]) -> Mapping {
    Mapping::new(config_of(statuses)).unwrap()
}

fn config_of(statuses: &[(&str, &str)]) -> MappingConfig {
    let map = |entries: &[(&str, &str)]| -> Option<BTreeMap<String, String>> {
        Some(entries.iter().map(|(value, means)| ((*value).into(), (*means).into())).collect())
    };
    let zone = Tz::America__Santo_Domingo;
    MappingConfig {
        service_id: Field::Column { column: "servicio".into(), map: map(&[("LIC", "101"), ("PER", "102")]) },
        request_id: Field::Column { column: "numero".into(), map: None },
        opening_date: TimeField::Column { column: "apertura".into(), time_zone: Some(zone) },
        status_id: Field::Column { column: "estado".into(), map: map(statuses) },
        last_modified_date: TimeField::Column { column: "modificada".into(), time_zone: Some(zone) },
        on_delete: OnDelete::Ignore,
        condition: None,
        rows: Rows::Requests,
        floor: NaiveDate::from_ymd_opt(2020, 1, 1).unwrap(),
        zone,
    }
}

/// A row of service `LIC` that was opened and modified at the sample's moments.
pub(crate) fn row(number: &str, status: &str) -> Row {
    Row::new(vec![
        Value::text("LIC"),
        Value::text(number),
        Value::text("2025-06-13 08:00:00"),
        Value::text(status),
        Value::Instant(MODIFIED_AT),
    ])
}

/// An update that was committed at the sample's moment.
pub(crate) fn change_to(before: Option<Row>, after: Row) -> Change {
    Change {
        table: 0,
        operation: Operation::Update,
        before,
        after: Some(after),
        key: None,
        old_key: None,
        transaction: Arc::new(Transaction {
            position: Position::new("0/16B3748"),
            committed_at: COMMITTED_AT,
        }),
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unchanged),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1_i64..25).prop_map(Value::Int),
        "\\PC{0,12}".prop_map(Value::text),
        prop::sample::select(vec!["LIC", "PER", "RECIBIDA", "APROBADA", "2025-06-13 08:00:00", "2019-01-01"])
            .prop_map(Value::text),
        any::<i64>().prop_map(Value::Local),
        any::<i64>().prop_map(Value::Instant),
        Just(Value::Instant(MODIFIED_AT)),
        any::<i32>().prop_map(Value::Date),
        "\\PC{0,12}".prop_map(|words| Value::Unusable(words.into())),
    ]
}

/// A row of anything, mostly with as many cells as the sample's mapping has columns.
pub(crate) fn any_row() -> impl Strategy<Value = Row> {
    prop_oneof![
        8 => prop::collection::vec(any_value(), 5),
        1 => prop::collection::vec(any_value(), 0..8),
    ]
    .prop_map(Row::new)
}

/// A row that can mostly be sent, of few requests in few statuses.
pub(crate) fn likely_row() -> impl Strategy<Value = Row> {
    let status = prop::sample::select(vec!["RECIBIDA", "ENTRADA", "APROBADA", "ANULADA", "ARCHIVADA"]);
    (0..3_u8, status, 0..12_u8).prop_map(|(number, status, spoiled)| {
        let mut cells = row(&number.to_string(), status).cells().to_vec();
        if let Some(cell) = cells.get_mut(usize::from(spoiled)) {
            *cell = Value::Null;
        }
        Row::new(cells)
    })
}
