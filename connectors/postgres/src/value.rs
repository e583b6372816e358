//! The server's text form of a cell, read into a [`Value`].
//!
//! Every connection of ours pins `DateStyle = ISO` and `TimeZone = UTC`, so each type has one spelling
//! (<https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-OUTPUT>).

use std::str;

use change::Value;

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// How the text of a column is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `boolean`.
    Bool,
    /// Integers of any width, and `oid`.
    Int,
    /// Whatever its text identifies: texts, enumerations, UUIDs, decimals, and types that we do not know.
    Text,
    /// `character(n)`, whose trailing blanks carry no meaning.
    PaddedText,
    /// `timestamp without time zone`.
    Local,
    /// `timestamp with time zone`.
    Instant,
    /// `date`.
    Date,
}

impl Kind {
    /// The kind of a type by its oid, domains and enumerations resolved. The oids of built-in types never
    /// change (`pg_type.dat` of the server's source).
    pub(crate) fn of(type_oid: u32) -> Self {
        match type_oid {
            16 => Self::Bool,
            20 | 21 | 23 | 26 => Self::Int,
            1042 => Self::PaddedText,
            1082 => Self::Date,
            1114 => Self::Local,
            1184 => Self::Instant,
            _ => Self::Text,
        }
    }

    /// Whether a day can be compared with columns of this kind.
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Local | Self::Instant | Self::Date)
    }

    /// Reads a cell's text. What cannot be read as its type says becomes [`Value::Unusable`]: a bad cell is
    /// no reason to stop.
    pub(crate) fn read(self, text: &[u8]) -> Value {
        let value = match self {
            Self::Bool => match text {
                b"t" => Some(Value::Bool(true)),
                b"f" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Int => integer(text).map(Value::Int),
            Self::Text => str::from_utf8(text).ok().map(Value::text),
            Self::PaddedText => str::from_utf8(text).ok().map(|text| Value::text(text.trim_end_matches(' '))),
            Self::Local => {
                timestamp(text).filter(|(_, offset)| offset.is_none()).map(|(at, _)| Value::Local(at))
            }
            Self::Instant => timestamp(text).and_then(|(at, offset)| Some(Value::Instant(at - offset?))),
            Self::Date => date(text).filter(|(_, rest)| rest.is_empty()).map(|(day, _)| Value::Date(day)),
        };
        value.unwrap_or_else(|| Value::Unusable(String::from_utf8_lossy(text).into()))
    }
}

fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        // Counting downwards reaches the smallest integer, which has no positive counterpart.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit(*byte)?))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// Exactly two digits, and the rest.
fn two(text: &[u8]) -> Option<(i64, &[u8])> {
    let ([tens, ones], rest) = text.split_first_chunk()?;
    Some((i64::from(digit(*tens)?) * 10 + i64::from(digit(*ones)?), rest))
}

/// `YYYY-MM-DD`: days since the epoch, and the rest. Years beyond 9999 have more digits, and years before the
/// first one a suffix: neither fits a record.
fn date(text: &[u8]) -> Option<(i32, &[u8])> {
    let (century, rest) = two(text)?;
    let (year, rest) = two(rest)?;
    let (month, rest) = two(rest.strip_prefix(b"-")?)?;
    let (day, rest) = two(rest.strip_prefix(b"-")?)?;
    let year = century * 100 + year;
    if year == 0 || !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    Some((i32::try_from(days_from_civil(year, month, day)).ok()?, rest))
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

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March on, so that the
/// leap day comes last.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff][±HH[:MM[:SS]]]`: microseconds since the epoch as written, and the offset in
/// microseconds where there is one.
fn timestamp(text: &[u8]) -> Option<(i64, Option<i64>)> {
    let (day, rest) = date(text)?;
    let (hour, rest) = two(rest.strip_prefix(b" ")?)?;
    let (minute, rest) = two(rest.strip_prefix(b":")?)?;
    let (second, rest) = two(rest.strip_prefix(b":")?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, rest) = match rest.strip_prefix(b".") {
        Some(fraction) => fraction_micros(fraction)?,
        None => (0, rest),
    };
    let at =
        i64::from(day) * MICROS_PER_DAY + (hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + micros;
    let offset = if rest.is_empty() { None } else { Some(offset_micros(rest)?) };
    Some((at, offset))
}

/// One to six digits after the point, and the rest.
fn fraction_micros(text: &[u8]) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=6).contains(&count) {
        return None;
    }
    let (digits, rest) = text.split_at_checked(count)?;
    let read = digits.iter().fold(0, |value, byte| value * 10 + i64::from(byte - b'0'));
    let missing = 6 - u32::try_from(count).ok()?;
    Some((read * 10_i64.pow(missing), rest))
}

fn offset_micros(text: &[u8]) -> Option<i64> {
    let (sign, mut rest) = match text.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let mut seconds = 0;
    for unit in [3600, 60, 1] {
        let (value, after) = two(rest)?;
        seconds += value * unit;
        rest = after;
        match rest.strip_prefix(b":") {
            Some(more) => rest = more,
            None => break,
        }
    }
    rest.is_empty().then_some(sign * seconds * MICROS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Days, NaiveDate};
    use proptest::prelude::*;

    fn check(type_oid: u32, text: &str, expected: &Value) {
        assert_eq!(&Kind::of(type_oid).read(text.as_bytes()), expected, "{type_oid} {text}");
    }

    #[test]
    fn each_type_has_its_value() {
        check(16, "t", &Value::Bool(true));
        check(16, "f", &Value::Bool(false));
        check(20, "-9223372036854775808", &Value::Int(i64::MIN));
        check(20, "9223372036854775807", &Value::Int(i64::MAX));
        check(23, "42", &Value::Int(42));
        check(25, " a b ", &Value::text(" a b "));
        check(1042, "LIC  ", &Value::text("LIC"));
        check(1043, "LIC  ", &Value::text("LIC  "));
        check(1700, "10.50", &Value::text("10.50"));
        check(
            2950,
            "b2f7e2f0-6f4c-4e57-9d4f-6c8f2b0b8a11",
            &Value::text("b2f7e2f0-6f4c-4e57-9d4f-6c8f2b0b8a11"),
        );
        check(1082, "1970-01-02", &Value::Date(1));
        check(1082, "0001-01-01", &Value::Date(-719_162));
        check(1082, "9999-12-31", &Value::Date(2_932_896));
        check(1114, "1970-01-01 00:00:01", &Value::Local(1_000_000));
        check(1114, "2024-02-29 23:59:59.999999", &Value::Local(1_709_251_199_999_999));
        check(1114, "1969-12-31 23:59:59.5", &Value::Local(-500_000));
        check(1184, "1970-01-01 00:00:00.000001+00", &Value::Instant(1));
        check(1184, "1970-01-01 00:00:00-04:30", &Value::Instant(16_200_000_000));
        check(1184, "1970-01-01 00:00:00+05:53:28", &Value::Instant(-21_208_000_000));
    }

    #[test]
    fn what_no_record_can_carry_stays_in_the_servers_words() {
        for (type_oid, text) in [
            (1114, "infinity"),
            (1184, "-infinity"),
            (1114, "0044-03-15 12:00:00 BC"),
            (1082, "0044-03-15 BC"),
            (1114, "10000-01-01 00:00:00"),
            (1114, "1970-01-01 00:00:00+00"),
            (1184, "1970-01-01 00:00:00"),
            (1114, "2023-02-29 00:00:00"),
            (1114, "2023-02-28 24:00:00"),
            (1082, "01/02/2023"),
            (23, "12x"),
            (23, "-"),
            (20, "9223372036854775808"),
            (16, "true"),
        ] {
            check(type_oid, text, &Value::Unusable(text.into()));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_a_value_and_no_error() {
        assert!(matches!(Kind::Text.read(b"\xE9"), Value::Unusable(_)));
    }

    proptest! {
        #[test]
        fn times_agree_with_an_independent_calendar(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
            let moment = DateTime::from_timestamp_micros(micros).unwrap();
            let text = moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            prop_assert_eq!(Kind::Local.read(text.as_bytes()), Value::Local(micros));
            prop_assert_eq!(Kind::Instant.read(format!("{text}+00").as_bytes()), Value::Instant(micros));
        }

        #[test]
        fn days_agree_with_an_independent_calendar(days in 0_u64..3_652_059) {
            let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
            let text = first.checked_add_days(Days::new(days)).unwrap().format("%Y-%m-%d").to_string();
            let expected = i32::try_from(days).unwrap() - 719_162;
            prop_assert_eq!(Kind::Date.read(text.as_bytes()), Value::Date(expected));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, type_oid in prop::sample::select(vec![16_u32, 20, 25, 1042, 1082, 1114, 1184])) {
            let _value = Kind::of(type_oid).read(&bytes);
        }
    }
}
