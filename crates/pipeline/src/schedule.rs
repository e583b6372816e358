//! When the delta is flushed: times of day, an interval, or a cron expression. Pure: the caller brings the
//! clock.

use std::time::Duration;

use chrono::{
    DateTime, Datelike, Days, LocalResult, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc,
};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;

/// The years in which cron expressions are looked up, as the cron library counts them.
const CRON_YEARS: std::ops::Range<i32> = croner::YEAR_LOWER_LIMIT..croner::YEAR_UPPER_LIMIT;

/// Local days in which the next time of day is looked for. Any two in a row hold one, even where a zone
/// left out a whole day.
const DAYS_SEARCHED: u64 = 4;

/// When, apart from the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Times {
    /// At these times of day.
    At(Vec<NaiveTime>),
    /// Again and again, counted from 1970-01-01T00:00:00Z, so that a restart shifts nothing.
    Every(Duration),
    /// Whenever the cron expression says.
    Cron(Box<Cron>),
}

/// When the delta is flushed.
///
/// # When clocks change
/// A time of day comes when the local clock first reaches it. One that clocks skip in spring therefore comes
/// at the first instant after the gap (02:30 at 03:00), and one that occurs twice in autumn comes once, at
/// the first. The same holds for the hours of a cron expression, unless they are a wildcard (`*`, `*/2`):
/// such an expression counts real hours, so it runs through a repeated hour again and makes up for
/// nothing in a gap. An interval counts in UTC and knows no clock changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    times: Times,
    zone: Tz,
}

impl Schedule {
    /// At these times, by the clocks of `zone`.
    ///
    /// # Errors
    /// When they never come, or an interval is too short or too long to be counted in microseconds.
    pub fn new(mut times: Times, zone: Tz) -> Result<Self, ScheduleError> {
        match &mut times {
            Times::At(times) if times.is_empty() => return Err(ScheduleError::NoTimes),
            Times::At(times) => {
                times.sort_unstable();
                times.dedup();
            }
            Times::Every(interval) => {
                if !matches!(i64::try_from(interval.as_micros()), Ok(1..)) {
                    return Err(ScheduleError::Interval { interval: *interval });
                }
            }
            Times::Cron(cron) => {
                if cron.find_next_occurrence(&DateTime::UNIX_EPOCH.naive_utc(), true).is_err() {
                    return Err(ScheduleError::Never { expression: cron.to_string() });
                }
            }
        }
        Ok(Self { times, zone })
    }

    /// Every day at times written like `02:00`.
    ///
    /// # Errors
    /// When there are none, or one is not a time of day.
    pub fn parse_at<'a>(texts: impl IntoIterator<Item = &'a str>, zone: Tz) -> Result<Self, ScheduleError> {
        Self::new(Times::At(texts.into_iter().map(parse_time_of_day).collect::<Result<_, _>>()?), zone)
    }

    /// By a cron expression of five fields, or six with seconds first, and the clocks of `zone`.
    ///
    /// # Errors
    /// When it is not a cron expression, or names no time that ever comes.
    pub fn parse_cron(expression: &str, zone: Tz) -> Result<Self, ScheduleError> {
        let cron: Cron = expression.parse().map_err(|error: croner::errors::CronError| {
            let reason = error.to_string().trim_end_matches('.').to_owned();
            ScheduleError::Cron { expression: expression.to_owned(), reason }
        })?;
        Self::new(Times::Cron(Box::new(cron)), zone)
    }

    /// When, apart from the zone.
    #[must_use]
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// The zone whose clocks count.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first moment strictly after `after`; `None` when there is none, as for a cron expression with
    /// years that are over.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.times {
            Times::At(times) => next_time_of_day(times, self.zone, after),
            Times::Every(interval) => next_multiple(*interval, after),
            Times::Cron(cron) if cron.pattern.hours.from_wildcard => next_by_hours(cron, self.zone, after),
            Times::Cron(cron) => next_by_clock(cron, self.zone, after),
        }
    }
}

/// Reads `HH:MM`.
pub(crate) fn parse_time_of_day(text: &str) -> Result<NaiveTime, ScheduleError> {
    let read = || {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str| {
            let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
            if plain { digits.parse().ok() } else { None }
        };
        NaiveTime::from_hms_opt(number(hours)?, number(minutes)?, 0)
    };
    read().ok_or_else(|| ScheduleError::TimeOfDay { text: text.to_owned() })
}

/// What the clocks of `zone` show at `moment`.
pub(crate) fn local(zone: Tz, moment: DateTime<Utc>) -> Option<NaiveDateTime> {
    let utc = moment.naive_utc();
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())
}

/// The first moment at which the clocks of `zone` have reached `local`.
pub(crate) fn first_reached(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    let moment = match zone.from_local_datetime(&local) {
        LocalResult::Single(moment) => moment,
        LocalResult::Ambiguous(one, other) => one.min(other),
        LocalResult::None => GapInfo::new(&local, &zone)?.end?,
    };
    Some(moment.to_utc())
}

fn next_time_of_day(times: &[NaiveTime], zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let today = local(zone, after)?.date();
    (0..DAYS_SEARCHED)
        .filter_map(|days| today.checked_add_days(Days::new(days)))
        .flat_map(|day| times.iter().filter_map(move |time| first_reached(zone, day.and_time(*time))))
        .find(|moment| *moment > after)
}

fn next_multiple(interval: Duration, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let interval = i64::try_from(interval.as_micros()).ok()?;
    let passed = after.timestamp_micros().checked_div_euclid(interval)?;
    DateTime::from_timestamp_micros(passed.checked_add(1)?.checked_mul(interval)?)
}

/// The next moment of an expression with fixed hours: these are times of day.
fn next_by_clock(cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // What the clock shows at `after` was reached by then, and so was everything below it.
    let mut time = local(zone, after).filter(|time| CRON_YEARS.contains(&time.year()))?;
    loop {
        time = cron.find_next_occurrence(&time, false).ok()?;
        let moment = first_reached(zone, time)?;
        if moment > after {
            return Some(moment);
        }
    }
}

/// The next moment of an expression with a wildcard for the hour: it counts real hours.
fn next_by_hours(cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut from = after;
    loop {
        local(zone, from).filter(|time| CRON_YEARS.contains(&time.year()))?;
        let next = cron.find_next_occurrence(&from.with_timezone(&zone), false).ok()?.to_utc();
        if next > after {
            return Some(next);
        }
        from = from.checked_add_signed(TimeDelta::seconds(1))?;
    }
}

/// Why something cannot be a schedule or a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A list of times of day is empty.
    #[error("there is no time of day, so nothing would ever be sent")]
    NoTimes,
    /// A text is not a time of day.
    #[error("\"{text}\" is not a time of day")]
    TimeOfDay {
        /// The text.
        text: String,
    },
    /// An interval is too short or too long.
    #[error("{interval:?} is not an interval that can be counted")]
    Interval {
        /// The interval.
        interval: Duration,
    },
    /// A text is not a cron expression.
    #[error("\"{expression}\" is not a cron expression: {reason}")]
    Cron {
        /// The text.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A cron expression names a day that does not exist.
    #[error("\"{expression}\" names no time that ever comes")]
    Never {
        /// The expression.
        expression: String,
    },
    /// A text is not a window.
    #[error("\"{text}\" is not a span of two times of day")]
    Window {
        /// The text.
        text: String,
    },
    /// A window begins when it ends.
    #[error("\"{text}\" begins and ends at the same time of day")]
    EmptyWindow {
        /// The text.
        text: String,
    },
}

impl ScheduleError {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoTimes => "write at least one time of day, such as \"02:00\"",
            Self::TimeOfDay { .. } => "write hours from 00 to 23 and minutes, such as \"02:00\"",
            Self::Interval { .. } => "write an interval such as \"1h\"",
            Self::Cron { .. } => {
                "write five fields: minute, hour, day, month, weekday, such as \"0 2 * * *\""
            }
            Self::Never { .. } => "name a day that the month has",
            Self::Window { .. } => "write two times of day, such as \"22:00-06:00\"",
            Self::EmptyWindow { .. } => "write two different times, or leave the window out",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const ZONES: [Tz; 6] = [
        Tz::America__Santo_Domingo,
        Tz::America__New_York,
        Tz::Europe__Madrid,
        Tz::Asia__Kolkata,
        Tz::Australia__Lord_Howe,
        Tz::UTC,
    ];

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn every(interval: Duration, zone: Tz) -> Result<Schedule, ScheduleError> {
        Schedule::new(Times::Every(interval), zone)
    }

    /// The moments after `from` until `to`.
    fn moments(schedule: &Schedule, from: &str, to: &str) -> Vec<String> {
        let end = utc(to);
        let mut moments = Vec::new();
        let mut last = utc(from);
        while let Some(next) = schedule.next_after(last).filter(|next| *next <= end) {
            assert!(next > last);
            moments.push(next.format("%dT%H:%M").to_string());
            last = next;
        }
        moments
    }

    #[test]
    fn times_of_day_follow_the_written_rule() {
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases: [(Tz, &str, &str, &str, &[&str]); 10] = [
            (Tz::America__Santo_Domingo, "02:00", "2025-06-13T06:00:00Z", "2025-06-15T12:00:00Z", &["14T06:00", "15T06:00"]),
            (Tz::America__Santo_Domingo, "14:00 02:00", "2025-06-13T05:59:59Z", "2025-06-14T00:00:00Z", &["13T06:00", "13T18:00"]),
            // Spring in New York, 2026-03-08: 02:00 to 03:00 is skipped.
            (Tz::America__New_York, "02:30", "2026-03-07T00:00:00Z", "2026-03-10T00:00:00Z", &["07T07:30", "08T07:00", "09T06:30"]),
            (Tz::America__New_York, "02:00", "2026-03-07T12:00:00Z", "2026-03-10T00:00:00Z", &["08T07:00", "09T06:00"]),
            (Tz::America__New_York, "02:15 02:30 03:00", "2026-03-08T00:00:00Z", "2026-03-09T00:00:00Z", &["08T07:00"]),
            // Autumn in New York, 2026-11-01: 01:00 to 02:00 occurs twice.
            (Tz::America__New_York, "01:30", "2026-10-31T00:00:00Z", "2026-11-03T00:00:00Z", &["31T05:30", "01T05:30", "02T06:30"]),
            (Tz::America__New_York, "02:00", "2026-10-31T12:00:00Z", "2026-11-03T00:00:00Z", &["01T07:00", "02T07:00"]),
            // Half an hour in Lord Howe, 2025-10-05 and 2025-04-06.
            (Tz::Australia__Lord_Howe, "02:15", "2025-10-04T00:00:00Z", "2025-10-06T00:00:00Z", &["04T15:30", "05T15:15"]),
            (Tz::Australia__Lord_Howe, "01:45", "2025-04-05T00:00:00Z", "2025-04-07T00:00:00Z", &["05T14:45", "06T15:15"]),
            // Apia left out 2011-12-30.
            (Tz::Pacific__Apia, "02:00", "2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z", &["29T12:00", "30T10:00", "30T12:00", "31T12:00"]),
        ];
        for (zone, times, from, to, expected) in cases {
            let schedule = Schedule::parse_at(times.split(' '), zone).unwrap();
            assert_eq!(moments(&schedule, from, to), expected, "{times} in {zone}");
        }
    }

    #[test]
    fn cron_expressions_follow_the_written_rule() {
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases: [(&str, &str, &str, &[&str]); 9] = [
            ("0 2 * * *", "2026-06-13T06:00:00Z", "2026-06-15T12:00:00Z", &["14T06:00", "15T06:00"]),
            ("30 2 * * *", "2026-03-08T00:00:00Z", "2026-03-10T00:00:00Z", &["08T07:00", "09T06:30"]),
            // A list of hours is as fixed as one hour is.
            ("30 2,14 * * *", "2026-03-08T00:00:00Z", "2026-03-09T00:00:00Z", &["08T07:00", "08T18:30"]),
            ("15,45 2 * * *", "2026-03-08T00:00:00Z", "2026-03-09T00:00:00Z", &["08T07:00"]),
            ("30 1 * * *", "2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z", &["01T05:30", "02T06:30"]),
            ("30 1-2 * * *", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", &["01T05:30", "01T07:30"]),
            // A wildcard counts real hours.
            ("30 * * * *", "2026-11-01T04:45:00Z", "2026-11-01T08:00:00Z", &["01T05:30", "01T06:30", "01T07:30"]),
            ("30 * * * *", "2026-03-08T05:45:00Z", "2026-03-08T08:00:00Z", &["08T06:30", "08T07:30"]),
            ("0 2 * * MON", "2026-06-12T00:00:00Z", "2026-06-20T00:00:00Z", &["15T06:00"]),
        ];
        for (expression, from, to, expected) in cases {
            let schedule = Schedule::parse_cron(expression, Tz::America__New_York).unwrap();
            assert_eq!(moments(&schedule, from, to), expected, "{expression}");
        }
    }

    #[test]
    fn an_interval_counts_from_the_epoch_whatever_the_zone() {
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases: [(u64, &str, &str); 5] = [
            (3600, "2026-03-08T06:59:59.999999Z", "2026-03-08T07:00:00Z"),
            (3600, "2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z"),
            (86_400, "2026-03-08T07:00:00Z", "2026-03-09T00:00:00Z"),
            (7 * 86_400, "2026-11-21T12:00:00Z", "2026-11-26T00:00:00Z"),
            (1, "1969-12-31T23:59:58.5Z", "1969-12-31T23:59:59Z"),
        ];
        for (seconds, after, expected) in cases {
            let schedule = every(Duration::from_secs(seconds), Tz::America__New_York).unwrap();
            assert_eq!(schedule.next_after(utc(after)), Some(utc(expected)), "{seconds} s after {after}");
        }
    }

    #[test]
    fn what_never_comes_or_cannot_be_read_is_an_error() {
        let zone = Tz::America__Santo_Domingo;
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases = [
            (Schedule::new(Times::At(Vec::new()), zone), "there is no time of day, so nothing would ever be sent"),
            (Schedule::parse_at(["02:00", "24:00"], zone), "\"24:00\" is not a time of day"),
            (Schedule::parse_at(["2:00"], zone), "\"2:00\" is not a time of day"),
            (Schedule::parse_at(["+2:00"], zone), "\"+2:00\" is not a time of day"),
            (every(Duration::ZERO, zone), "0ns is not an interval that can be counted"),
            (Schedule::parse_cron("0 0 30 2 *", zone), "\"0 0 30 2 *\" names no time that ever comes"),
        ];
        for (schedule, message) in cases {
            let error = schedule.unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.hint().is_empty());
        }
        for expression in ["", "0 2", "0 25 * * *", "x * * * *", "@nightly"] {
            let error = Schedule::parse_cron(expression, zone).unwrap_err();
            assert!(matches!(error, ScheduleError::Cron { .. }), "{expression}: {error}");
            assert!(!error.to_string().ends_with('.'), "{error}");
        }
        assert!(every(Duration::MAX, zone).is_err());
    }

    #[test]
    fn the_ends_of_time_have_no_next_moment() {
        let zone = Tz::Asia__Kolkata;
        for schedule in [
            Schedule::parse_at(["02:00"], zone).unwrap(),
            every(Duration::from_secs(3600), zone).unwrap(),
            Schedule::parse_cron("0 2 * * *", zone).unwrap(),
            Schedule::parse_cron("0 * * * *", zone).unwrap(),
        ] {
            assert_eq!(schedule.next_after(DateTime::<Utc>::MAX_UTC), None, "{schedule:?}");
            // No answer is right before all days, but there must be no panic.
            let _first = schedule.next_after(DateTime::<Utc>::MIN_UTC);
        }
        let past = Schedule::parse_cron("0 0 2 * * * 2020", zone).unwrap();
        assert_eq!(past.next_after(utc("2026-01-01T00:00:00Z")), None);
    }

    /// The minutes in `[from, from + minutes)` at which the local clock first reaches one of the times that
    /// `wanted` picks among all minutes of local time.
    fn by_brute_force(
        zone: Tz,
        from: DateTime<Utc>,
        minutes: i64,
        wanted: impl Fn(NaiveDateTime) -> bool,
    ) -> BTreeSet<DateTime<Utc>> {
        let minute = |count| from + TimeDelta::minutes(count);
        let mut reached = local(zone, minute(-1)).unwrap();
        let mut moments = BTreeSet::new();
        for count in 0..minutes {
            let now = local(zone, minute(count)).unwrap();
            while reached < now {
                reached += TimeDelta::minutes(1);
                if wanted(reached) {
                    moments.insert(minute(count));
                }
            }
        }
        moments
    }

    /// A minute shortly before a change of clocks in 2026, or anywhere in it.
    fn random_start(random: &mut StdRng) -> DateTime<Utc> {
        let changes = [
            "2026-03-07T00:00:00Z",
            "2026-03-28T00:00:00Z",
            "2026-10-03T00:00:00Z",
            "2026-10-24T00:00:00Z",
            "2026-10-31T00:00:00Z",
            "2026-04-04T00:00:00Z",
            "2026-07-01T00:00:00Z",
        ];
        utc(changes[random.random_range(0..changes.len())]) + TimeDelta::minutes(random.random_range(0..1440))
    }

    /// Every moment after `from` and before `from + minutes`.
    fn enumerated(schedule: &Schedule, from: DateTime<Utc>, minutes: i64) -> BTreeSet<DateTime<Utc>> {
        let end = from + TimeDelta::minutes(minutes);
        let mut moments = BTreeSet::new();
        let mut last = from - TimeDelta::nanoseconds(1);
        while let Some(next) = schedule.next_after(last).filter(|next| *next < end) {
            assert!(next > last, "{next} is not after {last}");
            moments.insert(next);
            last = next;
        }
        moments
    }

    #[test]
    fn no_moment_is_skipped_or_added_whatever_the_clocks_do() {
        const MINUTES: i64 = 3 * 1440;
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..60 {
            let zone = ZONES[random.random_range(0..ZONES.len())];
            let from = random_start(&mut random);
            let times: Vec<NaiveTime> = (0..random.random_range(1..5))
                .map(|_| {
                    NaiveTime::from_hms_opt(random.random_range(0..24), random.random_range(0..60), 0)
                        .unwrap()
                })
                .collect();
            let at = Schedule::new(Times::At(times.clone()), zone).unwrap();
            let expected = by_brute_force(zone, from, MINUTES, |local| times.contains(&local.time()));
            assert_eq!(enumerated(&at, from, MINUTES), expected, "{times:?} in {zone} from {from}");

            let (minute, hour) = (random.random_range(0..60), random.random_range(0..23));
            let expression = format!("{minute},{} {hour}-{} * * *", random.random_range(0..60), hour + 1);
            let cron: Cron = expression.parse().unwrap();
            let by_cron = Schedule::parse_cron(&expression, zone).unwrap();
            let expected =
                by_brute_force(zone, from, MINUTES, |local| cron.is_time_matching(&local).unwrap());
            assert_eq!(enumerated(&by_cron, from, MINUTES), expected, "{expression} in {zone} from {from}");
        }
    }

    #[test]
    fn a_wildcard_hour_comes_in_every_real_hour() {
        const MINUTES: i64 = 3 * 1440;
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..30 {
            let zone = ZONES[random.random_range(0..ZONES.len())];
            let from = random_start(&mut random);
            let expression =
                format!("{}-59/7 */{} * * *", random.random_range(0..30), random.random_range(1..4));
            let cron: Cron = expression.parse().unwrap();
            let expected: BTreeSet<_> = (0..MINUTES)
                .map(|count| from + TimeDelta::minutes(count))
                .filter(|moment| cron.is_time_matching(&local(zone, *moment).unwrap()).unwrap())
                .collect();
            let schedule = Schedule::parse_cron(&expression, zone).unwrap();
            assert_eq!(enumerated(&schedule, from, MINUTES), expected, "{expression} in {zone} from {from}");
        }
    }
}
