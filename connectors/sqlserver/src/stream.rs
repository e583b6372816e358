//! The change tables, read as one log.

use std::sync::Arc;

use change::{Batch, ChangeStream, Checkpoint, Position, Scope, SourceError, SourceErrorKind};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

mod assembly;
mod followed;
mod liveness;
mod merge;
mod pages;
mod reader;
mod window;

use crate::catalog;
use crate::client::{Client, VERSIONED};
use crate::clock::Clock;
use crate::config::SqlServerConfig;
use crate::identity::{Identity, captured_end};
use crate::lsn::Lsn;
use crate::poll::ScanTime;
use crate::snapshot::fence;
use assembly::Assembly;
use followed::Followed;
use liveness::Liveness;
use merge::Handover;
use reader::Reader;

/// Batches that wait for the product. Together with one being read and one being stored they bound memory.
const BATCHES_WAITING_MAX: usize = 2;

/// A stream of the configured tables' changes.
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
/// [`SourceErrorKind::LostLog`] when a change table no longer holds what follows, or belongs to another history.
pub(crate) async fn open(
    config: &SqlServerConfig,
    scope: &Scope,
    checkpoint: &Checkpoint,
) -> Result<SqlServerStream, SourceError> {
    let from = Lsn::of(&checkpoint.position)?;
    let mut client = Client::open(config).await?;
    let tables = catalog::tables(&mut client, scope).await?;
    for table in &tables {
        table.mapped_kinds()?;
    }
    let identity = Identity::ask(&mut client).await?;
    identity.expect_history_of(checkpoint)?;
    if identity.snapshots {
        client.run("read without locks", VERSIONED).await?;
    }
    let end = captured_end(&mut client).await?;
    let ends_before =
        end.is_none_or(|end| end < from) && !config.read_only && !is_ahead(&mut client, from).await?;
    let names = catalog::listed(&tables);
    let mut followed = Vec::with_capacity(tables.len());
    for ((number, scope), table) in scope.numbered().zip(tables) {
        followed.push(Followed::find(&mut client, config, (number, scope, table), from).await?);
    }
    // Without a capture instance that is no wonder, and another error has said more.
    if ends_before {
        return Err(window::ends_before(end, from));
    }
    let clock = Clock::ask(&mut client, config).await?;
    let instances: Vec<&str> = followed.iter().map(|one| one.layout.instance.name.as_str()).collect();
    tracing::info!(
        tables = names,
        instances = instances.join(", "),
        position = %checkpoint.position,
        "stream opened"
    );
    Ok(SqlServerStream::spawn(|batches| {
        let config = Arc::new(config.clone());
        let handover = Handover { batches, assembly: Assembly::default() };
        Reader { config, client, followed, clock, from, handover, liveness: Liveness::new() }.run()
    }))
}

/// Why the task that reads ends.
enum End {
    /// Nobody wants the stream any more.
    Unwanted,
    /// It cannot go on.
    Failed(SourceError),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
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
