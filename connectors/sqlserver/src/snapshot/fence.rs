//! Fences: places in the log that surely come after everything that a page shows.
//!
//! A page shows what is committed. The change tables lag behind: what a page shows may be captured seconds later, and
//! the end of what *was captured* when the page had been read says nothing about that. So a fence must be a place in the
//! log itself, or a place of which the capture has made sure by going past it.
//!
//! 1. Where our login may see it (`VIEW SERVER STATE`, on Azure `VIEW DATABASE STATE`), from 2016 SP2 on, the log's own end
//!    is asked for after the page was read. A commit has its number before anybody sees what it did, so that no change
//!    on the page has a larger one
//!    (<https://learn.microsoft.com/en-us/sql/relational-databases/system-dynamic-management-views/sys-dm-db-log-stats-transact-sql>).
//!    That would not hold with delayed durability, which a database that captures must not have
//!    (<https://learn.microsoft.com/en-us/sql/relational-databases/logs/control-transaction-durability>).
//! 2. Else the server's time is asked for after the page was read, and the page waits until a transaction that committed
//!    later has been captured. The capture goes through the log in order, and a commit gets its time before its
//!    number: all that the page shows was captured before that one. A sign of life that belongs to no transaction has
//!    the time at which it was written, and no place in the log of its own; it counts a minute later. The fence is the
//!    captured end at that moment. An hour that the server's clock shows twice makes the wait longer; a capture that
//!    lags by most of such an hour while a copy is being made could cut it short, which is why the first way is the one that
//!    `bitacora setup` grants the right for.

use change::{Position, SourceError, SourceErrorKind};

use crate::client::{Client, Param};
use crate::config::SqlServerConfig;
use crate::identity::captured_end;
use crate::lsn::Lsn;

/// Milliseconds by which a captured transaction must be younger than the page: far more than passes between its getting
/// a time and a number, and than a `datetime` is rounded by.
const LATER: i64 = 1000;
/// The same for a sign of life, and wherever the times are of two clocks: a replica's, and its primary's.
const MUCH_LATER: i64 = 60_000;

/// How fences are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the log's end.
    LogEnd,
    /// From the time, once the capture has gone past it.
    Time,
}

/// A moment that the capture has to go past.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    captured: Lsn,
    time: String,
}

impl Way {
    /// Finds out which way is open to our login.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn find(client: &mut Client) -> Result<Self, SourceError> {
        match log_end(client).await {
            Ok(_) => Ok(Self::LogEnd),
            Err(error) if client.is_spent() => Err(error),
            Err(error) => {
                tracing::info!(
                    "pages of the table wait until the capture has gone past them, because the log's end cannot be asked \
                     for: {error}"
                );
                Ok(Self::Time)
            }
        }
    }
}

/// The log's end.
///
/// # Errors
/// When our login may not ask, on servers before 2016 SP2, and on a replica, which does not know.
pub(crate) async fn log_end(client: &mut Client) -> Result<Position, SourceError> {
    let context = "ask where the log ends";
    let rows = client.rows(context, "SELECT log_end_lsn FROM sys.dm_db_log_stats(DB_ID())", &[]).await?;
    let end: Option<Lsn> = match rows.first() {
        Some(row) => row.optional_text(0)?.and_then(|text| text.parse().ok()),
        None => None,
    };
    end.map(Lsn::to_position).ok_or_else(|| {
        SourceError::new(
            SourceErrorKind::Protocol,
            format!("{context}: the answer is no log sequence number"),
        )
    })
}

/// The present moment, by the server's clock.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn now(client: &mut Client) -> Result<Moment, SourceError> {
    let captured = captured_end(client).await?.unwrap_or_default();
    let rows =
        client.rows("ask for the server's time", "SELECT CONVERT(nvarchar(30), GETDATE(), 126)", &[]).await?;
    match rows.first() {
        Some(row) => Ok(Moment { captured, time: row.text(0)? }),
        None => Err(SourceError::new(SourceErrorKind::Protocol, "ask for the server's time: no answer")),
    }
}

/// Waits until the capture has gone past `moment`, and returns the captured end.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn passed(
    client: &mut Client,
    config: &SqlServerConfig,
    moment: &Moment,
) -> Result<Position, SourceError> {
    let sql = "SELECT TOP (1) start_lsn FROM cdc.lsn_time_mapping WHERE start_lsn > CAST(@P1 AS binary(10)) \
               AND tran_end_time > DATEADD(millisecond, CASE WHEN tran_id = 0x00 THEN @P3 ELSE @P2 END, \
               CONVERT(datetime, @P4, 126)) ORDER BY start_lsn DESC";
    let later = if config.read_only { MUCH_LATER } else { LATER };
    let params = [
        Param::from(moment.captured),
        Param::from(later),
        Param::from(MUCH_LATER),
        Param::from(moment.time.as_str()),
    ];
    loop {
        let rows = client.rows("wait until the capture has gone past a page", sql, &params).await?;
        if let Some(row) = rows.first()
            && let Some(end) = row.optional_lsn(0)?
        {
            return Ok(end.to_position());
        }
        tokio::time::sleep(config.poll_interval).await;
    }
}
