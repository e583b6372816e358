//! How long to wait before the next attempt.

use std::time::Duration;

/// How often and for how long a batch is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The pause after the first failed attempt.
    pub first: Duration,
    /// How much longer each pause is than the one before; less than 1 counts as 1.
    pub factor: f64,
    /// The longest pause.
    pub cap: Duration,
    /// How long a flush goes on failing before it gives up until its next time.
    pub give_up_after: Duration,
}

impl RetryPolicy {
    /// The pause after failed attempt number `attempt` (the first is 1).
    ///
    /// `jitter`, 0 to 1, spreads the pauses of several institutions over the upper half of the interval, so that
    /// an endpoint that comes back is not met by all of them in one instant. A jitter of 1 is the whole interval.
    #[must_use]
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let factor = if self.factor.is_finite() { self.factor.max(1.0) } else { 1.0 };
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let cap = self.cap.as_secs_f64();
        let whole = (self.first.as_secs_f64() * factor.powi(exponent)).min(cap);
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
        Duration::try_from_secs_f64(whole * (0.5 + jitter / 2.0)).unwrap_or(self.cap)
    }

    /// The pause after failed attempt number `attempt`, where the endpoint asked for `after`.
    ///
    /// What the endpoint asks for wins over the policy's own pause, shorter or longer, but never exceeds
    /// `give_up_after`: an endpoint must not be able to silence the connector for a year.
    #[must_use]
    pub fn pause(&self, attempt: u32, jitter: f64, after: Option<Duration>) -> Duration {
        after.map_or_else(|| self.delay(attempt, jitter), |asked| asked.min(self.give_up_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            first: Duration::from_secs(2),
            factor: 2.0,
            cap: Duration::from_secs(300),
            give_up_after: Duration::from_secs(21_600),
        }
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let seconds: Vec<u64> = (1..=10).map(|attempt| policy().delay(attempt, 1.0).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn jitter_takes_away_half_at_most() {
        assert_eq!(policy().delay(1, 0.0), Duration::from_secs(1));
        assert_eq!(policy().delay(1, 0.5), Duration::from_millis(1500));
        assert_eq!(policy().delay(1, f64::NAN), Duration::from_secs(2));
        assert_eq!(policy().delay(1, 7.0), Duration::from_secs(2));
    }

    #[test]
    fn no_attempt_number_and_no_factor_overflows() {
        assert_eq!(policy().delay(u32::MAX, 1.0), Duration::from_secs(300));
        assert_eq!(policy().delay(0, 1.0), Duration::from_secs(2));
        for factor in [f64::NAN, f64::INFINITY, -3.0, 0.0] {
            let odd = RetryPolicy { factor, ..policy() };
            assert_eq!(odd.delay(5, 1.0), Duration::from_secs(2), "factor {factor}");
        }
        let huge = RetryPolicy { first: Duration::MAX, cap: Duration::MAX, ..policy() };
        assert!(huge.delay(5, 1.0) > Duration::from_secs(1_000_000));
    }

    #[test]
    fn what_the_endpoint_asks_for_wins_up_to_the_end_of_patience() {
        assert_eq!(policy().pause(1, 1.0, None), Duration::from_secs(2));
        assert_eq!(policy().pause(9, 1.0, Some(Duration::from_secs(1))), Duration::from_secs(1));
        assert_eq!(policy().pause(1, 1.0, Some(Duration::from_secs(3600))), Duration::from_secs(3600));
        assert_eq!(policy().pause(1, 1.0, Some(Duration::MAX)), Duration::from_secs(21_600));
    }
}
