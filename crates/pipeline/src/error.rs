//! Errors of the loops: what failed, apart from what to do.

use change::SourceError;
use ledger::LedgerError;
use thiserror::Error;

/// Why a loop ended or a request failed.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The database, or the connection to it.
    #[error("{0}")]
    Source(#[source] SourceError),
    /// The ledger could not be read or written.
    #[error("{0}")]
    Ledger(#[source] LedgerError),
    /// A request that makes no sense now, in words for the operator.
    #[error("{message}")]
    Refused {
        /// What was asked and why it cannot be done.
        message: String,
        /// What to do instead.
        hint: String,
    },
    /// The command was stopped before it was done; everything so far is kept.
    #[error("stopped before the work was done")]
    Stopped,
    /// A fault of this program or of the machine.
    #[error("{0}")]
    Internal(String),
}

impl PipelineError {
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }

    pub(crate) fn ledger_gone() -> Self {
        Self::Internal("the ledger's thread has ended".into())
    }

    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: hint.into() }
    }

    /// The table has no key by which the rows of a history could be told apart.
    pub(crate) fn no_key() -> Self {
        Self::refused(
            "`[source] rows` is \"history\", and the table has no key by which its rows are told apart",
            "give the table a primary key; the connector goes on from where it stopped",
        )
    }

    /// What the operator should do, where it is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint().map(str::to_owned),
            Self::Ledger(error) => error.hint().map(Into::into),
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Stopped => Some("run the same command again: it goes on where it stopped".into()),
            Self::Internal(_) => None,
        }
    }
}

impl From<SourceError> for PipelineError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<LedgerError> for PipelineError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}
