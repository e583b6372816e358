//! Which server answers, and whether a stored position belongs to its log.

use change::{Checkpoint, ServerIdentity, SourceError, SourceErrorKind};

use crate::dump::FILE_START;
use crate::gtid::GtidSet;
use crate::name::quote_literal;
use crate::position::{LogPosition, Place};
use crate::wire::Connection;

/// What a server tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    text: String,
    /// Whether it numbers transactions.
    pub(crate) uses_gtids: bool,
    /// Whether case counts in the names of tables.
    pub(crate) case_counts: bool,
    maria: bool,
}

/// Files of the log with their sizes in bytes.
type Files = Vec<(String, u64)>;

impl Identity {
    /// Asks the server.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn ask(connection: &mut Connection) -> Result<Self, SourceError> {
        let context = "ask the server who it is";
        let maria = connection.flavour().is_mariadb();
        let names = ["server_uuid", "server_uid", "server_id", "gtid_mode", "lower_case_table_names"];
        let quoted = names.map(quote_literal).join(", ");
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({quoted})");
        let rows = connection.query(context, &sql)?;
        let setting = |name: &str| {
            let row = rows.iter().find(|row| row.first().and_then(Option::as_deref) == Some(name));
            row.and_then(|row| row.get(1)).and_then(Option::as_deref).unwrap_or_default()
        };
        let own = match (setting("server_uuid"), setting("server_uid")) {
            ("", "") => format!("server_id={}", setting("server_id")),
            ("", uid) => format!("uid={uid} server_id={}", setting("server_id")),
            (uuid, _) => format!("uuid={uuid}"),
        };
        Ok(Self {
            text: format!("{} {own}", if maria { "mariadb" } else { "mysql" }),
            uses_gtids: maria || setting("gtid_mode") == "ON",
            case_counts: matches!(setting("lower_case_table_names"), "0" | ""),
            maria,
        })
    }

    /// What is stored beside a position.
    pub(crate) fn server(&self) -> ServerIdentity {
        ServerIdentity::new(self.text.as_str())
    }

    /// Whether the log still holds what follows the checkpoint, as far as can be told before it is read. Returns
    /// whether it is the very server that the checkpoint is from.
    ///
    /// # Errors
    /// [`SourceErrorKind::LostLog`] when it does not.
    pub(crate) fn expect_holds(
        &self,
        connection: &mut Connection,
        checkpoint: &Checkpoint,
        position: &LogPosition,
    ) -> Result<bool, SourceError> {
        let same = checkpoint.server.as_str() == self.text;
        if !same && (position.gtids.is_none() || !self.uses_gtids) {
            return Err(lost(format!(
                "another server answers: it is \"{}\", the checkpoint is of \"{}\", and without GTIDs its position means \
                 nothing here",
                self.text, checkpoint.server
            )));
        }
        if !same && self.maria && number(&self.text) == number(checkpoint.server.as_str()) {
            // Its own transactions bear the numbers that ours had on the other one.
            return Err(lost(format!(
                "another server with the same server_id answers: it is \"{}\", the checkpoint is of \"{}\"",
                self.text, checkpoint.server
            )));
        }
        if same && let Some(place) = &position.place {
            self.expect_place(connection, place, position)?;
        }
        if let Some(gtids) = &position.gtids
            && !self.maria
            && self.uses_gtids
        {
            expect_gtids(connection, gtids)?;
        }
        Ok(same)
    }

    /// Whether the place is one of this log as it is now, and not of one that was reset.
    fn expect_place(
        &self,
        connection: &mut Connection,
        place: &Place,
        position: &LogPosition,
    ) -> Result<(), SourceError> {
        let files = files(connection)?;
        let last = files.last().map(|(name, _)| Place { file: name.as_str().into(), offset: 0 });
        let Some((name, bytes)) = files.iter().find(|(name, _)| **name == *place.file) else {
            if last.is_some_and(|last| last.sequence() < place.sequence()) {
                return Err(lost(format!(
                    "the checkpoint is at {place}, and the log ends in an earlier file: it was reset, or the server \
                     restored from an older copy"
                )));
            }
            if position.gtids.is_some() {
                // It was purged; whether anything that follows was purged with it, the transactions tell.
                return Ok(());
            }
            return Err(lost(format!("file {} of the log, where the checkpoint lies, is gone", place.file)));
        };
        if place.offset > *bytes {
            return Err(lost(format!(
                "the checkpoint is at {place}, and {name} has {bytes} bytes: the log was reset, or the server \
                 restored from an older copy"
            )));
        }
        if self.maria {
            expect_gtids_at(connection, &files, place, position)
        } else {
            expect_event_at(connection, place, *bytes)
        }
    }
}

/// The number that a server of MariaDB gives its transactions, out of the text of its identity.
fn number(identity: &str) -> Option<&str> {
    identity.rsplit_once("server_id=").map(|(_, number)| number)
}

/// The files of the log.
///
/// # Errors
/// When the server refuses to list them.
pub(crate) fn files(connection: &mut Connection) -> Result<Files, SourceError> {
    let rows = connection.query("list the files of the log", "SHOW BINARY LOGS")?;
    let read = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter().flatten();
        Some((cells.next()?, cells.next()?.parse().ok()?))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// MySQL: an offset that is not between two events is not of this log.
fn expect_event_at(connection: &mut Connection, place: &Place, bytes: u64) -> Result<(), SourceError> {
    if place.offset == bytes || place.offset <= 4 {
        return Ok(());
    }
    match events_at(connection, &place.file, place.offset, 1) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == SourceErrorKind::Unreachable => Err(error),
        Err(error) if error.kind() == SourceErrorKind::Permission => {
            tracing::debug!(error = %error, "the log could not be looked at before it is read");
            Ok(())
        }
        Err(error) => {
            Err(lost(format!("the checkpoint {place} lies within an event: the log was reset"))
                .caused_by(error))
        }
    }
}

/// Looks at some events of the log; the server goes to the first one directly.
fn events_at(
    connection: &mut Connection,
    file: &str,
    offset: u64,
    count: u32,
) -> Result<Vec<Vec<Option<String>>>, SourceError> {
    let sql = format!("SHOW BINLOG EVENTS IN {} FROM {offset} LIMIT {count}", quote_literal(file));
    connection.query("look at the log where the checkpoint lies", &sql)
}

/// MariaDB tells which transactions lie before a place: after a reset others do.
fn expect_gtids_at(
    connection: &mut Connection,
    files: &Files,
    place: &Place,
    position: &LogPosition,
) -> Result<(), SourceError> {
    let Some(ours) = &position.gtids else { return Ok(()) };
    // For its answer the server reads the whole file up to the place.
    if is_followed(connection, files, place, ours)? {
        return Ok(());
    }
    let theirs = gtids_at(connection, place)?;
    if theirs.as_ref().is_none_or(|theirs| theirs == ours) {
        return Ok(());
    }
    Err(lost(format!("at {place} the log holds other transactions than the checkpoint has: it was reset")))
}

/// Whether what stands at a place of MariaDB's log shows that exactly `ours` lie before it: the transaction that comes
/// next after them, or the end of the file, when the next file's list of what precedes it names them
/// (<https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol>). That it
/// does not show this proves nothing.
///
/// # Errors
/// When the connection breaks.
fn is_followed(
    connection: &mut Connection,
    files: &Files,
    place: &Place,
    ours: &GtidSet,
) -> Result<bool, SourceError> {
    let mut told = |file: &str, offset, count| match events_at(connection, file, offset, count) {
        Err(error) if error.kind() == SourceErrorKind::Unreachable => Err(error),
        Err(error) => {
            tracing::debug!(error = %error, "the log could not be looked at before it is read");
            Ok(Vec::new())
        }
        Ok(events) => Ok(events.into_iter().filter_map(kind_and_words).collect::<Vec<_>>()),
    };
    let here = told(&place.file, place.offset, 1)?;
    Ok(match here.first().map(|(kind, words)| (kind.as_str(), words)) {
        Some(("Gtid", words)) => is_next(ours, words),
        Some(("Rotate" | "Stop", _)) => {
            let Some((next, _)) = files.iter().skip_while(|(name, _)| **name != *place.file).nth(1) else {
                return Ok(false);
            };
            let list = told(next, FILE_START, 2)?.into_iter().find(|(kind, _)| kind == "Gtid_list");
            let set = list.and_then(|(_, words)| words.trim_matches(['[', ']']).parse::<GtidSet>().ok());
            set.as_ref() == Some(ours)
        }
        _ => false,
    })
}

/// The type of an event, and what the server says of it.
fn kind_and_words(event: Vec<Option<String>>) -> Option<(String, String)> {
    let mut cells = event.into_iter();
    Some((cells.nth(2)??, cells.nth(2)??))
}

/// Whether the transaction that `words` announce, such as `BEGIN GTID 0-1-7`, is the one after the last of `ours` in
/// its domain.
fn is_next(ours: &GtidSet, words: &str) -> bool {
    let gtid = words.split_once("GTID ").and_then(|(_, rest)| rest.split_whitespace().next());
    let (GtidSet::MariaDb(ours), Some(Ok(GtidSet::MariaDb(next)))) = (ours, gtid.map(str::parse)) else {
        return false;
    };
    next.iter().all(|(domain, (_, sequence))| {
        ours.get(domain).and_then(|(_, last)| last.checked_add(1)) == Some(*sequence)
    })
}

/// The transactions before a place of MariaDB's log; `None` where there are none or the server cannot tell.
///
/// # Errors
/// When the connection breaks.
pub(crate) fn gtids_at(connection: &mut Connection, place: &Place) -> Result<Option<GtidSet>, SourceError> {
    let sql = format!("SELECT BINLOG_GTID_POS({}, {})", quote_literal(&place.file), place.offset);
    let rows = connection.query("ask which transactions lie before the checkpoint", &sql)?;
    let told = rows.into_iter().flatten().flatten().next();
    Ok(told.and_then(|text| text.parse().ok()))
}

/// MySQL: what was purged must be ours already, and what is ours must have been executed there.
fn expect_gtids(connection: &mut Connection, ours: &GtidSet) -> Result<(), SourceError> {
    let context = "ask which transactions the server knows";
    let row = connection.query(context, "SELECT @@GLOBAL.gtid_purged, @@GLOBAL.gtid_executed")?;
    let mut sets = row.into_iter().flatten().map(|text| {
        let text: String = text.unwrap_or_default().split_whitespace().collect();
        text.parse::<GtidSet>().ok()
    });
    let (purged, executed) = (sets.next().flatten(), sets.next().flatten());
    if purged.is_some_and(|purged| !purged.is_within(ours)) {
        return Err(lost("the server has purged transactions that follow the checkpoint".to_owned()));
    }
    if !executed.is_some_and(|executed| ours.is_within(&executed)) {
        return Err(lost(format!(
            "the checkpoint holds transactions that the server does not know ({ours}): its log was reset, or it was \
             restored from an older copy"
        )));
    }
    Ok(())
}

fn lost(what: String) -> SourceError {
    SourceError::new(SourceErrorKind::LostLog, what)
        .with_hint("the table is read anew and compared with what is known: what changed meanwhile is sent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_transaction_tells_that_ours_precede_it() {
        let ours: GtidSet = "0-1-6,2-1-9".parse().unwrap();
        for (words, next) in [
            ("BEGIN GTID 0-1-7", true),
            ("GTID 2-3-10", true),
            ("BEGIN GTID 0-1-7 cid=12", true),
            ("BEGIN GTID 0-1-6", false),
            ("BEGIN GTID 0-1-8", false),
            ("BEGIN GTID 1-1-7", false),
            ("BEGIN GTID", false),
            ("", false),
        ] {
            assert_eq!(is_next(&ours, words), next, "{words}");
        }
    }
}
