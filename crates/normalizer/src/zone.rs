//! Local times to instants, by the offsets of one time zone.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Where the search for changes of the offset starts and ends: 1840-01-01 and 2110-01-01, in seconds.
/// The tz database knows none before 1844, and chrono-tz writes its rules out to 2099.
const SEARCHED_SECONDS: std::ops::Range<i64> = -4_102_444_800..4_417_977_600;

/// How far apart the search looks, in seconds. No offset in the tz database lasts less than 6.9 days, so
/// none is stepped over.
const STEP_SECONDS: i64 = 3 * DAY_SECONDS;

/// One time zone with its changes of offset laid out for a fast and exact conversion of local times.
///
/// # Which instant a local time means
/// - One that occurs twice, when clocks go back in autumn, means the *earlier* instant.
/// - One that never occurs, when clocks go forward in spring, is shifted forward by the gap: it is read
///   with the offset that held before the gap, so that 02:30 in a gap of one hour is the instant that
///   the clocks call 03:30.
///
/// Both rules come to the same: the old offset holds for every local time below the change plus the larger
/// of the two offsets. One search in one table therefore answers every case.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    /// The offset before the first change, in microseconds east of Greenwich.
    first_offset: i64,
    /// From which local time on a new offset holds, ascending, in microseconds; and that offset.
    changes: Box<[(i64, i64)]>,
}

impl Zone {
    /// Lays out the changes of `tz`; takes a few milliseconds.
    pub(crate) fn new(tz: Tz) -> Self {
        let first = offset_seconds(tz, SEARCHED_SECONDS.start);
        let mut changes = Vec::new();
        let mut known = (SEARCHED_SECONDS.start, first);
        while known.0 < SEARCHED_SECONDS.end {
            let next = known.0 + STEP_SECONDS;
            if offset_seconds(tz, next) == known.1 {
                known.0 = next;
                continue;
            }
            let changed_at = first_with_other_offset(tz, known, next);
            let offset = offset_seconds(tz, changed_at);
            changes.push(((changed_at + known.1.max(offset)) * MICROS, offset * MICROS));
            known = (changed_at, offset);
        }
        Self { first_offset: first * MICROS, changes: changes.into() }
    }

    /// The instant that the clocks of this zone call `local`, both in microseconds; `None` when it lies
    /// beyond what 64 bits can count.
    pub(crate) fn instant(&self, local: i64) -> Option<i64> {
        let offset = match self.changes.last() {
            // Where clocks are left alone nowadays, nearly every time comes after the last change.
            Some((from, offset)) if *from <= local => *offset,
            _ => {
                let later = self.changes.partition_point(|(from, _)| *from <= local);
                let change = later.checked_sub(1).and_then(|index| self.changes.get(index));
                change.map_or(self.first_offset, |(_, offset)| *offset)
            }
        };
        local.checked_sub(offset)
    }
}

/// The first second in `(known.0, changed]` whose offset is not `known.1`.
fn first_with_other_offset(tz: Tz, known: (i64, i64), changed: i64) -> i64 {
    let (mut same, mut other) = (known.0, changed);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if offset_seconds(tz, middle) == known.1 {
            same = middle;
        } else {
            other = middle;
        }
    }
    other
}

/// Seconds east of Greenwich at `second` since the epoch.
fn offset_seconds(tz: Tz, second: i64) -> i64 {
    let moment = DateTime::from_timestamp(second, 0).unwrap_or(DateTime::UNIX_EPOCH);
    i64::from(tz.offset_from_utc_datetime(&moment.naive_utc()).fix().local_minus_utc())
}

#[cfg(test)]
mod tests {
    use chrono::{LocalResult, NaiveDateTime};
    use chrono_tz::{GapInfo, TZ_VARIANTS};
    use proptest::prelude::*;

    use super::*;

    fn micros(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap().and_utc().timestamp_micros()
    }

    /// What chrono-tz says, with the written rule for gaps and repeated times.
    fn oracle(tz: Tz, local: i64) -> i64 {
        let naive = DateTime::from_timestamp_micros(local).unwrap().naive_utc();
        match tz.from_local_datetime(&naive) {
            LocalResult::Single(moment) => moment.timestamp_micros(),
            LocalResult::Ambiguous(one, other) => one.min(other).timestamp_micros(),
            LocalResult::None => {
                let (_, before) = GapInfo::new(&naive, &tz).unwrap().begin.unwrap();
                local - i64::from(before.fix().local_minus_utc()) * MICROS
            }
        }
    }

    #[test]
    fn local_times_mean_the_instants_of_the_written_rule() {
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases = [
            // Santo Domingo: mean time, -5, summer time by the hour and by the half hour, -4, and -5 for 36 days.
            (Tz::America__Santo_Domingo, "1885-01-01 00:00:00", "1885-01-01 04:39:36"),
            (Tz::America__Santo_Domingo, "1950-01-01 00:00:00", "1950-01-01 05:00:00"),
            (Tz::America__Santo_Domingo, "1966-12-01 00:00:00", "1966-12-01 04:00:00"),
            (Tz::America__Santo_Domingo, "1970-01-01 00:00:00", "1970-01-01 04:30:00"),
            (Tz::America__Santo_Domingo, "1973-12-01 12:00:00", "1973-12-01 16:30:00"),
            (Tz::America__Santo_Domingo, "1990-06-01 12:00:00", "1990-06-01 16:00:00"),
            (Tz::America__Santo_Domingo, "2000-10-29 00:59:59", "2000-10-29 04:59:59"),
            (Tz::America__Santo_Domingo, "2000-10-29 01:30:00", "2000-10-29 05:30:00"),
            (Tz::America__Santo_Domingo, "2000-11-15 12:00:00", "2000-11-15 17:00:00"),
            (Tz::America__Santo_Domingo, "2000-12-03 01:30:00", "2000-12-03 06:30:00"),
            (Tz::America__Santo_Domingo, "2025-06-13 08:00:00", "2025-06-13 12:00:00"),
            (Tz::America__Santo_Domingo, "2150-06-13 08:00:00", "2150-06-13 12:00:00"),
            // New York: 02:30 is missing in March, and 01:30 occurs twice in November.
            (Tz::America__New_York, "2026-03-08 01:59:59.999999", "2026-03-08 06:59:59.999999"),
            (Tz::America__New_York, "2026-03-08 02:00:00", "2026-03-08 07:00:00"),
            (Tz::America__New_York, "2026-03-08 02:30:00", "2026-03-08 07:30:00"),
            (Tz::America__New_York, "2026-03-08 03:00:00", "2026-03-08 07:00:00"),
            (Tz::America__New_York, "2026-11-01 00:59:59", "2026-11-01 04:59:59"),
            (Tz::America__New_York, "2026-11-01 01:00:00", "2026-11-01 05:00:00"),
            (Tz::America__New_York, "2026-11-01 01:59:59.999999", "2026-11-01 05:59:59.999999"),
            (Tz::America__New_York, "2026-11-01 02:00:00", "2026-11-01 07:00:00"),
            // Madrid, on the other side of Greenwich.
            (Tz::Europe__Madrid, "2025-03-30 02:30:00", "2025-03-30 01:30:00"),
            (Tz::Europe__Madrid, "2025-03-30 03:30:00", "2025-03-30 01:30:00"),
            (Tz::Europe__Madrid, "2025-10-26 02:30:00", "2025-10-26 00:30:00"),
            (Tz::Europe__Madrid, "2025-10-26 03:00:00", "2025-10-26 02:00:00"),
            (Tz::Europe__Madrid, "2025-07-01 12:00:00", "2025-07-01 10:00:00"),
            // Kolkata: half an hour, no summer time today, some in the 1940s.
            (Tz::Asia__Kolkata, "2025-07-01 12:00:00", "2025-07-01 06:30:00"),
            (Tz::Asia__Kolkata, "1943-07-01 12:00:00", "1943-07-01 05:30:00"),
            // Lord Howe: summer time of half an hour.
            (Tz::Australia__Lord_Howe, "2025-10-05 02:15:00", "2025-10-04 15:45:00"),
            (Tz::Australia__Lord_Howe, "2025-10-05 02:30:00", "2025-10-04 15:30:00"),
            (Tz::Australia__Lord_Howe, "2025-04-06 01:45:00", "2025-04-05 14:45:00"),
            (Tz::Australia__Lord_Howe, "2025-04-06 02:00:00", "2025-04-05 15:30:00"),
            // Apia left out a whole day.
            (Tz::Pacific__Apia, "2011-12-30 00:00:00", "2011-12-30 10:00:00"),
            (Tz::UTC, "0001-01-01 00:00:00", "0001-01-01 00:00:00"),
            (Tz::UTC, "9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"),
        ];
        for (tz, local, instant) in cases {
            assert_eq!(Zone::new(tz).instant(micros(local)), Some(micros(instant)), "{local} in {tz}");
        }
    }

    #[test]
    fn every_change_of_every_zone_agrees_with_the_tz_database() {
        for tz in TZ_VARIANTS {
            let zone = Zone::new(tz);
            assert!(zone.changes.is_sorted_by(|one, next| one.0 < next.0), "{tz}");
            for (from, _) in &zone.changes {
                // One and a half hours around a change cover its gap or its repeated hour, edges included.
                for minutes in [-90, -60, -45, -30, -15, 0, 15, 30, 60] {
                    for nudge in [-1, 0] {
                        let local = from + minutes * 60 * MICROS + nudge;
                        assert_eq!(zone.instant(local), Some(oracle(tz, local)), "{local} in {tz}");
                    }
                }
            }
        }
    }

    #[test]
    fn times_beyond_the_counter_are_no_instants() {
        assert_eq!(Zone::new(Tz::America__Santo_Domingo).instant(i64::MAX), None);
        assert_eq!(Zone::new(Tz::Asia__Kolkata).instant(i64::MIN), None);
    }

    proptest! {
        #[test]
        fn local_times_agree_with_the_tz_database(
            index in 0..TZ_VARIANTS.len(),
            locals in prop::collection::vec(-62_135_596_800_i64..253_402_300_800, 32),
            recent in prop::collection::vec(-3_000_000_000_i64..4_200_000_000, 32),
        ) {
            let tz = TZ_VARIANTS[index];
            let zone = Zone::new(tz);
            for second in locals.into_iter().chain(recent) {
                let local = second * MICROS + 123_456;
                prop_assert_eq!(zone.instant(local), Some(oracle(tz, local)), "{} in {}", local, tz);
            }
        }
    }
}
