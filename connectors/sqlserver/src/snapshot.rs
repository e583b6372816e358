//! Copies of the table's mapped columns.

use change::{Page, Snapshot, SourceError};
use tokio::sync::mpsc;

/// A copy of the table, being read.
#[derive(Debug)]
pub struct SqlServerSnapshot {
    pages: mpsc::Receiver<Result<Page, SourceError>>,
}

impl Snapshot for SqlServerSnapshot {
    async fn next_page(&mut self) -> Result<Option<Page>, SourceError> {
        self.pages.recv().await.transpose()
    }
}
