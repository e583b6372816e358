//! A server that is itself a replica logs what it replicates only on demand, and falls silent when it stops.

use change::{Finding, SourceError, SourceErrorKind};

use super::Subject;
use crate::server::Server;
use crate::wire::Connection;

const CODE: &str = "replica";

pub(super) fn findings(
    subject: &Subject<'_>,
    connection: &mut Connection,
) -> Result<Vec<Finding>, SourceError> {
    let server = subject.server;
    let Some(channels) = channels(server, connection)? else {
        return Ok(hidden(server).into_iter().collect());
    };
    if channels.is_empty() {
        return Ok(vec![Finding::pass(CODE, "the server is not a replica")]);
    }
    let mut findings = vec![logging(server)];
    findings.extend(channels.iter().filter(|channel| !channel.runs()).map(Channel::standing));
    Ok(findings)
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
