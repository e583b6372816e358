//! What is going on, as the status page, the metrics and the operator may see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use change::{Retention, SourceError, full_text};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What the capture of the log is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// Not yet, or not at the moment, reading the log; trying.
    Connecting,
    /// Reading the log.
    Streaming,
    /// The log was lost; the table is being compared with what is known.
    Repairing,
    /// Connected, but the engine's own capture is not running.
    Silent,
    /// Stopped by request, or until an operator mends something.
    Stopped,
}

/// Something an operator must know of until it has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// A stable name, such as `lost_log`.
    pub code: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What happened.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

/// The live part of the product's state, shared by all loops.
#[derive(Debug, Clone)]
pub struct Health {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
}

/// One moment's view of [`Health`].
#[derive(Debug, Clone)]
pub struct Inner {
    /// What the capture is doing.
    pub state: SourceState,
    /// When the newest captured transaction committed in the database, microseconds since the epoch.
    pub committed_at: Option<i64>,
    /// Seconds between that commit and its being durable here.
    pub delay_seconds: Option<f64>,
    /// Whether the log's end had been reached at the last piece read.
    pub caught_up: bool,
    /// When the server last answered.
    pub heard_at: Option<DateTime<Utc>>,
    /// How long the server keeps the log.
    pub retention: Retention,
    /// When the next flush is due.
    pub next_flush_at: Option<DateTime<Utc>>,
    /// Whether a flush is under way.
    pub flushing: bool,
    /// Consecutive failed delivery attempts.
    pub failed_attempts: u32,
    /// Why the capture is not streaming.
    pub last_error: Option<String>,
    alerts: BTreeMap<&'static str, Alert>,
}

impl Inner {
    /// The alerts that stand, by name.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// Seconds by which the ledger is behind the database, as far as is known: nothing when the log's end
    /// was reached, else the age of the newest captured commit.
    #[must_use]
    pub fn lag_seconds(&self, now: DateTime<Utc>) -> Option<f64> {
        if self.state != SourceState::Streaming {
            return None;
        }
        if self.caught_up {
            return Some(self.delay_seconds.unwrap_or(0.0));
        }
        let age = now.timestamp_micros().saturating_sub(self.committed_at?);
        Some(age.max(0) as f64 / 1e6)
    }
}

impl Default for Health {
    fn default() -> Self {
        let inner = Inner {
            state: SourceState::Stopped,
            committed_at: None,
            delay_seconds: None,
            caught_up: false,
            heard_at: None,
            retention: Retention::default(),
            next_flush_at: None,
            flushing: false,
            failed_attempts: 0,
            last_error: None,
            alerts: BTreeMap::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), changed: watch::Sender::new(0) }
    }
}

impl Health {
    /// A copy of the present state.
    #[must_use]
    pub fn view(&self) -> Inner {
        self.lock().clone()
    }

    /// Resolves whenever the state has changed since the receiver last looked.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(crate) fn set_state(&self, state: SourceState) {
        self.update(|inner| {
            if inner.state != state {
                tracing::info!(?state, "capture");
            }
            inner.state = state;
            if state == SourceState::Streaming {
                inner.last_error = None;
            }
        });
    }

    pub(crate) fn source_failed(&self, error: &SourceError) {
        let told = full_text(error);
        self.update(|inner| {
            inner.last_error = Some(told);
            inner.caught_up = false;
        });
    }

    /// Raises an alert; one that stands already keeps its moment and is not logged again.
    pub fn raise(&self, code: &'static str, what: String, hint: Option<String>) {
        self.update(|inner| {
            let since = inner.alerts.get(code).map_or_else(Utc::now, |standing| standing.since);
            if inner.alerts.get(code).is_none_or(|standing| standing.what != what) {
                tracing::error!(alert = code, hint = hint.as_deref().unwrap_or(""), "{what}");
            }
            inner.alerts.insert(code, Alert { code: code.into(), since, what, hint });
        });
    }

    /// Takes an alert back once its cause has passed.
    pub fn clear(&self, code: &'static str) {
        self.update(|inner| {
            if inner.alerts.remove(code).is_some() {
                tracing::info!(alert = code, "alert is over");
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves plain values behind, which stay usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_stands_keeps_its_moment() {
        let health = Health::default();
        health.raise("lost_log", "the slot is gone".into(), None);
        let first = health.view().alerts().next().unwrap().since;
        health.raise("lost_log", "the slot is gone".into(), None);
        assert_eq!(health.view().alerts().next().unwrap().since, first);
        health.clear("lost_log");
        assert_eq!(health.view().alerts().count(), 0);
    }

    #[test]
    fn lag_is_the_age_of_the_newest_commit_only_while_behind() {
        let health = Health::default();
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        health.set_state(SourceState::Streaming);
        health.update(|inner| {
            inner.committed_at = Some(now.timestamp_micros() - 5_000_000);
            inner.delay_seconds = Some(0.25);
        });
        assert_eq!(health.view().lag_seconds(now), Some(5.0));
        health.update(|inner| inner.caught_up = true);
        assert_eq!(health.view().lag_seconds(now), Some(0.25));
    }
}
