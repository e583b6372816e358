//! The server's text form of a cell, read into a [`Value`].
//!
//! Every session of ours pins `time_zone = '+00:00'` and `character_set_results = utf8mb4`, so that each type has
//! one spelling (<https://dev.mysql.com/doc/refman/8.4/en/datetime.html>).

use std::str;

use change::{RowKey, Value};

use crate::name::hex;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// How the text of a column is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Integers of any width, and years.
    Int,
    /// Exact decimals.
    Decimal,
    /// Whatever its text identifies: texts, enumerations, sets, UUIDs, times of day.
    Text,
    /// Bytes of a fixed width, whose trailing zero bytes carry no meaning: the log leaves them out.
    PaddedBytes,
    /// Bytes.
    Bytes,
    /// `datetime`, which has no zone.
    Local,
    /// `timestamp`, which the session shows in UTC.
    Instant,
    /// `date`.
    Date,
}

impl Kind {
    /// Whether a day can be compared with columns of this kind.
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Local | Self::Instant | Self::Date)
    }

    /// Reads a cell's text. What cannot be read as its type says becomes [`Value::Unusable`]: a bad cell is
    /// no reason to stop.
    pub(crate) fn read(self, text: &[u8]) -> Value {
        let value = match self {
            Self::Int => integer(text),
            Self::Decimal => str::from_utf8(text).ok().map(|text| Value::text(without_zerofill(text))),
            Self::Text => str::from_utf8(text).ok().map(Value::text),
            Self::PaddedBytes => Some(Value::text(hex(without_padding(text)))),
            Self::Bytes => Some(Value::text(hex(text))),
            Self::Local => timestamp(text).map(Value::Local),
            Self::Instant => timestamp(text).map(Value::Instant),
            Self::Date => date(text).filter(|(_, rest)| rest.is_empty()).map(|(day, _)| Value::Date(day)),
        };
        value.unwrap_or_else(|| Value::Unusable(String::from_utf8_lossy(text).into()))
    }
}

/// The key of a row whose key columns hold `cells`.
pub(crate) fn row_key<'a>(cells: impl IntoIterator<Item = &'a Value>) -> RowKey {
    let texts: Vec<String> = cells.into_iter().map(key_text).collect();
    RowKey::from_columns(texts.iter().map(String::as_str))
}

/// What a cell says in a key. It need only be the same for the same cell, whoever read it.
fn key_text(cell: &Value) -> String {
    match cell {
        Value::Null | Value::Unchanged => String::new(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) | Value::Local(number) | Value::Instant(number) => number.to_string(),
        Value::Date(day) => day.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Unusable(words) => words.to_string(),
    }
}

/// An integer; one that is too large for 64 bits with sign stays a text.
fn integer(text: &[u8]) -> Option<Value> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Counting downwards reaches the smallest integer, which has no positive counterpart.
    let down = digits
        .iter()
        .try_fold(0_i64, |value, digit| value.checked_mul(10)?.checked_sub(i64::from(digit - b'0')));
    let value = down.and_then(|value| if negative { Some(value) } else { value.checked_neg() });
    match value {
        Some(value) => Some(Value::Int(value)),
        None => str::from_utf8(text).ok().map(|text| Value::text(without_zerofill(text))),
    }
}

/// A number without the zeros that `ZEROFILL` puts before it: the log does not know them.
fn without_zerofill(text: &str) -> &str {
    let shorter = text.trim_start_matches('0');
    if shorter.len() == text.len() || shorter.starts_with(|first: char| first.is_ascii_digit()) {
        return shorter;
    }
    // The zero before the point stays, and so does the last zero of all.
    let kept = text.len() - shorter.len() - 1;
    text.get(kept..).unwrap_or(text)
}

fn without_padding(bytes: &[u8]) -> &[u8] {
    let kept = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..kept).unwrap_or(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// Exactly two digits, and the rest.
fn two(text: &[u8]) -> Option<(i64, &[u8])> {
    let ([tens, ones], rest) = text.split_first_chunk()?;
    Some((i64::from(digit(*tens)?) * 10 + i64::from(digit(*ones)?), rest))
}

/// `YYYY-MM-DD`: days since the epoch, and the rest. The server also stores days that no calendar has: zero
/// dates, and with `ALLOW_INVALID_DATES` the 31st of February.
fn date(text: &[u8]) -> Option<(i32, &[u8])> {
    let (century, rest) = two(text)?;
    let (year, rest) = two(rest)?;
    let (month, rest) = two(rest.strip_prefix(b"-")?)?;
    let (day, rest) = two(rest.strip_prefix(b"-")?)?;
    Some((day_number(century * 100 + year, month, day)?, rest))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, where there is such a day in years 1 to 9999.
pub(crate) fn day_number(year: i64, month: i64, day: i64) -> Option<i32> {
    let sound = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day);
    if !sound {
        return None;
    }
    // Years are counted from March on, so that the leap day comes last.
    let counted = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (counted.div_euclid(400), counted.rem_euclid(400));
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468;
    i32::try_from(days).ok()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff]` in microseconds since the epoch as written.
fn timestamp(text: &[u8]) -> Option<i64> {
    let (day, rest) = date(text)?;
    let (hour, rest) = two(rest.strip_prefix(b" ")?)?;
    let (minute, rest) = two(rest.strip_prefix(b":")?)?;
    let (second, rest) = two(rest.strip_prefix(b":")?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match rest.strip_prefix(b".") {
        Some(fraction) => fraction_micros(fraction)?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    Some(i64::from(day) * MICROS_PER_DAY + (hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + micros)
}

/// One to six digits after the point.
fn fraction_micros(digits: &[u8]) -> Option<i64> {
    if !(1..=6).contains(&digits.len()) {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        let value = digits.get(place).map_or(Some(0), |byte| digit(*byte))?;
        micros = micros * 10 + i64::from(value);
    }
    Some(micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Days, NaiveDate};
    use proptest::prelude::*;

    const KINDS: [Kind; 8] = [
        Kind::Int,
        Kind::Decimal,
        Kind::Text,
        Kind::PaddedBytes,
        Kind::Bytes,
        Kind::Local,
        Kind::Instant,
        Kind::Date,
    ];

    #[track_caller]
    fn check(kind: Kind, text: &str, expected: &Value) {
        assert_eq!(&kind.read(text.as_bytes()), expected, "{kind:?} {text}");
    }

    #[test]
    fn each_kind_has_its_value() {
        check(Kind::Int, "-9223372036854775808", &Value::Int(i64::MIN));
        check(Kind::Int, "9223372036854775807", &Value::Int(i64::MAX));
        check(Kind::Int, "0000000042", &Value::Int(42));
        check(Kind::Int, "0000", &Value::Int(0));
        check(Kind::Text, " LIC ", &Value::text(" LIC "));
        check(Kind::Date, "1970-01-02", &Value::Date(1));
        check(Kind::Date, "0001-01-01", &Value::Date(-719_162));
        check(Kind::Date, "9999-12-31", &Value::Date(2_932_896));
        check(Kind::Local, "1970-01-01 00:00:01", &Value::Local(1_000_000));
        check(Kind::Local, "2024-02-29 23:59:59.999999", &Value::Local(1_709_251_199_999_999));
        check(Kind::Instant, "1970-01-01 00:00:01.5", &Value::Instant(1_500_000));
    }

    #[test]
    fn an_unsigned_integer_beyond_the_signed_ones_is_a_text() {
        check(Kind::Int, "9223372036854775808", &Value::text("9223372036854775808"));
        check(Kind::Int, "18446744073709551615", &Value::text("18446744073709551615"));
    }

    #[test]
    fn the_zeros_of_zerofill_go_and_those_of_the_number_stay() {
        for (text, expected) in [
            ("0000010.50", "10.50"),
            ("0000000.50", "0.50"),
            ("0.00", "0.00"),
            ("000", "0"),
            ("-0.50", "-0.50"),
            ("10", "10"),
        ] {
            check(Kind::Decimal, text, &Value::text(expected));
        }
    }

    #[test]
    fn bytes_are_told_in_hexadecimal_without_what_the_server_pads() {
        assert_eq!(Kind::Bytes.read(b"\x00\xff\x00"), Value::text("00ff00"));
        assert_eq!(Kind::PaddedBytes.read(b"\x00\xff\x00"), Value::text("00ff"));
        assert_eq!(Kind::PaddedBytes.read(b"\x00\x00"), Value::text(""));
    }

    #[test]
    fn what_no_record_can_carry_stays_in_the_servers_words() {
        for (kind, text) in [
            (Kind::Date, "0000-00-00"),
            (Kind::Date, "2020-00-10"),
            (Kind::Date, "2023-02-31"),
            (Kind::Date, "0000-01-01"),
            (Kind::Local, "0000-00-00 00:00:00"),
            (Kind::Local, "0000-00-00 00:00:00.000"),
            (Kind::Instant, "0000-00-00 00:00:00"),
            (Kind::Local, "2023-02-28 24:00:00"),
            (Kind::Local, "2023-02-28 00:00:00.1234567"),
            (Kind::Local, "2023-02-28"),
            (Kind::Int, "12x"),
            (Kind::Int, "-"),
            (Kind::Int, ""),
        ] {
            check(kind, text, &Value::Unusable(text.into()));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_a_value_and_no_error() {
        assert!(matches!(Kind::Text.read(b"\xE9"), Value::Unusable(_)));
    }

    #[test]
    fn a_key_is_told_by_the_values_of_its_columns() {
        let cells = [Value::Int(7), Value::text("LIC"), Value::Date(3)];
        assert_eq!(row_key(&cells).as_str(), "7\u{1f}LIC\u{1f}3");
    }

    proptest! {
        #[test]
        fn times_agree_with_an_independent_calendar(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
            let moment = DateTime::from_timestamp_micros(micros).unwrap();
            let text = moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            prop_assert_eq!(Kind::Local.read(text.as_bytes()), Value::Local(micros));
            prop_assert_eq!(Kind::Instant.read(text.as_bytes()), Value::Instant(micros));
        }

        #[test]
        fn days_agree_with_an_independent_calendar(days in 0_u64..3_652_059) {
            let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
            let text = first.checked_add_days(Days::new(days)).unwrap().format("%Y-%m-%d").to_string();
            let expected = i32::try_from(days).unwrap() - 719_162;
            prop_assert_eq!(Kind::Date.read(text.as_bytes()), Value::Date(expected));
        }

        #[test]
        fn every_integer_reads_as_it_is_written(number: i64) {
            prop_assert_eq!(Kind::Int.read(number.to_string().as_bytes()), Value::Int(number));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, kind in prop::sample::select(KINDS.to_vec())) {
            let _value = kind.read(&bytes);
        }
    }
}
