//! Whom we talk to, how, and with which clock.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use change::{Finding, SourceError};
use trust::TlsMode;

use super::Subject;
use crate::client::Client;
use crate::config::SqlServerConfig;
use crate::server::{Kind, Server};

/// Clocks further apart than this are told.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);

/// 2016 with its first service pack, in which every edition but Express can capture.
const OLDEST: (u32, u32) = (13, 4001);
/// 2022.
const NEWEST_MAJOR: u32 = 16;

const VERIFY: &str =
    "set tls = \"verify-full\", with tls_ca naming the server's authority where it is a private one";

pub(super) fn version(subject: &Subject<'_>) -> Option<Finding> {
    let server = subject.server;
    let what = format!("the server is SQL Server {} ({})", server.version, server.edition);
    if matches!(server.kind, Kind::AzureDatabase | Kind::ManagedInstance) {
        // Their version numbers are their own.
        return Some(Finding::pass("version", what));
    }
    if server.kind == Kind::Other {
        let why = "this service has no change tables";
        return Some(
            Finding::error("version", what, why).mended_by("capture from the database that feeds it"),
        );
    }
    if server.version_parts() < OLDEST {
        let what = format!("{what}, expected 2016 with service pack 1 (13.0.4001) or newer");
        let why = "older servers number changes within a transaction in an order that is not reliable";
        return Some(Finding::error("version", what, why).mended_by("install the server's service packs"));
    }
    if server.version_parts().0 > NEWEST_MAJOR {
        let why = "a newer server may answer something that this connector does not know; it then stops rather than \
                   guess";
        return Some(Finding::warning("version", format!("{what}, made for up to 2022 (16)"), why));
    }
    Some(Finding::pass("version", what))
}

pub(super) async fn encryption(
    subject: &Subject<'_>,
    client: &mut Client,
) -> Result<Vec<Finding>, SourceError> {
    let config = subject.config;
    // https://learn.microsoft.com/en-us/sql/t-sql/functions/connectionproperty-transact-sql
    let sql = "SELECT CAST(CONNECTIONPROPERTY('net_transport') AS nvarchar(60))";
    let rows = client.rows("ask how the connection reaches the server", sql, &[]).await?;
    let transport = rows.first().map(|row| row.optional_text(0)).transpose()?.flatten();
    let finding = match config.tls {
        TlsMode::Disable if is_loopback(&config.host) => {
            Finding::pass("tls", "the connection is not encrypted, and does not leave this machine")
        }
        TlsMode::Disable => Finding::warning(
            "tls",
            format!(
                "the connection to {} is not encrypted ({})",
                SqlServerConfig::address(&config.host, config.port),
                transport.unwrap_or("TCP")
            ),
            "citizens' requests and the login's password cross the network all but in the clear, and anyone on it can \
             alter them",
        )
        .mended_by(VERIFY),
        TlsMode::Require => Finding::warning(
            "tls",
            "the connection is encrypted, but tls = \"require\" checks no certificate",
            "whoever can redirect the connection can pass for the server, read the password and invent rows",
        )
        .mended_by(VERIFY),
        mode => Finding::pass("tls", format!("the connection is encrypted, tls = \"{mode}\"")),
    };
    Ok(vec![finding])
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn clock(server: &Server) -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    skew(server.clock_at, i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn skew(server_at: i64, ours_at: i64) -> Finding {
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

#[cfg(test)]
mod tests {
    use change::{Severity, TableScope};

    use super::*;
    use crate::config::tests::config;
    use crate::server::tests::server;

    fn judged(version_text: &str, kind: Kind) -> Severity {
        let server = Server { version: version_text.to_owned(), kind, ..server() };
        let scope = change::Scope::from(TableScope {
            table: "t".to_owned(),
            columns: Vec::new(),
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        });
        version(&Subject { config: &config(), scope: &scope, server: &server }).unwrap().severity
    }

    #[test]
    fn versions_are_judged_by_what_they_can_do() {
        for (text, kind, severity) in [
            ("12.0.6024.0", Kind::Full, Severity::Error),
            ("13.0.1601.5", Kind::Full, Severity::Error),
            ("13.0.4001.0", Kind::Full, Severity::Pass),
            ("16.0.4170.1", Kind::Full, Severity::Pass),
            ("17.0.1000.7", Kind::Full, Severity::Warning),
            ("12.0.2000.8", Kind::AzureDatabase, Severity::Pass),
            ("12.0.2000.8", Kind::Other, Severity::Error),
        ] {
            assert_eq!(judged(text, kind), severity, "{text}");
        }
    }

    #[test]
    fn clocks_far_apart_are_told() {
        assert_eq!(skew(0, 29_000_000).severity, Severity::Pass);
        assert!(skew(0, -61_000_000).what.contains("61 s apart"));
    }
}
