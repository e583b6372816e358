//! The events of the binlog, read in place
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol>).
//!
//! Without I/O: what is read borrows the bytes it was read from, and every length is checked before it is believed.

use change::{SourceError, SourceErrorKind};

use crate::position::Place;
use crate::wire::fields::Truncated;

pub(crate) mod cell;
pub(crate) mod event;
pub(crate) mod familiar;
pub(crate) mod group;
pub(crate) mod inflate;
pub(crate) mod metadata;
pub(crate) mod payload;
pub(crate) mod query;
pub(crate) mod rows;
pub(crate) mod statement;
pub(crate) mod table_map;
pub(crate) mod temporal;

/// Why bytes are not what the log should hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The bytes end too early, or too late.
    #[error("event ends in the middle of a field")]
    Truncated,
    /// The event's own length and that of its packet differ.
    #[error("event of {claimed} bytes in {actual} bytes")]
    Size {
        /// What the event says.
        claimed: u32,
        /// What there is.
        actual: usize,
    },
    /// The event was altered on its way or on the server's disk.
    #[error("checksum of an event of type {0} does not match")]
    Checksum(u8),
    /// A checksum algorithm that is not known.
    #[error("unknown checksum algorithm {0}")]
    ChecksumKind(u8),
    /// An event that is not known and may not be ignored.
    #[error("unknown event type {0}")]
    UnknownEvent(u8),
    /// A column type that is not known.
    #[error("unknown column type {0}")]
    UnknownType(u8),
    /// A compression that is not known.
    #[error("unknown compression {0}")]
    UnknownCompression(u64),
    /// Compressed bytes that cannot be inflated.
    #[error("compressed event cannot be inflated: {0}")]
    Inflate(String),
    /// A row of a table that no event has described.
    #[error("row of table {0}, which was never described")]
    UnknownTable(u64),
    /// A row event that disagrees with the table's description.
    #[error("row of {actual} columns in a table of {expected}")]
    Width {
        /// What the row event says.
        actual: usize,
        /// What the table's description says.
        expected: usize,
    },
    /// An event where it has no place.
    #[error("event out of order: {0}")]
    OutOfOrder(&'static str),
}

impl From<Truncated> for DecodeError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl DecodeError {
    /// The error of the event that begins at `place`.
    pub(crate) fn within(self, place: &Place) -> SourceError {
        self.told(&format!("the event at {place}"))
    }

    fn told(self, what: &str) -> SourceError {
        let hint = match &self {
            Self::Checksum(_) => {
                "the binlog is damaged on the server's disk or on its way here: run mysqlbinlog --verify-binlog-checksum \
                 there"
            }
            _ => "the server may be newer than this connector: look for a newer connector",
        };
        SourceError::new(SourceErrorKind::Protocol, format!("{what} cannot be decoded: {self}"))
            .with_hint(hint)
            .caused_by(self)
    }
}

impl From<DecodeError> for SourceError {
    fn from(fault: DecodeError) -> Self {
        fault.told("the log")
    }
}
