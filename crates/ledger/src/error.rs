//! What went wrong in the ledger, apart from what to do about it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// What went wrong, as far as it decides what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerErrorKind {
    /// Another process holds the ledger.
    Held,
    /// The disk has no room; nothing was stored, and what was stored before is untouched.
    Full,
    /// The file is damaged, or it is no ledger.
    Damaged,
    /// A newer version of the product has written the ledger.
    NewerSchema,
    /// The file was written by an earlier version, and is only to be read: whoever writes it brings it up to date first.
    OlderSchema,
    /// There is no ledger in the folder.
    Missing,
    /// A transaction of the source is still open in the log, so nothing else can be put behind it now.
    OpenTransaction,
    /// The ledger was filled with rows of the other kind: requests, or status changes.
    OtherRows,
    /// The call makes no sense in the ledger's present state.
    Misuse,
    /// The operating system refused to read or write.
    Io,
    /// Anything else: a fault of this program.
    Internal,
}

/// An error of the ledger: what happened, to what, and why.
#[derive(Debug)]
pub struct LedgerError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: LedgerErrorKind,
    context: String,
    source: Option<Cause>,
}

type Cause = Box<dyn Error + Send + Sync>;

impl LedgerError {
    pub(crate) fn new(kind: LedgerErrorKind, context: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, context: context.into(), source: None }))
    }

    pub(crate) fn misuse(context: impl Into<String>) -> Self {
        Self::new(LedgerErrorKind::Misuse, context)
    }

    pub(crate) fn caused_by(
        kind: LedgerErrorKind,
        context: impl Into<String>,
        source: impl Into<Cause>,
    ) -> Self {
        Self(Arc::new(Inner { kind, context: context.into(), source: Some(source.into()) }))
    }

    pub(crate) fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => LedgerErrorKind::Full,
            _ => LedgerErrorKind::Io,
        };
        Self::caused_by(kind, context, source)
    }

    /// The same error as the outcome of `doing`, a lower-case fragment such as `append changes`.
    pub(crate) fn while_doing(self, doing: &str) -> Self {
        let kind = self.0.kind;
        let context = format!("{doing}: {}", self.0.context);
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Self(Arc::new(Inner { kind, context, source: inner.source })),
            Err(shared) => Self::caused_by(kind, context, Self(shared)),
        }
    }

    /// A second handle to the same error, for several callers of one write.
    #[must_use]
    pub fn to_shared(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> LedgerErrorKind {
        self.0.kind
    }

    /// Whether there was no room on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.kind == LedgerErrorKind::Full
    }

    /// What the operator should do, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.0.kind {
            LedgerErrorKind::Held => Some(
                "stop the process that holds the ledger, or use the commands that work beside it: flush, backfill, status, explain, quarantine",
            ),
            LedgerErrorKind::Full => Some(
                "make room on the disk of [ledger] dir; capture goes on by itself and nothing is lost, because the database keeps its log until then",
            ),
            LedgerErrorKind::OtherRows => Some(
                "set `[source] rows` back, or name another folder in [ledger] dir: with it the product begins anew and copies the table again",
            ),
            LedgerErrorKind::Damaged => Some(
                "keep the files of [ledger] dir for analysis and restore them from a backup; with a fresh folder the product begins anew: it copies the table again, and records that were not acknowledged are only known from that copy",
            ),
            LedgerErrorKind::NewerSchema => {
                Some("run the version of the product that wrote it, or a newer one")
            }
            LedgerErrorKind::Missing => Some(
                "check [ledger] dir; `bitacora run` or `bitacora backfill` makes the ledger at its first start",
            ),
            LedgerErrorKind::OpenTransaction => {
                Some("try again in a moment: the transaction that is being read must end first")
            }
            LedgerErrorKind::Io => Some(
                "check that the folder of [ledger] dir exists and belongs to the user that runs the product",
            ),
            LedgerErrorKind::OlderSchema => Some(
                "start the daemon, or run `bitacora flush`: the ledger is brought up to date first, and keeps everything",
            ),
            LedgerErrorKind::Misuse | LedgerErrorKind::Internal => None,
        }
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.context)
    }
}

impl Error for LedgerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        let (kind, context) = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => judge(failure),
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => {
                (LedgerErrorKind::Damaged, "the ledger holds a value of a kind that it never stores")
            }
            _ => (LedgerErrorKind::Internal, "the ledger's database refused a statement"),
        };
        Self::caused_by(kind, context, error)
    }
}

/// What SQLite's result code means here: <https://www.sqlite.org/rescode.html>.
fn judge(failure: &rusqlite::ffi::Error) -> (LedgerErrorKind, &'static str) {
    match failure.code {
        ErrorCode::DiskFull => (LedgerErrorKind::Full, "the ledger's disk is full"),
        ErrorCode::DatabaseCorrupt => (LedgerErrorKind::Damaged, "the ledger's file is damaged"),
        ErrorCode::NotADatabase => (LedgerErrorKind::Damaged, "the ledger's file is not a ledger"),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (LedgerErrorKind::Held, "the ledger's file is locked by another program")
        }
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::FileLockingProtocolFailed => {
            (LedgerErrorKind::Io, "the ledger's file cannot be read or written")
        }
        _ => (LedgerErrorKind::Internal, "the ledger's database refused a statement"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_error_reads_like_the_first() {
        let error = LedgerError::new(LedgerErrorKind::Full, "the ledger's disk is full");
        let shared = error.to_shared();
        assert!(shared.is_full());
        assert_eq!(
            shared.while_doing("append changes").to_string(),
            "append changes: the ledger's disk is full"
        );
        assert_eq!(error.to_string(), "the ledger's disk is full");
    }
}
