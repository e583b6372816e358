//! How a command ends: its exit status, and an error that a person can act on.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// Done, but something is in quarantine.
    Quarantine,
}

impl Exit {
    /// The exit status of the process.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Quarantine => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: what happened, its causes, what it means for the data, and what to do.
///
/// It is printed once, at the very end, and looks like
///
/// ```text
/// error: the status address 127.0.0.1:9187 is taken
///   caused by: Address already in use (os error 98)
///   data: nothing was read and nothing was sent
///   hint: stop the other program, or choose another [status] listen
/// ```
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    data: Option<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure at run time; `message` is in lower case without a full stop and names object, actual and
    /// expected value.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), causes: Vec::new(), data: None, hint: None }
    }

    /// A failure that the command line or the configuration causes.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    /// A failure that tells an error with its chain of causes.
    #[must_use]
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::new(error.to_string()).caused_by_opt(error.source())
    }

    /// The same failure with `error` and what lies behind it as causes.
    #[must_use]
    pub fn caused_by(self, error: &(dyn Error + 'static)) -> Self {
        self.caused_by_opt(Some(error))
    }

    fn caused_by_opt(mut self, mut cause: Option<&(dyn Error + 'static)>) -> Self {
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat their cause in their own message; once is enough.
            if !self.message.contains(&text) && !self.causes.iter().any(|known| known.contains(&text)) {
                self.causes.push(text);
            }
            cause = error.source();
        }
        self
    }

    /// The same failure with what it means for the data, one sentence.
    #[must_use]
    pub fn for_the_data(mut self, sentence: impl Into<String>) -> Self {
        self.data = Some(sentence.into());
        self
    }

    /// The same failure with what to do, one sentence.
    #[must_use]
    pub fn with_hint(mut self, sentence: impl Into<String>) -> Self {
        self.hint = Some(sentence.into());
        self
    }

    /// The same failure with what to do, where that is known.
    #[must_use]
    pub fn with_hint_opt(mut self, sentence: Option<String>) -> Self {
        self.hint = sentence.or(self.hint);
        self
    }

    /// The exit status it leads to.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(formatter, "\n  caused by: {cause}")?;
        }
        if let Some(data) = &self.data {
            write!(formatter, "\n  data: {data}")?;
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        Self::usage(error.to_string()).for_the_data("nothing was read and nothing was sent").with_hint(hint)
    }
}

impl From<change::SourceError> for Failure {
    fn from(error: change::SourceError) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self::from_error(&error).with_hint_opt(hint)
    }
}

#[cfg(test)]
mod tests {
    use change::{SourceError, SourceErrorKind};

    use super::*;

    #[test]
    fn a_failure_says_what_happened_why_what_it_means_and_what_to_do() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = SourceError::new(SourceErrorKind::Unreachable, "connect to 127.0.0.1:5432")
            .caused_by(refused)
            .with_hint("start the server");
        let failure = Failure::from(error).for_the_data("nothing was read");
        insta::assert_snapshot!(failure, @r"
        error: connect to 127.0.0.1:5432
          caused by: connection refused
          data: nothing was read
          hint: start the server
        ");
        assert_eq!(failure.exit(), Exit::Failed);
    }

    #[test]
    fn a_cause_that_the_message_repeats_is_told_once() {
        let cause = std::io::Error::other("disk full");
        let failure = Failure::new("write ledger: disk full").caused_by(&cause);
        assert_eq!(failure.to_string(), "error: write ledger: disk full");
    }
}
