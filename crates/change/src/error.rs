//! What went wrong at a source, apart from what to do about it.

use std::error::Error;
use std::fmt;

/// Any underlying error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What went wrong, as far as it decides what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// The server cannot be reached, or the connection broke.
    Unreachable,
    /// The server, or what we need of it, is in use or starting up.
    Busy,
    /// The server refused the user or the password.
    Authentication,
    /// The TLS handshake or the server's certificate was refused.
    Tls,
    /// The user lacks a right.
    Permission,
    /// A setting of the server or of the configuration makes capture impossible.
    Configuration,
    /// The table is not as the mapping needs it: missing, or with a mapped column gone or altered.
    Schema,
    /// The log no longer holds what follows the checkpoint, or it belongs to another server.
    LostLog,
    /// The server sent something that its protocol does not allow, or that this version does not know.
    Protocol,
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again after a pause: the cause passes by itself.
    Soon,
    /// A new snapshot and a comparison mend it.
    Repair,
    /// Someone must act first; trying again is harmless and may be slow.
    Operator,
}

impl SourceErrorKind {
    /// What to do about it.
    #[must_use]
    pub fn retry(self) -> Retry {
        match self {
            Self::Unreachable | Self::Busy => Retry::Soon,
            Self::LostLog => Retry::Repair,
            Self::Authentication
            | Self::Tls
            | Self::Permission
            | Self::Configuration
            | Self::Schema
            | Self::Protocol => Retry::Operator,
        }
    }
}

/// An error of a source: what happened, to what, and why.
#[derive(Debug)]
pub struct SourceError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: SourceErrorKind,
    context: String,
    hint: Option<String>,
    source: Option<BoxError>,
}

impl SourceError {
    /// Makes an error; `context` is a lower-case fragment that names the object, the actual and the
    /// expected value.
    #[must_use]
    pub fn new(kind: SourceErrorKind, context: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, context: context.into(), hint: None, source: None }))
    }

    /// The same error with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with what the operator should do, one sentence.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The refusal of a parent table of which a row could have two: no unique index consists of some of the joined
    /// `columns` only, and `mend` is the statement that makes one. All are quoted as the engine quotes.
    #[must_use]
    pub fn parents_alike(table: &str, columns: &str, mend: &str) -> Self {
        let context = format!(
            "rows are joined to {table} by ({columns}), and no unique index of it consists of these columns only"
        );
        Self::new(SourceErrorKind::Schema, context).with_hint(mend)
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> SourceErrorKind {
        self.0.kind
    }

    /// What the operator should do, where the connector knows.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.context)
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// An error with its causes in one line, for a reader who sees no chain.
#[must_use]
pub fn full_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        // Some libraries repeat their cause in their own message; once is enough.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_causes_are_tried_again_soon() {
        assert_eq!(SourceErrorKind::Unreachable.retry(), Retry::Soon);
        assert_eq!(SourceErrorKind::LostLog.retry(), Retry::Repair);
        assert_eq!(SourceErrorKind::Authentication.retry(), Retry::Operator);
    }

    #[test]
    fn the_message_leaves_the_cause_to_the_chain() {
        let error = SourceError::new(SourceErrorKind::Unreachable, "connect to 127.0.0.1:1")
            .caused_by("connection refused");
        assert_eq!(error.to_string(), "connect to 127.0.0.1:1");
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
        assert_eq!(full_text(&error), "connect to 127.0.0.1:1: connection refused");
    }
}
