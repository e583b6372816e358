//! The server among others: what it replicates from, and who reads its log beside us.
//!
//! A server that is itself a replica logs what it replicates only on demand, and falls silent when it stops.

use change::{Finding, SourceError, SourceErrorKind};

use super::Subject;
use crate::dump;
use crate::server::Server;
use crate::wire::Connection;

const CODE: &str = "replica";

pub(super) fn findings(
    subject: &Subject<'_>,
    connection: &mut Connection,
) -> Result<Vec<Finding>, SourceError> {
    let server = subject.server;
    let mut findings: Vec<Finding> = match channels(server, connection)? {
        None => hidden(server).into_iter().collect(),
        Some(channels) if channels.is_empty() => {
            vec![Finding::pass(CODE, "the server is not a replica")]
        }
        Some(channels) => {
            let standing = channels.iter().filter(|channel| !channel.runs()).map(Channel::standing);
            std::iter::once(logging(server)).chain(standing).collect()
        }
    };
    if let Some(ours) = subject.config.server_id {
        findings.extend(clash(ours, &readers(server, connection)?));
    }
    Ok(findings)
}

/// Who reads the log, by number and host; nobody where we may not ask
/// (<https://dev.mysql.com/doc/refman/8.4/en/show-replicas.html>).
fn readers(server: &Server, connection: &mut Connection) -> Result<Vec<(String, String)>, SourceError> {
    let renamed = !server.flavour.is_mariadb() && server.flavour.version >= (8, 0, 22);
    let sql = if renamed { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" };
    let rows = match connection.query("ask who reads the log", sql) {
        Ok(rows) => rows,
        Err(error) if error.kind() == SourceErrorKind::Permission => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let reader = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
    };
    Ok(rows.into_iter().map(reader).collect())
}

/// Whether somebody else reads under our number. Our own kind gives its name for its host.
fn clash(ours: u32, readers: &[(String, String)]) -> Option<Finding> {
    let (number, host) =
        readers.iter().find(|(number, host)| *number == ours.to_string() && host != dump::READER)?;
    Some(
        Finding::error(
            "server_id",
            format!("server_id in [source.mysql] is {number}, under which the replica {host} reads already"),
            "the server ends the older of two readers with the same number: both would be cut off again and again",
        )
        .mended_by("set server_id in [source.mysql] to a number that no server of the institution has"),
    )
}

/// One source that the server replicates from.
#[derive(Debug, PartialEq, Eq)]
struct Channel {
    source: String,
    receives: String,
    applies: String,
}

impl Channel {
    fn runs(&self) -> bool {
        self.receives == "Yes" && self.applies == "Yes"
    }

    fn standing(&self) -> Finding {
        Finding::warning(
            CODE,
            format!(
                "the server is a replica of {} that stands still (receives: {}, applies: {})",
                self.source, self.receives, self.applies
            ),
            "what happens on its source does not reach it, and so not its log",
        )
        .mended_by("START REPLICA, and look into SHOW REPLICA STATUS for why it stopped")
    }
}

/// What the server replicates from; `None` where we may not ask.
fn channels(server: &Server, connection: &mut Connection) -> Result<Option<Vec<Channel>>, SourceError> {
    // The statement's columns have kept their places; MariaDB's for all sources has two more in front.
    let (sql, skipped) = if server.flavour.is_mariadb() {
        ("SHOW ALL SLAVES STATUS", 2)
    } else if server.flavour.version >= (8, 0, 22) {
        ("SHOW REPLICA STATUS", 0)
    } else {
        ("SHOW SLAVE STATUS", 0)
    };
    let rows = match connection.query("ask whether the server is a replica", sql) {
        Ok(rows) => rows,
        Err(error) if error.kind() == SourceErrorKind::Permission => return Ok(None),
        Err(error) => return Err(error),
    };
    let cell = |row: &[Option<String>], place: usize| {
        row.get(skipped + place).cloned().flatten().unwrap_or_default()
    };
    let channel = |row: &Vec<Option<String>>| Channel {
        source: cell(row, 1),
        receives: cell(row, 10),
        applies: cell(row, 11),
    };
    Ok(Some(rows.iter().map(channel).collect()))
}

/// MariaDB remembers how far it has replicated, and shows it to everyone.
fn hidden(server: &Server) -> Option<Finding> {
    (!server.setting("gtid_slave_pos").is_empty()).then(|| logging(server))
}

fn logging(server: &Server) -> Finding {
    if server.is_on("log_replica_updates") || server.is_on("log_slave_updates") {
        return Finding::pass(CODE, "the server is a replica and logs what it replicates");
    }
    let renamed = server.flavour.is_mysql_from(8, 0) && server.flavour.version >= (8, 0, 26);
    let name = if renamed { "log_replica_updates" } else { "log_slave_updates" };
    Finding::error(
        CODE,
        format!("the server is a replica and {name} is OFF, expected ON"),
        "its log lacks what it replicates: no such change can be captured",
    )
    .mended_by(server.set(name, "ON", false))
}

#[cfg(test)]
mod tests {
    use change::Severity;

    use super::*;
    use crate::server::tests::server;

    #[test]
    fn a_replica_must_log_what_it_replicates() {
        let found = |on: &str| logging(&server("9.7.4", &[("log_replica_updates", on)]));
        assert_eq!(found("ON").severity, Severity::Pass);
        assert!(found("OFF").mend.unwrap().contains("log_replica_updates = ON"));
        assert!(hidden(&server("10.11.14-MariaDB", &[("gtid_slave_pos", "")])).is_none());
        let maria = server("10.11.14-MariaDB", &[("gtid_slave_pos", "0-1-2"), ("log_slave_updates", "OFF")]);
        assert!(hidden(&maria).unwrap().mend.unwrap().contains("log_slave_updates = ON"));
    }

    #[test]
    fn a_replica_with_our_number_is_told_and_our_own_stream_is_not() {
        let reader = |number: &str, host: &str| (number.to_owned(), host.to_owned());
        let readers = [reader("7", "db2"), reader("4711", dump::READER)];
        assert!(clash(7, &readers).unwrap().what.contains("db2"));
        assert!(clash(4711, &readers).is_none());
        assert!(clash(70, &readers).is_none());
    }

    #[test]
    fn a_replica_that_stands_still_is_told() {
        let channel = |applies: &str| Channel {
            source: "db1".to_owned(),
            receives: "Yes".to_owned(),
            applies: applies.to_owned(),
        };
        assert!(channel("Yes").runs());
        assert!(channel("No").standing().what.contains("applies: No"));
    }
}
