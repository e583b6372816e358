//! Days and months on the command line.

use chrono::{Datelike, NaiveDate};

/// A day as yyyy-mm-dd.
pub(super) fn day(text: &str) -> Result<NaiveDate, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| "expected a day such as 2024-01-31".to_owned())
}

/// A month as yyyymm.
pub(super) fn month(text: &str) -> Result<u32, String> {
    let first = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok();
    let year = first.and_then(|day| u32::try_from(day.year()).ok());
    let month = first.zip(year).map(|(day, year)| year * 100 + day.month());
    month.filter(|_| text.len() == 7).ok_or_else(|| "expected a month such as 2024-05".to_owned())
}
