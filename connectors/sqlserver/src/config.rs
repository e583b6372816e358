//! Where the server is and who we are there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use change::{SourceError, SourceErrorKind};
use chrono_tz::Tz;
use trust::{Endpoint, TlsMode};

/// The longest name of a capture instance
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-enable-table-transact-sql>).
const INSTANCE_NAME_MAX: usize = 100;

/// How changes are learnt of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// From the change tables that the server's own capture fills.
    Capture,
    /// From scans of the table by a column that every change sets to the present time. What passes between two scans,
    /// and deletes, are not seen.
    Poll {
        /// The column, which must be a `datetime`, `datetime2` or `datetimeoffset`.
        modified_column: String,
        /// How far each scan reaches back behind the last one, for transactions that commit late.
        overlap: Duration,
    },
}

/// The settings of one SQL Server source.
///
/// `Debug` never shows the password.
#[derive(Clone)]
pub struct SqlServerConfig {
    /// A host name or an IP address.
    pub host: String,
    /// The port of the instance.
    pub port: u16,
    /// The database that holds the tables.
    pub database: String,
    /// The SQL Server login.
    pub user: String,
    /// The login's password.
    pub password: String,
    /// How far the connection is protected.
    pub tls: TlsMode,
    /// PEM file of the authorities to trust; they take the place of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The capture instance to read of the table that has it; found by the table where none is named, and for other tables.
    pub capture_instance: Option<String>,
    /// The pause between two looks at the change table.
    pub poll_interval: Duration,
    /// Connect with `ApplicationIntent=ReadOnly`, so that an availability group's listener leads to a readable replica.
    pub read_only: bool,
    /// The zone of the server's clock, for servers before 2022, which do not tell it. Without one their present offset
    /// is taken for all times.
    pub server_time_zone: Option<Tz>,
    /// How long a statement may take, and how long rows may fail to come.
    pub call_timeout: Duration,
    /// After this long without any sign of the server's capture, it is told to be silent. The server gives a sign every
    /// five minutes even when nothing changes.
    pub silent_after: Duration,
    /// How changes are learnt of.
    pub mode: Mode,
}

impl SqlServerConfig {
    /// The pause between two looks at the change table: the capture job's own.
    pub const POLL_INTERVAL: Duration = Duration::from_secs(5);
    /// How long a statement may take unless the configuration says otherwise.
    pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
    /// Two signs of the capture must have failed to come, and some more time.
    pub const SILENT_AFTER: Duration = Duration::from_secs(11 * 60);

    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// A configuration error that lists every wrong setting, not only the first.
    pub fn validate(&self) -> Result<(), SourceError> {
        let mut faults = Vec::new();
        for (key, value) in [("host", &self.host), ("database", &self.database), ("user", &self.user)] {
            if value.is_empty() {
                faults.push(format!("{key} is empty"));
            } else if value.contains('\0') {
                faults.push(format!("{key} contains a NUL character"));
            }
        }
        if self.host.contains('\\') {
            faults.push("host names an instance, expected the host alone and the instance's port".to_owned());
        }
        if self.port == 0 {
            faults.push("port is 0, expected 1 to 65535".to_owned());
        }
        if let Some(instance) = &self.capture_instance
            && (instance.is_empty() || instance.chars().count() > INSTANCE_NAME_MAX)
        {
            faults.push(format!(
                "capture_instance has {} characters, expected 1 to {INSTANCE_NAME_MAX}",
                instance.chars().count()
            ));
        }
        for (key, value) in [("poll_interval", self.poll_interval), ("call_timeout", self.call_timeout)] {
            if value.is_zero() {
                faults.push(format!("{key} is 0, expected a time"));
            }
        }
        if let Mode::Poll { modified_column, .. } = &self.mode
            && modified_column.is_empty()
        {
            faults.push("modified_column is empty".to_owned());
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(SourceError::new(SourceErrorKind::Configuration, faults.join("; "))
            .with_hint("mend the settings in the [source] part of the configuration"))
    }

    /// A server's address as messages show it.
    pub(crate) fn address(host: &str, port: u16) -> String {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// A server as TLS sees it: `host` is the configured one, or one that it led to.
    pub(crate) fn endpoint<'a>(&'a self, host: &'a str, address: &'a str) -> Endpoint<'a> {
        Endpoint {
            mode: self.tls,
            authorities: self.tls_ca.as_deref(),
            host,
            address,
            version_setting: "the versions of TLS that the server's operating system allows",
        }
    }
}

impl fmt::Debug for SqlServerConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SqlServerConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("password", &"[redacted]")
            .field("tls", &self.tls)
            .field("tls_ca", &self.tls_ca)
            .field("capture_instance", &self.capture_instance)
            .field("poll_interval", &self.poll_interval)
            .field("read_only", &self.read_only)
            .field("server_time_zone", &self.server_time_zone)
            .field("call_timeout", &self.call_timeout)
            .field("silent_after", &self.silent_after)
            .field("mode", &self.mode)
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config() -> SqlServerConfig {
        SqlServerConfig {
            host: "db1".to_owned(),
            port: 1433,
            database: "tramites".to_owned(),
            user: "bitacora".to_owned(),
            password: "s3cret".to_owned(),
            tls: TlsMode::VerifyFull,
            tls_ca: None,
            capture_instance: None,
            poll_interval: SqlServerConfig::POLL_INTERVAL,
            read_only: false,
            server_time_zone: None,
            call_timeout: SqlServerConfig::CALL_TIMEOUT,
            silent_after: SqlServerConfig::SILENT_AFTER,
            mode: Mode::Capture,
        }
    }

    #[test]
    fn debug_output_never_shows_the_password() {
        let text = format!("{:?}", config());
        assert!(text.contains("[redacted]") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let wrong = SqlServerConfig {
            host: "db1\\SQLEXPRESS".to_owned(),
            port: 0,
            user: "a\0b".to_owned(),
            capture_instance: Some(String::new()),
            poll_interval: Duration::ZERO,
            mode: Mode::Poll { modified_column: String::new(), overlap: Duration::ZERO },
            ..config()
        };
        let error = wrong.validate().unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Configuration);
        for part in [
            "host names an instance",
            "port is 0",
            "user contains a NUL",
            "capture_instance has 0",
            "poll_interval is 0",
            "modified_column is empty",
        ] {
            assert!(error.to_string().contains(part), "{error} lacks {part}");
        }
        assert!(config().validate().is_ok());
    }
}
