//! Which database answers, and which history of it.
//!
//! Replicas of an availability group share one log, so neither the server's name nor the database's number there tells
//! them apart from a restored copy. The *recovery fork* does: it is the same on every replica, and a database that was
//! restored to an earlier moment begins another
//! (<https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-database-recovery-status-transact-sql>).
//! Where the login may not see it, and on Azure, the database's service broker number must do, which a database that
//! was made anew does not have.

use change::{Checkpoint, ServerIdentity, SourceError, SourceErrorKind};
use tiberius::ColumnData;

use crate::client::{Answer, Client};
use crate::lsn::Lsn;

/// The database that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    fork: Option<String>,
    broker: Option<String>,
    database: String,
    /// Whether capture is enabled in the database.
    pub(crate) captures: bool,
    /// Whether transactions may read under SNAPSHOT.
    pub(crate) snapshots: bool,
    /// The collation of texts that say none of their own.
    pub(crate) collation: String,
}

impl Identity {
    /// Asks who answers.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(crate) async fn ask(client: &mut Client) -> Result<Self, SourceError> {
        let context = "ask which database answers";
        // By its name: on Azure DB_ID() is not the number that sys.databases has
        // (https://learn.microsoft.com/en-us/sql/t-sql/functions/db-id-transact-sql).
        let sql = "SELECT name, service_broker_guid, is_cdc_enabled, snapshot_isolation_state, collation_name \
                   FROM sys.databases WHERE name = DB_NAME()";
        let rows = client.rows(context, sql, &[]).await?;
        let Some(row) = rows.first() else {
            let what = format!("{context}: sys.databases has no row for the present database");
            return Err(SourceError::new(SourceErrorKind::Protocol, what));
        };
        let identity = Self {
            fork: None,
            broker: guid(row, 1),
            database: row.text(0)?,
            captures: row.flag(2)?,
            snapshots: row.number(3)? == 1,
            collation: row.optional_text(4)?.unwrap_or_default().to_owned(),
        };
        let sql = "SELECT recovery_fork_guid FROM sys.database_recovery_status WHERE database_id = DB_ID()";
        let fork = match client.rows("ask for the database's recovery fork", sql, &[]).await {
            Ok(rows) => rows.first().and_then(|row| guid(row, 0)),
            Err(error) if client.is_spent() => return Err(error),
            Err(error) => {
                tracing::debug!(error = %error, "the recovery fork is not known");
                None
            }
        };
        Ok(Self { fork, ..identity })
    }

    /// What is stored beside a position.
    pub(crate) fn server(&self) -> ServerIdentity {
        let or_dash = |guid: &Option<String>| guid.clone().unwrap_or_else(|| "-".to_owned());
        ServerIdentity::new(format!(
            "sqlserver fork={} broker={} database={}",
            or_dash(&self.fork),
            or_dash(&self.broker),
            self.database
        ))
    }

    /// Whether the checkpoint belongs to the history of the database that answers.
    ///
    /// # Errors
    /// [`SourceErrorKind::LostLog`] when it does not.
    pub(crate) fn expect_history_of(&self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        let stored = checkpoint.server.as_str();
        let same = match (field(stored, "fork"), &self.fork) {
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => match (field(stored, "broker"), &self.broker) {
                (Some(theirs), Some(ours)) => theirs == ours,
                _ => stored == self.server().as_str(),
            },
        };
        if same {
            return Ok(());
        }
        Err(lost(format!(
            "another history answers: it is \"{}\", the checkpoint is of \"{stored}\"; the database was restored or \
             replaced",
            self.server()
        )))
    }
}

/// A field of what was stored; `None` where it was not known then.
fn field<'a>(stored: &'a str, name: &str) -> Option<&'a str> {
    let value = stored.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
    (value != "-").then_some(value)
}

fn guid(row: &Answer, place: usize) -> Option<String> {
    match row.cell(place) {
        Some(ColumnData::Guid(Some(guid))) => Some(guid.hyphenated().to_string()),
        _ => None,
    }
}

/// The captured log's end; `None` while the capture has not run once.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn captured_end(client: &mut Client) -> Result<Option<Lsn>, SourceError> {
    // https://learn.microsoft.com/en-us/sql/relational-databases/system-functions/sys-fn-cdc-get-max-lsn-transact-sql
    let rows = client.rows("ask where the captured log ends", "SELECT sys.fn_cdc_get_max_lsn()", &[]).await?;
    match rows.first() {
        Some(row) => row.optional_lsn(0),
        None => Ok(None),
    }
}

/// The error for a log that does not follow the checkpoint.
pub(crate) fn lost(what: String) -> SourceError {
    SourceError::new(SourceErrorKind::LostLog, what)
        .with_hint("the table is read anew and compared with what is known: what changed meanwhile is sent")
}

#[cfg(test)]
mod tests {
    use change::Position;

    use super::*;

    fn identity(fork: Option<&str>, broker: Option<&str>) -> Identity {
        Identity {
            fork: fork.map(str::to_owned),
            broker: broker.map(str::to_owned),
            database: "base de trámites".to_owned(),
            captures: true,
            snapshots: false,
            collation: String::new(),
        }
    }

    #[test]
    fn the_fork_decides_where_both_know_it_and_the_broker_else() {
        for (then, now, same) in [
            (identity(Some("f"), Some("b")), identity(Some("f"), Some("c")), true),
            (identity(Some("f"), Some("b")), identity(Some("g"), Some("b")), false),
            (identity(None, Some("b")), identity(Some("g"), Some("b")), true),
            (identity(Some("f"), Some("b")), identity(None, Some("c")), false),
            (identity(None, None), identity(None, None), true),
            (identity(None, None), identity(None, Some("b")), false),
        ] {
            let position = Position::new("0x00000027000007580005");
            let checkpoint = Checkpoint { position, server: then.server() };
            let told = now.expect_history_of(&checkpoint);
            assert_eq!(told.is_ok(), same, "{then:?} {now:?}");
            assert!(told.is_ok() || told.unwrap_err().kind() == SourceErrorKind::LostLog);
        }
    }
}
