//! A copy exactly as of one position.
//!
//! A snapshot does not say which commit was the last that it shows. So the table is locked against changes for the
//! milliseconds in which the snapshot begins: the lock is granted when no transaction that changed the table is open, and none
//! can commit while it is held. The log's end in that moment is the place: what was committed to the table up to there is
//! in the copy, and everything else comes by the stream. The capture may be seconds behind that place; the stream leaves
//! out what it captures up to there.
//!
//! The lock is a shared one, which readers do not notice. It is waited for briefly and then given up, because the
//! application's writes queue up behind whoever waits.

use std::time::Duration;

use change::{SourceError, SourceErrorKind, TableScope};
use tokio::sync::mpsc;

use super::fence::{self, Way};
use super::select::Copied;
use super::{Copier, PAGES_WAITING_MAX, SqlServerSnapshot};
use crate::catalog::Table;
use crate::client::Client;
use crate::config::SqlServerConfig;
use crate::lsn::Lsn;
use crate::name::quote_ident;

/// How often the lock is tried, each time for as long as the statement says.
const ATTEMPTS: u32 = 3;
/// Between two tries the application's writes go on.
const PAUSE: Duration = Duration::from_millis(500);

/// Begins a copy, and returns the place in the log that it is as of; `None` where that cannot be had: without the right to
/// ask for the log's end, on a replica, or where the table is never free of open changes.
///
/// # Errors
/// When a connection breaks.
pub(crate) async fn open(
    client: &mut Client,
    config: &SqlServerConfig,
    scope: &TableScope,
    table: &Table,
) -> Result<Option<(Lsn, SqlServerSnapshot)>, SourceError> {
    let Some(column) = table.mapped_columns().next() else { return Ok(None) };
    if config.read_only || Way::find(client).await? != Way::LogEnd {
        return Ok(None);
    }
    let copied = Copied::new(table, scope, Vec::new())?;
    // One column that our user may read: it may have no right to the table as a whole.
    let touch = format!(
        "DECLARE @touched int; SELECT TOP (1) @touched = CASE WHEN {} IS NULL THEN 0 ELSE 1 END FROM {}",
        quote_ident(&column.name),
        table.quoted()
    );
    let mut reader = Client::open(config).await?;
    for _ in 0..ATTEMPTS {
        if let Some(at) = begin(client, &mut reader, &touch).await? {
            let (outlet, pages) = mpsc::channel(PAGES_WAITING_MAX);
            let copier = Copier::new(config, reader, copied, outlet);
            let reader = tokio::spawn(copier.run(None)).abort_handle();
            return Ok(Some((at, SqlServerSnapshot { pages, reader, ended: false })));
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::info!("the table was never free of open changes: it is copied in pages");
    Ok(None)
}

/// Begins the reader's snapshot while the table is locked; `None` when the lock was not to be had.
async fn begin(client: &mut Client, reader: &mut Client, touch: &str) -> Result<Option<Lsn>, SourceError> {
    let lock = format!("SET LOCK_TIMEOUT 1000; BEGIN TRANSACTION; {touch} WITH (TABLOCK, HOLDLOCK)");
    let begun = match client.run("lock the table against changes for a moment", &lock).await {
        Ok(()) => begin_locked(client, reader, touch).await.map(Some),
        Err(error) if error.kind() == SourceErrorKind::Busy => Ok(None),
        Err(error) => Err(error),
    };
    if !client.is_spent() {
        let release = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION; SET LOCK_TIMEOUT 10000";
        client.run("release the table", release).await?;
    }
    begun
}

/// The version that a snapshot reads is fixed by its first read, not by its beginning
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/sql-server-transaction-locking-and-row-versioning-guide>).
async fn begin_locked(client: &mut Client, reader: &mut Client, touch: &str) -> Result<Lsn, SourceError> {
    let snapshot = format!("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION; {touch}");
    reader.run("begin the copy of the table", &snapshot).await?;
    Lsn::of(&fence::log_end(client).await?)
}
