//! What `check` reports, and what `setup` prints.

use std::fmt;

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
