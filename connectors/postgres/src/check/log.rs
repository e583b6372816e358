//! What the server logs, for how many, and how patiently
//! (<https://www.postgresql.org/docs/current/runtime-config-replication.html>).

use change::{Finding, Statement};

use super::Subject;
use crate::rights;
use crate::session::APPLICATION_NAME;

/// The connector reports every second or so; less patience than this mistakes a pause for a dead connection.
const PATIENCE_MILLIS_MIN: i64 = 10_000;

pub(super) fn findings(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = vec![wal_level(subject), patience(subject), memory(subject)];
    findings.extend(senders(subject));
    findings.extend(synchronous(subject.server.setting("synchronous_standby_names").unwrap_or_default()));
    findings
}

fn wal_level(subject: &Subject<'_>) -> Finding {
    let server = subject.server;
    let level = server.setting("wal_level").unwrap_or_default();
    if level == "logical" {
        return Finding::pass("wal_level", "wal_level is \"logical\"");
    }
    let why = "the log does not carry rows in a form that can be decoded: no change can be captured";
    if server.awaits_restart("wal_level") {
        let what = format!("wal_level is \"{level}\" until the server restarts, expected \"logical\"");
        return Finding::error("wal_level", what, why).mended_by("restart the server");
    }
    let Statement { sql, .. } = rights::set_wal_level(server);
    Finding::error("wal_level", format!("wal_level is \"{level}\", expected \"logical\""), why)
        .mended_by(format!("{sql}; then restart the server"))
}

fn senders(subject: &Subject<'_>) -> Option<Finding> {
    let server = subject.server;
    let limit = server.number("max_wal_senders")?;
    let used = server.senders_used;
    let what = format!("{used} of max_wal_senders = {limit} replication connections are in use");
    if used < limit {
        return Some(Finding::pass("max_wal_senders", what));
    }
    let why = "the connector needs one to read the log and would be refused";
    let Statement { sql, .. } = rights::raise(server, "max_wal_senders", limit + 4);
    Some(
        Finding::error("max_wal_senders", what, why)
            .mended_by(format!("{sql}; then restart the server, or end an unused one")),
    )
}

fn patience(subject: &Subject<'_>) -> Finding {
    let millis = subject.server.number("wal_sender_timeout").unwrap_or_default();
    if millis > 0 && millis < PATIENCE_MILLIS_MIN {
        return Finding::warning(
            "wal_sender_timeout",
            format!("wal_sender_timeout is {millis} ms, expected {PATIENCE_MILLIS_MIN} ms or more"),
            "the server ends a connection that was busy for a moment, and decoding starts again from its \
             last position",
        )
        .mended_by(format!(
            "ALTER ROLE {} SET wal_sender_timeout = '60s'",
            crate::name::quote_ident(&subject.config.user)
        ));
    }
    let text = if millis == 0 { "off".to_owned() } else { format!("{} s", millis / 1000) };
    Finding::pass("wal_sender_timeout", format!("wal_sender_timeout is {text}"))
}

fn memory(subject: &Subject<'_>) -> Finding {
    let kilobytes = subject.server.number("logical_decoding_work_mem").unwrap_or_default();
    Finding::pass(
        "logical_decoding_work_mem",
        format!(
            "transactions above logical_decoding_work_mem = {kilobytes} kB are decoded by way of the \
             server's disk"
        ),
    )
}

/// A replication connection can count as a synchronous standby by its application's name; then commits of the
/// institution would wait for our confirmations
/// (<https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES>).
fn synchronous(names: &str) -> Option<Finding> {
    let ours = names
        .split(|character: char| !(character.is_alphanumeric() || "_*-".contains(character)))
        .any(|name| name == "*" || name.eq_ignore_ascii_case(APPLICATION_NAME));
    ours.then(|| {
        Finding::error(
            "synchronous_standby_names",
            format!("synchronous_standby_names is \"{names}\", which covers the connector's own connection"),
            "the server may make every commit of the institution wait for the connector's confirmation",
        )
        .mended_by(
            "ALTER SYSTEM SET synchronous_standby_names = '…' with the standbys' own names; SELECT \
            pg_reload_conf()",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connector_must_not_count_as_a_synchronous_standby() {
        for (names, covered) in [
            ("", false),
            ("*", true),
            ("FIRST 1 (sede_norte, sede_sur)", false),
            ("ANY 1 (bitacora, sede)", true),
            ("2 (\"*\")", true),
            ("bitacora_dr", false),
        ] {
            assert_eq!(synchronous(names).is_some(), covered, "{names}");
        }
    }
}
