//! The hours of the day in which something may be done. Pure: the caller brings the clock.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::schedule::{ScheduleError, first_reached, local, parse_time_of_day};

/// Local days in which the next opening is looked for. Clocks can make a window empty on one day, hardly on
/// two in a row.
const DAYS_SEARCHED: u64 = 8;

/// The hours of the day in which something may be done; they may pass midnight.
///
/// The window opens when the local clock first reaches `from` and closes when it first reaches `to`: see
/// [`Schedule`](crate::Schedule) on clock changes. A window around an hour that occurs twice is an hour
/// longer that night, and one that clocks skip as a whole does not open that day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: NaiveTime,
    to: NaiveTime,
    zone: Tz,
}

impl Window {
    /// From `from` until right before `to` by the clocks of `zone`; all the time when they are equal.
    #[must_use]
    pub fn new(from: NaiveTime, to: NaiveTime, zone: Tz) -> Self {
        Self { from, to, zone }
    }

    /// Reads `22:00-06:00`.
    ///
    /// # Errors
    /// When the text is not two times of day, or they are equal.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, ScheduleError> {
        let malformed = || ScheduleError::Window { text: text.to_owned() };
        let (from, to) = text.split_once('-').ok_or_else(malformed)?;
        let time = |text: &str| parse_time_of_day(text.trim()).map_err(|_| malformed());
        let (from, to) = (time(from)?, time(to)?);
        if from == to {
            return Err(ScheduleError::EmptyWindow { text: text.to_owned() });
        }
        Ok(Self { from, to, zone })
    }

    /// Whether the window is open at `moment`.
    #[must_use]
    pub fn contains(&self, moment: DateTime<Utc>) -> bool {
        self.from == self.to || self.spans(moment).any(|(opens, closes)| opens <= moment && moment < closes)
    }

    /// When the window opens next, strictly after `moment`.
    #[must_use]
    pub fn opens_after(&self, moment: DateTime<Utc>) -> DateTime<Utc> {
        self.spans(moment)
            .find(|(opens, closes)| opens < closes && *opens > moment)
            .map(|(opens, _)| opens)
            // Only at the end of all days that can be counted is there no next one.
            .or_else(|| moment.checked_add_signed(TimeDelta::days(1)))
            .unwrap_or(moment)
    }

    /// When the window opens and closes, from the local day before `moment` on.
    fn spans(&self, moment: DateTime<Utc>) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
        let window = *self;
        let yesterday = local(self.zone, moment).and_then(|local| local.date().pred_opt());
        yesterday.into_iter().flat_map(move |first| {
            (0..DAYS_SEARCHED)
                .filter_map(move |days| first.checked_add_days(Days::new(days)))
                .filter_map(move |day| window.span(day))
        })
    }

    /// When the window that opens on `day` opens and closes.
    fn span(&self, day: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let last_day = if self.to <= self.from { day.succ_opt()? } else { day };
        let opens = first_reached(self.zone, day.and_time(self.from))?;
        let closes = first_reached(self.zone, last_day.and_time(self.to))?;
        Some((opens, closes))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn windows_open_and_close_by_the_written_rule() {
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases: [(Tz, &str, &str, &str); 9] = [
            // Zone, window, when it opens, when it closes.
            (Tz::America__Santo_Domingo, "22:00-06:00", "2026-06-14T02:00:00Z", "2026-06-14T10:00:00Z"),
            (Tz::America__Santo_Domingo, "08:00 - 17:30", "2026-06-14T12:00:00Z", "2026-06-14T21:30:00Z"),
            (Tz::Asia__Kolkata, "00:00-06:00", "2026-06-13T18:30:00Z", "2026-06-14T00:30:00Z"),
            // Spring in New York: the night is an hour shorter, and 02:30 comes at 03:00.
            (Tz::America__New_York, "22:00-06:00", "2026-03-08T03:00:00Z", "2026-03-08T10:00:00Z"),
            (Tz::America__New_York, "02:30-04:00", "2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z"),
            (Tz::America__New_York, "01:00-02:30", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"),
            // Autumn: the night is an hour longer, and 01:30 comes once.
            (Tz::America__New_York, "22:00-06:00", "2026-11-01T02:00:00Z", "2026-11-01T11:00:00Z"),
            (Tz::America__New_York, "01:30-02:30", "2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z"),
            (Tz::America__New_York, "00:30-01:30", "2026-11-01T04:30:00Z", "2026-11-01T05:30:00Z"),
        ];
        let instant = TimeDelta::nanoseconds(1);
        for (zone, text, opens, closes) in cases {
            let window = Window::parse(text, zone).unwrap();
            let (opens, closes) = (utc(opens), utc(closes));
            assert!(!window.contains(opens - instant), "{text} in {zone} opens early");
            assert!(window.contains(opens), "{text} in {zone} opens late");
            assert!(window.contains(closes - instant), "{text} in {zone} closes early");
            assert!(!window.contains(closes), "{text} in {zone} closes late");
            assert_eq!(window.opens_after(opens - TimeDelta::hours(1)), opens, "{text} in {zone}");
            assert!(window.opens_after(opens) > closes, "{text} in {zone}");
        }
    }

    #[test]
    fn a_window_that_clocks_skip_does_not_open_that_day() {
        let window = Window::parse("02:10-02:50", Tz::America__New_York).unwrap();
        let before = utc("2026-03-08T00:00:00Z");
        assert!(!window.contains(utc("2026-03-08T07:00:00Z")));
        assert_eq!(window.opens_after(before), utc("2026-03-09T06:10:00Z"));
    }

    #[test]
    fn equal_times_mean_always_and_are_refused_as_text() {
        let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap();
        let always = Window::new(noon, noon, Tz::Europe__Madrid);
        assert!(always.contains(utc("2026-10-25T00:30:00Z")));
        for (text, message) in [
            ("12:00-12:00", "\"12:00-12:00\" begins and ends at the same time of day"),
            ("22:00", "\"22:00\" is not a span of two times of day"),
            ("22:00-6:00", "\"22:00-6:00\" is not a span of two times of day"),
            ("22:00-06:00-07:00", "\"22:00-06:00-07:00\" is not a span of two times of day"),
            ("", "\"\" is not a span of two times of day"),
        ] {
            let error = Window::parse(text, Tz::Europe__Madrid).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.hint().is_empty());
        }
    }

    #[test]
    fn the_ends_of_time_do_not_break_a_window() {
        let window = Window::parse("22:00-06:00", Tz::Asia__Kolkata).unwrap();
        for moment in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            assert!(!window.contains(moment));
            assert!(window.opens_after(moment) >= moment);
        }
    }

    #[test]
    fn the_next_opening_is_the_first_minute_that_the_window_contains() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let zones = [Tz::America__New_York, Tz::Europe__Madrid, Tz::Australia__Lord_Howe, Tz::Asia__Kolkata];
        let starts =
            ["2026-03-07T00:00:00Z", "2026-03-28T00:00:00Z", "2026-10-03T00:00:00Z", "2026-10-31T00:00:00Z"];
        for _ in 0..100 {
            let mut time = || {
                NaiveTime::from_hms_opt(random.random_range(0..24), random.random_range(0..60), 0).unwrap()
            };
            let (from, to) = (time(), time());
            if from == to {
                continue;
            }
            let window = Window::new(from, to, zones[random.random_range(0..zones.len())]);
            let start = utc(starts[random.random_range(0..starts.len())]);
            let mut was_open = window.contains(start);
            let mut expected = window.opens_after(start);
            for minute in 1..3 * 1440 {
                let now = start + TimeDelta::minutes(minute);
                let open = window.contains(now);
                if open && !was_open {
                    assert_eq!(now, expected, "{window:?} opens at another time");
                    expected = window.opens_after(now);
                }
                assert!(now < expected, "{window:?} did not open at {expected}");
                was_open = open;
            }
        }
    }
}
