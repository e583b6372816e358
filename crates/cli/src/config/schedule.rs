//! `[schedule]`: when the delta is flushed.

use std::time::Duration;

use chrono_tz::Tz;
use pipeline::{Schedule, ScheduleError, Times};

use super::item::Item;
use super::reader::Section;

/// `[schedule]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// When the delta is flushed.
    pub flushes: Schedule,
    /// The zone of times of day, and of days without a zone everywhere in the configuration.
    pub zone: Tz,
}

/// The dashboard's institutions are in the Dominican Republic.
const DEFAULT_ZONE: Tz = Tz::America__Santo_Domingo;

/// Shorter intervals would do nothing but seal; longer ones would keep the dashboard waiting for weeks.
const EVERY_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 86_400));

const ONE_OF: &str = "write exactly one of flush_at = [\"02:00\"], every = \"1h\", cron = \"0 2 * * *\"";

pub(super) fn read(section: &Section<'_, '_>) -> Option<ScheduleConfig> {
    let at = section.optional("flush_at");
    let every = section.optional("every");
    let cron = section.optional("cron");
    let zone = section.or("time_zone", DEFAULT_ZONE, Item::zone);
    // The times are looked at even where the zone is wrong, so that both are told at once.
    let clock = zone.unwrap_or(DEFAULT_ZONE);
    let flushes = match (at, every, cron) {
        (Some(at), None, None) => times_of_day(&at, clock),
        (None, Some(every), None) => interval(&every, clock),
        (None, None, Some(cron)) => accepted(&cron, Schedule::parse_cron(&cron.text()?, clock)),
        (None, None, None) if !section.is_present() => None,
        (None, None, None) => section.problem("flush_at", "missing key", ONE_OF),
        (at, every, cron) => {
            let names = [("flush_at", at.is_some()), ("every", every.is_some()), ("cron", cron.is_some())];
            let given: Vec<_> = names.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
            section.problem("", format!("{} exclude each other", given.join(" and ")), ONE_OF)
        }
    };
    Some(ScheduleConfig { flushes: flushes?, zone: zone? })
}

fn times_of_day(item: &Item<'_, '_>, zone: Tz) -> Option<Schedule> {
    let time = |member: &Item<'_, '_>| {
        let text = member.string()?;
        accepted(member, Schedule::parse_at([text.as_str()], zone)).map(|_| text)
    };
    let texts: Vec<Option<String>> = item.list()?.iter().map(time).collect();
    let texts: Vec<String> = texts.into_iter().collect::<Option<_>>()?;
    accepted(item, Schedule::parse_at(texts.iter().map(String::as_str), zone))
}

fn interval(item: &Item<'_, '_>, zone: Tz) -> Option<Schedule> {
    let interval = item.duration(EVERY_LIMITS)?;
    accepted(item, Schedule::new(Times::Every(interval), zone))
}

/// What the pipeline made of a value, or its complaint noted with the value's line.
pub(super) fn accepted<T>(item: &Item<'_, '_>, made: Result<T, ScheduleError>) -> Option<T> {
    made.map_or_else(|error| item.problem(error.to_string(), Some(error.hint().into())), Some)
}
