//! The database as a whole: whether it captures, how it lets us read, and who we are in it.

use change::Finding;

use super::Subject;
use crate::name::quote_ident;
use crate::server::{Kind, Server};

/// What to do where capture cannot be had.
pub(super) const POLL: &str = "or set mode = \"poll\" in [source.sqlserver]: the table is then scanned for what was \
                               modified since, and statuses that pass between two scans are not seen";

/// Whether the database captures at all, and could
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/enable-and-disable-change-data-capture-sql-server>).
pub(super) fn capture(subject: &Subject<'_>) -> Finding {
    let server = subject.server;
    let code = "cdc_enabled";
    if server.kind == Kind::Express {
        return Finding::error(
            code,
            format!("the server is {}, which cannot capture changes", server.edition),
            "change data capture is driven by SQL Server Agent, which this edition does not have",
        )
        .mended_by(format!("move the database to another edition; {POLL}"));
    }
    if server.captures {
        let what = format!("change data capture is enabled in database {}", quote_ident(&server.database));
        return Finding::pass(code, what);
    }
    Finding::error(
        code,
        format!("change data capture is not enabled in database {}", quote_ident(&server.database)),
        "the server keeps no changes that could be read",
    )
    .mended_by(format!(
        "as a member of sysadmin: EXEC sys.sp_cdc_enable_db (on Amazon RDS: EXEC msdb.dbo.rds_cdc_enable_db {}); {POLL}",
        quote_ident(&server.database)
    ))
}

/// Copies of the table must neither wait for writers nor hold them up
/// (<https://learn.microsoft.com/en-us/sql/t-sql/statements/set-transaction-isolation-level-transact-sql>).
pub(super) fn snapshots(server: &Server) -> Finding {
    let code = "snapshot_isolation";
    if server.is_read_only {
        return Finding::pass(code, "the database is a readable replica, which reads versions always");
    }
    if server.allows_snapshot {
        return Finding::pass(code, "transactions may read under SNAPSHOT");
    }
    let mend = format!("ALTER DATABASE {} SET ALLOW_SNAPSHOT_ISOLATION ON", quote_ident(&server.database));
    let (what, why) = if server.reads_versions {
        (
            "ALLOW_SNAPSHOT_ISOLATION is OFF, READ_COMMITTED_SNAPSHOT is ON",
            "a copy of the table is read in pages, each as of a moment of its own, which takes longer",
        )
    } else {
        (
            "ALLOW_SNAPSHOT_ISOLATION and READ_COMMITTED_SNAPSHOT are OFF",
            "a copy of the table is read in pages, which takes longer, and waits for rows that the application is \
             changing",
        )
    };
    Finding::warning(code, what, why).mended_by(mend)
}

/// Whoever reads a few columns needs no more than that.
pub(super) fn rights(subject: &Subject<'_>) -> Finding {
    let server = subject.server;
    let everything = match (server.is_sysadmin, server.is_owner) {
        (true, _) => "a member of sysadmin, who may do everything on the server",
        (false, true) => "a member of db_owner, who may do everything in the database",
        (false, false) => {
            let what = format!("user {} is neither sysadmin nor db_owner", quote_ident(&server.user));
            return Finding::pass("rights", what);
        }
    };
    Finding::warning(
        "rights",
        format!("login \"{}\" is {everything}, expected one that may read and no more", subject.config.user),
        "whoever learns its password owns the data; the connector needs to read a few columns",
    )
    .mended_by("set another user in the [source] part and run `bitacora setup` for its statements")
}

#[cfg(test)]
mod tests {
    use change::{Severity, TableScope};

    use super::*;
    use crate::config::tests::config;
    use crate::server::tests::server;

    fn found(server: &Server, judge: impl Fn(&Subject<'_>) -> Finding) -> Finding {
        let scope = change::Scope::from(TableScope {
            table: "t".to_owned(),
            columns: Vec::new(),
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
        });
        judge(&Subject { config: &config(), scope: &scope, server })
    }

    #[test]
    fn express_is_told_that_it_cannot_capture_and_what_it_can_do_instead() {
        let express = Server { kind: Kind::Express, captures: false, ..server() };
        let finding = found(&express, capture);
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.mend.unwrap().contains("mode = \"poll\""));
        let off = found(&Server { captures: false, ..server() }, capture);
        assert!(off.mend.unwrap().contains("sp_cdc_enable_db"));
        assert_eq!(found(&server(), capture).severity, Severity::Pass);
    }

    #[test]
    fn copies_that_wait_for_writers_are_told() {
        let without = Server { allows_snapshot: false, ..server() };
        assert!(snapshots(&without).why.contains("waits for rows"));
        assert!(!snapshots(&Server { reads_versions: true, ..without.clone() }).why.contains("waits"));
        assert_eq!(snapshots(&Server { is_read_only: true, ..without }).severity, Severity::Pass);
    }

    #[test]
    fn a_login_that_may_do_everything_is_told() {
        assert_eq!(found(&server(), rights).severity, Severity::Pass);
        assert!(found(&Server { is_owner: true, ..server() }, rights).what.contains("db_owner"));
        assert!(found(&Server { is_sysadmin: true, ..server() }, rights).what.contains("sysadmin"));
    }
}
