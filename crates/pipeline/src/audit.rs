//! The table compared with what the dashboard was told: month by month first, then row by row where a month differs.
//!
//! Nothing of it is in the loops' way: it reads the table on a connection of its own, and the ledger beside the thread
//! that writes it. Pages that are compared row by row carry fences, like those of a fenced copy; they count when the
//! stream has passed the last fence and the ledger has settled what was captured up to there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use change::{Days, Position, Snapshot, SnapshotPlan, Source};
use chrono::{Datelike, Months, NaiveDate, Utc};
use ledger::{Audit, AuditScope, LedgerError, MonthAudit, StagedPage, Tallies};
use normalizer::Mapping;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::ingest::{month_of, require_keys, stage};
use crate::settings::CaptureSettings;
use crate::throttle::{self, Throttle};

/// How often the ledger is asked how far it is.
const CHECK: Duration = Duration::from_millis(25);

/// How long the capture may stand still before the fence it has to pass: the quietest gives a sign of life every five
/// minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// Years in which every engine's every kind of day can be compared with another; months outside are read with all
/// others.
const YEARS: std::ops::RangeInclusive<i32> = 1901..=2077;

/// Days by which any two zones differ.
const ZONES_DAYS: i32 = 2;

/// What an audit needs.
pub struct Auditor<S> {
    /// The database.
    pub source: S,
    /// What its rows mean.
    pub mapping: Arc<Mapping>,
    /// The folder of the ledger.
    pub ledger_dir: PathBuf,
    /// How the table may be read, and in which zone days are days.
    pub settings: CaptureSettings,
    /// Openings before this moment, in microseconds since the epoch, are nobody's business.
    pub from_at: i64,
    /// The only month of openings, as yyyymm.
    pub month: Option<u32>,
    /// Cancelled when nobody captures, because the log was lost: then there is nothing to wait for.
    pub log_lost: CancellationToken,
}

/// What came of an audit.
pub struct Comparison {
    /// By month of opening as yyyymm.
    pub months: BTreeMap<u32, MonthAudit>,
    /// The log's position that it is as of.
    pub position: Option<Position>,
    /// When the table was read, in microseconds since the epoch.
    pub read_at: i64,
    /// Rows of the table that cannot be mapped.
    pub rejected_rows: u64,
    /// Where the differences are.
    pub desk: Audit,
}

/// How far an audit has come.
pub type Told<'a> = &'a (dyn Fn(u64, &str) + Send + Sync);

impl<S: Source> Auditor<S> {
    /// Compares. `told` hears of the rows that were read, and to what end.
    ///
    /// # Errors
    /// When the database or the ledger cannot be read, and when the capture stands still before the moment at which the
    /// table was read.
    pub async fn compare(&self, told: Told<'_>) -> Result<Comparison, PipelineError> {
        let dir = self.ledger_dir.clone();
        let (desk, is_history, rows) = blocking(move || {
            let desk = Audit::open(&dir)?;
            let (is_history, rows) = (desk.is_history(), desk.known_rows()?);
            Ok((Desk::new(desk), is_history, rows))
        })
        .await?;
        let read_at = Utc::now().timestamp_micros();
        let mut table = Tallies::new(is_history);
        let (scope, tallies) = (self.scope(), table.other_side());
        let known = desk.run(move |audit| audit.known(&scope, tallies));
        let (known, tallied) = tokio::join!(known, self.tally(&mut table, rows, told));
        let (known, ()) = (known?, tallied?);
        let mut differing = table.differing(&known.tallies);
        differing.retain(|month| self.scope().covers(*month));
        let mut months = known.months_but(&differing);
        if !differing.is_empty() {
            months.extend(self.compare_rows(&desk, &differing, told).await?);
        }
        let position = desk.run(Audit::captured).await?.0.map(|checkpoint| checkpoint.position);
        let desk = desk.close()?;
        Ok(Comparison { months, position, read_at, rejected_rows: table.rejected(), desk })
    }

    fn scope(&self) -> AuditScope {
        let zone = self.settings.zone;
        AuditScope {
            from_at: self.from_at,
            month: self.month,
            deletion_status: self.mapping.deletion_status(),
            month_of: Box::new(move |opening_at| month_of(opening_at, zone)),
        }
    }

    /// Counts the month, or the whole table of about `rows` rows: in one pass, or in pages where that takes too long for
    /// one transaction.
    async fn tally(&self, table: &mut Tallies, rows: u64, told: Told<'_>) -> Result<(), PipelineError> {
        let month = self.month.map(|month| BTreeSet::from([month]));
        let in_pages = self.paged(month.as_ref());
        let patience = self.settings.snapshot_max;
        if month.is_none() && throttle::time_for(rows, self.settings.rows_per_second) <= patience {
            let one_pass = self.tally_by(&SnapshotPlan::OnePass, table, told);
            if let Ok(read) = tokio::time::timeout(patience, one_pass).await {
                return read;
            }
            *table = table.other_side();
        }
        self.tally_by(&in_pages, table, told).await
    }

    async fn tally_by(
        &self,
        plan: &SnapshotPlan,
        table: &mut Tallies,
        told: Told<'_>,
    ) -> Result<(), PipelineError> {
        let add = async |page: StagedPage| {
            table.add_page(&page);
            Ok(())
        };
        self.read(plan, told, add).await.map(|_| ())
    }

    /// Reads what was opened in these months row by row, and compares it when the stream has passed it.
    async fn compare_rows(
        &self,
        desk: &Desk,
        months: &BTreeSet<u32>,
        told: Told<'_>,
    ) -> Result<BTreeMap<u32, MonthAudit>, PipelineError> {
        // Before anything is read: what is captured from now on says more than the pages do.
        let (_, since_seq) = desk.run(Audit::captured).await?;
        let mut fence = self.keep(desk, self.paged(Some(months)), Some(months), told).await?;
        let found = self.settle_and_compare(desk, fence, (months, since_seq), told).await?;
        if self.month.is_none() || found.values().all(|month| month.unknown == 0) {
            return Ok(found);
        }
        // An opening that was altered lies in a month that was not read.
        fence = self.keep(desk, self.paged(None), None, told).await?;
        self.settle_and_compare(desk, fence, (months, since_seq), told).await
    }

    /// Keeps pages of the table, and returns the fence of the last one.
    async fn keep(
        &self,
        desk: &Desk,
        plan: SnapshotPlan,
        months: Option<&BTreeSet<u32>>,
        told: Told<'_>,
    ) -> Result<Option<Position>, PipelineError> {
        let months = months.map(|months| Arc::new(months.clone()));
        let store = async |page: StagedPage| {
            let months = months.clone();
            desk.run(move |audit| audit.keep(&page, months.as_deref())).await
        };
        match self.read(&plan, told, store).await? {
            Some(fence) => Ok(Some(fence)),
            // Nothing was found: the moment of that is not told, and any page's comes after it.
            None => {
                let any = SnapshotPlan::Pages { after: None, rows: 1 };
                let mut snapshot = self.source.snapshot(&any).await?;
                Ok(snapshot.next_page().await?.and_then(|page| page.fence))
            }
        }
    }

    async fn settle_and_compare(
        &self,
        desk: &Desk,
        fence: Option<Position>,
        (months, since_seq): (&BTreeSet<u32>, i64),
        told: Told<'_>,
    ) -> Result<BTreeMap<u32, MonthAudit>, PipelineError> {
        let compare = async || {
            let (months, scope) = (months.clone(), self.scope());
            desk.run(move |audit| audit.compare(&scope, &months, since_seq)).await
        };
        // Two sides that say the same do so whatever the log has still to tell, which on a quiet server takes minutes.
        let found = compare().await?;
        match fence {
            Some(fence)
                if found.values().any(|month| month.missing + month.different + month.unknown > 0) =>
            {
                told(0, "waits until the log is captured up to here");
                self.wait_for(desk, &fence).await?;
                compare().await
            }
            _ => Ok(found),
        }
    }

    /// Waits until what was captured up to `fence` is settled.
    async fn wait_for(&self, desk: &Desk, fence: &Position) -> Result<(), PipelineError> {
        let mut stands_at = None;
        let mut since = Instant::now();
        let captured_seq = loop {
            let (checkpoint, seq) = desk.run(Audit::captured).await?;
            let position = checkpoint.map(|checkpoint| checkpoint.position);
            let is_past = match &position {
                Some(position) => self.source.covers(position, fence)?,
                None => false,
            };
            if is_past || self.log_lost.is_cancelled() {
                break seq;
            }
            if position != stands_at {
                stands_at = position;
                since = Instant::now();
            }
            if since.elapsed() > PATIENCE {
                return Err(PipelineError::refused(
                    format!(
                        "the capture has stood still before {fence}, where the log was when the table was read"
                    ),
                    "see in `bitacora status` why nothing is captured, and run the audit again",
                ));
            }
            tokio::time::sleep(CHECK).await;
        };
        while !desk.run(move |audit| audit.is_settled_to(captured_seq)).await? {
            tokio::time::sleep(CHECK).await;
        }
        Ok(())
    }

    /// Reads the table by `plan`, and returns the last page's fence.
    async fn read(
        &self,
        plan: &SnapshotPlan,
        told: Told<'_>,
        mut take: impl AsyncFnMut(StagedPage) -> Result<(), PipelineError>,
    ) -> Result<Option<Position>, PipelineError> {
        let mut snapshot = self.source.snapshot(plan).await?;
        let mut throttle = Throttle::new(self.settings.rows_per_second);
        let moment = Utc::now().timestamp_micros();
        let doing = match plan {
            SnapshotPlan::Opened { .. } => "months that differ",
            SnapshotPlan::OnePass | SnapshotPlan::Pages { .. } => "",
        };
        let (mut scanned, mut fence) = (0, None);
        while let Some(page) = snapshot.next_page().await? {
            require_keys(&self.mapping, &page)?;
            let rows = page.rows.len();
            let page = stage(&self.mapping, page, moment, self.settings.zone);
            fence = page.fence.clone().or(fence);
            take(page).await?;
            scanned += rows as u64;
            told(scanned, doing);
            throttle.keep(rows).await;
        }
        Ok(fence)
    }

    /// How to read what was opened in these months in pages; everything without.
    fn paged(&self, months: Option<&BTreeSet<u32>>) -> SnapshotPlan {
        let rows = throttle::page_rows(self.settings.rows_per_second);
        match months.and_then(days_of) {
            Some(days) => SnapshotPlan::Opened { days, rows },
            None => SnapshotPlan::Pages { after: None, rows },
        }
    }
}

/// The audit's tables, for use by one after the other.
struct Desk(Arc<Mutex<Audit>>);

impl Desk {
    fn new(audit: Audit) -> Self {
        Self(Arc::new(Mutex::new(audit)))
    }

    async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Audit) -> Result<R, LedgerError> + Send + 'static,
    ) -> Result<R, PipelineError> {
        let audit = self.0.clone();
        blocking(move || work(&audit.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    fn close(self) -> Result<Audit, PipelineError> {
        let audit = Arc::into_inner(self.0).and_then(|audit| audit.into_inner().ok());
        audit.ok_or_else(|| PipelineError::internal("the audit's tables are still in use"))
    }
}

/// The days that these months may be in any zone, as few spans as there can be; `None` when a month is not one that
/// every database can write.
fn days_of(months: &BTreeSet<u32>) -> Option<Vec<Days>> {
    let mut spans: Vec<Days> = Vec::new();
    for month in months {
        let year = i32::try_from(month / 100).ok().filter(|year| YEARS.contains(year))?;
        let first = NaiveDate::from_ymd_opt(year, month % 100, 1)?;
        let end = first.checked_add_months(Months::new(1))?;
        let epoch = NaiveDate::default().num_days_from_ce();
        let number = |day: NaiveDate| day.num_days_from_ce() - epoch;
        let days = Days { first: number(first) - ZONES_DAYS, end: number(end) + ZONES_DAYS };
        match spans.last_mut().filter(|last| last.end >= days.first) {
            Some(last) => last.end = days.end,
            None => spans.push(days),
        }
    }
    Some(spans)
}

/// Runs what blocks on a thread that may.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, LedgerError> + Send + 'static,
) -> Result<R, PipelineError> {
    let ended = tokio::task::spawn_blocking(work).await;
    Ok(ended.map_err(|error| PipelineError::internal(format!("compare with the ledger: {error}")))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_that_touch_are_read_as_one_span() {
        let days = |months: &[u32]| days_of(&months.iter().copied().collect());
        let span = |first, end| Days { first, end };
        assert_eq!(days(&[197_001]), Some(vec![span(-2, 33)]));
        assert_eq!(days(&[197_001, 197_002, 197_012]), Some(vec![span(-2, 61), span(332, 367)]));
        assert_eq!(days(&[]), Some(Vec::new()));
        for odd in [0, 197_000, 197_013, 207_801, 999_912] {
            assert_eq!(days(&[197_001, odd]), None, "{odd}");
        }
    }
}
