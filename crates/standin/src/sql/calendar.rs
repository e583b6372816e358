//! Dates and times: the units of each type, and one into another.
//!
//! The common unit is 100 ns since 0001-01-01, called ticks.

use chrono::{Datelike, NaiveDate};

/// Ticks of a day, an hour, a minute, a second.
pub(crate) const DAY: i64 = 864_000_000_000;
pub(crate) const HOUR: i64 = 36_000_000_000;
pub(crate) const MINUTE: i64 = 600_000_000;
pub(crate) const SECOND: i64 = 10_000_000;

/// Days from 0001-01-01 to 1900-01-01.
pub(crate) const DAYS_TO_1900: i64 = 693_595;
/// Days from 0001-01-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_162;
/// The last day that can be told: 9999-12-31.
pub(crate) const LAST_DAY: i64 = 3_652_058;

/// Days since 0001-01-01 of a date, if there is such a date.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(year).ok()?,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )?;
    let days = i64::from(date.num_days_from_ce()) - 1;
    (0..=LAST_DAY).contains(&days).then_some(days)
}

/// Year, month and day.
pub(crate) fn date_of(days: i64) -> (i64, i64, i64) {
    let date =
        i32::try_from(days + 1).ok().and_then(NaiveDate::from_num_days_from_ce_opt).unwrap_or_default();
    (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()))
}

/// Rounds ticks to `scale` digits after the second, half up.
pub(crate) fn round(ticks: i64, scale: u8) -> i64 {
    let unit = 10i64.pow(u32::from(7 - scale.min(7)));
    (ticks + unit / 2).div_euclid(unit) * unit
}

/// The nearest 1/300 s since 1900-01-01, which a `datetime` keeps.
///
/// <https://learn.microsoft.com/en-us/sql/t-sql/data-types/datetime-transact-sql#rounding-of-datetime-fractional-second-precision>
pub(crate) fn to_datetime(ticks: i64) -> i64 {
    let since_1900 = i128::from(ticks - DAYS_TO_1900 * DAY) * 3;
    i64::try_from((since_1900 + 50_000).div_euclid(100_000)).unwrap_or(0)
}

/// Ticks of a `datetime`.
pub(crate) fn from_datetime(thirds: i64) -> i64 {
    let ticks = (i128::from(thirds) * 100_000 * 2 + 3).div_euclid(6);
    i64::try_from(ticks).unwrap_or(0) + DAYS_TO_1900 * DAY
}

/// The nearest minute since 1900-01-01, which a `smalldatetime` keeps.
pub(crate) fn to_minutes(ticks: i64) -> i64 {
    (ticks - DAYS_TO_1900 * DAY + MINUTE / 2).div_euclid(MINUTE)
}

/// Ticks of a `smalldatetime`.
pub(crate) fn from_minutes(minutes: i64) -> i64 {
    minutes * MINUTE + DAYS_TO_1900 * DAY
}

/// Now, in UTC.
pub(crate) fn now_utc() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos() / 100).unwrap_or(i64::MAX) + DAYS_TO_1970 * DAY
}

/// The server's own zone: what `GETDATE()` tells and commits are stamped in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Zone {
    Named(chrono_tz::Tz),
    /// Minutes ahead of UTC.
    Fixed(i16),
}

impl Zone {
    /// Reads `UTC`, a name such as `Asia/Tokyo`, or an offset such as `+09:00`.
    pub(crate) fn parse(text: &str) -> Option<Zone> {
        if let Some(minutes) = offset(text) {
            return Some(Zone::Fixed(minutes));
        }
        text.parse().ok().map(Zone::Named)
    }

    /// How many minutes local time is ahead of UTC at this moment, given in UTC.
    pub(crate) fn minutes_ahead(self, utc: i64) -> i16 {
        match self {
            Zone::Fixed(minutes) => minutes,
            Zone::Named(zone) => {
                use chrono::{Offset, TimeZone};
                let seconds = (utc - DAYS_TO_1970 * DAY).div_euclid(SECOND);
                let moment = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc();
                let ahead = zone.offset_from_utc_datetime(&moment).fix().local_minus_utc();
                i16::try_from(ahead / 60).unwrap_or(0)
            }
        }
    }

    /// Local ticks of a moment in UTC.
    pub(crate) fn local(self, utc: i64) -> i64 {
        utc + i64::from(self.minutes_ahead(utc)) * MINUTE
    }

    /// What `CURRENT_TIMEZONE()` answers.
    pub(crate) fn title(self) -> String {
        match self {
            Zone::Named(zone) => format!("(UTC) {zone}"),
            Zone::Fixed(minutes) => format!("(UTC{}) Fixed", format_offset(minutes)),
        }
    }

    /// What `CURRENT_TIMEZONE_ID()` answers.
    pub(crate) fn id(self) -> String {
        match self {
            Zone::Named(zone) => zone.name().to_owned(),
            Zone::Fixed(minutes) => format!("UTC{}", format_offset(minutes)),
        }
    }
}

/// Minutes of `Z` or `+09:00`.
pub(crate) fn offset(text: &str) -> Option<i16> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i16, i16) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..=14).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (hours * 60 + minutes))
}

/// `+09:00`
pub(crate) fn format_offset(minutes: i16) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.unsigned_abs() / 60, minutes.unsigned_abs() % 60)
}

/// Reads a date, a time, or both, with or without an offset: ticks in local time, and the offset.
///
/// The forms are those that mean the same under every language setting, which ISO 8601 and `yyyymmdd` do;
/// a time alone is of 1900-01-01.
pub(crate) fn parse(text: &str, digits_max: usize) -> Option<(i64, Option<i16>)> {
    let text = text.trim();
    let (text, ahead) = split_offset(text);
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (Some(date), Some(time.trim())),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let days = match date {
        Some(date) => parse_date(date)?,
        None => DAYS_TO_1900,
    };
    let time = time.map_or(Some(0), |time| parse_time(time, digits_max))?;
    Some((days * DAY + time, ahead))
}

fn split_offset(text: &str) -> (&str, Option<i16>) {
    if let Some(rest) = text.strip_suffix(['Z', 'z']) {
        return (rest.trim_end(), Some(0));
    }
    if let Some(at) = text.len().checked_sub(6)
        && let Some((rest, tail)) = text.split_at_checked(at)
        && rest.contains(':')
        && let Some(minutes) = offset(tail)
    {
        return (rest.trim_end(), Some(minutes));
    }
    (text, None)
}

fn parse_date(text: &str) -> Option<i64> {
    let number = |part: Option<&str>| part?.parse::<i64>().ok();
    if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return days(number(text.get(..4))?, number(text.get(4..6))?, number(text.get(6..))?);
    }
    let mut parts = text.split(['-', '/', '.']);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || first.len() != 4 {
        return None;
    }
    days(number(Some(first))?, number(Some(second))?, number(Some(third))?)
}

fn parse_time(text: &str, digits_max: usize) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds: i64 = parts.next().map_or(Some(0), |part| part.parse().ok())?;
    if parts.next().is_some()
        || !(0..24).contains(&hours)
        || !(0..60).contains(&minutes)
        || !(0..60).contains(&seconds)
        || fraction.len() > digits_max
    {
        return None;
    }
    let fraction: i64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<7}").parse().ok()? };
    Some(hours * HOUR + minutes * MINUTE + seconds * SECOND + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datetime_keeps_three_hundredths_of_a_second() {
        let check = |fraction: &str, expected_milliseconds: i64| {
            let (ticks, _) = parse(&format!("2024-03-01 10:00:00.{fraction}"), 7).unwrap();
            let kept = from_datetime(to_datetime(ticks));
            let milliseconds = (kept % SECOND + 5000) / 10_000;
            assert_eq!(milliseconds, expected_milliseconds, "{fraction}");
        };
        // The examples of the documentation.
        for (fraction, milliseconds) in
            [("990", 990), ("991", 990), ("992", 993), ("994", 993), ("995", 997), ("998", 997)]
        {
            check(fraction, milliseconds);
        }
    }

    #[test]
    fn dates_are_read_in_the_forms_that_no_setting_changes() {
        let day = |text: &str| parse(text, 7).map(|(ticks, _)| ticks / DAY);
        assert_eq!(day("20240229"), day("2024-02-29"));
        assert_eq!(day("1900-01-01"), Some(DAYS_TO_1900));
        assert_eq!(day("2023-02-29"), None);
        assert_eq!(parse("2024-02-29T01:02:03.5Z", 7).unwrap().1, Some(0));
        assert_eq!(parse("2024-02-29 01:02:03 -04:00", 7).unwrap().1, Some(-240));
    }

    #[test]
    fn a_zone_is_a_name_or_an_offset() {
        assert_eq!(Zone::parse("+09:00").unwrap().minutes_ahead(0), 540);
        let new_york = Zone::parse("America/New_York").unwrap();
        let summer = days(2024, 7, 1).unwrap() * DAY;
        assert_eq!(new_york.minutes_ahead(summer), -240);
        assert_eq!(new_york.minutes_ahead(summer + 180 * DAY), -300);
        assert!(Zone::parse("nowhere").is_none());
    }
}
