//! How much longer the server keeps the log that follows a position.
//!
//! The server purges whole files, each when it has been closed for longer than its settings say
//! (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html#sysvar_binlog_expire_logs_seconds>).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use change::{Retention, SourceError, SourceErrorKind};

use crate::config::MysqlConfig;
use crate::server;
use crate::wire::Connection;

const COM_BINLOG_DUMP: u8 = 0x12;
/// End at the log's end rather than wait there.
const DUMP_NON_BLOCK: u16 = 1;
/// Where a file's first event begins.
const FIRST_EVENT: u32 = 4;
/// The event that describes a file's format; its time is when the file was begun.
const FORMAT_DESCRIPTION: u8 = 15;
/// The file's description comes second, after the file's name.
const EVENTS_READ_MAX: usize = 4;

/// When files of the log were closed: it never changes, and asking costs a connection.
#[derive(Debug, Default)]
pub(crate) struct ClosedFiles(Mutex<HashMap<String, SystemTime>>);

impl ClosedFiles {
    fn get(&self, file: &str) -> Option<SystemTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(file).copied()
    }

    /// Only files that are looked at again are worth remembering.
    fn remember(&self, file: &str, closed: SystemTime) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
        known.insert(file.to_owned(), closed);
    }
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LogFile {
    name: String,
    bytes: u64,
}

/// How much longer the server keeps what follows `offset` in `file`. Blocks.
///
/// A file that is gone keeps nothing: the time left is zero.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) fn retention(
    config: &MysqlConfig,
    closed_files: &ClosedFiles,
    (file, offset): (&str, u64),
) -> Result<Retention, SourceError> {
    let mut connection = Connection::open(config)?;
    let server = server::ask(&mut connection)?;
    let files = files(&mut connection)?;
    let Some(ours) = files.iter().position(|known| known.name == file) else {
        return Ok(Retention { left: Some(Duration::ZERO), kept_bytes: None });
    };
    let kept_bytes = kept_bytes(files.iter().skip(ours), offset);
    let Some(keeps) = server.log_seconds().map(Duration::from_secs) else {
        return Ok(Retention { left: None, kept_bytes: Some(kept_bytes) });
    };
    let left = match files.get(ours + 1) {
        // The server goes on writing it: its time has not begun.
        None => Some(keeps),
        Some(next) => {
            let closed = match closed_files.get(file) {
                Some(closed) => Some(closed),
                None => begun_at(connection, &next.name)?,
            };
            closed.map(|closed| {
                closed_files.remember(file, closed);
                left(keeps, closed, SystemTime::now())
            })
        }
    };
    Ok(Retention { left, kept_bytes: Some(kept_bytes) })
}

fn left(keeps: Duration, closed: SystemTime, now: SystemTime) -> Duration {
    keeps.saturating_sub(now.duration_since(closed).unwrap_or_default())
}

fn kept_bytes<'a>(files: impl Iterator<Item = &'a LogFile>, offset: u64) -> u64 {
    let all = files.fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
    all.saturating_sub(offset)
}

fn files(connection: &mut Connection) -> Result<Vec<LogFile>, SourceError> {
    let context = "list the files of the log";
    let rows = connection.query(context, "SHOW BINARY LOGS")?;
    let read = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter().flatten();
        Some(LogFile { name: cells.next()?, bytes: cells.next()?.parse().ok()? })
    };
    rows.into_iter()
        .map(|row| {
            read(row).ok_or_else(|| {
                let context = format!("{context}: the server's answer has no name and size");
                SourceError::new(SourceErrorKind::Protocol, context)
            })
        })
        .collect()
}

/// When a file of the log was begun, which is when the one before it was closed; `None` where the server does not
/// tell. No statement shows it: the beginning of the file is read, and with it the connection is spent.
fn begun_at(mut connection: Connection, file: &str) -> Result<Option<SystemTime>, SourceError> {
    let context = "ask when a file of the log was begun";
    // Without these the server takes us for a reader that cannot stand its checksums.
    connection.execute(context, "SET @master_binlog_checksum = 'NONE', @source_binlog_checksum = 'NONE'")?;
    let mut command = vec![COM_BINLOG_DUMP];
    command.extend(FIRST_EVENT.to_le_bytes());
    command.extend(DUMP_NON_BLOCK.to_le_bytes());
    // Nobody's number: with ours the server would end our own stream.
    command.extend(0_u32.to_le_bytes());
    command.extend(file.as_bytes());
    connection.send_command(&command)?;
    for _ in 0..EVENTS_READ_MAX {
        // A file that was purged meanwhile tells nothing.
        let body = connection.wait()?.body;
        let Some((0, event)) = body.split_first() else { return Ok(None) };
        let Some(([seconds @ .., kind], _)) = event.split_first_chunk::<5>() else { return Ok(None) };
        if *kind == FORMAT_DESCRIPTION {
            let seconds = u32::from_le_bytes(*seconds);
            return Ok(Some(UNIX_EPOCH + Duration::from_secs(seconds.into())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_counts_from_when_the_file_was_closed() {
        let closed = UNIX_EPOCH + Duration::from_secs(1000);
        let at =
            |seconds: u64| left(Duration::from_secs(600), closed, UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1100), Duration::from_secs(500));
        assert_eq!(at(5000), Duration::ZERO);
        // A clock that runs behind the server's makes no more of it than there is.
        assert_eq!(at(900), Duration::from_secs(600));
    }

    #[test]
    fn what_is_kept_begins_at_the_position() {
        let file = |bytes: u64| LogFile { name: String::new(), bytes };
        assert_eq!(kept_bytes([file(100), file(50)].iter(), 30), 120);
        assert_eq!(kept_bytes([file(100)].iter(), 300), 0);
    }
}
