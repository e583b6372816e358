//! The tables compared with what the dashboard was told: month by month first, then row by row where a month differs.
//!
//! Nothing of it is in the loops' way: it reads the tables on a connection of its own, and the ledger beside the thread
//! that writes it. Pages that are compared row by row carry fences, like those of a fenced copy; they count when the
//! stream has passed the last fence and the ledger has settled what was captured up to there.
//!
//! Parents are read before the rows that are joined to them, each time, and are not compared themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use change::{Days, Page, Position, Row, RowKey, Snapshot, SnapshotPlan, Source};
use chrono::{Datelike, Months, NaiveDate, Utc};
use chrono_tz::Tz;
use ledger::{
    Audit, AuditScope, MonthAudit, Rehearsal, RejectedRow, StagedPage, StagedRows, TableId, Tallies,
};
use normalizer::{Mapped, Rejection, Rows, Tables};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::ingest::{require_keys, take};
use crate::settings::CaptureSettings;
use crate::throttle::{self, Throttle};

mod desk;

use desk::{Desk, blocking};

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
    /// Its tables, and what their rows mean.
    pub tables: Arc<Tables>,
    /// The folder of the ledger.
    pub ledger_dir: PathBuf,
    /// How the tables may be read.
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
    /// Rows of the tables that cannot be mapped.
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
        let (dir, tables) = (self.ledger_dir.clone(), self.tables.clone());
        let (desk, mut table, rows) = blocking(move || {
            let desk = Audit::open(&dir, &tables)?;
            let (tallies, rows) = (desk.tallies(), desk.known_rows()?);
            Ok((desk, tallies, rows))
        })
        .await?;
        let ids = (0..).zip(self.tables.tables()).map(|(number, _)| desk.table(number)).collect();
        let (desk, reading) = (Desk::new(desk), Reading { auditor: self, ids, told });
        let read_at = Utc::now().timestamp_micros();
        let (scope, tallies) = (self.scope(), table.other_side());
        let known = desk.run(move |audit| audit.known(&scope, tallies));
        let (known, tallied) = tokio::join!(known, reading.tally(&mut table, rows));
        let (known, ()) = (known?, tallied?);
        let mut differing = table.differing(&known.tallies);
        differing.retain(|month| self.scope().covers(*month));
        let mut months = known.months_but(&differing);
        if !differing.is_empty() {
            months.extend(reading.compare_rows(&desk, &differing).await?);
        }
        let position = desk.run(Audit::captured).await?.0.map(|checkpoint| checkpoint.position);
        let desk = desk.close()?;
        Ok(Comparison { months, position, read_at, rejected_rows: table.rejected(), desk })
    }

    fn scope(&self) -> AuditScope {
        let zone = self.tables.zone();
        AuditScope {
            from_at: self.from_at,
            month: self.month,
            month_of: Box::new(move |opening_at| normalizer::month_of(opening_at, zone)),
        }
    }

    /// Waits until what was captured up to `fence` is settled.
    async fn wait_for(&self, desk: &Desk, fence: &Position) -> Result<(), PipelineError> {
        let mut stands_at = None;
        let mut since = Instant::now();
        let captured_seq = loop {
            let (position, seq, is_past) = self.captured(desk, fence).await?;
            if is_past {
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

    /// How far the log is captured, by its position and in the ledger, and whether that is past `fence`, or nothing more
    /// will come.
    async fn captured(
        &self,
        desk: &Desk,
        fence: &Position,
    ) -> Result<(Option<Position>, i64, bool), PipelineError> {
        let (checkpoint, seq) = desk.run(Audit::captured).await?;
        let position = checkpoint.map(|checkpoint| checkpoint.position);
        let covers = |position| self.source.covers(position, fence);
        let is_past = position.as_ref().map(covers).transpose()?.unwrap_or(false);
        Ok((position, seq, is_past || self.log_lost.is_cancelled()))
    }

    /// Whether what was captured up to `fence` is settled already.
    async fn has_passed(&self, desk: &Desk, fence: &Position) -> Result<bool, PipelineError> {
        let (_, seq, is_past) = self.captured(desk, fence).await?;
        Ok(is_past && desk.run(move |audit| audit.is_settled_to(seq)).await?)
    }

    /// How to read what was opened in these months in pages; everything without.
    fn paged(&self, months: Option<&BTreeSet<u32>>) -> SnapshotPlan {
        SnapshotPlan::Pages {
            // All of them are compared, or parents of what is.
            tables: (0..).zip(self.tables.tables()).map(|(number, _)| number).collect(),
            opened: months.and_then(days_of).unwrap_or_default(),
            after: None,
            rows: throttle::page_rows(self.settings.rows_per_second),
        }
    }
}

/// The reading of the tables.
struct Reading<'a, S> {
    auditor: &'a Auditor<S>,
    /// The ledger's numbers of those that are compared.
    ids: Vec<Option<TableId>>,
    told: Told<'a>,
}

impl<S: Source> Reading<'_, S> {
    /// Counts the month, or the whole tables of about `rows` rows: in one pass, or in pages where that takes too long for
    /// one transaction.
    async fn tally(&self, table: &mut Tallies, rows: u64) -> Result<(), PipelineError> {
        let (month, settings) = (self.auditor.month, &self.auditor.settings);
        let month = month.map(|month| BTreeSet::from([month]));
        let in_pages = self.auditor.paged(month.as_ref());
        let patience = settings.snapshot_max;
        if month.is_none() && throttle::time_for(rows, settings.rows_per_second) <= patience {
            let one_pass = self.tally_by(&SnapshotPlan::OnePass, table);
            if let Ok(read) = tokio::time::timeout(patience, one_pass).await {
                return read;
            }
            *table = table.other_side();
        }
        self.tally_by(&in_pages, table).await
    }

    async fn tally_by(&self, plan: &SnapshotPlan, table: &mut Tallies) -> Result<(), PipelineError> {
        let add = async |page: StagedPage| {
            table.add_page(&page);
            Ok(())
        };
        self.read(plan, "", add).await.map(|_| ())
    }

    /// Reads what was opened in these months row by row, and compares it when the stream has passed it.
    async fn compare_rows(
        &self,
        desk: &Desk,
        months: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, MonthAudit>, PipelineError> {
        // Before anything is read: what is captured from now on says more than the pages do.
        let (_, since_seq) = desk.run(Audit::captured).await?;
        let mut fence = self.keep(desk, Some(months)).await?;
        let found = self.settle_and_compare(desk, fence, (months, since_seq)).await?;
        if self.auditor.month.is_none() || found.values().all(|month| month.unknown == 0) {
            return Ok(found);
        }
        // An opening that was altered lies in a month that was not read.
        fence = self.keep(desk, None).await?;
        self.settle_and_compare(desk, fence, (months, since_seq)).await
    }

    /// Keeps pages of what was opened in these months, or of everything, and returns the fence of the last one.
    async fn keep(
        &self,
        desk: &Desk,
        months: Option<&BTreeSet<u32>>,
    ) -> Result<Option<Position>, PipelineError> {
        let plan = self.auditor.paged(months);
        let months = months.map(|months| Arc::new(months.clone()));
        let store = async |page: StagedPage| {
            let months = months.clone();
            desk.run(move |audit| audit.keep(&page, months.as_deref())).await
        };
        match self.read(&plan, "months that differ", store).await? {
            Some(fence) => Ok(Some(fence)),
            // Nothing was found: the moment of that is not told, and any page's comes after it.
            None => {
                let mut snapshot = self.auditor.source.snapshot(&self.auditor.paged(None)).await?;
                Ok(snapshot.next_page().await?.and_then(|page| page.fence))
            }
        }
    }

    async fn settle_and_compare(
        &self,
        desk: &Desk,
        fence: Option<Position>,
        (months, since_seq): (&BTreeSet<u32>, i64),
    ) -> Result<BTreeMap<u32, MonthAudit>, PipelineError> {
        let compare = async || {
            let (months, scope) = (months.clone(), self.auditor.scope());
            desk.run(move |audit| audit.compare(&scope, &months, since_seq)).await
        };
        let Some(fence) = fence else { return compare().await };
        if !self.auditor.has_passed(desk, &fence).await? {
            // Two sides that say the same do so whatever the log has still to tell, which on a quiet server takes minutes.
            let found = compare().await?;
            if found.values().all(|month| month.missing + month.different + month.unknown == 0) {
                return Ok(found);
            }
            (self.told)(0, "waits until the log is captured up to here");
            self.auditor.wait_for(desk, &fence).await?;
        }
        compare().await
    }

    /// Reads the tables by `plan`, to the end that `doing` tells, and returns the last page's fence.
    async fn read(
        &self,
        plan: &SnapshotPlan,
        doing: &str,
        mut take: impl AsyncFnMut(StagedPage) -> Result<(), PipelineError>,
    ) -> Result<Option<Position>, PipelineError> {
        let Auditor { source, tables, settings, .. } = self.auditor;
        let joins = !tables.mirrors().is_empty();
        let mut parents = if joins { Some(Rehearsal::new(tables.clone())?) } else { None };
        let mut snapshot = source.snapshot(plan).await?;
        let mut throttle = Throttle::new(settings.rows_per_second);
        let moment = Utc::now().timestamp_micros();
        let (mut scanned, mut fence) = (0, None);
        while let Some(page) = snapshot.next_page().await? {
            require_keys(tables, &page)?;
            let rows = page.rows.len();
            fence = page.fence.clone().or(fence);
            if let Some(staged) = self.staged(parents.as_mut(), page, moment)? {
                take(staged).await?;
            }
            scanned += rows as u64;
            (self.told)(scanned, doing);
            throttle.keep(rows).await;
        }
        Ok(fence)
    }

    /// A page as it is compared, its rows joined to their parents; nothing for a table that is only a parent.
    fn staged(
        &self,
        parents: Option<&mut Rehearsal>,
        page: Page,
        at: i64,
    ) -> Result<Option<StagedPage>, PipelineError> {
        let tables = &self.auditor.tables;
        let joined = match parents {
            Some(parents) => {
                parents.learn(&page)?;
                let is_joined = tables.table(page.table).is_some_and(normalizer::Table::is_joined);
                if is_joined { Some(parents.join(&page)?) } else { None }
            }
            None => None,
        };
        let mapped = tables.table(page.table).and_then(|table| table.mapped.as_ref());
        let id = self.ids.get(usize::from(page.table)).copied().flatten();
        let Some((mapped, table)) = mapped.zip(id) else { return Ok(None) };
        let mut staged = StagedPage { table, at, ..StagedPage::default() };
        staged.rows = StagedRows::with_capacity(page.rows.len());
        match joined {
            Some(joined) => {
                let keys = page.rows.into_iter().map(|(_, key)| key);
                stage_joined(&mut staged, (mapped, tables.zone()), joined.into_iter().zip(keys));
            }
            None => {
                let rows = page.rows.into_iter();
                rows.for_each(|(row, key)| take(&mut staged, (&mapped.mapping, tables.zone()), &row, key));
            }
        }
        Ok(Some(staged))
    }
}

/// Adds joined rows as their mapping reads them; one without its parent cannot be mapped.
fn stage_joined(
    staged: &mut StagedPage,
    (mapped, zone): (&Mapped, Tz),
    rows: impl Iterator<Item = (Result<Row, Rejection>, Option<RowKey>)>,
) {
    for (row, row_key) in rows {
        match row {
            Ok(row) => take(staged, (&mapped.mapping, zone), &row, row_key),
            Err(rejection) => staged.rejected.push(RejectedRow {
                table: staged.table,
                code: rejection.code,
                reason: rejection.reason,
                request: rejection.request,
                row_key: row_key.filter(|_| mapped.mapping.rows() == Rows::History),
                // Nobody asks for it.
                row: String::new(),
                position: None,
                at: staged.at,
            }),
        }
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
