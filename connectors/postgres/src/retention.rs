//! How much longer the server keeps the log that our slot holds back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use change::{Retention, SourceError};

use crate::config::PostgresConfig;
use crate::session::{Session, sql_error};

/// Samples closer together than this say little about the rate.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// How fast the server writes its log, learnt from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct LogRate(Mutex<Samples>);

#[derive(Debug, Default)]
struct Samples {
    last: Option<(Instant, u64)>,
    bytes_per_second: Option<f64>,
}

impl LogRate {
    /// Takes note that the log ended at byte `end` at the moment `at`, and tells the rate as far as it is
    /// known.
    ///
    /// One quiet or busy minute must not swing the forecast: half of the rate is the past's.
    fn observe(&self, at: Instant, end: u64) -> Option<f64> {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((then, from)) = samples.last else {
            samples.last = Some((at, end));
            return None;
        };
        let elapsed = at.saturating_duration_since(then);
        if elapsed >= SAMPLE_EVERY {
            let written = bytes(end.saturating_sub(from));
            let rate = written / elapsed.as_secs_f64();
            samples.bytes_per_second =
                Some(samples.bytes_per_second.map_or(rate, |past| f64::midpoint(past, rate)));
            samples.last = Some((at, end));
        }
        samples.bytes_per_second
    }
}

/// What the server says about the slot.
#[derive(Debug, Clone, Default, PartialEq)]
struct Holding {
    /// Bytes of log from the slot's oldest need to the end.
    kept_bytes: Option<u64>,
    /// Bytes that may still be written before the slot is given up; `None` without a limit.
    left_bytes: Option<u64>,
    /// Seconds until an unused slot is given up; `None` where it is in use or there is no such limit.
    left_idle_seconds: Option<f64>,
    lost: bool,
}

/// How much longer the server keeps what our slot needs.
///
/// A slot that is gone or was given up keeps nothing: the time left is zero.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn retention(
    session: &Session,
    config: &PostgresConfig,
    rate: &LogRate,
) -> Result<Retention, SourceError> {
    let context = format!("ask how much log slot \"{}\" keeps", config.slot);
    // `to_jsonb` reads columns that only later versions have (inactive_since: 17) without naming them.
    let sql = "SELECT pg_wal_lsn_diff(log.ends_at, s.restart_lsn)::float8, s.safe_wal_size::float8,
                      CASE WHEN s.active OR coalesce(idle.seconds, 0) = 0 THEN NULL
                           ELSE idle.seconds - extract(epoch FROM now()
                                - (to_jsonb(s) ->> 'inactive_since')::timestamptz) END::float8,
                      coalesce(s.wal_status = 'lost', false),
                      pg_wal_lsn_diff(log.ends_at, '0/0')::float8
                 FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                   ELSE pg_current_wal_lsn() END AS ends_at) log
                 LEFT JOIN pg_replication_slots s ON s.slot_name = $1
                 LEFT JOIN (SELECT setting::float8 * CASE unit WHEN 'min' THEN 60 ELSE 1 END AS seconds
                              FROM pg_settings
                             WHERE name = 'idle_replication_slot_timeout') idle ON true";
    let row = session.query_one(&context, sql, &[&config.slot]).await?;
    let (holding, end) = read(&row).map_err(|error| sql_error(&context, error))?;
    Ok(forecast(&holding, rate.observe(Instant::now(), end)))
}

fn read(row: &tokio_postgres::Row) -> Result<(Holding, u64), tokio_postgres::Error> {
    let kept: Option<f64> = row.try_get(0)?;
    let left: Option<f64> = row.try_get(1)?;
    let holding = Holding {
        kept_bytes: kept.map(whole),
        left_bytes: left.map(whole),
        left_idle_seconds: row.try_get(2)?,
        // Without a slot nothing is kept at all, and a slot that was given up has no start.
        lost: row.try_get::<_, bool>(3)? || kept.is_none(),
    };
    let end: Option<f64> = row.try_get(4)?;
    Ok((holding, end.map(whole).unwrap_or_default()))
}

fn forecast(holding: &Holding, bytes_per_second: Option<f64>) -> Retention {
    if holding.lost {
        return Retention { left: Some(Duration::ZERO), kept_bytes: holding.kept_bytes };
    }
    let by_size = holding.left_bytes.zip(bytes_per_second).and_then(|(left, rate)| {
        // A log that does not grow is kept for ever.
        (rate > 0.0).then(|| bytes(left) / rate)
    });
    let seconds = match (by_size, holding.left_idle_seconds) {
        (Some(size), Some(idle)) => Some(size.min(idle)),
        (one, other) => one.or(other),
    };
    let left = seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    Retention { left, kept_bytes: holding.kept_bytes }
}

#[expect(clippy::cast_precision_loss, reason = "a forecast needs no more than 53 bits")]
fn bytes(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates: a negative difference is no byte at all"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(holding: &Holding, rate: Option<f64>) -> Option<u64> {
        forecast(holding, rate).left.map(|left| left.as_secs())
    }

    #[test]
    fn the_time_left_is_what_the_present_rate_makes_of_the_bytes_left() {
        let holding = Holding { kept_bytes: Some(500), left_bytes: Some(72_000_000), ..Holding::default() };
        assert_eq!(left(&holding, Some(1000.0)), Some(72_000));
        assert_eq!(left(&holding, Some(0.0)), None);
        assert_eq!(left(&holding, None), None);
        assert_eq!(left(&Holding { left_bytes: None, ..holding.clone() }, Some(1000.0)), None);
        assert_eq!(forecast(&holding, None).kept_bytes, Some(500));
    }

    #[test]
    fn the_sooner_of_two_limits_counts_and_a_lost_slot_has_no_time_left() {
        let holding = Holding { left_bytes: Some(1000), left_idle_seconds: Some(30.0), ..Holding::default() };
        assert_eq!(left(&holding, Some(1.0)), Some(30));
        assert_eq!(left(&holding, Some(100.0)), Some(10));
        assert_eq!(left(&Holding { left_idle_seconds: Some(-5.0), ..holding }, None), Some(0));
        assert_eq!(left(&Holding { lost: true, ..Holding::default() }, None), Some(0));
    }

    #[test]
    fn the_rate_is_smoothed_over_samples_that_are_far_enough_apart() {
        let rate = LogRate::default();
        let start = Instant::now();
        assert_eq!(rate.observe(start, 1000), None);
        assert_eq!(rate.observe(start + Duration::from_secs(1), 9000), None);
        assert_eq!(rate.observe(start + Duration::from_secs(10), 2000), Some(100.0));
        assert_eq!(rate.observe(start + Duration::from_secs(20), 5000), Some(200.0));
    }
}
