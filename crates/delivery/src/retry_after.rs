//! How long the endpoint asks to be left alone.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::StatusCode;

use crate::reply::Reply;

/// Larger numbers in `X-RateLimit-Reset` are moments, smaller ones are seconds from now: both are in use.
const SECONDS_OF_A_MOMENT: i64 = 1_000_000_000;

/// How long the endpoint asks to be left alone; `None` where it does not ask, or asks for no time at all, so that
/// the caller's own pause applies.
///
/// A throttled NestJS service appends the throttler's name to the header's name when it has several
/// (<https://github.com/nestjs/throttler>), so the longest of all of them counts.
pub(crate) fn asked_pause(reply: &Reply, now: DateTime<Utc>) -> Option<Duration> {
    // The endpoint's moments are by the endpoint's clock.
    let now = reply.header("date").and_then(http_date).unwrap_or(now);
    let asked = longest(reply, "retry-after", |value| retry_after(value, now));
    // A throttled service sends the other header with every answer; it means a pause only where the answer is 429.
    let is_throttled = reply.status == StatusCode::TOO_MANY_REQUESTS;
    asked.or_else(|| {
        is_throttled
            .then(|| longest(reply, "x-ratelimit-reset", |value| rate_limit_reset(value, now)))
            .flatten()
    })
}

fn longest(reply: &Reply, name: &str, read: impl Fn(&str) -> Option<Duration>) -> Option<Duration> {
    reply
        .headers
        .iter()
        .filter(|(known, _)| {
            known.as_str().strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
        .filter_map(|(_, value)| read(value.to_str().ok()?.trim()))
        .max()
        .filter(|pause| !pause.is_zero())
}

/// `Retry-After`: seconds or a date, <https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>.
fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => http_date(value).map(|moment| until(moment, now)),
    }
}

fn rate_limit_reset(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let number: i64 = value.parse().ok()?;
    if number > SECONDS_OF_A_MOMENT {
        return DateTime::from_timestamp(number, 0).map(|moment| until(moment, now));
    }
    u64::try_from(number).ok().map(Duration::from_secs)
}

fn until(moment: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (moment - now).to_std().unwrap_or_default()
}

/// The three forms of a date in HTTP, <https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats>.
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    const OBSOLETE: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    DateTime::parse_from_rfc2822(text).map(|moment| moment.to_utc()).ok().or_else(|| {
        OBSOLETE
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
            .map(|local| local.and_utc())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: i64 = 784_111_777;

    fn seconds(status: u16, headers: &[(&'static str, &'static str)]) -> Option<u64> {
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        asked_pause(&Reply::of(status, headers, ""), now).map(|pause| pause.as_secs())
    }

    #[test]
    fn seconds_and_all_three_kinds_of_dates_are_understood() {
        let cases = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("18446744073709551615", Some(u64::MAX)),
            ("0", None),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None),
        ];
        for (value, expected) in cases {
            assert_eq!(seconds(503, &[("retry-after", value)]), expected, "{value}");
        }
    }

    #[test]
    fn a_date_counts_by_the_endpoint_s_own_clock() {
        let headers =
            [("date", "Sun, 06 Nov 1994 10:00:00 GMT"), ("retry-after", "Sun, 06 Nov 1994 10:00:30 GMT")];
        assert_eq!(seconds(503, &headers), Some(30));
    }

    #[test]
    fn a_throttler_s_reset_counts_where_it_throttles() {
        assert_eq!(seconds(429, &[("x-ratelimit-reset", "30")]), Some(30));
        assert_eq!(seconds(429, &[("x-ratelimit-reset", "1000000060")]), Some(1_000_000_060 - NOW as u64));
        assert_eq!(seconds(500, &[("x-ratelimit-reset", "30")]), None);
        assert_eq!(seconds(429, &[("retry-after", "5"), ("x-ratelimit-reset", "30")]), Some(5));
    }

    #[test]
    fn the_longest_of_several_named_throttlers_counts() {
        let headers = [("retry-after-short", "1"), ("retry-after-long", "60"), ("retry-afterwards", "999")];
        assert_eq!(seconds(429, &headers), Some(60));
        assert_eq!(seconds(429, &[]), None);
    }
}
