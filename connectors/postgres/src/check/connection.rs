//! How the server is reached: its version, encryption, poolers, standbys, clocks.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use change::{Finding, SourceError};
use trust::TlsMode;

use super::Subject;
use crate::config::PostgresConfig;
use crate::session::{PINNED, sql_error};

/// Clocks further apart than this are worth a word.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);

const OLDEST: u32 = 13;
const NEWEST: u32 = 18;

/// The minor releases of May 2025 hand every transaction the invalidations of all others, until decoding
/// asks for more than 1 GB and fails (<https://www.postgresql.org/docs/release/17.6/>).
const RUNAWAY_MEMORY: [u32; 5] = [130_021, 140_018, 150_013, 160_009, 170_005];

pub(super) async fn findings(subject: &Subject<'_>) -> Result<Vec<Finding>, SourceError> {
    let mut findings = vec![version(subject.server.version, &subject.server.version_text())];
    findings.push(encryption(subject).await?);
    findings.push(pooler(subject).await?);
    findings.push(standby(subject));
    findings.push(clock(subject.server.clock_at, now_micros()));
    findings.extend(encoding(subject));
    Ok(findings)
}

fn version(number: u32, text: &str) -> Finding {
    let major = number / 10_000;
    if major < OLDEST {
        return Finding::error(
            "version",
            format!("PostgreSQL is {text}, expected {OLDEST} to {NEWEST}"),
            "older servers decode the log in ways that this connector does not know",
        )
        .mended_by(format!("upgrade the server to PostgreSQL {OLDEST} or newer"));
    }
    if major > NEWEST {
        return Finding::warning(
            "version",
            format!("PostgreSQL is {text}, tried with {OLDEST} to {NEWEST}"),
            "a newer server may log something that this connector does not know; it then stops rather than \
             guess",
        );
    }
    if RUNAWAY_MEMORY.contains(&number) {
        return Finding::warning(
            "version",
            format!("PostgreSQL is {text}, whose logical decoding can run out of memory"),
            "under many concurrent transactions the server's sender fails with \"invalid memory alloc \
             request size\" and capture stands still",
        )
        .mended_by(format!("install the latest minor release of PostgreSQL {major} and restart the server"));
    }
    Finding::pass("version", format!("PostgreSQL is {text}"))
}

async fn encryption(subject: &Subject<'_>) -> Result<Finding, SourceError> {
    let context = "ask whether this connection is encrypted";
    let sql = "SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    let rows = subject.session.query(context, sql, &[]).await?;
    let config = subject.config;
    let Some(row) = rows.first() else {
        return Ok(unencrypted(config));
    };
    let (protocol, cipher): (String, String) = row
        .try_get(0)
        .and_then(|protocol| Ok((protocol, row.try_get(1)?)))
        .map_err(|error| sql_error(context, error))?;
    if config.tls == TlsMode::Require {
        return Ok(Finding::warning(
            "tls",
            format!("the connection is encrypted ({protocol}), but tls = \"require\" checks no certificate"),
            "whoever can redirect the connection can pass for the server, read the password's exchange and \
             invent rows",
        )
        .mended_by(
            "set tls = \"verify-full\", with tls_ca naming the server's authority where it is a private \
            one",
        ));
    }
    Ok(Finding::pass(
        "tls",
        format!("the connection is encrypted ({protocol}, {cipher}), tls = \"{}\"", config.tls),
    ))
}

fn unencrypted(config: &PostgresConfig) -> Finding {
    if config.socket_dir().is_some() {
        return Finding::pass("tls", "the connection is a local socket, which needs no encryption");
    }
    if is_loopback(&config.host) {
        return Finding::pass("tls", "the connection is not encrypted, and does not leave this machine");
    }
    Finding::warning(
        "tls",
        format!("the connection to {} is not encrypted", config.address()),
        "citizens' requests cross the network in the clear, and anyone on it can alter them",
    )
    .mended_by(
        "set tls = \"verify-full\", with tls_ca naming the server's authority where it is a private one",
    )
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What a session asked for at its start takes effect, unless something in between swallowed it.
async fn pooler(subject: &Subject<'_>) -> Result<Finding, SourceError> {
    let context = "ask whether the session's settings have taken effect";
    let names: Vec<&str> = PINNED.iter().map(|(name, _)| *name).collect();
    let sql = "SELECT name, setting FROM pg_settings WHERE name = ANY ($1)";
    let rows = subject.session.query(context, sql, &[&names]).await?;
    for row in &rows {
        let (name, actual): (String, String) = row
            .try_get(0)
            .and_then(|name| Ok((name, row.try_get(1)?)))
            .map_err(|error| sql_error(context, error))?;
        let expected = PINNED.iter().find(|(pinned, _)| *pinned == name).map_or("", |(_, value)| *value);
        // DateStyle reads back with an order of day and month behind it.
        let same = actual == expected || (name == "DateStyle" && actual.starts_with(expected));
        if !same {
            return Ok(Finding::error(
                "pooler",
                format!("{name} is \"{actual}\", although the connection asked for \"{expected}\""),
                "a connection pooler between swallows session settings; it can hand a session to others in \
                 the middle, and dates would be misread",
            )
            .mended_by("set host and port in the [source] part to the PostgreSQL server itself"));
        }
    }
    Ok(Finding::pass("pooler", "no connection pooler stands between"))
}

/// Decoding on a standby
/// (<https://www.postgresql.org/docs/current/logicaldecoding-explanation.html>).
fn standby(subject: &Subject<'_>) -> Finding {
    let server = subject.server;
    if !server.in_recovery {
        return Finding::pass("standby", "the server is a primary");
    }
    if server.major() < 16 {
        return Finding::error(
            "standby",
            format!(
                "the server is a standby of version {}, which cannot decode its log",
                server.version_text()
            ),
            "standbys offer logical decoding from version 16 on",
        )
        .mended_by("set host and port in the [source] part to the primary");
    }
    if server.setting("hot_standby_feedback") != Some("on") {
        return Finding::error(
            "standby",
            "the server is a standby and hot_standby_feedback is \"off\", expected \"on\"",
            "the primary would remove catalogue rows that decoding needs, and the slot would be \
                 invalidated",
        )
        .mended_by("ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf()");
    }
    Finding::warning(
        "standby",
        "the server is a standby",
        "making the slot waits until the primary next logs its running transactions, the publication \
             must be made on the primary, and the standby itself needs a physical slot there \
             (primary_slot_name)",
    )
    .mended_by("on the primary, while the slot is being made: SELECT pg_log_standby_snapshot()")
}

fn clock(server_at: i64, ours_at: i64) -> Finding {
    let apart = Duration::from_micros(server_at.abs_diff(ours_at));
    if apart > CLOCK_SKEW_MAX {
        return Finding::warning(
            "clock",
            format!("the server's clock and this machine's are {} s apart", apart.as_secs()),
            "the lag shown is off by as much, and commit times taken as modification dates are the server's",
        )
        .mended_by(
            "let both machines take their time from the same source, such as chrony with pool servers",
        );
    }
    Finding::pass("clock", "the server's clock agrees with this machine's")
}

fn now_micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

fn encoding(subject: &Subject<'_>) -> Option<Finding> {
    (subject.server.setting("server_encoding") == Some("SQL_ASCII")).then(|| {
        Finding::warning(
            "encoding",
            "the database's encoding is SQL_ASCII, expected UTF8",
            "the server does not know what its bytes mean: names with accents may arrive unreadable, and \
             such rows go into quarantine",
        )
        .mended_by("dump the database and restore it into one made with ENCODING 'UTF8'")
    })
}

#[cfg(test)]
mod tests {
    use change::Severity;

    use super::*;

    #[test]
    fn versions_are_judged_by_what_was_tried() {
        for (number, severity) in [
            (120_022, Severity::Error),
            (130_000, Severity::Pass),
            (160_009, Severity::Warning),
            (180_001, Severity::Pass),
            (190_000, Severity::Warning),
        ] {
            assert_eq!(version(number, "x").severity, severity, "{number}");
        }
    }

    #[test]
    fn only_what_stays_on_this_machine_may_go_unencrypted_unremarked() {
        for (host, severity) in [
            ("localhost", Severity::Pass),
            ("127.0.0.42", Severity::Pass),
            ("::1", Severity::Pass),
            ("/run/postgresql", Severity::Pass),
            ("10.0.0.7", Severity::Warning),
            ("db1", Severity::Warning),
        ] {
            let config = PostgresConfig {
                host: host.to_owned(),
                port: 5432,
                database: "d".to_owned(),
                user: "u".to_owned(),
                password: None,
                tls: TlsMode::Disable,
                tls_ca: None,
                slot: "s".to_owned(),
                publication: "p".to_owned(),
            };
            assert_eq!(unencrypted(&config).severity, severity, "{host}");
        }
    }

    #[test]
    fn clocks_far_apart_are_told() {
        assert_eq!(clock(0, 29_000_000).severity, Severity::Pass);
        assert!(clock(0, -61_000_000).what.contains("61 s apart"));
    }
}
