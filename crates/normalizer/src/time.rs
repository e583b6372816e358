//! Cells and texts to moments, exactly: nothing is guessed and nothing overflows.

use change::Value;
use chrono::{Datelike, NaiveDate};

use crate::rejection::Complaint;
use crate::zone::Zone;

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// The years 0001 to 9999 in microseconds: what the dashboard's date format can write.
const WRITABLE: std::ops::Range<i64> = -62_135_596_800 * MICROS..253_402_300_800 * MICROS;

/// Days from 0001-01-01, which chrono counts as day one, to 1970-01-01.
const EPOCH_DAY: i64 = 719_163;

/// The moment that `cell` holds, in microseconds since the epoch, UTC.
///
/// A time without zone, and a day, which stands for its midnight, are read in `zone`.
pub(crate) fn moment(cell: &Value, zone: Option<&Zone>) -> Result<i64, Complaint> {
    match cell {
        Value::Instant(at) => writable(*at),
        Value::Local(local) => in_zone(*local, zone),
        Value::Date(day) => {
            let midnight = i64::from(*day).checked_mul(DAY_SECONDS * MICROS);
            in_zone(midnight.ok_or_else(Complaint::year_out_of_range)?, zone)
        }
        Value::Text(text) => match parse(text) {
            Some(Written::Instant(at)) => writable(at),
            Some(Written::Local(local)) => in_zone(local, zone),
            None => Err(Complaint::not_a_time(cell)),
        },
        _ => Err(Complaint::not_a_time(cell)),
    }
}

/// `at`, provided that its year is one of 0001 to 9999.
pub(crate) fn writable(at: i64) -> Result<i64, Complaint> {
    if WRITABLE.contains(&at) { Ok(at) } else { Err(Complaint::year_out_of_range()) }
}

/// The midnight with which `day` begins, as a local time in microseconds.
pub(crate) fn midnight(day: NaiveDate) -> i64 {
    (i64::from(day.num_days_from_ce()) - EPOCH_DAY) * DAY_SECONDS * MICROS
}

fn in_zone(local: i64, zone: Option<&Zone>) -> Result<i64, Complaint> {
    let zone = zone.ok_or_else(Complaint::no_time_zone)?;
    writable(zone.instant(local).ok_or_else(Complaint::year_out_of_range)?)
}

/// A time as a text writes it, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// With its offset from UTC, which has been taken off.
    Instant(i64),
    /// Without one.
    Local(i64),
}

/// Reads an ISO 8601 date or date and time: `2025-06-13`, `2025-06-13T08:00:00Z`,
/// `2025-06-13 08:00:00.25-04:00`, `2025-06-13 08:00+00`.
///
/// Blanks around it do not matter, since fixed-width text columns add them. Digits of the fraction beyond
/// microseconds are cut.
pub(crate) fn parse(text: &str) -> Option<Written> {
    let mut scan = Scan { rest: text.trim_ascii().as_bytes() };
    let day = scan.day()?;
    if scan.rest.is_empty() {
        return Some(Written::Local(midnight(day)));
    }
    if !(scan.eat(b'T') || scan.eat(b't') || scan.eat(b' ')) {
        return None;
    }
    let local = midnight(day) + scan.time_of_day()?;
    scan.eat(b' ');
    let written = match scan.offset()? {
        Some(offset_seconds) => Written::Instant(local - offset_seconds * MICROS),
        None => Written::Local(local),
    };
    scan.rest.is_empty().then_some(written)
}

/// What is left of a text that is being read.
struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    /// Steps over `wanted` if it comes next.
    fn eat(&mut self, wanted: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The next digit's value.
    fn digit(&mut self) -> Option<u32> {
        let (first, rest) = self.rest.split_first()?;
        let digit = char::from(*first).to_digit(10)?;
        self.rest = rest;
        Some(digit)
    }

    /// A number of exactly `digits` digits, below `limit`.
    fn number(&mut self, digits: u32, limit: u32) -> Option<u32> {
        let mut number = 0;
        for _ in 0..digits {
            number = number * 10 + self.digit()?;
        }
        (number < limit).then_some(number)
    }

    fn day(&mut self) -> Option<NaiveDate> {
        let year = self.number(4, 10_000)?;
        let month = self.eat(b'-').then(|| self.number(2, 13))??;
        let day = self.eat(b'-').then(|| self.number(2, 32))??;
        NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
    }

    /// Microseconds since midnight: hours and minutes, and seconds with their fraction where given.
    fn time_of_day(&mut self) -> Option<i64> {
        let hours = self.number(2, 24)?;
        let minutes = self.eat(b':').then(|| self.number(2, 60))??;
        let mut micros = i64::from(hours * 3600 + minutes * 60) * MICROS;
        if self.eat(b':') {
            micros += i64::from(self.number(2, 60)?) * MICROS;
            if self.eat(b'.') || self.eat(b',') {
                micros += self.fraction()?;
            }
        }
        Some(micros)
    }

    /// Microseconds of a fraction of at least one digit.
    fn fraction(&mut self) -> Option<i64> {
        let mut micros = i64::from(self.digit()?) * 100_000;
        let mut weight = 10_000;
        while let Some(digit) = self.digit() {
            micros += i64::from(digit) * weight;
            weight /= 10;
        }
        Some(micros)
    }

    /// Seconds east of Greenwich; `Some(None)` where the text ends without an offset.
    fn offset(&mut self) -> Option<Option<i64>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        if self.eat(b'Z') || self.eat(b'z') {
            return Some(Some(0));
        }
        let east = self.eat(b'+');
        if !east && !self.eat(b'-') {
            return None;
        }
        let mut seconds = self.number(2, 24)? * 3600;
        if !self.rest.is_empty() {
            self.eat(b':');
            seconds += self.number(2, 60)? * 60;
            // PostgreSQL writes seconds where the zone's mean solar time still held.
            if self.eat(b':') {
                seconds += self.number(2, 60)?;
            }
        }
        let seconds = i64::from(seconds);
        Some(Some(if east { seconds } else { -seconds }))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn texts_with_an_offset_are_instants() {
        for (text, instant) in [
            ("2025-06-13T08:00:00Z", "2025-06-13T08:00:00Z"),
            ("2025-06-13t08:00:00z", "2025-06-13T08:00:00Z"),
            ("2025-06-13 08:00:00+00", "2025-06-13T08:00:00Z"),
            ("2025-06-13T08:00:00-04:00", "2025-06-13T12:00:00Z"),
            ("2025-06-13T08:00:00-0400", "2025-06-13T12:00:00Z"),
            ("2025-06-13 08:00:00.5 +05:30", "2025-06-13T02:30:00.5Z"),
            ("2025-06-13T08:00+00:00", "2025-06-13T08:00:00Z"),
            ("2025-06-13T08:00:00.123456789Z", "2025-06-13T08:00:00.123456Z"),
            ("2025-06-13T08:00:00,25Z", "2025-06-13T08:00:00.25Z"),
            ("1885-01-01 00:00:00-04:39:36", "1885-01-01T04:39:36Z"),
            ("  2025-06-13T08:00:00Z  ", "2025-06-13T08:00:00Z"),
            ("2024-02-29T23:59:59.999999Z", "2024-02-29T23:59:59.999999Z"),
        ] {
            assert_eq!(parse(text), Some(Written::Instant(at(instant))), "{text}");
        }
    }

    #[test]
    fn texts_without_an_offset_are_local_times() {
        for (text, local) in [
            ("2025-06-13", "2025-06-13T00:00:00Z"),
            ("2025-06-13T08:00:00", "2025-06-13T08:00:00Z"),
            ("2025-06-13 08:00", "2025-06-13T08:00:00Z"),
            ("2025-06-13 08:00:00.000001", "2025-06-13T08:00:00.000001Z"),
            ("0001-01-01", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse(text), Some(Written::Local(at(local))), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            " ",
            "ayer",
            "13/06/2025",
            "20250613",
            "2025-6-13",
            "2025-13-01",
            "2025-02-29",
            "2025-06-31",
            "2025-06-13T",
            "2025-06-13T8:00",
            "2025-06-13T24:00:00",
            "2025-06-13T08:60:00",
            "2025-06-13T08:00:60",
            "2025-06-13T08:00:00.",
            "2025-06-13T08:00:00.Z",
            "2025-06-13T08:00:00+",
            "2025-06-13T08:00:00+4",
            "2025-06-13T08:00:00 AM",
            "2025-06-13T08:00:00Zulu",
            "2025-06-13_08:00:00",
            "12025-06-13",
            "-2025-06-13",
            "2025-06-13 BC",
            "infinity",
            "２０２５-06-13",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_kind_of_cell_is_a_moment_or_is_rejected() {
        let zone = Zone::new(Tz::America__Santo_Domingo);
        let noon = at("2025-06-13T12:00:00Z");
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases = [
            (Value::Instant(noon), true, Ok(noon)),
            (Value::Instant(noon), false, Ok(noon)),
            (Value::Local(noon), true, Ok(at("2025-06-13T16:00:00Z"))),
            (Value::Local(noon), false, Err("no_time_zone")),
            (Value::Date(20_252), true, Ok(at("2025-06-13T04:00:00Z"))),
            (Value::Date(20_252), false, Err("no_time_zone")),
            (Value::text("2025-06-13 12:00"), true, Ok(at("2025-06-13T16:00:00Z"))),
            (Value::text("2025-06-13 12:00"), false, Err("no_time_zone")),
            (Value::text("2025-06-13 12:00Z"), false, Ok(noon)),
            (Value::text("mañana"), true, Err("not_a_time")),
            (Value::Int(1_749_816_000), true, Err("not_a_time")),
            (Value::Bool(true), true, Err("not_a_time")),
            (Value::Instant(WRITABLE.start), true, Ok(WRITABLE.start)),
            (Value::Instant(WRITABLE.start - 1), true, Err("year_out_of_range")),
            (Value::Instant(WRITABLE.end), true, Err("year_out_of_range")),
            (Value::Instant(i64::MIN), true, Err("year_out_of_range")),
            (Value::Local(i64::MAX), true, Err("year_out_of_range")),
            (Value::Local(WRITABLE.end - 1), true, Err("year_out_of_range")),
            (Value::Date(i32::MIN), true, Err("year_out_of_range")),
            (Value::Date(i32::MAX), true, Err("year_out_of_range")),
            (Value::text("0000-12-31T00:00:00Z"), true, Err("year_out_of_range")),
            (Value::text("9999-12-31T23:00:00-04:00"), true, Err("year_out_of_range")),
        ];
        for (cell, zoned, expected) in cases {
            let read = moment(&cell, zoned.then_some(&zone)).map_err(|complaint| complaint.code());
            assert_eq!(read, expected, "{cell:?}");
        }
    }

    proptest! {
        #[test]
        fn written_moments_are_read_back(micros in WRITABLE, east_minutes in -14 * 60..14 * 60) {
            let east = chrono::FixedOffset::east_opt(east_minutes * 60).unwrap();
            let moment = DateTime::from_timestamp_micros(micros).unwrap().with_timezone(&east);
            prop_assume!((0..=9999).contains(&moment.year()));
            let text = moment.to_rfc3339();
            prop_assert_eq!(parse(&text), Some(Written::Instant(micros)), "{}", text);
        }

        #[test]
        fn no_text_is_too_odd_to_be_read(text in "\\PC{0,40}|[-+0-9T:.Z ]{0,40}") {
            parse(&text);
        }
    }
}
