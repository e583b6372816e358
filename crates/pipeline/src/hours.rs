//! When something may leave at all.

use chrono::{DateTime, Utc};
use ledger::FlushKind;

use crate::settings::DeliverySettings;
use crate::window::Window;

/// The hours in which a delivery of one kind may send.
pub(crate) struct Hours {
    windows: Vec<Window>,
}

impl Hours {
    /// Everything keeps to the hours of deliveries, and a backfill to its own besides.
    pub(crate) fn of(settings: &DeliverySettings, kind: FlushKind) -> Self {
        let own = settings.backfill_window.filter(|_| kind == FlushKind::Backfill);
        Self { windows: settings.window.into_iter().chain(own).collect() }
    }

    /// `None` when something may be sent at `moment`; else when to look again.
    pub(crate) fn closed_until(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.windows.iter().filter(|window| !window.contains(moment)).map(|it| it.opens_after(moment)).max()
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    #[test]
    fn a_backfill_leaves_when_both_windows_are_open() {
        let window = |text| Some(Window::parse(text, Tz::America__Santo_Domingo).unwrap());
        let hours = |windows: [Option<Window>; 2]| Hours { windows: windows.into_iter().flatten().collect() };
        // 04:00 UTC is midnight in Santo Domingo.
        let moment = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let both = hours([window("20:00-06:00"), window("23:00-02:00")]);
        let cases = [
            ("2026-06-14T04:00:00Z", None),
            ("2026-06-14T00:30:00Z", Some("2026-06-14T03:00:00Z")),
            ("2026-06-14T07:00:00Z", Some("2026-06-15T03:00:00Z")),
            ("2026-06-14T15:00:00Z", Some("2026-06-15T03:00:00Z")),
        ];
        for (at, until) in cases {
            assert_eq!(both.closed_until(moment(at)), until.map(moment), "{at}");
        }
        assert_eq!(hours([None, None]).closed_until(moment("2026-06-14T15:00:00Z")), None);
    }
}
