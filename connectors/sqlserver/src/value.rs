//! The server's cells, read into [`Value`]s.
//!
//! The same cell reads the same from the table and from its change table: both are asked for with the same expression,
//! and the server sends both in the same form.

use change::{RowKey, Value};
use tiberius::ColumnData;
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, SmallDateTime, Time};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Days from 1900-01-01, where `datetime` begins to count, to 1970-01-01.
const DAYS_FROM_1900: i64 = 25_567;
/// Days from 0001-01-01, where `date` begins to count, to 1970-01-01.
const DAYS_FROM_1: i64 = 719_162;

/// Characters of a text that is read whole: nothing that a record can carry is longer.
pub(crate) const TEXT_CHARACTERS_MAX: usize = 4000;

/// How the cells of a column are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `bit` and integers of any width.
    Int,
    /// `decimal`, `numeric`, `money` and `smallmoney`.
    Decimal,
    /// `varchar` and `nvarchar`.
    Text,
    /// `char` and `nchar`, whose trailing blanks carry no meaning.
    PaddedText,
    /// `uniqueidentifier`.
    Guid,
    /// `datetime`, `datetime2` and `smalldatetime`, which have no zone.
    Local,
    /// `datetimeoffset`.
    Instant,
    /// `date`.
    Date,
}

impl Kind {
    /// Whether a day can be compared with columns of this kind.
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Local | Self::Instant | Self::Date)
    }

    /// Reads a cell. What is not as its column says becomes [`Value::Unusable`]: a bad cell is no reason to stop.
    pub(crate) fn read(self, cell: &ColumnData<'_>) -> Value {
        let value = match (self, cell) {
            (Self::Int, _) => integer(cell).map(|number| number.map(Value::Int)),
            (Self::Decimal, ColumnData::Numeric(number)) => {
                Some(number.map(|number| Value::text(decimal(number))))
            }
            (Self::Text | Self::PaddedText, ColumnData::String(text)) => {
                Some(text.as_ref().map(|text| self.text(text)))
            }
            (Self::Guid, ColumnData::Guid(guid)) => {
                Some(guid.map(|guid| Value::text(guid.hyphenated().to_string().to_uppercase())))
            }
            (Self::Local, _) => local(cell).map(|at| at.map(Value::Local)),
            (Self::Instant, ColumnData::DateTimeOffset(at)) => {
                // The wire has it in UTC; the offset only says how it was written.
                Some(at.map(|at| Value::Instant(datetime2(at.datetime2()))))
            }
            (Self::Date, ColumnData::Date(date)) => {
                Some(date.map(|date| day(date).map_or_else(unusable_day, Value::Date)))
            }
            _ => None,
        };
        match value {
            Some(value) => value.unwrap_or(Value::Null),
            None => Value::Unusable("a value of another type than its column's".into()),
        }
    }

    fn text(self, text: &str) -> Value {
        if text.len() > TEXT_CHARACTERS_MAX && text.encode_utf16().count() > TEXT_CHARACTERS_MAX {
            return Value::Unusable(format!("a text of more than {TEXT_CHARACTERS_MAX} characters").into());
        }
        Value::text(if self == Self::PaddedText { text.trim_end_matches(' ') } else { text })
    }
}

/// A cell that is none of the kind is `None`, and NULL is `Some(None)`.
fn integer(cell: &ColumnData<'_>) -> Option<Option<i64>> {
    match cell {
        ColumnData::Bit(truth) => Some(truth.map(i64::from)),
        ColumnData::U8(number) => Some(number.map(i64::from)),
        ColumnData::I16(number) => Some(number.map(i64::from)),
        ColumnData::I32(number) => Some(number.map(i64::from)),
        ColumnData::I64(number) => Some(*number),
        _ => None,
    }
}

fn local(cell: &ColumnData<'_>) -> Option<Option<i64>> {
    match cell {
        ColumnData::DateTime(at) => Some(at.map(datetime)),
        ColumnData::SmallDateTime(at) => Some(at.map(smalldatetime)),
        ColumnData::DateTime2(at) => Some(at.map(datetime2)),
        _ => None,
    }
}

/// As the server prints it: with as many digits behind the point as the column has.
fn decimal(number: Numeric) -> String {
    let scale = usize::from(number.scale());
    let digits = number.value().unsigned_abs().to_string();
    let sign = if number.value() < 0 { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at_checked(padded.len() - scale).unwrap_or((&padded, ""));
    format!("{sign}{whole}.{fraction}")
}

/// Microseconds since the epoch, rounded to .000, .003 and .007 s as the server shows them: it counts in 1/300 s
/// (<https://learn.microsoft.com/en-us/sql/t-sql/data-types/datetime-transact-sql>).
pub(crate) fn datetime(at: DateTime) -> i64 {
    let millis = (i64::from(at.seconds_fragments()) * 10 + 1) / 3;
    moment(i64::from(at.days()) - DAYS_FROM_1900, millis * 1000)
}

fn smalldatetime(at: SmallDateTime) -> i64 {
    moment(i64::from(at.days()) - DAYS_FROM_1900, i64::from(at.seconds_fragments()) * MICROS_PER_MINUTE)
}

/// Microseconds since the epoch; a seventh digit is cut off.
pub(crate) fn datetime2(at: DateTime2) -> i64 {
    moment(days(at.date()), time(at.time()))
}

/// A day and microseconds of it; what the wire can carry and no clock shows does not overflow.
fn moment(day: i64, micros: i64) -> i64 {
    day.saturating_mul(MICROS_PER_DAY).saturating_add(micros)
}

fn time(time: Time) -> i64 {
    let increments = i64::try_from(time.increments()).unwrap_or(i64::MAX);
    match time.scale() {
        scale @ 0..=6 => increments.saturating_mul(10_i64.pow(6 - u32::from(scale))),
        scale => increments / 10_i64.saturating_pow(u32::from(scale) - 6),
    }
}

fn days(date: Date) -> i64 {
    i64::from(date.days()) - DAYS_FROM_1
}

fn day(date: Date) -> Option<i32> {
    i32::try_from(days(date)).ok()
}

fn unusable_day() -> Value {
    Value::Unusable("a day that no calendar has".into())
}

/// The text of a row's key. A missing part has no place in a key: it is left empty.
pub(crate) fn row_key(values: &[Value]) -> RowKey {
    let texts: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::Int(number) | Value::Local(number) | Value::Instant(number) => number.to_string(),
            Value::Date(day) => day.to_string(),
            Value::Text(text) => text.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Unusable(text) => text.to_string(),
            Value::Null | Value::Unchanged => String::new(),
        })
        .collect();
    RowKey::from_columns(texts.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_have_all_their_digits() {
        for (value, scale, text) in [
            (15_i128, 1, "1.5"),
            (150, 2, "1.50"),
            (-5, 2, "-0.05"),
            (0, 4, "0.0000"),
            (7, 0, "7"),
            (i128::from(i64::MIN), 0, "-9223372036854775808"),
            (
                99_999_999_999_999_999_999_999_999_999_999_999_999,
                38,
                "0.99999999999999999999999999999999999999",
            ),
        ] {
            assert_eq!(decimal(Numeric::new_with_scale(value, scale)), text);
        }
    }

    #[test]
    fn a_datetime_is_rounded_as_the_server_shows_it() {
        let at = |fragments: u32| datetime(DateTime::new(25_567, fragments));
        assert_eq!([at(0), at(1), at(2), at(3)], [0, 3_000, 7_000, 10_000]);
        assert_eq!(at(300 * 86_400 - 1), MICROS_PER_DAY - 3_000);
        assert_eq!(datetime(DateTime::new(-53_690, 0)), -79_257 * MICROS_PER_DAY);
    }

    #[test]
    fn times_of_every_scale_are_microseconds() {
        let epoch = Date::new(719_162);
        for (increments, scale, micros) in [
            (1, 0, 1_000_000),
            (1, 3, 1_000),
            (1, 6, 1),
            (19, 7, 1),
            (863_999_999_999, 7, MICROS_PER_DAY - 1),
        ] {
            assert_eq!(datetime2(DateTime2::new(epoch, Time::new(increments, scale))), micros);
        }
        assert_eq!(Kind::Date.read(&ColumnData::Date(Some(epoch))), Value::Date(0));
        let minutes = SmallDateTime::new(25_567, 61);
        assert_eq!(Kind::Local.read(&ColumnData::SmallDateTime(Some(minutes))), Value::Local(3_660_000_000));
    }

    #[test]
    fn texts_lose_their_padding_only_where_the_server_pads() {
        let cell = ColumnData::String(Some("AB  ".into()));
        assert_eq!(Kind::PaddedText.read(&cell), Value::text("AB"));
        assert_eq!(Kind::Text.read(&cell), Value::text("AB  "));
        assert_eq!(Kind::Text.read(&ColumnData::String(None)), Value::Null);
        let long = ColumnData::String(Some("ñ".repeat(4001).into()));
        assert!(matches!(Kind::Text.read(&long), Value::Unusable(_)));
        let fits = ColumnData::String(Some("ñ".repeat(4000).into()));
        assert!(matches!(Kind::Text.read(&fits), Value::Text(_)));
    }

    #[test]
    fn a_cell_of_another_type_is_unusable_and_no_error() {
        assert!(matches!(Kind::Int.read(&ColumnData::String(Some("7".into()))), Value::Unusable(_)));
        assert_eq!(Kind::Int.read(&ColumnData::Bit(Some(true))), Value::Int(1));
    }

    proptest! {
        #[test]
        fn no_bytes_from_the_wire_make_times_overflow(days in any::<i32>(), fragments in any::<u32>(), increments in any::<u64>(), scale in any::<u8>()) {
            datetime(DateTime::new(days, fragments));
            time(Time::new(increments, scale));
        }
    }
}
