//! How long the server keeps its log: as long as the connector may stand still.

use change::Finding;

use super::Subject;
use crate::server::{Host, Server};

const DAY: u64 = 86_400;
/// A long weekend must fit.
const KEPT_MIN: u64 = 3 * DAY;
/// A week's holiday should fit.
const KEPT_GOOD: u64 = 7 * DAY;
const CODE: &str = "log_retention";

pub(super) fn findings(subject: &Subject<'_>) -> Vec<Finding> {
    let server = subject.server;
    let mut findings = vec![by_age(server)];
    findings.extend(by_size(server));
    findings
}

fn by_age(server: &Server) -> Finding {
    let why = "whoever stands still for longer finds the log gone: the table is read anew then, and what happened in \
               between is known only by its outcome";
    if server.host == Host::Rds {
        return Finding::warning(CODE, "this service has a retention of its own, which is not shown", why)
            .mended_by("CALL mysql.rds_set_configuration('binlog retention hours', 168)");
    }
    let Some(seconds) = server.log_seconds() else {
        return Finding::pass(CODE, "the server keeps its log until somebody purges it");
    };
    let what = format!("the server keeps its log for {}", in_words(seconds));
    if seconds >= KEPT_GOOD {
        return Finding::pass(CODE, what);
    }
    let mend = server.set("binlog_expire_logs_seconds", &KEPT_GOOD.to_string(), true);
    let what = format!("{what}, expected {} or more", in_words(KEPT_GOOD));
    if seconds < KEPT_MIN {
        return Finding::error(CODE, what, why).mended_by(mend);
    }
    Finding::warning(CODE, what, why).mended_by(mend)
}

/// MariaDB 11.4 can limit the log's size
/// (<https://mariadb.com/docs/server/server-management/server-monitoring-logs/binary-log/using-and-maintaining-the-binary-log>).
fn by_size(server: &Server) -> Option<Finding> {
    let bytes = server.number("max_binlog_total_size").filter(|bytes| *bytes > 0)?;
    Some(
        Finding::warning(
            CODE,
            format!("the server purges its log when it exceeds {bytes} bytes (max_binlog_total_size)"),
            "a busy day can push out what the connector has not read yet, whatever its age",
        )
        .mended_by(server.set("max_binlog_total_size", "0", true)),
    )
}

fn in_words(seconds: u64) -> String {
    if seconds >= 2 * DAY {
        return format!("{} days", seconds / DAY);
    }
    if seconds >= 7200 { format!("{} h", seconds / 3600) } else { format!("{seconds} s") }
}

#[cfg(test)]
mod tests {
    use change::Severity;

    use super::*;
    use crate::server::tests::server;

    #[test]
    fn a_log_that_is_kept_too_short_is_told() {
        for (seconds, severity) in [
            ("0", Severity::Pass),
            ("3600", Severity::Error),
            ("400000", Severity::Warning),
            ("604800", Severity::Pass),
        ] {
            let found = by_age(&server("9.7.4", &[("binlog_expire_logs_seconds", seconds)]));
            assert_eq!(found.severity, severity, "{seconds}");
        }
    }

    #[test]
    fn a_limit_by_size_is_told() {
        assert!(by_size(&server("11.4.2-MariaDB", &[("max_binlog_total_size", "0")])).is_none());
        assert!(by_size(&server("11.4.2-MariaDB", &[("max_binlog_total_size", "1000")])).is_some());
    }
}
