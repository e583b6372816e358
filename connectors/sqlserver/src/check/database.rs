//! The database as a whole: whether it captures, how it lets us read, and who we are in it.

use change::{Finding, SourceError, SourceErrorKind};

use super::Subject;
use crate::client::Client;
use crate::name::{quote_ident, quote_literal};
use crate::rights;
use crate::server::{Kind, Server};
use crate::snapshot::fence;

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
    .mended_by(if server.kind == Kind::AzureDatabase {
        format!(
            "as a member of db_owner: EXEC sys.sp_cdc_enable_db (with DTUs the database needs S3 or more); {POLL}"
        )
    } else {
        let name = quote_literal(&server.database);
        format!(
            "as a member of sysadmin: EXEC sys.sp_cdc_enable_db (on Amazon RDS: EXEC msdb.dbo.rds_cdc_enable_db {name}); {POLL}"
        )
    })
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

/// The log's end is on disk, and with delayed durability commits are seen before they are
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/logs/control-transaction-durability>).
pub(super) fn durability(server: &Server) -> Option<Finding> {
    if !server.delays_durability {
        return None;
    }
    let finding = Finding::error(
        "delayed_durability",
        "DELAYED_DURABILITY is not DISABLED, as change data capture demands",
        "a copy could show a change that the log's end does not cover yet, and newer servers refuse to capture",
    );
    let database = quote_ident(&server.database);
    Some(finding.mended_by(format!("ALTER DATABASE {database} SET DELAYED_DURABILITY = DISABLED")))
}

/// Whether copies can be exact, and their pages need not wait for the capture.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn log_end(subject: &Subject<'_>, client: &mut Client) -> Result<Vec<Finding>, SourceError> {
    let code = "log_end";
    let error = match fence::log_end(client).await {
        Ok(end) => {
            return Ok(vec![Finding::pass(code, format!("the log ends at {end}: copies can be exact"))]);
        }
        Err(error) if client.is_spent() => return Err(error),
        Err(error) => error,
    };
    if subject.config.read_only || subject.server.is_read_only {
        let what = "a replica does not tell where the log ends: copies are read in pages";
        return Ok(vec![Finding::pass(code, what)]);
    }
    let why = "no copy can be exact: it is read in pages, which wait until the capture has gone past them";
    let (user, database) = (&subject.server.user, &subject.server.database);
    let mend = match (error.kind(), subject.server.kind) {
        (SourceErrorKind::Schema, _) => {
            "install the server's service packs: 2016 tells it from the second on".to_owned()
        }
        (_, Kind::AzureDatabase) => rights::grant_database_insight(user).sql,
        _ => rights::grant_server_insight(&subject.config.user, database).sql,
    };
    Ok(vec![Finding::warning(code, error.to_string(), why).mended_by(mend)])
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
            apart_by: Vec::new(),
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
    fn commits_that_are_not_on_disk_are_told() {
        assert_eq!(durability(&server()), None);
        let delayed = durability(&Server { delays_durability: true, ..server() }).unwrap();
        assert_eq!(delayed.severity, Severity::Error);
        assert!(delayed.mend.unwrap().ends_with("SET DELAYED_DURABILITY = DISABLED"));
    }

    #[test]
    fn a_login_that_may_do_everything_is_told() {
        assert_eq!(found(&server(), rights).severity, Severity::Pass);
        assert!(found(&Server { is_owner: true, ..server() }, rights).what.contains("db_owner"));
        assert!(found(&Server { is_sysadmin: true, ..server() }, rights).what.contains("sysadmin"));
    }
}
