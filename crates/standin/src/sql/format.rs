//! Values as text, in the styles of `CONVERT`.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/functions/cast-and-convert-transact-sql#date-and-time-styles>

use super::calendar::{self, DAY, HOUR, MINUTE, SECOND};
use super::datatype::SqlType;
use super::decimal;
use super::error::SqlError;
use super::value::Value;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `value` of type `of` as text in `style`.
///
/// # Errors
/// 281 for a style that is not modelled.
pub(crate) fn text(value: &Value, of: SqlType, style: i64) -> Result<String, SqlError> {
    Ok(match value {
        Value::Null => String::new(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Decimal(number) => match of {
            // Money shows two of its four digits unless asked.
            SqlType::Money | SqlType::SmallMoney if style != 2 => {
                decimal::format(decimal::rescale(*number, 4, 2).unwrap_or(0), 2)
            }
            _ => decimal::format(*number, of.exact().map_or(0, |(_, scale)| scale)),
        },
        Value::Float(number) => float(*number),
        Value::Guid(bytes) => guid(bytes),
        Value::Bytes(bytes) => match style {
            1 => format!("0x{}", hex(bytes)),
            2 => hex(bytes),
            _ if matches!(of, SqlType::Bytes { .. }) => String::from_utf8_lossy(bytes).into_owned(),
            _ => hex(bytes),
        },
        Value::Date(days) => moment(days * DAY, of, style, None)?,
        Value::Time(ticks) => time(*ticks, of),
        Value::DateTime(thirds) => moment(calendar::from_datetime(*thirds), of, style, None)?,
        Value::SmallDateTime(minutes) => moment(calendar::from_minutes(*minutes), of, style, None)?,
        Value::DateTime2(ticks) => moment(*ticks, of, style, None)?,
        Value::Offset { utc, minutes } => {
            moment(utc + i64::from(*minutes) * MINUTE, of, style, Some(*minutes))?
        }
    })
}

/// Upper-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A unique identifier, upper case as the server writes it.
fn guid(bytes: &[u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let ordered: Vec<u8> = ORDER.iter().filter_map(|&at| bytes.get(at).copied()).collect();
    let digits = hex(&ordered);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The bytes of a unique identifier as it travels.
pub(crate) fn parse_guid(text: &str) -> Option<[u8; 16]> {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let text = text.trim().trim_start_matches('{').trim_end_matches('}');
    if text.len() < 36 || text.match_indices('-').map(|(at, _)| at).take(4).ne([8, 13, 18, 23]) {
        return None;
    }
    let digits: String = text.get(..36)?.chars().filter(|&digit| digit != '-').collect();
    let bytes = parse_hex(&digits)?;
    let mut guid = [0u8; 16];
    for (&at, byte) in ORDER.iter().zip(bytes) {
        *guid.get_mut(at)? = byte;
    }
    Some(guid)
}

/// The bytes that hexadecimal digits tell.
pub(crate) fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

/// Six digits, as the server writes floats without a style.
fn float(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let exponent = number.abs().log10().floor();
    if (-5.0..6.0).contains(&exponent) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10")]
        let decimals = (5.0 - exponent).max(0.0) as usize;
        let text = format!("{number:.decimals$}");
        if text.contains('.') {
            return text.trim_end_matches('0').trim_end_matches('.').to_owned();
        }
        return text;
    }
    let text = format!("{number:.5e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>3}")
}

fn time(ticks: i64, of: SqlType) -> String {
    let (SqlType::Time(scale) | SqlType::DateTime2(scale) | SqlType::DateTimeOffset(scale)) = of else {
        return clock(ticks, 7);
    };
    clock(ticks, scale)
}

/// `hh:mm:ss.fff` with `scale` digits.
fn clock(ticks: i64, scale: u8) -> String {
    let whole = format!("{:02}:{:02}:{:02}", ticks / HOUR % 24, ticks / MINUTE % 60, ticks / SECOND % 60);
    if scale == 0 {
        return whole;
    }
    let fraction = format!("{:07}", ticks % SECOND);
    format!("{whole}.{}", fraction.get(..usize::from(scale)).unwrap_or_default())
}

fn moment(ticks: i64, of: SqlType, style: i64, offset: Option<i16>) -> Result<String, SqlError> {
    let (year, month, day) = calendar::date_of(ticks.div_euclid(DAY));
    let time = ticks.rem_euclid(DAY);
    let old = matches!(of, SqlType::DateTime | SqlType::SmallDateTime);
    // The older types show milliseconds, rounded as they are kept.
    let (time, scale) = match of {
        SqlType::DateTime | SqlType::SmallDateTime => ((time + 5000) / 10_000 * 10_000, 3),
        SqlType::DateTime2(scale) | SqlType::DateTimeOffset(scale) => (time, scale),
        _ => (time, 7),
    };
    let date = format!("{year:04}-{month:02}-{day:02}");
    let tail = offset.map(|minutes| format!(" {}", calendar::format_offset(minutes))).unwrap_or_default();
    if matches!(of, SqlType::Date) && !matches!(style, 100 | 101 | 103 | 112) {
        return Ok(date);
    }
    Ok(match style {
        0 | 100 if old || style == 100 => {
            let name = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).unwrap_or(&"???");
            let hour = time / HOUR;
            let half = if hour < 12 { "AM" } else { "PM" };
            let hour = if hour % 12 == 0 { 12 } else { hour % 12 };
            format!("{name} {day:>2} {year} {hour:>2}:{:02}{half}", time / MINUTE % 60)
        }
        20 | 120 => format!("{date} {}{}", clock(time, 0), tail),
        0 | 21 | 25 | 121 => format!("{date} {}{tail}", clock(time, scale)),
        23 => date,
        101 => format!("{month:02}/{day:02}/{year:04}"),
        103 => format!("{day:02}/{month:02}/{year:04}"),
        108 => clock(time, 0),
        112 => format!("{year:04}{month:02}{day:02}"),
        114 => clock(time, 3),
        126 | 127 => {
            // ISO 8601 leaves out a fraction of zero.
            let scale = if old && time % SECOND == 0 { 0 } else { scale };
            match offset {
                Some(minutes) if style == 126 => {
                    format!("{date}T{}{}", clock(time, scale), calendar::format_offset(minutes))
                }
                Some(minutes) => {
                    let utc = ticks - i64::from(minutes) * MINUTE;
                    let inner = SqlType::DateTime2(scale);
                    format!("{}Z", moment(utc, inner, 126, None)?)
                }
                None => format!("{date}T{}", clock(time, scale)),
            }
        }
        _ => {
            let message = format!(
                "{style} is not a valid style number when converting from {of} to a character string."
            );
            return Err(SqlError::new(281, 16, 1, message));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_the_styles_that_scripts_use() {
        let (ticks, _) = calendar::parse("2024-03-09T14:05:06.003", 7).unwrap();
        let value = Value::DateTime(calendar::to_datetime(ticks));
        let check = |style, expected: &str| {
            assert_eq!(text(&value, SqlType::DateTime, style).unwrap(), expected, "style {style}");
        };
        check(0, "Mar  9 2024  2:05PM");
        check(120, "2024-03-09 14:05:06");
        check(121, "2024-03-09 14:05:06.003");
        check(126, "2024-03-09T14:05:06.003");
        check(112, "20240309");
        assert!(text(&value, SqlType::DateTime, 999).is_err());
    }

    #[test]
    fn a_unique_identifier_is_read_and_written() {
        let written = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
        let bytes = parse_guid(written).unwrap();
        assert_eq!(bytes[..4], [0xFF, 0x19, 0x96, 0x6F]);
        assert_eq!(guid(&bytes), written);
        assert!(parse_guid("6F9619FF").is_none());
    }
}
