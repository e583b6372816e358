//! `[source.sqlserver]`: what only SQL Server knows.

use std::time::Duration;

use chrono_tz::Tz;

use super::item::Item;
use super::reader::Section;

/// `[source.sqlserver]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlserverSection {
    /// How changes are learnt of.
    pub mode: SqlserverMode,
    /// The capture instance; found by table when left out.
    pub capture_instance: Option<String>,
    /// How often the change tables, or the table itself, are read.
    pub poll_interval: Duration,
    /// The column that every change sets to the present time; the mapping's date of modification when left out.
    pub modified_column: Option<String>,
    /// How far a scan reaches back behind the last one, for transactions that commit late.
    pub overlap: Duration,
    /// Connections say that they only read, so that a listener leads them to a replica.
    pub read_only: bool,
    /// The zone of the server's clock, where the server does not tell it.
    pub time_zone: Option<Tz>,
}

/// How changes of a table in SQL Server are learnt of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlserverMode {
    /// From the change tables that the server's own capture fills.
    Capture,
    /// From scans of the table.
    Poll,
}

const MODES: [(&str, SqlserverMode); 2] =
    [("capture", SqlserverMode::Capture), ("poll", SqlserverMode::Poll)];

pub(super) fn read(section: &Section<'_, '_>) -> Option<SqlserverSection> {
    let hour = Duration::from_secs(3600);
    let limits = (Duration::from_millis(100), hour);
    let mode = section.or("mode", SqlserverMode::Capture, |item| item.choice(&MODES));
    let capture_instance = section.maybe("capture_instance", Item::text);
    let poll_interval = section.or("poll_interval", Duration::from_secs(5), |item| item.duration(limits));
    let modified_column = section.maybe("modified_column", Item::text);
    let overlap =
        section.or("overlap", Duration::from_secs(60), |item| item.duration((Duration::ZERO, 24 * hour)));
    let read_only = section.or("read_only", false, |item| item.boolean());
    let time_zone = section.maybe("time_zone", Item::zone);
    Some(SqlserverSection {
        mode: mode?,
        capture_instance: capture_instance?,
        poll_interval: poll_interval?,
        modified_column: modified_column?,
        overlap: overlap?,
        read_only: read_only?,
        time_zone: time_zone?,
    })
}
