//! What the server is and how it is set up, asked for in one go.

use std::collections::HashMap;

use change::SourceError;

use crate::flavour::Flavour;
use crate::name::quote_literal;
use crate::wire::Connection;

/// The settings that the checks look at. A server that does not know one of them just does not list it.
const SETTINGS: &[&str] = &[
    "aurora_version",
    "basedir",
    "binlog_checksum",
    "binlog_expire_logs_auto_purge",
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "enforce_gtid_consistency",
    "expire_logs_days",
    "gtid_mode",
    "gtid_slave_pos",
    "innodb_native_foreign_keys",
    "log_bin",
    "log_replica_updates",
    "log_slave_updates",
    "max_binlog_total_size",
    "read_only",
    "server_id",
    "sync_binlog",
    "version_comment",
    "wsrep_on",
];

/// Who runs the server: managed services have ways of their own to change a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// The institution itself.
    Own,
    /// Amazon RDS or Aurora.
    Rds,
    /// Google Cloud SQL.
    CloudSql,
    /// Azure Database.
    Azure,
}

/// The server as far as the checks need to know it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Product and version.
    pub(crate) flavour: Flavour,
    /// Who runs it.
    pub(crate) host: Host,
    /// Our account as the server knows it, such as `bitacora@%`: its rights count, whatever name we logged in with.
    pub(crate) account: String,
    /// The server's clock, in microseconds since the epoch.
    pub(crate) clock_at: i64,
    settings: HashMap<String, String>,
}

/// Asks the server about itself; no right is needed for it.
///
/// # Errors
/// When the connection breaks.
pub(crate) fn ask(connection: &mut Connection) -> Result<Server, SourceError> {
    let context = "ask the server for its settings";
    let names: Vec<String> = SETTINGS.iter().map(|name| quote_literal(name)).collect();
    let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(", "));
    let mut settings = HashMap::new();
    for row in connection.query(context, &sql)? {
        let mut cells = row.into_iter().flatten();
        if let (Some(name), Some(value)) = (cells.next(), cells.next()) {
            settings.insert(name.to_lowercase(), value);
        }
    }
    let context = "ask the server who we are and what time it is";
    let sql = "SELECT CURRENT_USER(), CAST(UNIX_TIMESTAMP(UTC_TIMESTAMP(6)) * 1000000 AS SIGNED)";
    let row = connection.query(context, sql)?.into_iter().next().unwrap_or_default();
    let mut cells = row.into_iter().map(Option::unwrap_or_default);
    let account = cells.next().unwrap_or_default();
    let clock_at = cells.next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let flavour = connection.flavour().clone();
    let host = host(&flavour, &settings);
    Ok(Server { flavour, host, account, clock_at, settings })
}

fn host(flavour: &Flavour, settings: &HashMap<String, String>) -> Host {
    let says =
        |name: &str, part: &str| settings.get(name).is_some_and(|value| value.to_lowercase().contains(part));
    if settings.contains_key("aurora_version") || says("basedir", "/rdsdbbin") {
        return Host::Rds;
    }
    if flavour.text.contains("-google") || says("version_comment", "(google)") {
        return Host::CloudSql;
    }
    if says("version_comment", "azure") || flavour.text.contains("-azure") {
        return Host::Azure;
    }
    Host::Own
}

impl Server {
    /// A setting's value; empty for one that this server does not know.
    pub(crate) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A setting that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        // Days may be given with a fraction.
        self.setting(name).split('.').next()?.parse().ok()
    }

    /// Whether a setting is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        ["ON", "1", "YES"].contains(&self.setting(name).to_uppercase().as_str())
    }

    /// For how many seconds the server keeps its log; `None` for ever.
    pub(crate) fn log_seconds(&self) -> Option<u64> {
        if self.setting("binlog_expire_logs_auto_purge") == "OFF" {
            return None;
        }
        let by_seconds = self.number("binlog_expire_logs_seconds").filter(|seconds| *seconds > 0);
        let by_days =
            self.setting("expire_logs_days").parse::<f64>().ok().filter(|days| *days > 0.0).map(|days| {
                std::time::Duration::try_from_secs_f64(days * 86_400.0).unwrap_or_default().as_secs()
            });
        by_seconds.or(by_days)
    }

    /// The statement that changes a setting, now and for the server's next start. What takes effect only at a start
    /// is given as a line of the option file.
    pub(crate) fn set(&self, name: &str, value: &str, dynamic: bool) -> String {
        let section = if self.flavour.is_mariadb() { "mariadbd" } else { "mysqld" };
        match self.host {
            Host::Rds => return format!("in the instance's parameter group: {name} = {value}"),
            Host::CloudSql => return format!("among the instance's flags: {name} = {value}"),
            Host::Azure => return format!("among the server parameters: {name} = {value}"),
            Host::Own => {}
        }
        let literal = if value.bytes().all(|byte| byte.is_ascii_digit()) {
            value.to_owned()
        } else {
            quote_literal(value)
        };
        if !dynamic {
            format!(
                "in the server's option file, under [{section}]: {name} = {value}; then restart the server"
            )
        } else if self.flavour.is_mariadb() {
            format!(
                "SET GLOBAL {name} = {literal} -- and {name} = {value} under [{section}] in the server's option \
                 file, for its next start"
            )
        } else {
            format!("SET PERSIST {name} = {literal}")
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server of a version with some settings.
    pub(crate) fn server(version: &str, settings: &[(&str, &str)]) -> Server {
        let flavour = Flavour::read(version);
        let settings: HashMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let host = host(&flavour, &settings);
        Server { flavour, host, account: "bitacora@%".to_owned(), clock_at: 0, settings }
    }

    #[test]
    fn the_log_is_kept_as_long_as_the_setting_that_counts_says() {
        let kept = |settings: &[(&str, &str)]| server("9.7.4", settings).log_seconds();
        assert_eq!(kept(&[("binlog_expire_logs_seconds", "2592000")]), Some(2_592_000));
        assert_eq!(kept(&[("binlog_expire_logs_seconds", "0"), ("expire_logs_days", "1.5")]), Some(129_600));
        assert_eq!(kept(&[("binlog_expire_logs_seconds", "0"), ("expire_logs_days", "0.000000")]), None);
        assert_eq!(
            kept(&[("binlog_expire_logs_seconds", "60"), ("binlog_expire_logs_auto_purge", "OFF")]),
            None
        );
        assert_eq!(kept(&[]), None);
    }

    #[test]
    fn a_setting_is_changed_in_the_way_of_whoever_runs_the_server() {
        assert_eq!(
            server("9.7.4", &[]).set("binlog_format", "ROW", true),
            "SET PERSIST binlog_format = 'ROW'"
        );
        let mariadb = server("10.11.14-MariaDB", &[]).set("sync_binlog", "1", true);
        assert!(mariadb.starts_with("SET GLOBAL sync_binlog = 1 -- and sync_binlog = 1 under [mariadbd]"));
        let rds = server("8.0.36", &[("basedir", "/rdsdbbin/mysql-8.0.36/")]);
        assert_eq!(
            rds.set("binlog_format", "ROW", true),
            "in the instance's parameter group: binlog_format = ROW"
        );
        assert_eq!(server("8.0.31-google", &[]).host, Host::CloudSql);
    }
}
