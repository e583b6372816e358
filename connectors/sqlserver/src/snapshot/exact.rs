//! A copy of all tables exactly as of one position.
//!
//! A snapshot does not say which commit was the last that it shows. So the tables are locked against changes for the
//! milliseconds in which the snapshot begins: the locks are granted when no transaction that changed one is open, and none
//! can commit while they are held. The log's end in that moment is the place: what was committed to the tables up to there
//! is in the copy, and everything else comes by the stream. The capture may be seconds behind that place; the stream leaves
//! out what it captures up to there.
//!
//! The locks are shared ones, which readers do not notice. They are waited for briefly and then given up, because the
//! application's writes queue up behind whoever waits.

use std::time::Duration;

use change::{Scope, SourceError, SourceErrorKind};
use tokio::sync::mpsc;

use super::fence::{self, Way};
use super::select::Copied;
use super::{Copier, PAGES_WAITING_MAX, SqlServerSnapshot};
use crate::catalog::Table;
use crate::client::Client;
use crate::config::SqlServerConfig;
use crate::lsn::Lsn;
use crate::name::quote_ident;

/// How long all locks together may be waited for.
const LOCK_WAIT_MILLIS: usize = 1000;
/// How often the locks are tried, each time for so long.
const ATTEMPTS: u32 = 3;
/// Between two tries the application's writes go on.
const PAUSE: Duration = Duration::from_millis(500);

/// Begins a copy, and returns the place in the log that it is as of; `None` where that cannot be had: without the right to
/// ask for the log's end, on a replica, or where the tables are never free of open changes.
///
/// # Errors
/// When a connection breaks.
pub(crate) async fn open(
    client: &mut Client,
    config: &SqlServerConfig,
    scope: &Scope,
    tables: &[Table],
) -> Result<Option<(Lsn, SqlServerSnapshot)>, SourceError> {
    // One column that our user may read: it may have no right to the table as a whole.
    let touches: Option<Vec<String>> = tables.iter().map(touch).collect();
    let Some(touches) = touches else { return Ok(None) };
    if config.read_only || Way::find(client).await? != Way::LogEnd {
        return Ok(None);
    }
    let copies = Copied::all(tables, scope)?;
    let mut reader = Client::open(config).await?;
    for _ in 0..ATTEMPTS {
        if let Some(at) = begin(client, &mut reader, &touches).await? {
            let (outlet, pages) = mpsc::channel(PAGES_WAITING_MAX);
            let copier = Copier::new(config, reader, outlet);
            let reader = tokio::spawn(copier.run(copies, None)).abort_handle();
            return Ok(Some((at, SqlServerSnapshot { pages, reader, ended: false })));
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::info!("the tables were never free of open changes: they are copied in pages");
    Ok(None)
}

/// Reads next to nothing of the table, up to where a hint may follow; `None` without a column to read.
fn touch(table: &Table) -> Option<String> {
    let column = quote_ident(&table.mapped_columns().next()?.name);
    let read = format!("SELECT TOP (1) @touched = CASE WHEN {column} IS NULL THEN 0 ELSE 1 END");
    Some(format!("{read} FROM {}", table.quoted()))
}

/// Begins the reader's snapshot while the tables are locked; `None` when the locks were not to be had.
async fn begin(
    client: &mut Client,
    reader: &mut Client,
    touches: &[String],
) -> Result<Option<Lsn>, SourceError> {
    let locks: Vec<String> =
        touches.iter().map(|touch| format!("{touch} WITH (TABLOCK, HOLDLOCK)")).collect();
    // The tables share the time: whoever waits for the last lock holds all the others.
    let wait = LOCK_WAIT_MILLIS / touches.len().max(1);
    let lock =
        format!("SET LOCK_TIMEOUT {wait}; BEGIN TRANSACTION; DECLARE @touched int; {}", locks.join("; "));
    let begun = match client.run("lock the tables against changes for a moment", &lock).await {
        Ok(()) => begin_locked(client, reader, touches).await.map(Some),
        Err(error) if error.kind() == SourceErrorKind::Busy => Ok(None),
        Err(error) => Err(error),
    };
    if !client.is_spent() {
        let release = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION; SET LOCK_TIMEOUT 10000";
        client.run("release the tables", release).await?;
    }
    begun
}

/// The version that a snapshot reads, of all tables, is fixed by its first read, not by its beginning
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/sql-server-transaction-locking-and-row-versioning-guide>).
async fn begin_locked(
    client: &mut Client,
    reader: &mut Client,
    touches: &[String],
) -> Result<Lsn, SourceError> {
    let snapshot = format!(
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION; DECLARE @touched int; {}",
        touches.join("; ")
    );
    reader.run("begin the copy of the tables", &snapshot).await?;
    Lsn::of(&fence::log_end(client).await?)
}
