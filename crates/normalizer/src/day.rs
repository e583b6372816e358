//! Days without a zone, and months of moments, in the zone that a configuration declares.

use chrono::{DateTime, Datelike, NaiveDate};
use chrono_tz::Tz;

use crate::time::midnight;
use crate::zone::Zone;

/// The first instant of `day` in `zone`, in microseconds since the epoch, by the rule of local times: a
/// midnight that clocks skip is the instant after the gap, one that occurs twice is the first.
#[must_use]
pub fn first_instant(day: NaiveDate, zone: Tz) -> i64 {
    Zone::new(zone).instant(midnight(day)).unwrap_or_else(|| midnight(day))
}

/// The month of opening as yyyymm in `zone`, by which a backfill is cut and counted.
#[must_use]
pub fn month_of(opening_at: i64, zone: Tz) -> u32 {
    DateTime::from_timestamp_micros(opening_at).map_or(0, |moment| {
        let local = moment.with_timezone(&zone);
        u32::try_from(local.year()).unwrap_or(0) * 100 + local.month()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_its_own_midnight() {
        let day = NaiveDate::from_ymd_opt(2020, 1, 1).unwrap();
        assert_eq!(first_instant(day, Tz::America__Santo_Domingo), 1_577_851_200_000_000);
    }
}
