//! What drives the server's own capture: the agent and its two jobs; and what it has to show.

use change::SourceError;

use crate::client::{Answer, Client};
use crate::lsn::Lsn;

/// What our login could find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known<T> {
    /// The server says so.
    Told(T),
    /// Our login may not ask; why.
    Hidden(String),
}

impl<T> Known<T> {
    /// What the server says, where it does.
    pub(crate) fn told(&self) -> Option<&T> {
        match self {
            Self::Told(told) => Some(told),
            Self::Hidden(_) => None,
        }
    }
}

/// A job that reads the log, and one that cleans up; either may be missing
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/dbo-cdc-jobs-transact-sql>).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Jobs {
    /// The capture job.
    pub(crate) capture: Option<CaptureJob>,
    /// For how many minutes the clean-up job keeps changes.
    pub(crate) keeps_minutes: Option<i64>,
}

/// How the capture job goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaptureJob {
    /// Transactions in a scan.
    pub(crate) transactions: i64,
    /// Scans in a cycle.
    pub(crate) scans: i64,
    /// Whether cycles follow each other.
    pub(crate) continuous: bool,
    /// Seconds between cycles.
    pub(crate) interval: i64,
}

impl CaptureJob {
    /// Transactions that it can capture in a second; more leave it behind for ever.
    pub(crate) fn per_second(&self) -> Option<i64> {
        (self.continuous && self.interval > 0)
            .then(|| self.transactions.saturating_mul(self.scans) / self.interval)
    }
}

/// Looks for the jobs. They are in `msdb`, and on Azure SQL Database in the database itself.
///
/// # Errors
/// When the connection breaks.
pub(crate) async fn jobs(client: &mut Client) -> Result<Known<Jobs>, SourceError> {
    const COLUMNS: &str = "job_type, maxtrans, maxscans, continuous, pollinginterval, retention";
    let context = "ask for the capture's jobs";
    let mut hidden = String::new();
    for place in ["msdb.dbo.cdc_jobs WHERE database_id = DB_ID()", "cdc.cdc_jobs"] {
        match client.rows(context, &format!("SELECT {COLUMNS} FROM {place}"), &[]).await {
            Ok(rows) => return read_jobs(&rows).map(Known::Told),
            Err(error) if client.is_spent() => return Err(error),
            Err(error) if hidden.is_empty() => hidden = error.to_string(),
            Err(_) => {}
        }
    }
    Ok(Known::Hidden(hidden))
}

fn read_jobs(rows: &[Answer]) -> Result<Jobs, SourceError> {
    let mut jobs = Jobs::default();
    for row in rows {
        let number = |place: usize| Ok::<i64, SourceError>(row.optional_number(place)?.unwrap_or_default());
        if row.text(0)?.eq_ignore_ascii_case("capture") {
            jobs.capture = Some(CaptureJob {
                transactions: number(1)?,
                scans: number(2)?,
                continuous: row.flag(3)?,
                interval: number(4)?,
            });
        } else {
            jobs.keeps_minutes = row.optional_number(5)?;
        }
    }
    Ok(jobs)
}

/// Asks for the agent's service. Windows translates its name ("Agente SQL Server" on a Spanish one), and not that of its
/// program; on Linux there is no program's name, and no translation
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-dynamic-management-views/sys-dm-server-services-transact-sql>).
pub(crate) const AGENT: &str = "SELECT status, status_desc FROM sys.dm_server_services \
    WHERE servicename LIKE N'SQL Server Agent%' OR UPPER(filename) LIKE N'%SQLAGENT%'";

/// The number of a service's status that means running.
const RUNNING: i64 = 4;

/// SQL Server Agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    /// Whether it runs.
    pub(crate) runs: bool,
    /// Its state in words, such as `stopped`.
    pub(crate) state: String,
}

impl Agent {
    /// Reads the answer to [`AGENT`]; `None` where the server lists no agent.
    ///
    /// # Errors
    /// A protocol error when it is not as it was asked for.
    pub(crate) fn read(rows: &[Answer]) -> Result<Option<Self>, SourceError> {
        let Some(row) = rows.first() else { return Ok(None) };
        let runs = row.optional_number(0)? == Some(RUNNING);
        Ok(Some(Self { runs, state: row.optional_text(1)?.unwrap_or("not running").to_lowercase() }))
    }
}

/// The state of SQL Server Agent; `None` where the server lists no agent.
///
/// # Errors
/// When the connection breaks.
pub(crate) async fn agent(client: &mut Client) -> Result<Known<Option<Agent>>, SourceError> {
    match client.rows("ask whether the agent runs", AGENT, &[]).await {
        Ok(rows) => Ok(Known::Told(Agent::read(&rows)?)),
        Err(error) if client.is_spent() => Err(error),
        Err(error) => Ok(Known::Hidden(error.to_string())),
    }
}

/// The end of what was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CapturedEnd {
    /// `None` while nothing was captured.
    pub(crate) lsn: Option<Lsn>,
    /// Seconds since the last sign of the capture.
    pub(crate) seconds_ago: Option<i64>,
}

/// Where the captured log ends, and how long ago that was by the server's clock.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn captured_end(client: &mut Client) -> Result<CapturedEnd, SourceError> {
    let sql = "SELECT TOP (1) start_lsn, DATEDIFF(second, tran_end_time, SYSDATETIME()) FROM cdc.lsn_time_mapping \
               ORDER BY start_lsn DESC";
    let rows = client.rows("ask where the captured log ends", sql, &[]).await?;
    Ok(match rows.first() {
        Some(row) => CapturedEnd { lsn: row.optional_lsn(0)?, seconds_ago: row.optional_number(1)? },
        None => CapturedEnd { lsn: None, seconds_ago: None },
    })
}

/// The last error of the capture job, and how many minutes ago it was; `None` when there is none.
///
/// # Errors
/// When the connection breaks.
pub(crate) async fn last_error(client: &mut Client) -> Result<Known<Option<(String, i64)>>, SourceError> {
    // https://learn.microsoft.com/en-us/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-errors
    let sql = "SELECT TOP (1) error_message, DATEDIFF(minute, entry_time, SYSDATETIME()) FROM sys.dm_cdc_errors \
               ORDER BY entry_time DESC";
    match client.rows("ask for the capture's errors", sql, &[]).await {
        Ok(rows) => match rows.first() {
            Some(row) => Ok(Known::Told(Some((
                row.optional_text(0)?.unwrap_or_default().to_owned(),
                row.optional_number(1)?.unwrap_or_default(),
            )))),
            None => Ok(Known::Told(None)),
        },
        Err(error) if client.is_spent() => Err(error),
        Err(error) => Ok(Known::Hidden(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_capture_job_can_do_in_a_second_follows_from_its_settings() {
        let job = CaptureJob { transactions: 500, scans: 10, continuous: true, interval: 5 };
        assert_eq!(job.per_second(), Some(1000));
        assert_eq!(CaptureJob { interval: 0, ..job.clone() }.per_second(), None);
        assert_eq!(CaptureJob { continuous: false, ..job }.per_second(), None);
    }
}
