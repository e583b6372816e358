//! Times as the dashboard wants them: ISO 8601, UTC, with `Z`.

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Days from 0000-03-01, where the reckoning below begins, to the Unix epoch.
const DAYS_TO_EPOCH: i64 = 719_468;
/// Days of a whole Gregorian cycle of 400 years.
const DAYS_PER_CYCLE: i64 = 146_097;

/// How much of a fraction of a second is written. A fraction is written only where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Six digits.
    #[default]
    Micros,
    /// Three digits; what is smaller is cut off, not rounded: a record must not name a later moment.
    Millis,
    /// None.
    Seconds,
}

/// Appends the moment `at` (microseconds since the Unix epoch) as `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`.
///
/// Written by hand because a general formatter costs ten times as much, and a record has two times.
pub(crate) fn append(buffer: &mut Vec<u8>, at: i64, precision: Precision) {
    let seconds = at.div_euclid(MICROS_PER_SECOND);
    let micros = at.rem_euclid(MICROS_PER_SECOND);
    let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    append_year(buffer, year);
    buffer.push(b'-');
    append_two(buffer, month);
    buffer.push(b'-');
    append_two(buffer, day);
    buffer.push(b'T');
    append_two(buffer, second_of_day / 3600);
    buffer.push(b':');
    append_two(buffer, second_of_day / 60 % 60);
    buffer.push(b':');
    append_two(buffer, second_of_day % 60);
    append_fraction(buffer, micros, precision);
    buffer.push(b'Z');
}

fn append_fraction(buffer: &mut Vec<u8>, micros: i64, precision: Precision) {
    match precision {
        Precision::Micros if micros != 0 => {
            buffer.push(b'.');
            append_three(buffer, micros / 1000);
            append_three(buffer, micros % 1000);
        }
        Precision::Millis if micros >= 1000 => {
            buffer.push(b'.');
            append_three(buffer, micros / 1000);
        }
        Precision::Micros | Precision::Millis | Precision::Seconds => {}
    }
}

/// Appends a year of four digits. Other years do not reach a delivery; ISO 8601 writes them with a sign and
/// six digits, and so does this.
fn append_year(buffer: &mut Vec<u8>, year: i64) {
    if (0..=9999).contains(&year) {
        append_two(buffer, year / 100);
        append_two(buffer, year % 100);
    } else {
        buffer.push(if year < 0 { b'-' } else { b'+' });
        append_three(buffer, year.abs() / 1000);
        append_three(buffer, year.abs() % 1000);
    }
}

fn append_two(buffer: &mut Vec<u8>, number: i64) {
    buffer.extend_from_slice(&[digit(number / 10), digit(number)]);
}

fn append_three(buffer: &mut Vec<u8>, number: i64) {
    buffer.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]);
}

/// The last decimal digit of a number that is not negative.
fn digit(number: i64) -> u8 {
    // The remainder is 0 to 9, so the conversion cannot fail.
    b'0' + u8::try_from(number.rem_euclid(10)).unwrap_or(0)
}

/// Year, month and day of a day counted from the Unix epoch, in the proleptic Gregorian calendar.
///
/// Years are reckoned from 1 March, so that the leap day is a year's last and month lengths follow one
/// line: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + DAYS_TO_EPOCH;
    let cycle = shifted.div_euclid(DAYS_PER_CYCLE);
    let day_of_cycle = shifted.rem_euclid(DAYS_PER_CYCLE);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use rand::{Rng, SeedableRng};

    use super::*;

    fn written(at: i64, precision: Precision) -> String {
        let mut buffer = Vec::new();
        append(&mut buffer, at, precision);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_fraction_is_written_only_where_there_is_one() {
        let second = 1_749_809_700_000_000;
        let cases = [
            (0, ["2025-06-13T10:15:00Z"; 3]),
            (123_456, ["2025-06-13T10:15:00.123456Z", "2025-06-13T10:15:00.123Z", "2025-06-13T10:15:00Z"]),
            (999_999, ["2025-06-13T10:15:00.999999Z", "2025-06-13T10:15:00.999Z", "2025-06-13T10:15:00Z"]),
            (500_000, ["2025-06-13T10:15:00.500000Z", "2025-06-13T10:15:00.500Z", "2025-06-13T10:15:00Z"]),
            (7, ["2025-06-13T10:15:00.000007Z", "2025-06-13T10:15:00Z", "2025-06-13T10:15:00Z"]),
        ];
        for (micros, expected) in cases {
            let at = second + micros;
            let actual = [Precision::Micros, Precision::Millis, Precision::Seconds]
                .map(|precision| written(at, precision));
            assert_eq!(actual, expected);
        }
    }

    #[test]
    fn a_fraction_before_the_epoch_counts_forward() {
        assert_eq!(written(-1, Precision::Micros), "1969-12-31T23:59:59.999999Z");
        assert_eq!(written(-1, Precision::Seconds), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn every_day_of_the_calendar_is_written_as_chrono_writes_it() {
        let first = DateTime::parse_from_rfc3339("0001-01-01T00:00:00Z").unwrap();
        let last = DateTime::parse_from_rfc3339("9999-12-31T00:00:00Z").unwrap();
        let mut day = first.to_utc();
        while day <= last {
            let expected = day.format("%Y-%m-%dT%H:%M:%SZ").to_string();
            assert_eq!(written(day.timestamp_micros(), Precision::Micros), expected);
            day += TimeDelta::days(1);
        }
    }

    #[test]
    fn any_moment_is_written_as_chrono_writes_it() {
        let seed: u64 = rand::random();
        eprintln!("seed {seed}");
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        for _ in 0..100_000 {
            let at = random.random_range(-62_135_596_800_000_000_i64..=253_402_300_799_999_999);
            let moment = DateTime::from_timestamp_micros(at).unwrap();
            let format = if at % MICROS_PER_SECOND == 0 { "%FT%TZ" } else { "%FT%T%.6fZ" };
            assert_eq!(written(at, Precision::Micros), moment.format(format).to_string());
        }
    }

    #[test]
    fn no_moment_panics() {
        assert_eq!(written(i64::MIN, Precision::Micros), "-290308-12-21T19:59:05.224192Z");
        assert_eq!(written(i64::MAX, Precision::Millis), "+294247-01-10T04:00:54.775Z");
    }
}
