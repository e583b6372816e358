//! The server's times of commits, which have no zone, as moments.
//!
//! `cdc.lsn_time_mapping` holds them by the wall clock of the server
//! (<https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-lsn-time-mapping-transact-sql>). What
//! a wall clock showed in the past is a moment only with the zone's rules. From 2022 on the server names its zone and
//! applies the rules itself. An older one tells its present offset only; that is right for all times where the zone
//! has no summer time, and right for what has just been committed anywhere. Else the configuration names the zone.

use change::{SourceError, SourceErrorKind};
use chrono::{DateTime, TimeZone};
use chrono_tz::Tz;
use tiberius::ColumnData;

use crate::client::{Answer, Client};
use crate::config::SqlServerConfig;
use crate::name::quote_literal;
use crate::value;

const MICROS_PER_MINUTE: i64 = 60_000_000;

/// How wall-clock times become moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The server does it, by the rules of its zone.
    Server(String),
    /// We do it, by the rules of a zone.
    Zone(Tz),
    /// By the offset that the server's clock has at present.
    Offset,
}

impl Clock {
    /// Finds out how the server tells the time.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(crate) async fn ask(client: &mut Client, config: &SqlServerConfig) -> Result<Self, SourceError> {
        if let Some(zone) = config.server_time_zone {
            return Ok(Self::Zone(zone));
        }
        // https://learn.microsoft.com/en-us/sql/t-sql/functions/current-timezone-id-transact-sql
        let context = "ask the server for its time zone";
        let asked = client.rows(context, "SELECT CAST(CURRENT_TIMEZONE_ID() AS nvarchar(128))", &[]).await;
        let zone = match asked {
            Ok(rows) => {
                rows.first().map(|row| row.optional_text(0)).transpose()?.flatten().map(str::to_owned)
            }
            // Servers before 2022 do not know the function.
            Err(error) if error.kind() == SourceErrorKind::Protocol && !client.is_spent() => None,
            Err(error) => return Err(error),
        };
        let Some(zone) = zone else { return Ok(Self::Offset) };
        // On Linux the zone may have a name that the server's own rules do not.
        let tried = format!("SELECT SYSDATETIME() AT TIME ZONE {}", quote_literal(&zone));
        match client.rows("ask for the rules of the server's zone", &tried, &[]).await {
            Ok(_) => Ok(Self::Server(zone)),
            Err(error) if client.is_spent() => Err(error),
            Err(_) => Ok(zone.parse().map_or(Self::Offset, Self::Zone)),
        }
    }

    /// Two expressions to select: the time in `column`, and what else it takes to make a moment of it.
    pub(crate) fn select(&self, column: &str) -> String {
        match self {
            // https://learn.microsoft.com/en-us/sql/t-sql/queries/at-time-zone-transact-sql
            Self::Server(zone) => format!("{column} AT TIME ZONE {}, NULL", quote_literal(zone)),
            Self::Zone(_) => format!("{column}, NULL"),
            Self::Offset => format!("{column}, SYSDATETIMEOFFSET()"),
        }
    }

    /// Makes a moment of the two cells from `place` on, in microseconds since the epoch, UTC.
    ///
    /// # Errors
    /// A protocol error when they are not what was asked for.
    pub(crate) fn read(&self, answer: &Answer, place: usize) -> Result<i64, SourceError> {
        let moment = match (self, answer.cell(place), answer.cell(place + 1)) {
            (Self::Server(_), Some(ColumnData::DateTimeOffset(Some(at))), _) => {
                Some(value::datetime2(at.datetime2()))
            }
            (Self::Zone(zone), Some(ColumnData::DateTime(Some(at))), _) => {
                Some(in_zone(value::datetime(*at), *zone))
            }
            (
                Self::Offset,
                Some(ColumnData::DateTime(Some(at))),
                Some(ColumnData::DateTimeOffset(Some(now))),
            ) => Some(value::datetime(*at).saturating_sub(i64::from(now.offset()) * MICROS_PER_MINUTE)),
            _ => None,
        };
        moment.ok_or_else(|| answer.unexpected(place, "a time"))
    }
}

/// The moment at which a clock in `zone` showed `local`. Of an hour that it showed twice the first is taken; one that it
/// left out is taken as if it had not.
fn in_zone(local: i64, zone: Tz) -> i64 {
    let Some(wall) = DateTime::from_timestamp_micros(local).map(|at| at.naive_utc()) else { return local };
    match zone.from_local_datetime(&wall).earliest() {
        Some(moment) => moment.timestamp_micros(),
        None => {
            let earlier = wall - chrono::Duration::hours(3);
            let shifted = zone.from_local_datetime(&earlier).latest();
            shifted.map_or(local, |at| at.timestamp_micros() + 3 * 60 * MICROS_PER_MINUTE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_with_summer_time_has_its_own_offset_at_each_time() {
        let micros = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
        let zone: Tz = "America/New_York".parse().unwrap();
        for (local, moment) in [
            ("2026-01-15T12:00:00Z", "2026-01-15T17:00:00Z"),
            ("2026-07-15T12:00:00Z", "2026-07-15T16:00:00Z"),
            // Shown twice, and left out.
            ("2026-11-01T01:30:00Z", "2026-11-01T05:30:00Z"),
            ("2026-03-08T02:30:00Z", "2026-03-08T07:30:00Z"),
        ] {
            assert_eq!(in_zone(micros(local), zone), micros(moment), "{local}");
        }
    }
}
