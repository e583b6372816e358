//! Whether the server's own capture lives: *no changes* is not the same as *nobody reads the log*.
//!
//! A living capture gives a sign at least every five minutes: a row of `cdc.lsn_time_mapping` for the time in which there was
//! nothing to capture. Where our login may, the server is asked why there is none.

use std::time::Instant;

use change::{Incident, SourceError};

use crate::client::{Client, Param};
use crate::config::SqlServerConfig;
use crate::jobs::{AGENT, Agent};

const BOTH: &str =
    "bitacora check tells which; changes wait in the log meanwhile, and are captured when it runs again";

/// What is known of the capture.
#[derive(Debug)]
pub(super) struct Liveness {
    moved_at: Instant,
    looked_at: Option<Instant>,
    told: Option<String>,
    /// Questions that our login may not ask, which are not asked again.
    forbidden: Vec<&'static str>,
}

impl Liveness {
    pub(super) fn new() -> Self {
        Self { moved_at: Instant::now(), looked_at: None, told: None, forbidden: Vec::new() }
    }

    /// The capture gave a sign. What to tell, if it was silent before.
    pub(super) fn moved(&mut self) -> Option<Incident> {
        self.moved_at = Instant::now();
        self.told.take().map(|_| Incident::CaptureResumed)
    }

    /// There is nothing new. What to tell, if that means something.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn still(
        &mut self,
        client: &mut Client,
        config: &SqlServerConfig,
    ) -> Result<Option<Incident>, SourceError> {
        // Asking costs little, but not so little as to be done every poll of a short interval.
        let due = self
            .looked_at
            .is_none_or(|at| at.elapsed() >= config.poll_interval.max(LOOK_EVERY.min(config.silent_after)));
        if !due {
            return Ok(None);
        }
        self.looked_at = Some(Instant::now());
        let why = match self.stopped(client).await? {
            Some(why) => Some(why),
            None if self.moved_at.elapsed() >= config.silent_after => {
                let minutes = config.silent_after.as_secs_f64() / 60.0;
                let errors = self.latest_error(client).await?;
                let known = errors.map(|text| format!("; its last error is: {text}")).unwrap_or_default();
                Some(format!(
                    "the captured log has not moved for {minutes:.1} minutes, though it does every five even when nothing \
                     changes{known}"
                ))
            }
            None => None,
        };
        Ok(match (why, &self.told) {
            (Some(why), told) if told.as_ref() != Some(&why) => {
                self.told = Some(why.clone());
                Some(Incident::CaptureSilent { what: why, hint: BOTH.to_owned() })
            }
            (None, Some(_)) => {
                self.told = None;
                Some(Incident::CaptureResumed)
            }
            _ => None,
        })
    }

    /// Why nobody reads the log, where the server says so.
    async fn stopped(&mut self, client: &mut Client) -> Result<Option<String>, SourceError> {
        if let Some(rows) = self.ask(client, AGENT, &[]).await?
            && let Some(agent) = Agent::read(&rows)?
            && !agent.runs
        {
            return Ok(Some(format!("SQL Server Agent is {}, so nothing captures changes", agent.state)));
        }
        // https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/dbo-cdc-jobs-transact-sql
        let job =
            "SELECT COUNT(*) FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'capture'";
        if let Some(rows) = self.ask(client, job, &[]).await?
            && let Some(row) = rows.first()
            && row.number(0)? == 0
        {
            return Ok(Some("the database has no capture job, so nothing captures changes".to_owned()));
        }
        Ok(None)
    }

    /// The last error of the capture job, where we may see it.
    async fn latest_error(&mut self, client: &mut Client) -> Result<Option<String>, SourceError> {
        // https://learn.microsoft.com/en-us/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-errors
        let sql = "SELECT TOP (1) error_message FROM sys.dm_cdc_errors ORDER BY entry_time DESC";
        let rows = self.ask(client, sql, &[]).await?.unwrap_or_default();
        rows.first().map_or(Ok(None), |row| Ok(row.optional_text(0)?.map(str::to_owned)))
    }

    /// The answer to a question that our login may be forbidden to ask.
    async fn ask(
        &mut self,
        client: &mut Client,
        sql: &'static str,
        params: &[Param],
    ) -> Result<Option<Vec<crate::client::Answer>>, SourceError> {
        if self.forbidden.contains(&sql) {
            return Ok(None);
        }
        match client.rows("ask whether the server's capture runs", sql, params).await {
            Ok(rows) => Ok(Some(rows)),
            Err(error) if client.is_spent() => Err(error),
            Err(error) => {
                tracing::debug!(error = %error, "the capture's state cannot be asked for");
                self.forbidden.push(sql);
                Ok(None)
            }
        }
    }
}

/// How often the server is asked at the most.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
