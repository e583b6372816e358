//! The change table, read as a log.

use std::sync::Arc;

use change::{Batch, ChangeStream, Checkpoint, Position, SourceError, SourceErrorKind, TableScope};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

mod assembly;
mod liveness;
mod pages;
mod reader;
mod window;

use crate::catalog;
use crate::client::{Client, VERSIONED};
use crate::clock::Clock;
use crate::config::SqlServerConfig;
use crate::identity::{Identity, captured_end};
use crate::instance;
use crate::lsn::Lsn;
use crate::poll::ScanTime;
use crate::snapshot::fence;
use assembly::Assembly;
use liveness::Liveness;
use reader::Reader;

/// Batches that wait for the product. Together with one being read and one being stored they bound memory.
const BATCHES_WAITING_MAX: usize = 2;

/// A stream of the configured table's changes.
#[derive(Debug)]
pub struct SqlServerStream {
    batches: mpsc::Receiver<Result<Batch, SourceError>>,
    reader: AbortHandle,
}

impl ChangeStream for SqlServerStream {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        let batch = self.batches.recv().await;
        batch.unwrap_or_else(|| Err(SourceError::new(SourceErrorKind::Unreachable, "the stream has ended")))
    }

    /// The server cleans its change tables up by time, whoever reads them: there is nothing to tell it.
    fn acknowledge(&mut self, position: &Position) -> Result<(), SourceError> {
        if ScanTime::is(position) { ScanTime::of(position).map(drop) } else { Lsn::of(position).map(drop) }
    }
}

impl SqlServerStream {
    /// Starts a task that hands batches over.
    pub(crate) fn spawn<F>(read: impl FnOnce(mpsc::Sender<Result<Batch, SourceError>>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (outlet, batches) = mpsc::channel(BATCHES_WAITING_MAX);
        Self { batches, reader: tokio::spawn(read(outlet)).abort_handle() }
    }
}

impl Drop for SqlServerStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Opens the log strictly after the checkpoint.
///
/// # Errors
/// [`SourceErrorKind::LostLog`] when the change table no longer holds what follows, or belongs to another history.
pub(crate) async fn open(
    config: &SqlServerConfig,
    scope: &TableScope,
    checkpoint: &Checkpoint,
) -> Result<SqlServerStream, SourceError> {
    let from = Lsn::of(&checkpoint.position)?;
    let mut client = Client::open(config).await?;
    let table = catalog::table(&mut client, scope).await?;
    table.mapped_kinds()?;
    let identity = Identity::ask(&mut client).await?;
    identity.expect_history_of(checkpoint)?;
    if identity.snapshots {
        client.run("read without locks", VERSIONED).await?;
    }
    let end = captured_end(&mut client).await?;
    if end.is_none_or(|end| end < from) && !config.read_only && !is_ahead(&mut client, from).await? {
        // Without a capture instance that is no wonder, and another error says more.
        instance::choose(&mut client, config, (&table, scope), from).await?;
        return Err(window::ends_before(end, from));
    }
    let layout = instance::choose(&mut client, config, (&table, scope), from).await?;
    let clock = Clock::ask(&mut client, config).await?;
    tracing::info!(
        table = table.quoted(),
        instance = layout.instance.name,
        position = %checkpoint.position,
        "stream opened"
    );
    Ok(SqlServerStream::spawn(|batches| {
        Reader {
            config: Arc::new(config.clone()),
            scope: scope.clone(),
            client,
            table,
            layout,
            unfit: Vec::new(),
            clock,
            from,
            batches,
            assembly: Assembly::default(),
            liveness: Liveness::new(),
        }
        .run()
    }))
}

/// Whether the log itself reaches `from`, and only the capture does not yet: an exact copy is as of such a place. Where our
/// login may not ask, there are no such copies.
///
/// # Errors
/// When the connection breaks.
async fn is_ahead(client: &mut Client, from: Lsn) -> Result<bool, SourceError> {
    match fence::log_end(client).await {
        Ok(end) => Ok(Lsn::of(&end)? >= from),
        Err(error) if client.is_spent() => Err(error),
        Err(_) => Ok(false),
    }
}
