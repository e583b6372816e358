//! What the server writes into its log
//! (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html>).

use change::{Finding, Severity};

use super::Subject;
use crate::catalog::{self, Table};
use crate::log_end::LogEnd;
use crate::server::Server;

pub(super) fn findings(subject: &Subject<'_>) -> Vec<Finding> {
    let server = subject.server;
    let written = log_bin(server);
    if written.severity == Severity::Error {
        return vec![written];
    }
    let mut findings = vec![written, format(server), metadata(server), checksum(server), synced(server)];
    findings.push(server_id(subject));
    findings.extend(gtids(server));
    findings.extend(cluster(server));
    findings
}

fn log_bin(server: &Server) -> Finding {
    if server.is_on("log_bin") {
        return Finding::pass("log_bin", "the server writes a binlog");
    }
    Finding::error(
        "log_bin",
        "log_bin is OFF, expected ON",
        "the server writes no log: no change can be captured",
    )
    .mended_by(server.set("log_bin", "binlog", false))
}

fn format(server: &Server) -> Finding {
    let format = server.setting("binlog_format");
    if format == "ROW" {
        return Finding::pass("binlog_format", "binlog_format is ROW");
    }
    Finding::error(
        "binlog_format",
        format!("binlog_format is {format}, expected ROW"),
        "the log holds statements and not the rows that they changed; sessions that are open keep the old format until \
         they connect again",
    )
    .mended_by(server.set("binlog_format", "ROW", true))
}

/// With full metadata the log itself tells columns' names
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html#sysvar_binlog_row_metadata>).
fn metadata(server: &Server) -> Finding {
    let metadata = server.setting("binlog_row_metadata");
    if metadata == "FULL" {
        return Finding::pass("binlog_row_metadata", "binlog_row_metadata is FULL");
    }
    Finding::warning(
        "binlog_row_metadata",
        format!("binlog_row_metadata is {metadata}, expected FULL"),
        "the log does not tell the columns' names: after a change of the table's columns, rows that were logged before \
         it cannot be read, and the table is read anew",
    )
    .mended_by(server.set("binlog_row_metadata", "FULL", true))
}

/// Without the whole row, neither what it was nor what it became is known. It is one setting for all tables.
pub(super) fn row_image(subject: &Subject<'_>, tables: &[&Table]) -> Finding {
    let server = subject.server;
    let image = server.setting("binlog_row_image");
    let code = "binlog_row_image";
    if image == "FULL" {
        return Finding::pass(code, "binlog_row_image is FULL");
    }
    let is_whole = |table: &&Table| {
        let mut columns = table.mapped_columns().chain(table.key_columns());
        let is_large = |data_type: &str| data_type.ends_with("text") || data_type.ends_with("blob");
        !table.key.is_empty() && !columns.any(|column| is_large(&column.data_type))
    };
    let torn = tables.iter().copied().filter(|table| image != "NOBLOB" || !is_whole(table));
    let torn = catalog::listed(torn);
    if torn.is_empty() {
        let what = "binlog_row_image is NOBLOB, and no mapped column is a text or a blob";
        return Finding::pass(code, what);
    }
    Finding::error(
        code,
        format!("binlog_row_image is {image}, expected FULL for {torn}"),
        "the log holds only a part of each row: what is missing cannot be told, and the table would have to be read \
         anew; sessions that are open keep the old image until they connect again",
    )
    .mended_by(server.set(code, "FULL", true))
}

fn checksum(server: &Server) -> Finding {
    let checksum = server.setting("binlog_checksum");
    if checksum == "CRC32" {
        return Finding::pass("binlog_checksum", "the log carries checksums");
    }
    Finding::warning(
        "binlog_checksum",
        format!("binlog_checksum is {checksum}, expected CRC32"),
        "a damaged log would not be noticed",
    )
    .mended_by(server.set("binlog_checksum", "CRC32", true))
}

/// A log that is not forced to the disk may lack, after a crash, what the table shows
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html#sysvar_sync_binlog>).
fn synced(server: &Server) -> Finding {
    let every = server.setting("sync_binlog");
    if every == "1" {
        return Finding::pass("sync_binlog", "every commit is forced to the disk");
    }
    Finding::warning(
        "sync_binlog",
        format!("sync_binlog is {every}, expected 1"),
        "when the machine crashes, the last seconds may be in the table and not in the log: such changes are found only \
         by an audit",
    )
    .mended_by(server.set("sync_binlog", "1", true))
}

/// Whoever reads the log must have a number of its own
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-options.html#sysvar_server_id>).
fn server_id(subject: &Subject<'_>) -> Finding {
    let code = "server_id";
    let theirs = subject.server.number(code).unwrap_or_default();
    if theirs == 0 {
        return Finding::error(
            code,
            "the server's server_id is 0, expected another number",
            "it lets nobody read its log",
        )
        .mended_by(subject.server.set(code, "1", true));
    }
    if subject.config.server_id.map(u64::from) == Some(theirs) {
        return Finding::error(
            code,
            format!("server_id in [source.mysql] is {theirs}, which is the server's own"),
            "the server takes what it reads from itself for its own and leaves it out",
        )
        .mended_by("set server_id in [source.mysql] to a number that no server of the institution has");
    }
    Finding::pass(code, format!("the server's server_id is {theirs}"))
}

/// MySQL's GTIDs. MariaDB has its own, always
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-mode-change-online-enable-gtids.html>).
fn gtids(server: &Server) -> Option<Finding> {
    if server.flavour.is_mariadb() {
        return None;
    }
    let mode = server.setting("gtid_mode");
    if mode == "ON" {
        return Some(Finding::pass("gtid_mode", "transactions have GTIDs"));
    }
    // The mode goes from one to the next only.
    let modes = ["OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"];
    let ahead = modes.iter().skip_while(|known| **known != mode).skip(1);
    let mut steps = vec![server.set("enforce_gtid_consistency", "ON", true)];
    steps.extend(ahead.map(|next| server.set("gtid_mode", next, true)));
    Some(
        Finding::warning(
            "gtid_mode",
            format!("gtid_mode is {mode}, expected ON"),
            "after a fail-over to another server, a position means nothing there: the table is read anew",
        )
        .mended_by(steps.join("; ")),
    )
}

/// On a Galera node, what the other nodes changed is in the log only on demand
/// (<https://mariadb.com/docs/galera-cluster/galera-management/configuration/configuring-mariadb-replication-between-mariadb-galera-cluster-and-mariadb-server>).
fn cluster(server: &Server) -> Option<Finding> {
    let missing = server.is_on("wsrep_on") && !server.is_on("log_slave_updates");
    missing.then(|| {
        Finding::error(
            "cluster",
            "the server is a node of a cluster and log_slave_updates is OFF, expected ON",
            "its log lacks what was changed through the other nodes",
        )
        .mended_by(server.set("log_slave_updates", "ON", false))
    })
}

/// Whether a database of ours is among those that are logged.
pub(super) fn filter(subject: &Subject<'_>, end: &LogEnd, database: &str) -> Finding {
    let code = "binlog_filter";
    let lists = |list: &str| list.split(',').any(|name| name.trim() == database);
    let why = "changes of its tables are not written to the log";
    let section = if subject.server.flavour.is_mariadb() { "mariadbd" } else { "mysqld" };
    if !end.only.is_empty() && !lists(&end.only) {
        let what = format!("binlog_do_db is {}, which leaves \"{database}\" out", end.only);
        let mend = format!(
            "in the server's option file, under [{section}], add a line: binlog_do_db = {database}; then restart the \
             server"
        );
        return Finding::error(code, what, why).mended_by(mend);
    }
    if lists(&end.ignored) {
        let what = format!("binlog_ignore_db is {}, which leaves \"{database}\" out", end.ignored);
        let mend = format!(
            "in the server's option file, under [{section}], remove the line: binlog_ignore_db = {database}; then \
             restart the server"
        );
        return Finding::error(code, what, why).mended_by(mend);
    }
    Finding::pass(code, format!("changes of \"{database}\" are logged"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::server;

    #[test]
    fn gtids_are_turned_on_step_by_step_from_where_they_are() {
        let mend =
            |mode: &str| gtids(&server("9.7.4", &[("gtid_mode", mode)])).unwrap().mend.unwrap_or_default();
        assert_eq!(
            mend("OFF_PERMISSIVE"),
            "SET PERSIST enforce_gtid_consistency = 'ON'; SET PERSIST gtid_mode = 'ON_PERMISSIVE'; SET PERSIST \
             gtid_mode = 'ON'"
        );
        assert_eq!(mend("ON"), "");
        assert!(gtids(&server("10.11.14-MariaDB", &[])).is_none());
    }

    #[test]
    fn a_node_of_a_cluster_must_log_what_the_others_change() {
        let node = |logs: &str| {
            cluster(&server("10.11.14-MariaDB", &[("wsrep_on", "ON"), ("log_slave_updates", logs)]))
        };
        assert!(node("ON").is_none());
        assert_eq!(node("OFF").map(|finding| finding.severity), Some(Severity::Error));
    }
}
