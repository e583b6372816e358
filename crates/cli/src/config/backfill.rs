//! `[backfill]`: how far back history is sent, and how gently it is read.

use chrono::NaiveDate;
use chrono_tz::Tz;
use pipeline::Window;
use toml::de::DeValue;

use super::item::Item;
use super::reader::Section;
use super::schedule::accepted;

/// `[backfill]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillConfig {
    /// Nothing opened before this day is ever sent, by backfill or stream.
    pub from: NaiveDate,
    /// The only hours in which history is read and sent.
    pub window: Option<Window>,
    /// Rows read per second at most.
    pub rows_per_second: Option<u32>,
}

/// The dashboard takes no older requests.
#[must_use]
pub fn earliest() -> NaiveDate {
    NaiveDate::from_ymd_opt(2020, 1, 1).unwrap_or_default()
}

/// Reads the section; `zone` comes from the section `[schedule]`.
pub(super) fn read(section: &Section<'_, '_>, zone: Tz) -> Option<BackfillConfig> {
    let from = section.or("from", earliest(), from);
    let window = section.maybe("window", |item| accepted(item, Window::parse(&item.string()?, zone)));
    let rows_per_second =
        section.maybe("rows_per_second", |item| item.integer((1, 100_000_000))?.try_into().ok());
    Some(BackfillConfig { from: from?, window: window?, rows_per_second: rows_per_second? })
}

fn from(item: &Item<'_, '_>) -> Option<NaiveDate> {
    let text = match item.value.get_ref() {
        DeValue::Datetime(date) => date.to_string(),
        _ => item.string()?,
    };
    let Ok(day) = NaiveDate::parse_from_str(&text, "%Y-%m-%d") else {
        return item.problem(format!("\"{text}\" is not a day"), Some("write \"2020-01-01\"".into()));
    };
    if day < earliest() {
        return item.problem(
            format!("{day} is before {}", earliest()),
            Some(format!("the dashboard takes requests opened since {0} only: write \"{0}\"", earliest())),
        );
    }
    Some(day)
}
