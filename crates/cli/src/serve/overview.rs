//! What the page shows beyond the status: read from the ledger beside the daemon's own work, and not too often.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{
    BackfillMonth, FlushKind, FlushRow, LedgerError, LedgerReader, LifeEvent, QuarantineKind, Queries,
};
use tokio::sync::Mutex;

/// Counting a large delta takes a second, so many visitors share one count.
const FRESH_FOR: Duration = Duration::from_secs(4);

/// Flushes that the chart shows.
pub(super) const FLUSHES: usize = 30;

/// Newest flushes that are looked through for those of the delta: backfills run now and then.
const FLUSHES_READ: u32 = 200;

const REASONS_MAX: u32 = 20;

/// Of one request so many events are shown.
const EVENTS_MAX: usize = 500;

/// Details of delta, flushes, backfill and quarantine.
#[derive(Debug, Default)]
pub(super) struct Overview {
    pub(super) by_service: BTreeMap<String, u64>,
    pub(super) by_status: BTreeMap<u8, u64>,
    /// Of the delta, oldest first.
    pub(super) flushes: Vec<FlushRow>,
    pub(super) months: Vec<BackfillMonth>,
    pub(super) reasons: Vec<(QuarantineKind, String, u64)>,
}

impl Overview {
    fn read(ledger: &Queries) -> Result<Self, LedgerError> {
        let mut flushes: Vec<FlushRow> = ledger
            .flushes(FLUSHES_READ)?
            .into_iter()
            .filter(|flush| flush.kind == FlushKind::Delta)
            .take(FLUSHES)
            .collect();
        flushes.reverse();
        Ok(Self {
            by_service: ledger.delta_by_service()?,
            by_status: ledger.delta_by_status()?,
            flushes,
            months: ledger.backfill_months()?,
            reasons: ledger.quarantine_reasons(REASONS_MAX)?,
        })
    }
}

/// Reads the ledger for the page, one question at a time: visitors must not slow the daemon down.
pub(super) struct Archive {
    dir: PathBuf,
    latest: Mutex<Option<(Instant, Arc<Overview>)>>,
    one_at_a_time: Mutex<()>,
}

impl Archive {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, latest: Mutex::default(), one_at_a_time: Mutex::default() }
    }

    /// The details as of a few seconds ago at most; a ledger that cannot be read has none.
    pub(super) async fn overview(&self) -> Arc<Overview> {
        let mut latest = self.latest.lock().await;
        if let Some((_, overview)) = latest.as_ref().filter(|(at, _)| at.elapsed() < FRESH_FOR) {
            return overview.clone();
        }
        let overview = Arc::new(self.ask(Overview::read).await.unwrap_or_else(|error| {
            tracing::debug!("the page's details cannot be read: {error}");
            Overview::default()
        }));
        *latest = Some((Instant::now(), overview.clone()));
        overview
    }

    /// The life of one request, its first events.
    pub(super) async fn life(&self, request_id: String) -> Result<Vec<LifeEvent>, String> {
        let _turn = self.one_at_a_time.lock().await;
        let mut life = self.ask(move |ledger| ledger.explain(&request_id)).await?;
        life.truncate(EVENTS_MAX);
        Ok(life)
    }

    async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Queries) -> Result<R, LedgerError> + Send + 'static,
    ) -> Result<R, String> {
        let dir = self.dir.clone();
        let asked = tokio::task::spawn_blocking(move || question(LedgerReader::open(&dir)?.queries())).await;
        asked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use ledger::{FlushResult, Ledger};

    use super::*;

    #[test]
    fn the_newest_flushes_come_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path(), "test").unwrap();
        assert_eq!(ledger.last_acknowledged_at().unwrap(), None);
        for at in 0..40 {
            let flush = ledger.start_flush(FlushKind::Delta, false, at).unwrap();
            let result = if at == 39 { FlushResult::Failed } else { FlushResult::Acknowledged };
            ledger.finish_flush(flush.id, result, None, at + 100).unwrap();
        }
        let flushes = Overview::read(&ledger).unwrap().flushes;
        let begun: Vec<i64> = flushes.iter().map(|flush| flush.started_at).collect();
        assert_eq!(begun, (10..40).collect::<Vec<_>>());
        assert_eq!(ledger.last_acknowledged_at().unwrap(), Some(138));
    }
}
