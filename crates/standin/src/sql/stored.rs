//! How values lie in SQLite: so that its own comparison of integers, texts and blobs orders them rightly.
//!
//! Exact numbers are 16 bytes with the sign bit turned, unique identifiers have their bytes in the order in
//! which the server compares them, and a date with an offset begins with the moment in UTC.

use rusqlite::types::{Value as Cell, ValueRef};

use super::datatype::SqlType;
use super::error::SqlError;
use super::value::Value;

/// The server compares the last six bytes of a unique identifier first.
///
/// <https://learn.microsoft.com/en-us/dotnet/framework/data/adonet/sql/comparing-guid-and-uniqueidentifier-values>
const GUID_ORDER: [usize; 16] = [10, 11, 12, 13, 14, 15, 8, 9, 6, 7, 4, 5, 0, 1, 2, 3];

/// What is stored for `value`.
pub(crate) fn store(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Int(number)
        | Value::Date(number)
        | Value::Time(number)
        | Value::DateTime(number)
        | Value::SmallDateTime(number)
        | Value::DateTime2(number) => Cell::Integer(*number),
        Value::Decimal(number) => Cell::Blob((number ^ i128::MIN).to_be_bytes().to_vec()),
        Value::Float(number) => Cell::Real(*number),
        Value::Offset { utc, minutes } => {
            let mut bytes = (utc ^ i64::MIN).to_be_bytes().to_vec();
            bytes.extend_from_slice(&minutes.to_be_bytes());
            Cell::Blob(bytes)
        }
        Value::Guid(bytes) => {
            Cell::Blob(GUID_ORDER.iter().filter_map(|&at| bytes.get(at).copied()).collect())
        }
        Value::Text(text) => Cell::Text(text.clone()),
        Value::Bytes(bytes) => Cell::Blob(bytes.clone()),
    }
}

/// The value of type `of` that was stored as `cell`.
///
/// # Errors
/// When the cell holds something that this type never stores: a fault of the stand-in.
pub(crate) fn load(cell: ValueRef<'_>, of: SqlType) -> Result<Value, SqlError> {
    Ok(match (cell, of) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(number), SqlType::Date) => Value::Date(number),
        (ValueRef::Integer(number), SqlType::Time(_)) => Value::Time(number),
        (ValueRef::Integer(number), SqlType::DateTime) => Value::DateTime(number),
        (ValueRef::Integer(number), SqlType::SmallDateTime) => Value::SmallDateTime(number),
        (ValueRef::Integer(number), SqlType::DateTime2(_)) => Value::DateTime2(number),
        (ValueRef::Integer(number), SqlType::Float | SqlType::Real) => {
            #[expect(clippy::cast_precision_loss, reason = "a float never has more")]
            let float = number as f64;
            Value::Float(float)
        }
        (ValueRef::Integer(number), of)
            if of.whole_range().is_some() || matches!(of, SqlType::Variant | SqlType::Null) =>
        {
            Value::Int(number)
        }
        (ValueRef::Real(number), SqlType::Float | SqlType::Real) => Value::Float(number),
        (ValueRef::Text(bytes), SqlType::Text { .. } | SqlType::Variant | SqlType::Null) => {
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        }
        (ValueRef::Blob(bytes), of) => load_blob(bytes, of).ok_or_else(|| damaged(of))?,
        (_, of) => return Err(damaged(of)),
    })
}

fn damaged(of: SqlType) -> SqlError {
    SqlError::new(8630, 17, 2, format!("Internal Query Processor Error: a stored value is no {of}."))
}

fn load_blob(bytes: &[u8], of: SqlType) -> Option<Value> {
    Some(match of {
        SqlType::Decimal { .. } | SqlType::Money | SqlType::SmallMoney => {
            Value::Decimal(i128::from_be_bytes(bytes.try_into().ok()?) ^ i128::MIN)
        }
        SqlType::DateTimeOffset(_) => {
            let (utc, minutes) = bytes.split_first_chunk::<8>()?;
            let minutes = i16::from_be_bytes(minutes.try_into().ok()?);
            Value::Offset { utc: i64::from_be_bytes(*utc) ^ i64::MIN, minutes }
        }
        SqlType::UniqueIdentifier => {
            let mut guid = [0u8; 16];
            for (&at, &byte) in GUID_ORDER.iter().zip(bytes) {
                *guid.get_mut(at)? = byte;
            }
            Value::Guid(guid)
        }
        SqlType::Bytes { .. } => Value::Bytes(bytes.to_vec()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_sorts_as_it_should() {
        let decimal = SqlType::Decimal { precision: 38, scale: 2 };
        let mut cells = Vec::new();
        for number in [i128::MIN / 2, -1, 0, 1, i128::MAX / 2] {
            let cell = store(&Value::Decimal(number));
            assert_eq!(load((&cell).into(), decimal).unwrap(), Value::Decimal(number));
            let Cell::Blob(bytes) = cell else { unreachable!() };
            cells.push(bytes);
        }
        assert!(cells.is_sorted());
        let guid = Value::Guid(std::array::from_fn(|at| at as u8));
        assert_eq!(load((&store(&guid)).into(), SqlType::UniqueIdentifier).unwrap(), guid);
        let offset = Value::Offset { utc: -5, minutes: -240 };
        assert_eq!(load((&store(&offset)).into(), SqlType::DateTimeOffset(7)).unwrap(), offset);
    }
}
