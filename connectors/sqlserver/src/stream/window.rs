//! Windows of the captured log: whole transactions, a bounded number of them.

use change::SourceError;

use crate::client::{Client, Param};
use crate::clock::Clock;
use crate::identity::lost;
use crate::instance::{Instance, too_late};
use crate::lsn::Lsn;

/// Transactions in a window. All captured tables of the database count.
pub(super) const TRANSACTIONS_MAX: usize = 1000;

/// Some transactions that follow a position.
#[derive(Debug)]
pub(super) struct Window {
    /// The last of them.
    pub(super) to: Lsn,
    /// Whether there may be more.
    pub(super) full: bool,
    /// When each committed, in microseconds since the epoch, in log order.
    times: Vec<(Lsn, i64)>,
}

impl Window {
    /// The window that follows `from`; `None` when nothing does.
    ///
    /// `cdc.lsn_time_mapping` gets a row for each captured transaction in the transaction of the capture job that fills the
    /// change tables, so that what it lists can be read there; and one for every few minutes in which there was
    /// nothing to capture
    /// (<https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/about-change-data-capture-sql-server#capture-process>).
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(super) async fn after(
        client: &mut Client,
        clock: &Clock,
        from: Lsn,
    ) -> Result<Option<Self>, SourceError> {
        let sql = format!(
            "SELECT TOP (@P1) start_lsn, {} FROM cdc.lsn_time_mapping WHERE start_lsn > CAST(@P2 AS binary(10)) \
             ORDER BY start_lsn",
            clock.select("tran_end_time")
        );
        let most = i64::try_from(TRANSACTIONS_MAX).unwrap_or(i64::MAX);
        let rows =
            client.rows("ask what was captured", &sql, &[Param::from(most), Param::from(from)]).await?;
        let mut times = Vec::with_capacity(rows.len());
        for row in &rows {
            let lsn = row.optional_lsn(0)?.ok_or_else(|| row.unexpected(0, "a log sequence number"))?;
            times.push((lsn, clock.read(row, 1)?));
        }
        let full = rows.len() >= TRANSACTIONS_MAX;
        Ok(times.last().map(|(to, _)| *to).map(|to| Self { to, full, times }))
    }

    /// When a transaction of the window committed.
    pub(super) fn committed_at(&self, lsn: Lsn) -> i64 {
        // Each has its row; if one had not, the next would be the nearest.
        let at = self.times.partition_point(|(known, _)| *known < lsn);
        self.times.get(at).or(self.times.last()).map_or(0, |(_, moment)| *moment)
    }
}

/// Whether the instance still keeps everything that follows `from`.
///
/// A clean-up moves the low end first, for all instances at once, and deletes afterwards. So what was read is whole if the
/// low end has not passed `from` when it is looked at *after* reading; looked at before only, it could have moved and
/// rows could have gone while they were being read
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/administer-and-monitor-change-data-capture-sql-server#cleanup-job>).
///
/// # Errors
/// [`change::SourceErrorKind::LostLog`] when it does not.
pub(super) async fn expect_kept(
    client: &mut Client,
    instance: &Instance,
    from: Lsn,
) -> Result<(), SourceError> {
    let sql = "SELECT start_lsn FROM cdc.change_tables WHERE object_id = @P1";
    let rows = client
        .rows("look at the change table's low end once more", sql, &[Param::from(instance.object_id)])
        .await?;
    let Some(row) = rows.first() else {
        return Err(dropped(instance));
    };
    let now = Instance { low: row.optional_lsn(0)?, ..instance.clone() };
    if now.covers(from) { Ok(()) } else { Err(too_late(&now, from)) }
}

/// The error for an instance that went away while it was being read: what is left is found out when the stream opens
/// anew.
pub(super) fn dropped(instance: &Instance) -> SourceError {
    let context = format!("capture instance \"{}\" was dropped while it was being read", instance.name);
    SourceError::new(change::SourceErrorKind::Busy, context)
        .with_hint("the stream goes on with another instance of the table where there is one")
}

/// Whether definitions of the table were altered within the window.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn altered(
    client: &mut Client,
    source: i64,
    (from, to): (Lsn, Lsn),
) -> Result<bool, SourceError> {
    let sql = "SELECT TOP (1) ddl_lsn FROM cdc.ddl_history WHERE source_object_id = @P1 \
               AND ddl_lsn > CAST(@P2 AS binary(10)) AND ddl_lsn <= CAST(@P3 AS binary(10))";
    let params = [Param::from(source), Param::from(from), Param::from(to)];
    Ok(!client.rows("ask whether the table was altered", sql, &params).await?.is_empty())
}

/// The error for a captured log that ends before our position.
pub(super) fn ends_before(end: Option<Lsn>, from: Lsn) -> SourceError {
    match end {
        Some(end) => lost(format!(
            "the captured log ends at {end}, before the checkpoint {from}: the database was restored from an older copy"
        )),
        None => lost(format!(
            "nothing was captured yet, and the checkpoint is {from}: capture was disabled and enabled again"
        )),
    }
}
