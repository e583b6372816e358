//! What a row of the log is.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// What a row of the log says, until it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogKind {
    /// A status change for certain.
    Record,
    /// A status, which is a change unless it repeats the last known one.
    Candidate,
    /// A row went away of which only the key is told.
    Deletion,
    /// A row of this request was rejected: its status is not known any more.
    Broken,
    /// A rejected row that could be mapped after all.
    MappedAgain,
    /// A refused record that shall be sent again.
    SentAgain,
    /// A row is gone of which only the key is told, and that may never have counted.
    Departure,
    /// A row of a history was altered: a further status change, unless it says what was told of the row before.
    Amended,
}

impl LogKind {
    const ALL: [Self; 8] = [
        Self::Record,
        Self::Candidate,
        Self::Deletion,
        Self::Broken,
        Self::MappedAgain,
        Self::SentAgain,
        Self::Departure,
        Self::Amended,
    ];

    /// Whether the row is gone, and only its key is told.
    pub(crate) fn is_gone(self) -> bool {
        matches!(self, Self::Deletion | Self::Departure)
    }

    /// Reads a stored byte.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The database's log.
    Stream,
    /// A comparison of the table with what was known: after the log had been lost, or by an audit.
    Repair,
    /// Quarantine.
    Retry,
    /// A copy of the table.
    Snapshot,
}

impl Origin {
    const ALL: [Self; 4] = [Self::Stream, Self::Repair, Self::Retry, Self::Snapshot];

    /// The word for it in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Repair => "repair",
            Self::Retry => "retry",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Reads a stored number as one of `all`, whose places are the numbers.
pub(crate) fn decode<T: Copy>(value: ValueRef<'_>, all: &[T]) -> FromSqlResult<T> {
    let number = value.as_i64()?;
    let found = usize::try_from(number).ok().and_then(|index| all.get(index));
    found.copied().ok_or(FromSqlError::OutOfRange(number))
}

impl ToSql for LogKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

impl FromSql for LogKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        decode(value, &Self::ALL)
    }
}

impl ToSql for Origin {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

impl FromSql for Origin {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        decode(value, &Self::ALL)
    }
}
