//! The stream into the ledger: read, normalize, commit, then acknowledge; and fences passed on the way.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use change::{Batch, ChangeStream, Incident, Operation, Position, Source};
use chrono::Utc;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use ledger::{CopyKind, Unfinished};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::capture::Capture;
use crate::copier::{WaitingPage, places};
use crate::error::PipelineError;
use crate::health::SourceState;
use crate::ingest::{ingest, lacks_key};
use crate::ledger_thread::Stored;
use crate::upkeep::settle_all;

/// Captured batches that may wait for their commit. Reading goes on meanwhile; this bounds memory.
const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// The engine's own capture does not run; a stream that opens finds out anew.
const CAPTURE_SILENT: &str = "capture_silent";

/// What is known of a batch when it has become durable.
struct Durable {
    position: Option<Position>,
    committed_at: Option<i64>,
    caught_up: bool,
    /// The size of the ledger with it.
    ledger_bytes: u64,
}

type InFlight =
    FuturesOrdered<std::pin::Pin<Box<dyn Future<Output = Result<Durable, PipelineError>> + Send>>>;

/// A fenced copy that goes on beside the stream.
struct FencedCopy {
    copy: Unfinished,
    pages: mpsc::Receiver<WaitingPage>,
    places: Arc<Semaphore>,
    reader: JoinSet<Result<(), PipelineError>>,
    waiting: VecDeque<WaitingPage>,
    all_read: bool,
}

/// One opened stream, pumped into the ledger.
pub(crate) struct Pump<'a, S: Source> {
    capture: &'a Capture<S>,
    stream: S::Stream,
    in_flight: InFlight,
    fenced: Option<FencedCopy>,
    /// How far this stream has come.
    reached: Option<Position>,
    /// Whether the engine's own capture was told to be silent.
    silent: bool,
}

impl<'a, S: Source> Pump<'a, S> {
    pub(crate) fn new(capture: &'a Capture<S>, stream: S::Stream) -> Self {
        Self { capture, stream, in_flight: FuturesOrdered::new(), fenced: None, reached: None, silent: false }
    }

    /// Pumps until the stream or the ledger fails.
    pub(crate) async fn run(mut self) -> Result<(), PipelineError> {
        self.resume_fenced_copy().await?;
        self.show_state();
        self.capture.health.clear(CAPTURE_SILENT);
        let mut room = self.capture.room.watch();
        loop {
            let may_read = self.in_flight.len() < BATCHES_IN_FLIGHT_MAX && *room.borrow();
            tokio::select! {
                biased;
                Some(durable) = self.in_flight.next() => self.acknowledge(durable?)?,
                page = next_page(&mut self.fenced) => self.page_arrived(page).await?,
                () = self.capture.copy_asked.notified() => self.resume_fenced_copy().await?,
                _ = room.changed() => {}
                batch = self.stream.next(), if may_read => self.take(batch?).await?,
            }
        }
    }

    /// Stores a batch and passes the fences that it has reached, in this order in the ledger's queue.
    async fn take(&mut self, batch: Batch) -> Result<(), PipelineError> {
        for incident in &batch.incidents {
            self.tell(incident);
        }
        let position = batch.position.clone();
        let facts = (batch.changes.last().map(|change| change.transaction.committed_at), batch.caught_up);
        let declared = self.capture.declared.borrow().clone();
        let tables = declared.tables();
        let mut inserted = batch.changes.iter().filter(|change| change.operation != Operation::Delete);
        if inserted.any(|change| lacks_key(tables.table(change.table), change.key.as_ref())) {
            return Err(PipelineError::no_key());
        }
        let ingest = ingest(&declared, batch, Utc::now().timestamp_micros());
        let rejected = ingest.rejected.len();
        let durable = self.capture.ledger.append(ingest).await?;
        self.in_flight.push_back(Box::pin(wait_durable(durable, position.clone(), facts)));
        if rejected > 0 {
            tracing::warn!(rows = rejected, "rows could not be mapped and went to quarantine");
        }
        if position.is_some() {
            self.reached = position;
        }
        self.pass_fences().await
    }

    /// Tells the operator what happened to the table or its log as a whole.
    fn tell(&mut self, incident: &Incident) {
        let health = &self.capture.health;
        match incident {
            Incident::Truncated { table, position, .. } => {
                let declared = self.capture.declared.borrow().clone();
                let name = declared.tables().table(*table).map_or("", |table| table.name.as_str());
                let what = format!(
                    "table {name} was truncated at {position}: nothing is sent for the rows that went away, and what was captured before stays"
                );
                let hint = "tell the dashboard's team if the requests are really gone; `bitacora status` goes on counting what is captured".into();
                health.raise("truncated", what, Some(hint));
            }
            Incident::CaptureSilent { what, hint } => {
                health.raise(CAPTURE_SILENT, what.clone(), Some(hint.clone()));
                self.silent = true;
                self.show_state();
            }
            Incident::CaptureResumed => {
                health.clear(CAPTURE_SILENT);
                self.silent = false;
                self.show_state();
            }
        }
    }

    fn acknowledge(&mut self, durable: Durable) -> Result<(), PipelineError> {
        if let Some(position) = &durable.position {
            self.stream.acknowledge(position)?;
        }
        let now = Utc::now();
        self.capture.health.update(|inner| {
            inner.heard_at = Some(now);
            inner.caught_up = durable.caught_up;
            if let Some(committed_at) = durable.committed_at {
                inner.committed_at = Some(committed_at);
                let delay = now.timestamp_micros().saturating_sub(committed_at).max(0);
                inner.delay_seconds = Some(delay as f64 / 1e6);
            }
        });
        self.capture.health.clear("ledger_full");
        self.capture.room.grown_to(durable.ledger_bytes);
        self.capture.captured.notify_one();
        Ok(())
    }

    /// Starts, or goes on with, the fenced copy that the ledger has on record, if there is one.
    async fn resume_fenced_copy(&mut self) -> Result<(), PipelineError> {
        let found = self
            .capture
            .ledger
            .call(|ledger| match ledger.unfinished_copy()? {
                Some(copy) => Ok(Some((ledger.pages_waiting(copy.id)?, copy))),
                None => Ok(None),
            })
            .await?;
        let Some((waiting, copy)) = found.filter(|(_, copy)| !copy.exact) else { return Ok(()) };
        let (sender, pages) = mpsc::channel(waiting.len() + 4);
        let places = places();
        let copier = self.capture.copier();
        let (read, reader_places) = (copy.clone(), places.clone());
        let mut reader = JoinSet::new();
        reader.spawn(async move { copier.copy_pages(read, sender, reader_places).await });
        let waiting = waiting.into_iter().map(|(id, fence)| WaitingPage { id, fence }).collect();
        self.fenced = Some(FencedCopy { copy, pages, places, reader, waiting, all_read: false });
        Ok(())
    }

    async fn page_arrived(&mut self, page: Option<WaitingPage>) -> Result<(), PipelineError> {
        let Some(fenced) = &mut self.fenced else { return Ok(()) };
        match page {
            Some(page) => {
                fenced.waiting.push_back(page);
                // On an idle log nothing may follow what has been read already.
                return self.pass_fences().await;
            }
            None => {
                if let Some(read) = fenced.reader.join_next().await {
                    read.map_err(|error| PipelineError::internal(format!("read the table: {error}")))??;
                }
                fenced.all_read = true;
            }
        }
        self.finish_fenced_copy().await
    }

    async fn pass_fences(&mut self) -> Result<(), PipelineError> {
        let (Some(fenced), Some(reached)) = (&mut self.fenced, &self.reached) else { return Ok(()) };
        while let Some(page) = fenced.waiting.front() {
            if !self.capture.source.covers(reached, &page.fence)? {
                return Ok(());
            }
            let id = page.id;
            self.capture.ledger.call(move |ledger| ledger.pass_fence(id)).await?;
            fenced.waiting.pop_front();
            fenced.places.add_permits(1);
        }
        self.finish_fenced_copy().await
    }

    async fn finish_fenced_copy(&mut self) -> Result<(), PipelineError> {
        let Some(done) = self.fenced.take_if(|fenced| fenced.all_read && fenced.waiting.is_empty()) else {
            return Ok(());
        };
        let (copy, kind) = (done.copy.id, done.copy.kind);
        self.capture.ledger.call(move |ledger| ledger.finish_copy(copy, None)).await?;
        if let CopyKind::Repair { gap } = kind {
            settle_all(&self.capture.ledger).await?;
            let now = Utc::now().timestamp_micros();
            self.capture.ledger.call(move |ledger| ledger.close_gap(gap, now)).await?;
            self.capture.health.clear("lost_log");
        }
        tracing::info!("the copy of the table is complete");
        self.show_state();
        self.capture.captured.notify_one();
        self.capture.copy_new_tables().await?;
        self.resume_fenced_copy().await
    }

    fn show_state(&self) {
        let repairing =
            self.fenced.as_ref().is_some_and(|fenced| matches!(fenced.copy.kind, CopyKind::Repair { .. }));
        self.capture.health.set_state(if self.silent {
            SourceState::Silent
        } else if repairing {
            SourceState::Repairing
        } else {
            SourceState::Streaming
        });
    }
}

async fn wait_durable(
    durable: oneshot::Receiver<Stored>,
    position: Option<Position>,
    (committed_at, caught_up): (Option<i64>, bool),
) -> Result<Durable, PipelineError> {
    let ledger_bytes = durable.await.map_err(|_| PipelineError::ledger_gone())??;
    Ok(Durable { position, committed_at, caught_up, ledger_bytes })
}

/// The next page of a fenced copy, `None` when all are read; waits for ever when there is no such copy.
async fn next_page(fenced: &mut Option<FencedCopy>) -> Option<WaitingPage> {
    match fenced {
        Some(fenced) if !fenced.all_read => fenced.pages.recv().await,
        _ => pending().await,
    }
}
