//! One type's value as another's: `CAST`, `CONVERT`, and what happens by itself.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/functions/cast-and-convert-transact-sql>

use super::calendar::{self, DAY, DAYS_TO_1900, LAST_DAY, MINUTE};
use super::datatype::{Length, SqlType};
use super::decimal;
use super::error::SqlError;
use super::format;
use super::value::Value;

/// `value` of type `from` as a value of type `to`; texts and bytes that are too long are cut.
///
/// # Errors
/// 245, 241, 8114, 8115 and 8169 when the value has no counterpart; 529 when the types have none.
pub(crate) fn convert(value: &Value, from: SqlType, to: SqlType, style: i64) -> Result<Value, SqlError> {
    if value.is_null() || (from == to && !matches!(to, SqlType::Text { fixed: true, .. })) {
        return Ok(value.clone());
    }
    let from = actual(value, from);
    match to {
        SqlType::Null | SqlType::Variant => Ok(value.clone()),
        SqlType::Bit | SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            whole(value, from, to)
        }
        SqlType::Decimal { .. } | SqlType::Money | SqlType::SmallMoney => exact(value, from, to),
        SqlType::Float | SqlType::Real => float(value, from, to),
        SqlType::Text { .. } => text(value, from, to, style),
        SqlType::Bytes { .. } => bytes(value, from, to, style),
        SqlType::UniqueIdentifier => guid(value, from),
        _ => temporal(value, from, to),
    }
}

/// As [`convert`], for a value that is to be stored: what is too long is an error and not cut.
///
/// # Errors
/// As [`convert`], and 2628.
pub(crate) fn assign(value: &Value, from: SqlType, to: SqlType) -> Result<Value, SqlError> {
    match (value, to) {
        (Value::Text(text), SqlType::Text { length: Length::Limited(limit), .. }) => {
            let kept: usize = text.trim_end_matches(' ').encode_utf16().count();
            if kept > usize::from(limit) {
                return Err(truncation());
            }
        }
        (Value::Bytes(bytes), SqlType::Bytes { length: Length::Limited(limit), .. })
            if bytes.len() > usize::from(limit) =>
        {
            return Err(truncation());
        }
        _ => {}
    }
    // A string that stands for bytes is a mistake when it is to be stored.
    if matches!((actual(value, from), to), (SqlType::Text { .. }, SqlType::Bytes { .. })) && !value.is_null()
    {
        let message = format!(
            "Implicit conversion from data type {} to {} is not allowed. Use the CONVERT function to run this query.",
            from.name(),
            to.name()
        );
        return Err(SqlError::new(257, 16, 3, message));
    }
    convert(value, from, to, 0)
}

fn truncation() -> SqlError {
    SqlError::new(2628, 16, 1, "String or binary data would be truncated in the table.")
}

/// A variant's own type.
fn actual(value: &Value, from: SqlType) -> SqlType {
    match (from, value) {
        (SqlType::Variant | SqlType::Null, Value::Int(_)) => SqlType::Int,
        (SqlType::Variant | SqlType::Null, Value::Text(_)) => SqlType::nvarchar(4000),
        (from, _) => from,
    }
}

fn disallowed(from: SqlType, to: SqlType) -> SqlError {
    let message =
        format!("Explicit conversion from data type {} to {} is not allowed.", from.name(), to.name());
    SqlError::new(529, 16, 2, message)
}

fn whole(value: &Value, from: SqlType, to: SqlType) -> Result<Value, SqlError> {
    let number: i128 = match value {
        Value::Int(number) => i128::from(*number),
        Value::Decimal(number) => decimal::truncated(*number, from.exact().map_or(0, |(_, scale)| scale)),
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and the range is checked below")]
        Value::Float(number) => number.trunc() as i128,
        Value::Text(text) => whole_text(text, from, to)?,
        Value::Bytes(bytes) => {
            // The last bytes count, as in the server.
            let width = match to {
                SqlType::BigInt => 8,
                SqlType::Int => 4,
                SqlType::SmallInt => 2,
                _ => 1,
            };
            let skip = bytes.len().saturating_sub(width);
            let mut unsigned: i128 = 0;
            for byte in bytes.iter().skip(skip) {
                unsigned = (unsigned << 8) | i128::from(*byte);
            }
            let limit = 1i128 << (8 * width - 1);
            let signed = unsigned >= limit && !matches!(to, SqlType::TinyInt | SqlType::Bit);
            if signed { unsigned - 2 * limit } else { unsigned }
        }
        Value::DateTime(thirds) => {
            let noon = i128::from(DAY / 2);
            (i128::from(calendar::from_datetime(*thirds) - DAYS_TO_1900 * DAY) + noon) / i128::from(DAY)
        }
        _ => return Err(disallowed(from, to)),
    };
    if matches!(to, SqlType::Bit) {
        return Ok(Value::Int(i64::from(number != 0)));
    }
    let (low, high) = to.whole_range().unwrap_or((i64::MIN, i64::MAX));
    match i64::try_from(number) {
        Ok(number) if (low..=high).contains(&number) => Ok(Value::Int(number)),
        _ => Err(SqlError::overflow(to.name())),
    }
}

fn whole_text(text: &str, from: SqlType, to: SqlType) -> Result<i128, SqlError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(0);
    }
    if matches!(to, SqlType::Bit) {
        match trimmed.to_ascii_lowercase().as_str() {
            "true" => return Ok(1),
            "false" => return Ok(0),
            _ => {}
        }
    }
    trimmed.parse::<i128>().map_err(|_| {
        if matches!(to, SqlType::BigInt) {
            return SqlError::conversion(from.name(), to.name());
        }
        let message = format!(
            "Conversion failed when converting the {} value '{text}' to data type {}.",
            from.name(),
            to.name()
        );
        SqlError::new(245, 16, 1, message)
    })
}

fn exact(value: &Value, from: SqlType, to: SqlType) -> Result<Value, SqlError> {
    let (precision, scale) = to.exact().unwrap_or((38, 0));
    let (number, found) = match value {
        Value::Int(number) => (i128::from(*number), 0),
        Value::Decimal(number) => (*number, from.exact().map_or(0, |(_, scale)| scale)),
        Value::Float(number) => return decimal::from_float(*number, precision, scale).map(Value::Decimal),
        Value::Text(text) => {
            let parsed = decimal::parse(text).or_else(|| {
                let money = matches!(to, SqlType::Money | SqlType::SmallMoney);
                money.then(|| decimal::parse(&text.replace([',', '$'], "")))?
            });
            parsed.ok_or_else(|| {
                SqlError::conversion(
                    from.name(),
                    if precision == 19 && scale == 4 { to.name() } else { "numeric" },
                )
            })?
        }
        _ => return Err(disallowed(from, to)),
    };
    let number = decimal::rescale(number, found, scale).ok_or_else(|| SqlError::overflow("numeric"))?;
    if matches!(to, SqlType::Money) && i64::try_from(number).is_ok() {
        return Ok(Value::Decimal(number));
    }
    decimal::fit(number, precision).map(Value::Decimal)
}

#[expect(clippy::cast_precision_loss, reason = "a float never has more")]
fn float(value: &Value, from: SqlType, to: SqlType) -> Result<Value, SqlError> {
    let number = match value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Decimal(number) => decimal::to_float(*number, from.exact().map_or(0, |(_, scale)| scale)),
        Value::Text(text) => text.trim().parse().map_err(|_| SqlError::conversion(from.name(), to.name()))?,
        Value::DateTime(thirds) => *thirds as f64 / 25_920_000.0,
        _ => return Err(disallowed(from, to)),
    };
    if !number.is_finite() {
        return Err(SqlError::overflow(to.name()));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a real keeps 24 bits")]
    Ok(Value::Float(if matches!(to, SqlType::Real) { f64::from(number as f32) } else { number }))
}

fn text(value: &Value, from: SqlType, to: SqlType, style: i64) -> Result<Value, SqlError> {
    let SqlType::Text { fixed, length, .. } = to else { return Err(disallowed(from, to)) };
    let mut written = match value {
        Value::Bytes(bytes) if style == 0 => {
            // Bytes become the characters that they are the code of.
            if matches!(to, SqlType::Text { unicode: true, .. }) {
                crate::tds::bytes::utf16_text(bytes)
            } else {
                bytes.iter().map(|&byte| char::from(byte)).collect()
            }
        }
        _ => format::text(value, from, style)?,
    };
    if let Length::Limited(limit) = length {
        let units = written.encode_utf16().count();
        if units > usize::from(limit) {
            if from.whole_range().is_some() || from.exact().is_some() {
                return Err(SqlError::new(
                    8115,
                    16,
                    5,
                    format!(
                        "Arithmetic overflow error converting {} to data type {}.",
                        from.name(),
                        to.name()
                    ),
                ));
            }
            written = cut(&written, usize::from(limit));
        } else if fixed {
            written.extend(std::iter::repeat_n(' ', usize::from(limit) - units));
        }
    }
    Ok(Value::Text(written))
}

/// The first `limit` UTF-16 units of `text`.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    let mut units = 0;
    text.chars()
        .take_while(|character| {
            units += character.len_utf16();
            units <= limit
        })
        .collect()
}

fn bytes(value: &Value, from: SqlType, to: SqlType, style: i64) -> Result<Value, SqlError> {
    let SqlType::Bytes { fixed, length } = to else { return Err(disallowed(from, to)) };
    let limit = match length {
        Length::Limited(limit) => usize::from(limit),
        Length::Max => usize::MAX,
    };
    let mut bytes = match value {
        Value::Bytes(bytes) => bytes.clone(),
        Value::Text(text) => match style {
            1 | 2 => {
                let digits = if style == 1 { text.strip_prefix("0x").unwrap_or("?") } else { text };
                format::parse_hex(digits).ok_or_else(|| SqlError::conversion(from.name(), to.name()))?
            }
            _ if matches!(from, SqlType::Text { unicode: true, .. }) => {
                text.encode_utf16().flat_map(u16::to_le_bytes).collect()
            }
            _ => crate::tds::typeinfo::single_bytes(text),
        },
        Value::Int(number) => {
            let width = match from {
                SqlType::BigInt => 8,
                SqlType::SmallInt => 2,
                SqlType::TinyInt | SqlType::Bit => 1,
                _ => 4,
            };
            let all = number.to_be_bytes();
            let own = all.get(8 - width..).unwrap_or_default();
            // Numbers keep their last bytes and are filled from the left.
            let size = if fixed && limit != usize::MAX { limit } else { width.min(limit) };
            let mut out = vec![0u8; size.saturating_sub(width)];
            out.extend_from_slice(own.get(width.saturating_sub(size)..).unwrap_or_default());
            return Ok(Value::Bytes(out));
        }
        Value::Guid(bytes) => bytes.to_vec(),
        _ => return Err(disallowed(from, to)),
    };
    bytes.truncate(limit);
    if fixed && limit != usize::MAX {
        bytes.resize(limit, 0);
    }
    Ok(Value::Bytes(bytes))
}

fn guid(value: &Value, from: SqlType) -> Result<Value, SqlError> {
    match value {
        Value::Guid(bytes) => Ok(Value::Guid(*bytes)),
        Value::Text(text) => format::parse_guid(text).map(Value::Guid).ok_or_else(|| {
            SqlError::new(
                8169,
                16,
                2,
                "Conversion failed when converting from a character string to uniqueidentifier.",
            )
        }),
        Value::Bytes(bytes) => {
            let mut guid = [0u8; 16];
            guid.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            Ok(Value::Guid(guid))
        }
        _ => Err(disallowed(from, SqlType::UniqueIdentifier)),
    }
}

/// Local ticks of a moment of any type, and its offset if it has one.
pub(crate) fn ticks_of(value: &Value) -> Option<(i64, Option<i16>)> {
    Some(match value {
        Value::Date(days) => (days * DAY, None),
        Value::Time(ticks) => (DAYS_TO_1900 * DAY + ticks, None),
        Value::DateTime(thirds) => (calendar::from_datetime(*thirds), None),
        Value::SmallDateTime(minutes) => (calendar::from_minutes(*minutes), None),
        Value::DateTime2(ticks) => (*ticks, None),
        Value::Offset { utc, minutes } => (utc + i64::from(*minutes) * MINUTE, Some(*minutes)),
        _ => return None,
    })
}

/// The moment as a value of type `to`.
pub(crate) fn from_ticks(ticks: i64, offset: Option<i16>, to: SqlType) -> Result<Value, SqlError> {
    let range = || {
        let message =
            format!("The conversion to a {} data type resulted in an out-of-range value.", to.name());
        SqlError::new(242, 16, 3, message)
    };
    if !(0..(LAST_DAY + 1) * DAY).contains(&ticks) {
        return Err(range());
    }
    Ok(match to {
        SqlType::Date => Value::Date(ticks.div_euclid(DAY)),
        SqlType::Time(scale) => Value::Time(calendar::round(ticks.rem_euclid(DAY), scale) % DAY),
        SqlType::DateTime => {
            // The first year of a datetime is 1753.
            if ticks < 639_905 * DAY {
                return Err(range());
            }
            Value::DateTime(calendar::to_datetime(ticks))
        }
        SqlType::SmallDateTime => {
            let minutes = calendar::to_minutes(ticks);
            if !(0..=i64::from(u16::MAX) * 1440 + 1439).contains(&minutes) {
                return Err(range());
            }
            Value::SmallDateTime(minutes)
        }
        SqlType::DateTime2(scale) => Value::DateTime2(calendar::round(ticks, scale)),
        SqlType::DateTimeOffset(scale) => {
            let minutes = offset.unwrap_or(0);
            Value::Offset { utc: calendar::round(ticks, scale) - i64::from(minutes) * MINUTE, minutes }
        }
        _ => return Err(range()),
    })
}

fn temporal(value: &Value, from: SqlType, to: SqlType) -> Result<Value, SqlError> {
    let unreadable = || {
        SqlError::new(241, 16, 1, "Conversion failed when converting date and/or time from character string.")
    };
    match value {
        Value::Text(text) => {
            let old = matches!(to, SqlType::DateTime | SqlType::SmallDateTime);
            let (ticks, offset) = calendar::parse(text, if old { 3 } else { 7 }).ok_or_else(unreadable)?;
            // Only the newer types understand an offset; a trailing Z is the exception.
            if offset.is_some_and(|minutes| minutes != 0) && old {
                return Err(unreadable());
            }
            from_ticks(ticks, offset, to)
        }
        Value::Int(_) | Value::Float(_) | Value::Decimal(_)
            if matches!(to, SqlType::DateTime | SqlType::SmallDateTime) =>
        {
            let Value::Float(days) = float(value, from, SqlType::Float)? else {
                return Err(disallowed(from, to));
            };
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and the range is checked")]
            let ticks = (days * 864e9) as i64;
            from_ticks(ticks.saturating_add(DAYS_TO_1900 * DAY), None, to)
        }
        _ => {
            let (ticks, offset) = ticks_of(value).ok_or_else(|| disallowed(from, to))?;
            if matches!(from, SqlType::Date) && matches!(to, SqlType::Time(_)) {
                return Err(disallowed(from, to));
            }
            from_ticks(ticks, offset, to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, to: SqlType, expected: Result<Value, i32>) {
        let found = convert(&Value::from(text), SqlType::varchar(50), to, 0).map_err(|error| error.number);
        assert_eq!(found, expected, "{text:?} as {to}");
    }

    #[test]
    fn texts_become_numbers_or_the_error_that_the_server_has() {
        check(" 12 ", SqlType::Int, Ok(Value::Int(12)));
        check("x", SqlType::Int, Err(245));
        check("x", SqlType::BigInt, Err(8114));
        check("300", SqlType::TinyInt, Err(8115));
        check("1.255", SqlType::Decimal { precision: 5, scale: 2 }, Ok(Value::Decimal(126)));
        check("2024-13-01", SqlType::Date, Err(241));
        check("x", SqlType::UniqueIdentifier, Err(8169));
        check("true", SqlType::Bit, Ok(Value::Int(1)));
    }

    #[test]
    fn numbers_and_bytes_become_each_other() {
        let binary = SqlType::Bytes { fixed: true, length: Length::Limited(10) };
        let made = convert(&Value::Int(258), SqlType::Int, binary, 0).unwrap();
        assert_eq!(made, Value::Bytes(vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(convert(&made, binary, SqlType::Int, 0).unwrap(), Value::Int(258));
        let text = convert(&made, binary, SqlType::varchar(30), 1).unwrap();
        assert_eq!(text, Value::from("0x00000000000000000102"));
        assert_eq!(convert(&text, SqlType::varchar(30), binary, 1).unwrap(), made);
    }

    #[test]
    fn what_is_too_long_is_cut_by_a_cast_and_refused_by_an_assignment() {
        let long = Value::from("abcdef");
        let to = SqlType::varchar(3);
        assert_eq!(convert(&long, SqlType::varchar(6), to, 0).unwrap(), Value::from("abc"));
        assert_eq!(assign(&long, SqlType::varchar(6), to).unwrap_err().number, 2628);
        let fixed = SqlType::parse("nchar", &["5".to_owned()]).unwrap();
        assert_eq!(assign(&Value::from("ab"), SqlType::varchar(2), fixed).unwrap(), Value::from("ab   "));
    }
}
