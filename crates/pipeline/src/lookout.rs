//! What calls for attention though nothing failed: a position far behind, a margin that shrinks, a night without
//! an acknowledgement.

use std::time::Duration;

use change::{Retention, full_text};
use chrono::{DateTime, TimeDelta, Utc};
use ledger::{FlushKind, FlushResult, Ledger, LedgerError, QuarantineCounts};
use tokio_util::sync::CancellationToken;

use crate::courier::raise_quarantine;
use crate::delivery_loop::NOTE_SCHEDULED_FROM;
use crate::error::PipelineError;
use crate::health::{Health, Inner, SourceState};
use crate::ledger_thread::LedgerThread;
use crate::schedule::Schedule;
use crate::settings::LookoutSettings;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A margin that is short by nature, such as that of a server told to keep little, is no news until this much of it
/// is used up.
const RETENTION_USED_MIN: Duration = Duration::from_secs(60);

/// Two deadlines of a daily time lie in this span, whatever clocks do.
const TWO_DEADLINES: TimeDelta = TimeDelta::hours(50);

/// Raises again what the ledger shows to stand since before this process.
///
/// # Errors
/// When the ledger cannot be read.
pub(crate) fn recall(ledger: &Ledger, health: &Health) -> Result<(), LedgerError> {
    let quarantine = ledger.quarantine_counts()?;
    raise_quarantine(health, quarantine.rows, quarantine.records);
    if let Some(gap) = ledger.gaps()?.into_iter().find(|gap| gap.repaired_at.is_none()) {
        let what = format!(
            "the database's log was lost after our position ({}); the table has still to be compared with what is known",
            gap.reason
        );
        health.raise("lost_log", what, None);
    }
    let last = ledger.last_flush(FlushKind::Delta)?;
    if let Some(halted) = last.filter(|flush| flush.result == Some(FlushResult::Halted)) {
        let why = halted.last_error.unwrap_or_default();
        let what =
            format!("delivery is halted since before this start, the delta waits in the ledger: {why}");
        health.raise("delivery_halted", what, Some("mend the cause, then `bitacora flush`".into()));
    }
    Ok(())
}

/// The loop that looks out beside scheduled flushes.
pub(crate) struct Lookout {
    pub(crate) ledger: LedgerThread,
    pub(crate) health: Health,
    /// When flushes are due.
    pub(crate) schedule: Schedule,
    pub(crate) settings: LookoutSettings,
}

/// What the ledger knows.
struct Known {
    captured_at: Option<i64>,
    acknowledged_at: Option<i64>,
    scheduled_from: Option<String>,
    quarantine: QuarantineCounts,
}

impl Lookout {
    /// Runs until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), PipelineError> {
        // When the log's end was last known to be reached.
        let mut well_at = None;
        loop {
            if let Err(error) = self.look(&mut well_at).await {
                self.health.raise("ledger", full_text(&error), error.hint());
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&self, well_at: &mut Option<DateTime<Utc>>) -> Result<(), PipelineError> {
        let known = self
            .ledger
            .call(|ledger| {
                Ok(Known {
                    captured_at: ledger.captured_at()?,
                    acknowledged_at: ledger.last_acknowledged_at()?,
                    scheduled_from: ledger.note(NOTE_SCHEDULED_FROM)?,
                    quarantine: ledger.quarantine_counts()?,
                })
            })
            .await?;
        let (now, view) = (Utc::now(), self.health.view());
        if view.state == SourceState::Streaming && view.caught_up {
            *well_at = Some(now);
        }
        // Rows come into quarantine through the day, not only with a flush.
        raise_quarantine(&self.health, known.quarantine.rows, known.quarantine.records);
        let last_well = well_at.or_else(|| known.captured_at.and_then(DateTime::from_timestamp_micros));
        let behind = behind(&view, last_well, now);
        self.tell_behind(behind);
        self.tell_retention(behind, left(view.retention, view.state, last_well, now));
        self.tell_deadline(&known, now);
        Ok(())
    }

    fn tell_behind(&self, behind: Option<Duration>) {
        let after = self.settings.behind_after;
        let Some(behind) = behind.filter(|behind| *behind > after) else {
            return self.health.clear("behind");
        };
        // Whole minutes: a text that changes with every look would be logged with every look.
        let what = format!(
            "the ledger is more than {} minutes behind the database; what commits meanwhile waits in the database's log",
            after.as_secs().div_ceil(60).max(1)
        );
        tracing::debug!(behind_seconds = behind.as_secs(), "behind");
        self.health.raise(
            "behind",
            what,
            Some("see `bitacora status` for the lag and the last error".into()),
        );
    }

    fn tell_retention(&self, behind: Option<Duration>, left: Option<Duration>) {
        let used = behind.filter(|behind| *behind >= RETENTION_USED_MIN);
        if used.zip(left).is_some_and(|(used, left)| used >= left) {
            let what = "the ledger has been behind for as long as there is left until the server removes its log; beyond that, statuses would be lost";
            let hint = "bring the capture back, or let the server keep its log for longer";
            return self.health.raise("retention_half", what.into(), Some(hint.into()));
        }
        self.health.clear("retention_half");
    }

    fn tell_deadline(&self, known: &Known, now: DateTime<Utc>) {
        let Some(by) = &self.settings.acknowledged_by else { return };
        let since = known.scheduled_from.as_deref().and_then(|since| since.parse().ok()).unwrap_or(now);
        let acknowledged = known.acknowledged_at.and_then(DateTime::from_timestamp_micros);
        let Some(deadline) = missed(by, &self.schedule, (since, now), acknowledged) else {
            return self.health.clear("not_acknowledged");
        };
        let what = format!(
            "no flush was acknowledged by {}; nothing is lost, the delta waits in the ledger",
            deadline.with_timezone(&by.zone()).format("%Y-%m-%d %H:%M")
        );
        let hint = "see `bitacora status` for the last flush, then `bitacora flush`";
        self.health.raise("not_acknowledged", what, Some(hint.into()));
    }
}

/// How far the ledger is behind the database; `None` where that is not known, or told by an alert of its own.
fn behind(view: &Inner, last_well: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Duration> {
    match view.state {
        SourceState::Streaming => view.lag_seconds(now).and_then(|lag| Duration::try_from_secs_f64(lag).ok()),
        SourceState::Connecting | SourceState::Stopped => (now - last_well?).to_std().ok(),
        SourceState::Repairing | SourceState::Silent => None,
    }
}

/// How long the server still keeps its log. It is asked only while the log is read: afterwards time runs off.
fn left(
    retention: Retention,
    state: SourceState,
    last_well: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<Duration> {
    let left = retention.left?;
    if state == SourceState::Streaming {
        return Some(left);
    }
    Some(left.saturating_sub((now - last_well?).to_std().unwrap_or_default()))
}

/// The latest deadline before `now`, if a flush was due before it and none was acknowledged since the deadline
/// before, or since flushes have been scheduled.
fn missed(
    by: &Schedule,
    flushes: &Schedule,
    (since, now): (DateTime<Utc>, DateTime<Utc>),
    acknowledged: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    let (mut before, mut deadline) = (None, None);
    let mut next = by.next_after(now - TWO_DEADLINES);
    while let Some(reached) = next.filter(|next| *next <= now) {
        (before, deadline) = (deadline, Some(reached));
        next = by.next_after(reached);
    }
    let from = before?.max(since);
    let deadline = deadline?;
    let was_due = flushes.next_after(from).is_some_and(|due| due <= deadline);
    (was_due && acknowledged.is_none_or(|at| at <= from)).then_some(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: chrono_tz::Tz = chrono_tz::America::Santo_Domingo;

    fn at(text: &str) -> DateTime<Utc> {
        format!("{text}:00-04:00").parse().unwrap()
    }

    fn daily(time: &str) -> Schedule {
        Schedule::parse_at([time], ZONE).unwrap()
    }

    fn missed_by(since: &str, now: &str, acknowledged: Option<&str>) -> Option<DateTime<Utc>> {
        missed(&daily("06:00"), &daily("02:00"), (at(since), at(now)), acknowledged.map(at))
    }

    #[test]
    fn a_night_without_an_acknowledgement_is_told_at_the_deadline() {
        let installed = "2025-11-01T12:00";
        let deadline = Some(at("2025-11-22T06:00"));
        assert_eq!(missed_by(installed, "2025-11-22T05:59", Some("2025-11-21T02:01")), None);
        assert_eq!(missed_by(installed, "2025-11-22T06:00", Some("2025-11-21T02:01")), deadline);
        assert_eq!(missed_by(installed, "2025-11-22T23:00", Some("2025-11-21T02:01")), deadline);
        assert_eq!(missed_by(installed, "2025-11-22T06:00", None), deadline);
        // By an acknowledgement in the night, or a late one, it is over.
        assert_eq!(missed_by(installed, "2025-11-22T06:00", Some("2025-11-22T02:01")), None);
        assert_eq!(missed_by(installed, "2025-11-22T23:00", Some("2025-11-22T09:30")), None);
    }

    #[test]
    fn nothing_is_missed_before_a_flush_was_due() {
        // Installed at noon: the first night counts, the morning before does not.
        assert_eq!(missed_by("2025-11-21T12:00", "2025-11-21T12:01", None), None);
        assert_eq!(missed_by("2025-11-21T12:00", "2025-11-22T06:01", None), Some(at("2025-11-22T06:00")));
        // Flushes on Mondays only; the 22nd is a Saturday.
        let mondays = Schedule::parse_cron("0 2 * * 1", ZONE).unwrap();
        let now = at("2025-11-22T06:01");
        assert_eq!(missed(&daily("06:00"), &mondays, (at("2025-11-01T12:00"), now), None), None);
    }

    #[test]
    fn time_behind_counts_on_while_the_database_is_away() {
        let now = Utc::now();
        let well = Some(now - TimeDelta::minutes(20));
        let mut view = Health::default().view();
        view.retention.left = Some(Duration::from_secs(3600));
        view.state = SourceState::Connecting;
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        assert_eq!(behind(&view, well, now), minutes(20));
        assert_eq!(left(view.retention, view.state, well, now), minutes(40));
        assert_eq!(behind(&view, None, now), None);
        view.state = SourceState::Streaming;
        view.caught_up = true;
        assert_eq!(behind(&view, well, now), Some(Duration::ZERO));
        assert_eq!(left(view.retention, view.state, well, now), minutes(60));
    }
}
