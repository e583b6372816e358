//! What `check` reports, and what `setup` prints.

use std::fmt;

use crate::error::{SourceError, SourceErrorKind, full_text};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Looked at, and right.
    Pass,
    /// Capture works, but something will hurt later.
    Warning,
    /// Capture cannot work, or cannot be right, until this is mended.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pass => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One prerequisite that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable name for scripts, such as `wal_level`.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found: object, actual value and expected value.
    pub what: String,
    /// Why it matters for the data. Empty for a pass.
    pub why: String,
    /// The exact command or statement that mends it.
    pub mend: Option<String>,
}

impl Finding {
    /// A prerequisite that holds.
    #[must_use]
    pub fn pass(code: &'static str, what: impl Into<String>) -> Self {
        Self { code, severity: Severity::Pass, what: what.into(), why: String::new(), mend: None }
    }

    /// A prerequisite that will hurt later.
    #[must_use]
    pub fn warning(code: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { code, severity: Severity::Warning, what: what.into(), why: why.into(), mend: None }
    }

    /// A prerequisite without which capture cannot be right.
    #[must_use]
    pub fn error(code: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, what: what.into(), why: why.into(), mend: None }
    }

    /// What the server or the configuration refused; `why` is what that means for the data.
    #[must_use]
    pub fn refused(code: &'static str, why: &str, error: &SourceError) -> Self {
        let finding = Self::error(code, full_text(error), why);
        match error.hint() {
            Some(hint) => finding.mended_by(hint),
            None => finding,
        }
    }

    /// What could not be found out. A missing right is no less serious than what it hides.
    #[must_use]
    pub fn unanswered(code: &'static str, error: &SourceError) -> Self {
        let why = match error.kind() {
            SourceErrorKind::Unreachable | SourceErrorKind::Busy => {
                "this could not be checked now: run the check again"
            }
            _ => "this could not be checked, and may hide what stands in the way",
        };
        Self::refused(code, why, error)
    }

    /// Whether one row at most of `table` is the parent of another table's row, after the catalogue was asked.
    #[must_use]
    pub fn of_parents(table: &str, asked: Result<(), SourceError>) -> Self {
        let code = "parent_key";
        match asked {
            Ok(()) => Self::pass(code, format!("a unique index keeps the parents in {table} apart")),
            Err(error) if error.kind() == SourceErrorKind::Schema => {
                let why = "a row could have two parents, and chance would say which one is reported: capture does not \
                           start";
                Self::refused(code, why, &error)
            }
            Err(error) => Self::unanswered(code, &error),
        }
    }

    /// Whether the unique index of this name, if there is one, keeps the rows of `table` apart in `columns`; `mend` is the
    /// statement that makes one. All are quoted.
    #[must_use]
    pub fn of_uniqueness((table, columns): (&str, &str), index: Option<&str>, mend: &str) -> Self {
        let code = "request_id";
        match index {
            Some(index) => Self::pass(code, format!("unique index {index} of {table} keeps requests apart")),
            None => Self::warning(
                code,
                format!("no unique index of {table} consists of ({columns}), or some of these columns, only"),
                "two rows may bear the same request number; their statuses would be taken for one request's",
            )
            .mended_by(format!("if it is meant to be unique: {mend}")),
        }
    }

    /// The same finding with the command that mends it.
    #[must_use]
    pub fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.mend = Some(command.into());
        self
    }
}

/// How to take away what a connector has in the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// Takes away what exists for this configuration alone, in the order in which it must be run. Empty when there is
    /// nothing of that kind.
    pub statements: Vec<Statement>,
    /// What stays, because others may need it too; each with the statement that an administrator may run, or with none.
    pub remains: Vec<Statement>,
}

/// One SQL statement that the database's administrator must run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Why it is needed, one sentence.
    pub why: String,
    /// The statement, complete, without its closing semicolon.
    pub sql: String,
}
