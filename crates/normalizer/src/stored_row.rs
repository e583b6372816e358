//! Rows as quarantine stores them: by column name, so that a mended mapping can read them again.

use change::{Change, Operation, Row, Value};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value as Json, json};

use crate::join::{Join, Origin};
use crate::mapping::{Mapping, OnDelete};
use crate::normalize::{NormalizedRow, delete_row, normalize_row, whole_row};
use crate::rejection::{Complaint, Rejection};
use crate::tables::Table;

/// Under this name a stored row says that it was deleted, and as which status that is reported. No engine
/// lets a column have an empty name.
const DELETED_AS: &str = "";

/// Writes the mapped columns of a row as a JSON object from column to value.
///
/// NULL, truth values, integers and texts are JSON's own; the others are objects that name their kind and
/// unit, such as `{"local_micros": 1749816000000000}`.
#[must_use]
pub fn store_row(mapping: &Mapping, row: &Row) -> String {
    Json::Object(cells(mapping, row)).to_string()
}

/// Writes what `change` tells of its row, with what [`normalize_stored`] needs to know of a delete.
#[must_use]
pub fn store_change(mapping: &Mapping, change: &Change) -> String {
    let mut stored = whole_row(change).map(|row| cells(mapping, &row)).unwrap_or_default();
    if let (Operation::Delete, OnDelete::Report(status_id)) = (change.operation, mapping.on_delete) {
        stored.insert(DELETED_AS.into(), status_id.into());
    }
    Json::Object(stored).to_string()
}

/// Writes a captured row of `table` with what its parents told, in the order of the joins; `deleted_as` says as which
/// status it is reported if it was deleted.
///
/// A column that the mapping takes from a parent may have the name of one that holds a parent's key: that one is
/// written with a `=` before its name.
#[must_use]
pub fn store_joined(table: &Table, row: &Row, parents: &[Option<&Row>], deleted_as: Option<u8>) -> String {
    let mut stored = Map::new();
    for (column, cell) in table.columns.iter().zip(row.cells()) {
        stored.insert(column_name(table, column), to_json(cell));
    }
    for (place, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            insert_parent(table, place, parent, &mut stored);
        }
    }
    if let Some(status_id) = deleted_as {
        stored.insert(DELETED_AS.into(), status_id.into());
    }
    Json::Object(stored).to_string()
}

/// Looks a parent's joined cells up by its key.
pub type Find<'a, E> = &'a mut dyn FnMut(&Join, &str) -> Result<Option<Row>, E>;

/// Completes a stored row of `table` with what its parents tell now, as far as it was stored without them. `find` looks a
/// parent up by its key.
///
/// # Errors
/// What `find` returns; inside it, why the row cannot be completed.
pub fn complete_stored<E>(
    table: &Table,
    stored: &str,
    find: Find<'_, E>,
) -> Result<Result<String, Rejection>, E> {
    let mut object = match object(stored) {
        Ok(object) => object,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let Some(mapped) = &table.mapped else {
        return Ok(Err(Complaint::missing_table(&table.name).reject(None)));
    };
    for (place, join) in mapped.joins.iter().enumerate() {
        if parent_columns(table, place).all(|(name, _)| object.contains_key(name)) {
            continue;
        }
        let cells = table
            .columns
            .iter()
            .map(|column| object.get(&column_name(table, column)).and_then(from_json).unwrap_or(Value::Null));
        let row = Row::new(cells.collect());
        let parent = match join.key_of(&row) {
            Some(key) => find(join, &key)?,
            None => None,
        };
        let Some(parent) = parent else { return Ok(Err(missing_parent(join))) };
        insert_parent(table, place, &parent, &mut object);
    }
    Ok(Ok(Json::Object(object).to_string()))
}

/// Why a row without its parent is rejected.
#[must_use]
pub fn missing_parent(join: &Join) -> Rejection {
    Complaint::missing_parent(&join.reason).reject(None)
}

/// Why a row of a table that is not mapped any more is rejected.
#[must_use]
pub fn missing_table(table: &str) -> Rejection {
    Complaint::missing_table(table).reject(None)
}

/// The columns of the mapping that come from a join's parent, each with its place among the parent's cells.
fn parent_columns(table: &Table, join: usize) -> impl Iterator<Item = (&String, usize)> {
    let mapped = table.mapped.iter();
    mapped.flat_map(|mapped| mapped.mapping.columns().iter().zip(&mapped.cells)).filter_map(
        move |(name, origin)| match origin {
            Origin::Parent(place, index) if *place == join => Some((name, *index)),
            _ => None,
        },
    )
}

fn insert_parent(table: &Table, join: usize, parent: &Row, into: &mut Map<String, Json>) {
    for (name, index) in parent_columns(table, join) {
        into.insert(name.clone(), parent.get(index).map_or(Json::Null, to_json));
    }
}

/// Under which name a captured column is stored.
fn column_name(table: &Table, column: &str) -> String {
    let joins = table.mapped.as_ref().map_or(0, |mapped| mapped.joins.len());
    let is_parents = (0..joins).any(|join| parent_columns(table, join).any(|(name, _)| name == column));
    if is_parents { format!("={column}") } else { column.to_owned() }
}

/// Reads a stored row in the order of `mapping`'s columns, which may have been mended since.
///
/// # Errors
/// When the text is not a stored row, or lacks a column that is mapped now.
pub fn restore_row(mapping: &Mapping, stored: &str) -> Result<Row, Rejection> {
    row_of(mapping, &object(stored)?)
}

/// What a stored row means under `mapping`, which may have been mended since; a row that was deleted means
/// the status that its delete was to report.
///
/// `moment`, in microseconds since the epoch, UTC, is the commit time of the change that was stored.
#[must_use]
pub fn normalize_stored(mapping: &Mapping, stored: &str, moment: i64) -> NormalizedRow {
    let read = || {
        let stored = object(stored)?;
        Ok((deleted_as(&stored)?, row_of(mapping, &stored)?))
    };
    match read() {
        Ok((None, row)) => normalize_row(mapping, &row, moment),
        Ok((Some(status_id), row)) => delete_row(mapping, &row, status_id, moment),
        Err(rejection) => NormalizedRow::Rejected(rejection),
    }
}

fn cells(mapping: &Mapping, row: &Row) -> Map<String, Json> {
    mapping.columns().iter().zip(row.cells()).map(|(column, cell)| (column.clone(), to_json(cell))).collect()
}

fn to_json(cell: &Value) -> Json {
    match cell {
        Value::Null => Json::Null,
        Value::Unchanged => json!({"unchanged": true}),
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Text(text) => json!(text.as_str()),
        Value::Local(micros) => json!({"local_micros": micros}),
        Value::Instant(micros) => json!({"instant_micros": micros}),
        Value::Date(days) => json!({"date_days": days}),
        Value::Unusable(words) => json!({"unusable": words}),
    }
}

fn from_json(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Int(number.as_i64()?),
        Json::String(text) => Value::text(text.as_str()),
        Json::Array(_) => return None,
        Json::Object(object) => {
            let (kind, value) = object.iter().next().filter(|_| object.len() == 1)?;
            match kind.as_str() {
                "unchanged" => Value::Unchanged,
                "local_micros" => Value::Local(value.as_i64()?),
                "instant_micros" => Value::Instant(value.as_i64()?),
                "date_days" => Value::Date(value.as_i64()?.try_into().ok()?),
                "unusable" => Value::Unusable(value.as_str()?.into()),
                _ => return None,
            }
        }
    })
}

/// A stored row as people read it: moments and days written out instead of counted.
///
/// The object goes from column to text, number, truth value or null; what cannot be read is left as it is stored.
#[must_use]
pub fn readable_row(stored: &str) -> String {
    let Ok(mut row) = object(stored) else { return stored.to_owned() };
    for cell in row.values_mut() {
        if let Some(told) = from_json(cell).and_then(|value| told(&value)) {
            *cell = Json::String(told);
        }
    }
    Json::Object(row).to_string()
}

fn told(value: &Value) -> Option<String> {
    match value {
        Value::Local(micros) => {
            let at = DateTime::from_timestamp_micros(*micros)?.naive_utc();
            Some(at.format("%Y-%m-%d %H:%M:%S%.f").to_string())
        }
        Value::Instant(micros) => {
            Some(DateTime::from_timestamp_micros(*micros)?.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        }
        Value::Date(days) => {
            let since_epoch = chrono::TimeDelta::try_days(i64::from(*days))?;
            Some(DateTime::UNIX_EPOCH.checked_add_signed(since_epoch)?.format("%Y-%m-%d").to_string())
        }
        Value::Unchanged => Some("not told by the log".to_owned()),
        Value::Unusable(words) => Some(words.to_string()),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => None,
    }
}

fn object(stored: &str) -> Result<Map<String, Json>, Rejection> {
    serde_json::from_str(stored).map_err(|error| Complaint::damaged_row(error).reject(None))
}

fn deleted_as(stored: &Map<String, Json>) -> Result<Option<u8>, Rejection> {
    let Some(status_id) = stored.get(DELETED_AS) else {
        return Ok(None);
    };
    let id =
        status_id.as_u64().and_then(|id| u8::try_from(id).ok()).filter(|id| crate::status(*id).is_some());
    match id {
        Some(id) => Ok(Some(id)),
        None => Err(Complaint::damaged_row("its status is not one of the catalogue").reject(None)),
    }
}

fn row_of(mapping: &Mapping, stored: &Map<String, Json>) -> Result<Row, Rejection> {
    let cell = |(index, column): (usize, &String)| match stored.get(column).map(from_json) {
        Some(Some(cell)) => Ok(cell),
        Some(None) => {
            let why = format_args!("column \"{column}\" holds no known kind of value");
            Err(Complaint::damaged_row(why).reject(None))
        }
        None => {
            let complaint = Complaint::missing_column().about(mapping.field_of(index));
            Err(complaint.in_column(column).reject(None))
        }
    };
    mapping.columns().iter().enumerate().map(cell).collect::<Result<Vec<_>, _>>().map(Row::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::{self, COMMITTED_AT, change_to, config, row};
    use crate::{Field, MappingConfig};

    /// The sample's mapping, with the status taken from another column.
    fn mended() -> Mapping {
        let status_id = Field::Column { column: "situacion".into(), map: None };
        Mapping::new(MappingConfig { status_id, ..config() }).unwrap()
    }

    #[test]
    fn people_read_moments_and_days_instead_of_counts() {
        let stored = r#"{"a":{"local_micros":1772438400500000},"b":{"instant_micros":1772438400000000},"c":{"date_days":20514},"d":{"unusable":"infinity"},"e":7,"f":null,"g":"LIC","h":{"unchanged":true}}"#;
        assert_eq!(
            readable_row(stored),
            r#"{"a":"2026-03-02 08:00:00.500","b":"2026-03-02T08:00:00Z","c":"2026-03-02","d":"infinity","e":7,"f":null,"g":"LIC","h":"not told by the log"}"#
        );
        assert_eq!(readable_row("no row"), "no row");
    }

    #[test]
    fn a_stored_row_is_readable_json() {
        let cells = vec![
            Value::text("LIC"),
            Value::Int(7),
            Value::Local(1),
            Value::Unusable("infinity".into()),
            Value::Null,
        ];
        assert_eq!(
            store_row(&sample::mapping(), &Row::new(cells)),
            r#"{"apertura":{"local_micros":1},"estado":{"unusable":"infinity"},"modificada":null,"numero":7,"servicio":"LIC"}"#
        );
    }

    #[test]
    fn a_row_rejected_by_one_mapping_is_a_record_under_the_mended_one() {
        let odd = row("1", "ARCHIVADA");
        let stored = store_row(&sample::mapping(), &odd);
        let NormalizedRow::Rejected(rejection) = normalize_stored(&sample::mapping(), &stored, COMMITTED_AT)
        else {
            panic!("the map does not list the status");
        };
        assert_eq!(rejection.code, "not_in_map");
        let mended = sample::mapping_of(&[("ARCHIVADA", "7")]);
        let NormalizedRow::Record(record) = normalize_stored(&mended, &stored, COMMITTED_AT) else {
            panic!("the map lists the status now");
        };
        assert_eq!(record.status_id, 7);
    }

    #[test]
    fn a_column_that_was_not_stored_is_named() {
        let stored = store_row(&sample::mapping(), &row("1", "RECIBIDA"));
        let rejection = restore_row(&mended(), &stored).unwrap_err();
        assert_eq!((rejection.code, rejection.field), ("missing_column", "status_id"));
        assert_eq!(
            rejection.reason,
            "column \"situacion\" of status_id is mapped, and the row does not carry it"
        );
    }

    #[test]
    fn a_mapping_in_another_order_finds_its_columns_by_name() {
        let config = config();
        let swapped = MappingConfig {
            service_id: config.request_id.clone(),
            request_id: config.service_id.clone(),
            ..config
        };
        let swapped = Mapping::new(swapped).unwrap();
        let original = row("1", "RECIBIDA");
        let restored = restore_row(&swapped, &store_row(&sample::mapping(), &original)).unwrap();
        assert_eq!(restored.get(0), original.get(1));
        assert_eq!(restored.get(1), original.get(0));
    }

    #[test]
    fn a_stored_delete_still_means_the_status_that_it_was_to_report() {
        let reporting = MappingConfig { on_delete: OnDelete::Report(10), ..config() };
        let reporting = Mapping::new(reporting).unwrap();
        let change = Change {
            table: 0,
            operation: Operation::Delete,
            after: None,
            ..change_to(Some(row("1", "RECIBIDA")), Row::default())
        };
        let stored = store_change(&reporting, &change);
        let NormalizedRow::Record(record) = normalize_stored(&sample::mapping(), &stored, COMMITTED_AT)
        else {
            panic!("the row is complete");
        };
        assert_eq!((record.status_id, record.modified_at), (10, COMMITTED_AT));
    }

    #[test]
    fn a_stored_change_carries_what_the_former_row_tells() {
        let mut cells = row("1", "APROBADA").cells().to_vec();
        cells[2] = Value::Unchanged;
        let change = change_to(Some(row("1", "RECIBIDA")), Row::new(cells));
        let stored = store_change(&sample::mapping(), &change);
        assert_eq!(restore_row(&sample::mapping(), &stored), Ok(row("1", "APROBADA")));
        let nothing = Change { operation: Operation::Delete, before: None, after: None, ..change };
        assert_eq!(store_change(&sample::mapping(), &nothing), "{}");
    }

    #[test]
    fn damaged_rows_are_rejected() {
        for stored in [
            "",
            "[]",
            "null",
            "{",
            r#"{"servicio":[]}"#,
            r#"{"servicio":{}}"#,
            r#"{"servicio":{"date_days":2147483648}}"#,
            r#"{"servicio":{"unusable":1}}"#,
            r#"{"servicio":{"instant_micros":1,"local_micros":1}}"#,
            r#"{"servicio":1.5}"#,
            r#"{"":22}"#,
            r#"{"":"x"}"#,
        ] {
            let NormalizedRow::Rejected(rejection) = normalize_stored(&sample::mapping(), stored, 0) else {
                panic!("{stored} is no stored row");
            };
            assert_eq!(rejection.code, "damaged_row", "{stored}");
        }
    }

    proptest! {
        #[test]
        fn every_row_is_restored_as_it_was(row in sample::any_row()) {
            prop_assume!(row.cells().len() == sample::mapping().columns().len());
            let stored = store_row(&sample::mapping(), &row);
            prop_assert_eq!(restore_row(&sample::mapping(), &stored), Ok(row));
        }

        #[test]
        fn no_text_is_too_odd_to_be_restored(stored in "\\PC{0,60}|\\{\"servicio\":[\\[\\]{}:,\"a-z0-9]{0,40}\\}") {
            let _rejected_or_not = restore_row(&sample::mapping(), &stored);
        }
    }
}
