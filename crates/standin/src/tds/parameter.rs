//! Parameters of calls: their types and values as clients send them ([MS-TDS] 2.2.6.6).
//!
//! [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/619c43b6-9495-4a58-9e49-a4950db245b3

use super::ProtocolError;
use super::bytes::{Reader, utf16_text};
use super::typeinfo::{COLLATION, PLP_NULL, PLP_UNKNOWN, from_single_bytes, time_width};
use crate::sql::calendar::DAY;
use crate::sql::datatype::{Length, SqlType};
use crate::sql::value::Value;

/// Reads a TYPE_INFO and the value after it, as parameters of a remote procedure call have them.
///
/// # Errors
/// [`ProtocolError::Malformed`] for types that no client sends here and values that do not fit them.
pub(crate) fn read_parameter(reader: &mut Reader<'_>) -> Result<(SqlType, Value), ProtocolError> {
    let token = reader.u8()?;
    match token {
        0x1F => Ok((SqlType::Null, Value::Null)),
        0x30 | 0x32 | 0x34 | 0x38 | 0x3A | 0x3B | 0x3C | 0x3D | 0x3E | 0x7A | 0x7F => {
            let (nullable, width) = fixed_type(token);
            let of = sized_type(nullable, width).ok_or(UNKNOWN)?;
            let bytes = reader.take(usize::from(width))?;
            Ok((of, value_of(bytes, of)?))
        }
        0x24 | 0x26 | 0x68 | 0x6D | 0x6E | 0x6F => {
            let width = reader.u8()?;
            let of = sized_type(token, width).ok_or(UNKNOWN)?;
            short_value(reader, of)
        }
        0x6A | 0x6C => {
            reader.u8()?;
            let (precision, scale) = (reader.u8()?, reader.u8()?);
            short_value(reader, SqlType::Decimal { precision, scale })
        }
        0x28 => short_value(reader, SqlType::Date),
        0x29..=0x2B => {
            let scale = reader.u8()?.min(7);
            let of = match token {
                0x29 => SqlType::Time(scale),
                0x2A => SqlType::DateTime2(scale),
                _ => SqlType::DateTimeOffset(scale),
            };
            short_value(reader, of)
        }
        0xA5 | 0xAD | 0xA7 | 0xAF | 0xE7 | 0xEF => long_value(reader, token),
        _ => Err(UNKNOWN),
    }
}

const UNKNOWN: ProtocolError = ProtocolError::Malformed("a parameter of a type that is not modelled");

fn fixed_type(token: u8) -> (u8, u8) {
    match token {
        0x30 => (0x26, 1),
        0x32 => (0x68, 1),
        0x34 => (0x26, 2),
        0x38 => (0x26, 4),
        0x3A => (0x6F, 4),
        0x3B => (0x6D, 4),
        0x3C => (0x6E, 8),
        0x3D => (0x6F, 8),
        0x3E => (0x6D, 8),
        0x7A => (0x6E, 4),
        _ => (0x26, 8),
    }
}

fn sized_type(token: u8, width: u8) -> Option<SqlType> {
    Some(match (token, width) {
        (0x24, 16) => SqlType::UniqueIdentifier,
        (0x26, 1) => SqlType::TinyInt,
        (0x26, 2) => SqlType::SmallInt,
        (0x26, 4) => SqlType::Int,
        (0x26, 8) => SqlType::BigInt,
        (0x68, 1) => SqlType::Bit,
        (0x6D, 4) => SqlType::Real,
        (0x6D, 8) => SqlType::Float,
        (0x6E, 4) => SqlType::SmallMoney,
        (0x6E, 8) => SqlType::Money,
        (0x6F, 4) => SqlType::SmallDateTime,
        (0x6F, 8) => SqlType::DateTime,
        _ => return None,
    })
}

fn short_value(reader: &mut Reader<'_>, of: SqlType) -> Result<(SqlType, Value), ProtocolError> {
    let length = usize::from(reader.u8()?);
    if length == 0 {
        return Ok((of, Value::Null));
    }
    Ok((of, value_of(reader.take(length)?, of)?))
}

fn long_value(reader: &mut Reader<'_>, token: u8) -> Result<(SqlType, Value), ProtocolError> {
    let limit = reader.u16()?;
    let unicode = matches!(token, 0xE7 | 0xEF);
    let text = unicode || matches!(token, 0xA7 | 0xAF);
    if text {
        reader.take(COLLATION.len())?;
    }
    let length = match limit {
        u16::MAX => Length::Max,
        _ if unicode => Length::Limited((limit / 2).max(1)),
        _ => Length::Limited(limit.max(1)),
    };
    let fixed = matches!(token, 0xAD | 0xAF | 0xEF);
    let of = if text { SqlType::Text { unicode, fixed, length } } else { SqlType::Bytes { fixed, length } };
    let bytes = if length == Length::Max {
        read_pieces(reader)?
    } else {
        match reader.u16()? {
            u16::MAX => None,
            length => Some(reader.take(usize::from(length))?.to_vec()),
        }
    };
    Ok((of, bytes.map_or(Ok(Value::Null), |bytes| value_of(&bytes, of))?))
}

fn read_pieces(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, ProtocolError> {
    let total = reader.u64()?;
    if total == PLP_NULL {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        let length = reader.u32()? as usize;
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(reader.take(length)?);
    }
    if total != PLP_UNKNOWN && bytes.len() as u64 != total {
        return Err(ProtocolError::Malformed("a value is not as long as it said"));
    }
    Ok(Some(bytes))
}

/// The value that `bytes` are in type `of`.
fn value_of(bytes: &[u8], of: SqlType) -> Result<Value, ProtocolError> {
    let little = |bytes: &[u8]| bytes.iter().rev().fold(0i128, |sum, byte| (sum << 8) | i128::from(*byte));
    let signed = |bytes: &[u8]| -> i64 {
        let unsigned = little(bytes);
        let limit = 1i128 << (8 * bytes.len().min(8)).saturating_sub(1);
        i64::try_from(if unsigned >= limit { unsigned - 2 * limit } else { unsigned }).unwrap_or(0)
    };
    let split =
        |at: usize| bytes.split_at_checked(at).ok_or(ProtocolError::Malformed("a value is too short"));
    let whole = |bytes: &[u8]| i64::try_from(little(bytes)).unwrap_or(0);
    let time = |bytes: &[u8], scale: u8| whole(bytes).saturating_mul(10i64.pow(u32::from(7 - scale.min(7))));
    Ok(match of {
        SqlType::Bit | SqlType::TinyInt => Value::Int(whole(bytes)),
        SqlType::SmallInt | SqlType::Int | SqlType::BigInt => Value::Int(signed(bytes)),
        SqlType::SmallMoney => Value::Decimal(i128::from(signed(bytes))),
        SqlType::Money => {
            let (high, low) = split(4)?;
            Value::Decimal((i128::from(signed(high)) << 32) + little(low))
        }
        SqlType::Decimal { .. } => {
            let (sign, digits) = split(1)?;
            let number = little(digits.get(..digits.len().min(16)).unwrap_or_default());
            Value::Decimal(if sign == [0] { -number } else { number })
        }
        SqlType::Real => Value::Float(f64::from(f32::from_le_bytes(exactly(bytes)?))),
        SqlType::Float => Value::Float(f64::from_le_bytes(exactly(bytes)?)),
        SqlType::Date => Value::Date(whole(bytes)),
        SqlType::Time(scale) => Value::Time(time(bytes, scale)),
        SqlType::DateTime => {
            let (days, thirds) = split(4)?;
            Value::DateTime(signed(days) * 25_920_000 + whole(thirds))
        }
        SqlType::SmallDateTime => {
            let (days, minutes) = split(2)?;
            Value::SmallDateTime(whole(days) * 1440 + whole(minutes))
        }
        SqlType::DateTime2(scale) => {
            let (clock, days) = split(usize::from(time_width(scale)))?;
            Value::DateTime2(whole(days) * DAY + time(clock, scale))
        }
        SqlType::DateTimeOffset(scale) => {
            let (clock, rest) = split(usize::from(time_width(scale)))?;
            let (days, minutes) =
                rest.split_at_checked(3).ok_or(ProtocolError::Malformed("a value is too short"))?;
            let minutes = i16::try_from(signed(minutes)).unwrap_or(0);
            Value::Offset { utc: whole(days) * DAY + time(clock, scale), minutes }
        }
        SqlType::UniqueIdentifier => Value::Guid(exactly(bytes)?),
        SqlType::Text { unicode: true, .. } => Value::Text(utf16_text(bytes)),
        SqlType::Text { unicode: false, .. } => Value::Text(from_single_bytes(bytes)),
        SqlType::Bytes { .. } => Value::Bytes(bytes.to_vec()),
        SqlType::Null | SqlType::Variant => return Err(UNKNOWN),
    })
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ProtocolError> {
    bytes.try_into().map_err(|_| ProtocolError::Malformed("a value of the wrong length"))
}

#[cfg(test)]
mod tests {
    use super::super::typeinfo::{push_type, push_value};
    use super::*;

    #[test]
    fn a_value_reads_back_as_it_was_written() {
        for (of, value) in [
            (SqlType::Int, Value::Int(-7)),
            (SqlType::BigInt, Value::Int(i64::MIN)),
            (SqlType::TinyInt, Value::Int(255)),
            (SqlType::Money, Value::Decimal(-123_456_789_012)),
            (SqlType::Decimal { precision: 38, scale: 5 }, Value::Decimal(-(10i128.pow(37)))),
            (SqlType::DateTime, Value::DateTime(-3)),
            (SqlType::DateTime2(3), Value::DateTime2(638_000_000_000_000_000)),
            (SqlType::DateTimeOffset(7), Value::Offset { utc: 638_000_000_000_000_001, minutes: -240 }),
            (SqlType::nvarchar(20), Value::from("señal")),
            (SqlType::varchar(20), Value::from("señal €")),
            (
                SqlType::Text { unicode: true, fixed: false, length: Length::Max },
                Value::Text("x".repeat(9000)),
            ),
            (SqlType::Bytes { fixed: false, length: Length::Max }, Value::Null),
            (SqlType::LSN, Value::Bytes(vec![1; 10])),
        ] {
            let mut out = Vec::new();
            push_type(&mut out, of);
            push_value(&mut out, &value, of);
            assert_eq!(read_parameter(&mut Reader::new(&out)).unwrap(), (of, value));
            for length in 0..out.len() {
                assert!(read_parameter(&mut Reader::new(&out[..length])).is_err(), "{of} cut at {length}");
            }
        }
    }
}
