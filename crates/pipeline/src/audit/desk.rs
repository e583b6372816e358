//! The ledger's side of an audit, which blocks.

use std::sync::{Arc, Mutex, PoisonError};

use ledger::{Audit, LedgerError};

use crate::error::PipelineError;

/// The audit's tables, for use by one after the other.
pub(super) struct Desk(Arc<Mutex<Audit>>);

impl Desk {
    pub(super) fn new(audit: Audit) -> Self {
        Self(Arc::new(Mutex::new(audit)))
    }

    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Audit) -> Result<R, LedgerError> + Send + 'static,
    ) -> Result<R, PipelineError> {
        let audit = self.0.clone();
        blocking(move || work(&audit.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    pub(super) fn close(self) -> Result<Audit, PipelineError> {
        let audit = Arc::into_inner(self.0).and_then(|audit| audit.into_inner().ok());
        audit.ok_or_else(|| PipelineError::internal("the audit's tables are still in use"))
    }
}

/// Runs what blocks on a thread that may.
pub(super) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, LedgerError> + Send + 'static,
) -> Result<R, PipelineError> {
    let ended = tokio::task::spawn_blocking(work).await;
    Ok(ended.map_err(|error| PipelineError::internal(format!("compare with the ledger: {error}")))??)
}
