//! How much longer the server keeps the changes that follow a position.
//!
//! The clean-up job deletes what committed longer ago than its setting says, counted back from the last captured commit
//! (<https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/administer-and-monitor-change-data-capture-sql-server#cleanup-job>).

use std::time::Duration;

use change::{Retention, Scope, SourceError};

use crate::catalog;
use crate::client::{Client, Param};
use crate::config::SqlServerConfig;
use crate::instance;
use crate::jobs;
use crate::lsn::Lsn;

/// How much longer what follows `at` is kept of all tables.
///
/// Where no instance of one reaches back to it, not everything is: the time left is zero.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn retention(
    config: &SqlServerConfig,
    scope: &Scope,
    at: Lsn,
) -> Result<Retention, SourceError> {
    let mut client = Client::open(config).await?;
    for table in catalog::tables(&mut client, scope).await? {
        let instances = instance::list(&mut client, &table).await?;
        if !instances.iter().any(|instance| instance.covers(at)) {
            return Ok(Retention { left: Some(Duration::ZERO), kept_bytes: None });
        }
    }
    let jobs = jobs::jobs(&mut client).await?;
    let Some(minutes) = jobs.told().and_then(|jobs| jobs.keeps_minutes) else {
        return Ok(Retention::default());
    };
    // The age of the first commit that was not read, as the clean-up counts it.
    let sql = "SELECT DATEDIFF(second, MIN(CASE WHEN start_lsn > CAST(@P1 AS binary(10)) THEN tran_end_time END), \
               MAX(tran_end_time)) FROM cdc.lsn_time_mapping";
    let rows = client.rows("ask for the age of what follows the position", sql, &[Param::from(at)]).await?;
    let age = rows.first().map(|row| row.optional_number(0)).transpose()?.flatten().unwrap_or_default();
    Ok(Retention { left: Some(left(minutes, age)), kept_bytes: None })
}

fn left(keeps_minutes: i64, age_seconds: i64) -> Duration {
    let seconds = keeps_minutes.saturating_mul(60).saturating_sub(age_seconds);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_clean_up_keeps_has_no_time_left() {
        assert_eq!(left(60, 600), Duration::from_secs(3000));
        assert_eq!(left(60, 4000), Duration::ZERO);
        assert_eq!(left(i64::MAX, 0), Duration::from_secs(i64::MAX as u64));
    }
}
