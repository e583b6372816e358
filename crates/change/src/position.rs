//! How far a database's log has been read, and on which server.

use std::fmt;

/// A place in a database's log, as text that an operator can paste into the engine's own tools.
///
/// Only the connector that made it can compare it with another: see [`crate::Source::covers`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position(Box<str>);

impl Position {
    /// Wraps the engine's spelling of a position.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The engine's spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What tells one database server (and one history of it) from another, opaque to the product.
///
/// A position means nothing on another server, so the two are stored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity(Box<str>);

impl ServerIdentity {
    /// Wraps a connector's description of the server.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The connector's description.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A position and the server on which it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything up to here is durable in the ledger.
    pub position: Position,
    /// The server whose log the position belongs to.
    pub server: ServerIdentity,
}
