//! Where the server's log ends just now.

use change::{Position, SourceError, SourceErrorKind};

use crate::wire::Connection;

/// The log's end, and what the server says beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// The log's last file.
    pub(crate) file: String,
    /// How many bytes of it are written.
    pub(crate) offset: u64,
    /// The only databases that are logged, comma-separated; empty where there is no such list.
    pub(crate) only: String,
    /// The databases that are not logged, comma-separated.
    pub(crate) ignored: String,
    /// MySQL's set of executed transactions; empty on MariaDB, and where GTIDs are off.
    pub(crate) gtids: String,
}

impl LogEnd {
    /// The end as a position to compare a stream's with.
    pub(crate) fn fence(&self) -> Position {
        Position::new(format!("{}:{}", self.file, self.offset))
    }
}

/// Asks where the log ends
/// (<https://dev.mysql.com/doc/refman/8.4/en/show-binary-log-status.html>).
///
/// # Errors
/// A permission error without the right to ask, and a configuration error where there is no log.
pub(crate) fn log_end(connection: &mut Connection) -> Result<LogEnd, SourceError> {
    let context = "ask for the log's end";
    let renamed = connection.flavour().is_mysql_from(8, 2);
    let sql = if renamed { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    let row = connection.query(context, sql)?.into_iter().next().ok_or_else(|| {
        SourceError::new(SourceErrorKind::Configuration, "the server writes no binlog: log_bin is off")
            .with_hint("turn log_bin on, then restart the server")
    })?;
    let mut cells = row.into_iter().map(Option::unwrap_or_default);
    let mut next = || cells.next().unwrap_or_default();
    let (file, offset, only, ignored) = (next(), next(), next(), next());
    // The server breaks long sets into lines.
    let gtids = next().split_whitespace().collect();
    let offset = offset.parse().map_err(|_| {
        SourceError::new(SourceErrorKind::Protocol, format!("{context}: '{offset}' is not an offset"))
    })?;
    Ok(LogEnd { file, offset, only, ignored, gtids })
}
