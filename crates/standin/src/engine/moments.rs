//! `DATEADD`, `DATEDIFF` and `DATEPART`.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/functions/date-and-time-data-types-and-functions-transact-sql>

use crate::sql::calendar::{self, DAY, HOUR, MINUTE, SECOND};
use crate::sql::convert::{from_ticks, ticks_of};
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;

/// The full name of a part of a date, by one of its abbreviations.
pub(crate) fn part(name: &str) -> Result<&'static str, SqlError> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "year" | "yy" | "yyyy" => "year",
        "quarter" | "qq" | "q" => "quarter",
        "month" | "mm" | "m" => "month",
        "dayofyear" | "dy" | "y" => "dayofyear",
        "day" | "dd" | "d" => "day",
        "week" | "wk" | "ww" => "week",
        "weekday" | "dw" | "w" => "weekday",
        "hour" | "hh" => "hour",
        "minute" | "mi" | "n" => "minute",
        "second" | "ss" | "s" => "second",
        "millisecond" | "ms" => "millisecond",
        "microsecond" | "mcs" => "microsecond",
        "nanosecond" | "ns" => "nanosecond",
        "tzoffset" | "tz" => "tzoffset",
        other => {
            return Err(SqlError::new(155, 15, 1, format!("'{other}' is not a recognized datepart option.")));
        }
    })
}

/// How many ticks a part of fixed length has.
fn unit(part: &str) -> Option<i64> {
    Some(match part {
        "day" | "dayofyear" | "weekday" => DAY,
        "week" => 7 * DAY,
        "hour" => HOUR,
        "minute" => MINUTE,
        "second" => SECOND,
        "millisecond" => 10_000,
        "microsecond" => 10,
        _ => return None,
    })
}

fn out_of_range() -> SqlError {
    SqlError::new(517, 16, 1, "Adding a value to a 'datetime' column caused an overflow.")
}

/// `value` plus `count` parts; the type stays.
pub(crate) fn add(part: &str, count: i64, value: &Value, of: SqlType) -> Result<Value, SqlError> {
    let Some((ticks, offset)) = ticks_of(value) else { return Ok(Value::Null) };
    let moved = match (unit(part), part) {
        (Some(unit), _) => unit.checked_mul(count).and_then(|by| ticks.checked_add(by)),
        (None, "nanosecond") => ticks.checked_add(count / 100),
        (None, _) => {
            let months = match part {
                "year" => count.checked_mul(12),
                "quarter" => count.checked_mul(3),
                _ => Some(count),
            };
            months.and_then(|months| add_months(ticks, months))
        }
    };
    from_ticks(moved.ok_or_else(out_of_range)?, offset, of).map_err(|_| out_of_range())
}

fn add_months(ticks: i64, months: i64) -> Option<i64> {
    let (year, month, day) = calendar::date_of(ticks.div_euclid(DAY));
    let total = (year * 12 + month - 1).checked_add(months)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    let days = (0..4).find_map(|back| calendar::days(year, month, day - back))?;
    Some(days * DAY + ticks.rem_euclid(DAY))
}

/// How many borders of `part` lie between two moments.
pub(crate) fn difference(part: &str, from: &Value, to: &Value) -> Result<Value, SqlError> {
    let utc = |value: &Value| match value {
        Value::Offset { utc, .. } => Some(*utc),
        other => ticks_of(other).map(|(ticks, _)| ticks),
    };
    let (Some(from), Some(to)) = (utc(from), utc(to)) else { return Ok(Value::Null) };
    let months = |ticks: i64| {
        let (year, month, _) = calendar::date_of(ticks.div_euclid(DAY));
        year * 12 + month - 1
    };
    let count = match part {
        "year" => months(to) / 12 - months(from) / 12,
        "quarter" => months(to) / 3 - months(from) / 3,
        "month" => months(to) - months(from),
        // Weeks begin on Sunday, and 0001-01-01 was a Monday.
        "week" => (to + DAY).div_euclid(7 * DAY) - (from + DAY).div_euclid(7 * DAY),
        "nanosecond" => (to - from).saturating_mul(100),
        _ => {
            let unit = unit(part).ok_or_else(|| SqlError::syntax(part))?;
            to.div_euclid(unit) - from.div_euclid(unit)
        }
    };
    Ok(Value::Int(count))
}

/// A part of a moment as a number.
pub(crate) fn extract(part: &str, value: &Value) -> Result<Value, SqlError> {
    let Some((ticks, offset)) = ticks_of(value) else { return Ok(Value::Null) };
    let days = ticks.div_euclid(DAY);
    let (year, month, day) = calendar::date_of(days);
    let time = ticks.rem_euclid(DAY);
    let first = calendar::days(year, 1, 1).unwrap_or(0);
    Ok(Value::Int(match part {
        "year" => year,
        "quarter" => (month + 2) / 3,
        "month" => month,
        "day" => day,
        "dayofyear" => days - first + 1,
        "weekday" => (days + 1).rem_euclid(7) + 1,
        "week" => (days + 1).div_euclid(7) - (first + 1).div_euclid(7) + 1,
        "hour" => time / HOUR,
        "minute" => time / MINUTE % 60,
        "second" => time / SECOND % 60,
        "millisecond" => match value {
            Value::DateTime(_) => (time % SECOND + 5000) / 10_000 % 1000,
            _ => time % SECOND / 10_000,
        },
        "microsecond" => time % SECOND / 10,
        "nanosecond" => time % SECOND * 100,
        "tzoffset" => i64::from(offset.unwrap_or(0)),
        _ => return Err(SqlError::syntax(part)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Value {
        Value::DateTime2(calendar::parse(text, 7).unwrap().0)
    }

    #[test]
    fn months_end_on_their_last_day_and_borders_are_counted() {
        let of = SqlType::DateTime2(7);
        assert_eq!(add("month", 1, &moment("2024-01-31"), of).unwrap(), moment("2024-02-29"));
        assert_eq!(add("year", -1, &moment("2024-02-29"), of).unwrap(), moment("2023-02-28"));
        assert!(add("year", 9000, &moment("2024-02-29"), of).is_err());
        let between = |part| difference(part, &moment("2023-12-31 23:59:59"), &moment("2024-01-01")).unwrap();
        assert_eq!((between("year"), between("second")), (Value::Int(1), Value::Int(1)));
        assert_eq!(extract("weekday", &moment("2024-03-03")).unwrap(), Value::Int(1));
    }
}
