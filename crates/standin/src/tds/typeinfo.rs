//! Types and values on the wire ([MS-TDS] 2.2.5.4 to 2.2.5.6).
//!
//! [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/ce3183a6-9d89-47e8-a02f-de5a1a1303de

use crate::sql::calendar::DAY;
use crate::sql::datatype::{Length, SqlType};
use crate::sql::value::Value;

/// `SQL_Latin1_General_CP1_CI_AS`: the default of an English installation.
pub(crate) const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];

pub(super) const PLP_NULL: u64 = u64::MAX;
pub(super) const PLP_UNKNOWN: u64 = u64::MAX - 1;
/// Values of `(max)` types travel in pieces of this many bytes.
const PLP_PIECE: usize = 4000;

/// The characters 0x80 to 0x9F of code page 1252.
const CP1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Text in code page 1252, in which `varchar` travels; other characters become a question mark.
pub(crate) fn single_bytes(text: &str) -> Vec<u8> {
    let byte = |character: char| match u8::try_from(u32::from(character)) {
        Ok(byte) if !(0x80..0xA0).contains(&byte) => byte,
        _ => CP1252
            .iter()
            .position(|&known| known == character)
            .and_then(|at| u8::try_from(at + 0x80).ok())
            .unwrap_or(b'?'),
    };
    text.chars().map(byte).collect()
}

/// Text from code page 1252.
pub(super) fn from_single_bytes(bytes: &[u8]) -> String {
    let character = |&byte: &u8| match byte {
        0x80..0xA0 => CP1252.get(usize::from(byte) - 0x80).copied().unwrap_or('?'),
        _ => char::from(byte),
    };
    bytes.iter().map(character).collect()
}

pub(super) fn time_width(scale: u8) -> u8 {
    match scale {
        0..=2 => 3,
        3 | 4 => 4,
        _ => 5,
    }
}

/// Appends the TYPE_INFO of `of`.
pub(crate) fn push_type(out: &mut Vec<u8>, of: SqlType) {
    let sized = |out: &mut Vec<u8>, token: u8, length: Length, width: u16| {
        out.push(token);
        let bytes = match length {
            Length::Limited(length) => length.saturating_mul(width),
            Length::Max => u16::MAX,
        };
        out.extend_from_slice(&bytes.to_le_bytes());
    };
    match of {
        SqlType::Bit => out.extend_from_slice(&[0x68, 1]),
        SqlType::TinyInt => out.extend_from_slice(&[0x26, 1]),
        SqlType::SmallInt => out.extend_from_slice(&[0x26, 2]),
        SqlType::Null | SqlType::Int => out.extend_from_slice(&[0x26, 4]),
        SqlType::BigInt => out.extend_from_slice(&[0x26, 8]),
        SqlType::Decimal { precision, scale } => {
            out.extend_from_slice(&[0x6A, decimal_width(precision), precision, scale]);
        }
        SqlType::SmallMoney => out.extend_from_slice(&[0x6E, 4]),
        SqlType::Money => out.extend_from_slice(&[0x6E, 8]),
        SqlType::Real => out.extend_from_slice(&[0x6D, 4]),
        SqlType::Float => out.extend_from_slice(&[0x6D, 8]),
        SqlType::Date => out.push(0x28),
        SqlType::Time(scale) => out.extend_from_slice(&[0x29, scale]),
        SqlType::SmallDateTime => out.extend_from_slice(&[0x6F, 4]),
        SqlType::DateTime => out.extend_from_slice(&[0x6F, 8]),
        SqlType::DateTime2(scale) => out.extend_from_slice(&[0x2A, scale]),
        SqlType::DateTimeOffset(scale) => out.extend_from_slice(&[0x2B, scale]),
        SqlType::UniqueIdentifier => out.extend_from_slice(&[0x24, 16]),
        SqlType::Text { unicode, fixed, length } => {
            let token = match (unicode, fixed) {
                (true, true) => 0xEF,
                (true, false) => 0xE7,
                (false, true) => 0xAF,
                (false, false) => 0xA7,
            };
            sized(out, token, length, if unicode { 2 } else { 1 });
            out.extend_from_slice(&COLLATION);
        }
        SqlType::Bytes { fixed, length } => sized(out, if fixed { 0xAD } else { 0xA5 }, length, 1),
        SqlType::Variant => {
            out.push(0x62);
            out.extend_from_slice(&8009u32.to_le_bytes());
        }
    }
}

fn decimal_width(precision: u8) -> u8 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        _ => 17,
    }
}

/// Appends `value` as a column of type `of` holds it in a row.
pub(crate) fn push_value(out: &mut Vec<u8>, value: &Value, of: SqlType) {
    match of {
        SqlType::Text { length: Length::Max, .. } | SqlType::Bytes { length: Length::Max, .. } => {
            push_pieces(out, value, of);
        }
        SqlType::Text { .. } | SqlType::Bytes { .. } => match raw(value, of) {
            None => out.extend_from_slice(&u16::MAX.to_le_bytes()),
            Some(bytes) => {
                out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX - 1).to_le_bytes());
                out.extend_from_slice(&bytes);
            }
        },
        SqlType::Variant => push_variant(out, value),
        _ => match raw(value, of) {
            None => out.push(0),
            Some(bytes) => {
                out.push(u8::try_from(bytes.len()).unwrap_or(0));
                out.extend_from_slice(&bytes);
            }
        },
    }
}

/// Appends a value of a `(max)` type: its length, pieces, and an end.
fn push_pieces(out: &mut Vec<u8>, value: &Value, of: SqlType) {
    let Some(bytes) = raw(value, of) else {
        out.extend_from_slice(&PLP_NULL.to_le_bytes());
        return;
    };
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    for piece in bytes.chunks(PLP_PIECE) {
        out.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&0u32.to_le_bytes());
}

fn push_variant(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Int(number) => {
            out.extend_from_slice(&6u32.to_le_bytes());
            out.extend_from_slice(&[0x38, 0]);
            out.extend_from_slice(&i32::try_from(*number).unwrap_or(0).to_le_bytes());
        }
        Value::Text(text) => {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let total = u32::try_from(bytes.len() + 9).unwrap_or(u32::MAX);
            out.extend_from_slice(&total.to_le_bytes());
            out.extend_from_slice(&[0xE7, 7]);
            out.extend_from_slice(&COLLATION);
            out.extend_from_slice(&8000u16.to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        _ => out.extend_from_slice(&0u32.to_le_bytes()),
    }
}

/// The bytes of a value without any length; `None` for NULL.
#[expect(clippy::cast_possible_truncation, reason = "each type's values were checked against its range")]
#[expect(clippy::cast_sign_loss, reason = "dates and times are never negative")]
fn raw(value: &Value, of: SqlType) -> Option<Vec<u8>> {
    Some(match (value, of) {
        (Value::Null, _) => return None,
        (Value::Int(number), SqlType::Bit | SqlType::TinyInt) => vec![*number as u8],
        (Value::Int(number), SqlType::SmallInt) => (*number as i16).to_le_bytes().to_vec(),
        (Value::Int(number), SqlType::BigInt) => number.to_le_bytes().to_vec(),
        (Value::Int(number), _) => (*number as i32).to_le_bytes().to_vec(),
        (Value::Decimal(number), SqlType::SmallMoney) => (*number as i32).to_le_bytes().to_vec(),
        (Value::Decimal(number), SqlType::Money) => {
            let number = *number as i64;
            let mut out = ((number >> 32) as i32).to_le_bytes().to_vec();
            out.extend_from_slice(&(number as u32).to_le_bytes());
            out
        }
        (Value::Decimal(number), of) => {
            let width = usize::from(decimal_width(of.exact().map_or(38, |(precision, _)| precision))) - 1;
            let mut out = vec![u8::from(*number >= 0)];
            out.extend(number.unsigned_abs().to_le_bytes().into_iter().take(width));
            out
        }
        (Value::Float(number), SqlType::Real) => (*number as f32).to_le_bytes().to_vec(),
        (Value::Float(number), _) => number.to_le_bytes().to_vec(),
        (Value::Date(days), _) => days.to_le_bytes().into_iter().take(3).collect(),
        (Value::Time(ticks), SqlType::Time(scale)) => time_bytes(*ticks, scale),
        (Value::DateTime(thirds), _) => {
            let mut out = (thirds.div_euclid(25_920_000) as i32).to_le_bytes().to_vec();
            out.extend_from_slice(&(thirds.rem_euclid(25_920_000) as u32).to_le_bytes());
            out
        }
        (Value::SmallDateTime(minutes), _) => {
            let mut out = ((minutes / 1440) as u16).to_le_bytes().to_vec();
            out.extend_from_slice(&((minutes % 1440) as u16).to_le_bytes());
            out
        }
        (Value::DateTime2(ticks), SqlType::DateTime2(scale)) => moment_bytes(*ticks, scale),
        (Value::Offset { utc, minutes }, SqlType::DateTimeOffset(scale)) => {
            let mut out = moment_bytes(*utc, scale);
            out.extend_from_slice(&minutes.to_le_bytes());
            out
        }
        (Value::Guid(bytes), _) => bytes.to_vec(),
        (Value::Text(text), SqlType::Text { unicode: false, .. }) => single_bytes(text),
        (Value::Text(text), _) => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        (Value::Bytes(bytes), _) => bytes.clone(),
        _ => return None,
    })
}

fn time_bytes(ticks: i64, scale: u8) -> Vec<u8> {
    let units = ticks / 10i64.pow(u32::from(7 - scale.min(7)));
    units.to_le_bytes().into_iter().take(usize::from(time_width(scale))).collect()
}

fn moment_bytes(ticks: i64, scale: u8) -> Vec<u8> {
    let mut out = time_bytes(ticks.rem_euclid(DAY), scale);
    out.extend(ticks.div_euclid(DAY).to_le_bytes().into_iter().take(3));
    out
}
