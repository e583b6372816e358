//! Whom we talk to, how, and with which clock.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use change::{Finding, SourceError};
use trust::TlsMode;

use super::Subject;
use crate::config::MysqlConfig;
use crate::flavour::{Flavour, Product};
use crate::wire::Connection;

/// Clocks further apart than this are told.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);

pub(super) fn findings(
    subject: &Subject<'_>,
    connection: &mut Connection,
) -> Result<Vec<Finding>, SourceError> {
    Ok(vec![
        version(&subject.server.flavour),
        encryption(subject, connection)?,
        proxy(connection)?,
        clock(subject.server.clock_at, now_micros()),
    ])
}

fn version(flavour: &Flavour) -> Finding {
    let (major, minor, _) = flavour.version;
    let (oldest, newest, expected) = match flavour.product {
        Product::MySql => ((8, 0), 9, "8.0 to 9.x"),
        Product::MariaDb => ((10, 5), 11, "10.6 to 11.x"),
    };
    if (major, minor) < oldest {
        return Finding::error(
            "version",
            format!("the server is {flavour}, expected {} {expected}", flavour.product),
            "older servers do not tell the names of columns in their log, and lack statements that this connector uses",
        )
        .mended_by(format!("upgrade the server to {} {expected}", flavour.product));
    }
    if major > newest {
        return Finding::warning(
            "version",
            format!("the server is {flavour}, tried with {expected}"),
            "a newer server may log something that this connector does not know; it then stops rather than guess",
        );
    }
    Finding::pass("version", format!("the server is {flavour}"))
}

fn encryption(subject: &Subject<'_>, connection: &mut Connection) -> Result<Finding, SourceError> {
    let context = "ask whether this connection is encrypted";
    let rows = connection.query(context, "SHOW SESSION STATUS LIKE 'Ssl_version'")?;
    let protocol = rows.into_iter().flatten().flatten().nth(1).unwrap_or_default();
    let config = subject.config;
    if protocol.is_empty() {
        return Ok(unencrypted(config));
    }
    if config.tls == TlsMode::Require {
        return Ok(Finding::warning(
            "tls",
            format!("the connection is encrypted ({protocol}), but tls = \"require\" checks no certificate"),
            "whoever can redirect the connection can pass for the server, read the password's exchange and \
             invent rows",
        )
        .mended_by(
            "set tls = \"verify-full\", with tls_ca naming the server's authority where it is a private one",
        ));
    }
    Ok(Finding::pass("tls", format!("the connection is encrypted ({protocol}), tls = \"{}\"", config.tls)))
}

fn unencrypted(config: &MysqlConfig) -> Finding {
    if config.socket().is_some() {
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
fn proxy(connection: &mut Connection) -> Result<Finding, SourceError> {
    let context = "ask whether the session's settings have taken effect";
    let sql = "SELECT @@SESSION.time_zone, @@SESSION.character_set_results, @@version_comment";
    let row = connection.query(context, sql)?.into_iter().next().unwrap_or_default();
    let mut cells = row.into_iter().map(Option::unwrap_or_default);
    let mut next = || cells.next().unwrap_or_default();
    let (zone, charset, comment) = (next(), next(), next());
    if zone == "+00:00" && charset == "utf8mb4" && !comment.contains("ProxySQL") {
        return Ok(Finding::pass("proxy", "no proxy stands between"));
    }
    Ok(Finding::error(
        "proxy",
        format!(
            "the session's time zone is \"{zone}\" and its character set \"{charset}\", although the connection asked \
             for \"+00:00\" and \"utf8mb4\" ({comment})"
        ),
        "a proxy between swallows session settings: times and accents would be misread, and the log does not pass it",
    )
    .mended_by("set host and port in the [source] part to the server itself"))
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

#[cfg(test)]
mod tests {
    use change::Severity;

    use super::*;

    #[test]
    fn versions_are_judged_by_what_was_tried() {
        for (text, severity) in [
            ("5.7.44", Severity::Error),
            ("8.0.36", Severity::Pass),
            ("9.7.4", Severity::Pass),
            ("10.0.1", Severity::Warning),
            ("10.4.2-MariaDB", Severity::Error),
            ("10.11.14-MariaDB", Severity::Pass),
            ("11.8.2-MariaDB", Severity::Pass),
            ("12.0.1-MariaDB", Severity::Warning),
        ] {
            assert_eq!(version(&Flavour::read(text)).severity, severity, "{text}");
        }
    }

    #[test]
    fn only_what_stays_on_this_machine_may_go_unencrypted_unremarked() {
        for (host, severity) in [
            ("localhost", Severity::Pass),
            ("127.0.0.42", Severity::Pass),
            ("::1", Severity::Pass),
            ("/run/mysqld/mysqld.sock", Severity::Pass),
            ("10.0.0.7", Severity::Warning),
            ("db1", Severity::Warning),
        ] {
            let config = MysqlConfig {
                host: host.to_owned(),
                port: 3306,
                database: "d".to_owned(),
                user: "u".to_owned(),
                password: None,
                tls: TlsMode::Disable,
                tls_ca: None,
                server_id: None,
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
