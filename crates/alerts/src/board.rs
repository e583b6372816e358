//! What each channel has yet to hear of. Pure: whoever asks brings the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::catalogue::{OverWhen, entry};

/// An alert must have been away for so long before it counts as over: one that comes and goes is one alert.
const SETTLES_WITHIN: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

/// An alert that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its stable name.
    pub code: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What exactly happened, in the words of the log.
    pub detail: String,
}

/// What is known of the product beside its alerts: what shows that an alert is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Changes are captured.
    pub streaming: bool,
    /// The latest flush was acknowledged, or there was none yet.
    pub delivered: bool,
}

/// Why a channel is told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    Raised,
    Repeated,
    Cleared,
}

/// What a channel has yet to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) occasion: Occasion,
    pub(crate) code: String,
    pub(crate) since: DateTime<Utc>,
    /// When it was last seen, of an alert that is over.
    pub(crate) ended: Option<DateTime<Utc>>,
    pub(crate) detail: String,
}

/// What is known of alerts, and what each channel was told. It is stored as it is.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Board {
    alerts: BTreeMap<String, Known>,
    /// By channel and alert, when it was last told.
    told: BTreeMap<String, BTreeMap<String, DateTime<Utc>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    since: DateTime<Utc>,
    /// When it was last seen; of an alert that stands this is not kept up to date.
    last_seen: DateTime<Utc>,
    phase: Phase,
    /// Not stored: it may name what the log names.
    #[serde(skip)]
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Standing,
    /// It is raised no more, and may come back.
    Fading,
    Over,
}

impl Board {
    /// Takes in what stands now.
    pub(crate) fn update(&mut self, now: DateTime<Utc>, standing: &[Standing], evidence: Evidence) {
        for alert in standing {
            let known = self.alerts.entry(alert.code.clone()).or_insert_with(|| Known {
                since: alert.since,
                last_seen: now,
                phase: Phase::Standing,
                detail: String::new(),
            });
            if known.phase == Phase::Over {
                // To a channel that has yet to hear of the end, it has gone on; to the others this is a new one.
                known.since = alert.since;
            }
            known.phase = Phase::Standing;
            known.detail.clone_from(&alert.detail);
        }
        for (code, known) in &mut self.alerts {
            if standing.iter().any(|alert| alert.code == *code) {
                continue;
            }
            if known.phase == Phase::Standing {
                (known.phase, known.last_seen) = (Phase::Fading, now);
            }
            if known.phase == Phase::Fading && is_over(code, now - known.last_seen, evidence) {
                known.phase = Phase::Over;
            }
        }
        self.forget();
    }

    /// What `channel` has yet to hear, the oldest alert first.
    pub(crate) fn due(&self, channel: &str, now: DateTime<Utc>, repeat_every: Duration) -> Vec<Due> {
        let told = self.told.get(channel);
        let mut due: Vec<Due> = self
            .alerts
            .iter()
            .filter_map(|(code, known)| {
                let last = told.and_then(|told| told.get(code)).copied();
                let occasion = occasion(code, known.phase, last, now, repeat_every)?;
                let ended = (occasion == Occasion::Cleared).then_some(known.last_seen);
                Some(Due {
                    occasion,
                    code: code.clone(),
                    since: known.since,
                    ended,
                    detail: known.detail.clone(),
                })
            })
            .collect();
        due.sort_by_key(|due| due.since);
        due
    }

    /// Notes that `channel` was told.
    pub(crate) fn told(&mut self, channel: &str, due: &Due, now: DateTime<Utc>) {
        let told = self.told.entry(channel.to_owned()).or_default();
        match due.occasion {
            Occasion::Raised | Occasion::Repeated => {
                told.insert(due.code.clone(), now);
            }
            Occasion::Cleared => {
                told.remove(&due.code);
            }
        }
        self.forget();
    }

    /// Forgets channels that are not configured any more: nobody could tell them.
    pub(crate) fn keep_channels<'a>(&mut self, channels: impl Iterator<Item = &'a str> + Clone) {
        self.told.retain(|name, _| channels.clone().any(|channel| channel == name));
        self.forget();
    }

    /// Forgets alerts that are over and of whose end everyone has heard.
    fn forget(&mut self) {
        let told = &self.told;
        let awaited = |code: &String| told.values().any(|channel| channel.contains_key(code));
        self.alerts.retain(|code, known| {
            let tells_end = entry(code).over_when != OverWhen::Event;
            known.phase != Phase::Over || (tells_end && awaited(code))
        });
        for channel in self.told.values_mut() {
            channel.retain(|code, _| self.alerts.contains_key(code));
        }
    }
}

fn is_over(code: &str, away: chrono::TimeDelta, evidence: Evidence) -> bool {
    let shown = match entry(code).over_when {
        OverWhen::Absent | OverWhen::Event => true,
        OverWhen::Streaming => evidence.streaming,
        OverWhen::Delivered => evidence.delivered,
    };
    shown && away >= SETTLES_WITHIN
}

fn occasion(
    code: &str,
    phase: Phase,
    last: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    repeat_every: Duration,
) -> Option<Occasion> {
    match (phase, last) {
        (Phase::Standing, None) => Some(Occasion::Raised),
        (Phase::Standing, Some(last)) => {
            let spaced = (now - last).to_std().is_ok_and(|since| since >= repeat_every);
            (spaced && entry(code).over_when != OverWhen::Event).then_some(Occasion::Repeated)
        }
        (Phase::Over, Some(_)) => Some(Occasion::Cleared),
        (Phase::Fading, _) | (Phase::Over, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const WELL: Evidence = Evidence { streaming: true, delivered: true };
    const BADLY: Evidence = Evidence { streaming: false, delivered: false };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000 + seconds, 0).unwrap()
    }

    fn alert(code: &str) -> Standing {
        Standing { code: code.into(), since: at(0), detail: "why".into() }
    }

    /// Tells `channel` what is due, and returns the occasions.
    fn tell(board: &mut Board, channel: &str, now: DateTime<Utc>) -> Vec<Occasion> {
        let due = board.due(channel, now, HOUR);
        for due in &due {
            board.told(channel, due, now);
        }
        due.iter().map(|due| due.occasion).collect()
    }

    #[test]
    fn an_alert_is_told_once_and_repeated_only_after_its_time() {
        let mut board = Board::default();
        board.update(at(0), &[alert("quarantine")], WELL);
        assert_eq!(tell(&mut board, "webhook", at(0)), [Occasion::Raised]);
        board.update(at(3599), &[alert("quarantine")], WELL);
        assert_eq!(tell(&mut board, "webhook", at(3599)), []);
        assert_eq!(tell(&mut board, "webhook", at(3600)), [Occasion::Repeated]);
        assert_eq!(tell(&mut board, "webhook", at(3601)), []);
    }

    #[test]
    fn the_end_is_told_to_those_who_heard_of_the_beginning() {
        let mut board = Board::default();
        board.update(at(0), &[alert("quarantine")], WELL);
        assert_eq!(tell(&mut board, "webhook", at(0)), [Occasion::Raised]);
        board.update(at(10), &[], WELL);
        assert_eq!(tell(&mut board, "webhook", at(10)), []);
        board.update(at(70), &[], WELL);
        assert_eq!(board.due("webhook", at(70), HOUR)[0].ended, Some(at(10)));
        assert_eq!(tell(&mut board, "email", at(70)), []);
        assert_eq!(tell(&mut board, "webhook", at(70)), [Occasion::Cleared]);
        assert_eq!(board, Board { alerts: BTreeMap::new(), told: board.told.clone() });
    }

    #[test]
    fn an_alert_that_comes_and_goes_is_one_alert() {
        let mut board = Board::default();
        for second in 0..300 {
            let standing = if second % 20 < 10 { vec![alert("behind")] } else { Vec::new() };
            board.update(at(second), &standing, WELL);
            let expected: &[Occasion] = if second == 0 { &[Occasion::Raised] } else { &[] };
            assert_eq!(tell(&mut board, "webhook", at(second)), expected, "{second}");
        }
    }

    #[test]
    fn a_restart_neither_repeats_nor_ends_an_alert() {
        let mut board = Board::default();
        board.update(at(0), &[alert("delivery_failing"), alert("capture_stopped")], BADLY);
        assert_eq!(tell(&mut board, "webhook", at(0)).len(), 2);
        let stored = serde_json::to_string(&board).unwrap();
        assert!(!stored.contains("why"), "{stored}");
        let mut board: Board = serde_json::from_str(&stored).unwrap();
        // After the restart nothing is raised at first, and nothing shows that it is over.
        for second in [10, 100, 1000] {
            board.update(at(second), &[], BADLY);
            assert_eq!(tell(&mut board, "webhook", at(second)), []);
        }
        board.update(at(1001), &[alert("delivery_failing")], BADLY);
        assert_eq!(tell(&mut board, "webhook", at(1001)), []);
        board.update(at(1010), &[], WELL);
        assert_eq!(tell(&mut board, "webhook", at(1010)), [Occasion::Cleared]);
        board.update(at(1070), &[], WELL);
        assert_eq!(tell(&mut board, "webhook", at(1070)), [Occasion::Cleared]);
    }

    #[test]
    fn an_event_is_told_once_and_has_no_end() {
        let mut board = Board::default();
        board.update(at(0), &[alert("truncated")], WELL);
        assert_eq!(tell(&mut board, "email", at(0)), [Occasion::Raised]);
        board.update(at(100_000), &[alert("truncated")], WELL);
        assert_eq!(tell(&mut board, "email", at(100_000)), []);
        board.update(at(100_001), &[], WELL);
        board.update(at(100_100), &[], WELL);
        assert_eq!(tell(&mut board, "email", at(100_100)), []);
        assert!(board.alerts.is_empty());
    }

    #[test]
    fn a_channel_that_never_heard_of_an_alert_does_not_hear_of_its_end() {
        let mut board = Board::default();
        board.update(at(0), &[alert("quarantine")], WELL);
        board.update(at(1), &[], WELL);
        board.update(at(61), &[], WELL);
        assert_eq!(tell(&mut board, "webhook", at(61)), []);
        assert!(board.alerts.is_empty());
    }

    #[test]
    fn a_channel_that_is_configured_no_more_is_forgotten() {
        let mut board = Board::default();
        board.update(at(0), &[alert("quarantine")], WELL);
        tell(&mut board, "email", at(0));
        board.keep_channels(["webhook"].into_iter());
        board.update(at(1), &[], WELL);
        board.update(at(61), &[], WELL);
        assert_eq!(board, Board::default());
    }
}
