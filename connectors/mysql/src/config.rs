//! Where the server is and who we are there.

use std::fmt;
use std::path::{Path, PathBuf};

use change::{SourceError, SourceErrorKind};
use trust::{Endpoint, TlsMode};

/// The settings of one MySQL or MariaDB source.
///
/// `Debug` never shows the password.
#[derive(Clone)]
pub struct MysqlConfig {
    /// A host name, an IP address, or the path of the server's socket, which starts with `/`.
    pub host: String,
    /// The port; a socket has none.
    pub port: u16,
    /// The database of tables that are named without one.
    pub database: String,
    /// The user to log in as.
    pub user: String,
    /// The user's password, unless the server asks for none.
    pub password: Option<String>,
    /// How far the connection is protected. A socket is never encrypted, whatever this says.
    pub tls: TlsMode,
    /// PEM file of the authorities to trust; they take the place of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The number under which we read the log, unique among the server's replicas. Without one it is derived from
    /// the other settings.
    pub server_id: Option<u32>,
}

impl MysqlConfig {
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
        if self.port == 0 && self.socket().is_none() {
            faults.push("port is 0, expected 1 to 65535".to_owned());
        }
        if self.server_id == Some(0) {
            faults.push("server_id is 0, expected 1 to 4294967295".to_owned());
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(SourceError::new(SourceErrorKind::Configuration, faults.join("; "))
            .with_hint("mend the settings in the [source] part of the configuration"))
    }

    /// The server's socket, where the host is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.host.starts_with('/').then(|| Path::new(&self.host))
    }

    /// The server's address as messages show it.
    pub(crate) fn address(&self) -> String {
        match self.socket() {
            Some(socket) => socket.display().to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// The server as TLS sees it, at `address`.
    pub(crate) fn endpoint<'a>(&'a self, address: &'a str) -> Endpoint<'a> {
        let mode = if self.socket().is_some() { TlsMode::Disable } else { self.tls };
        Endpoint {
            mode,
            authorities: self.tls_ca.as_deref(),
            host: &self.host,
            address,
            version_setting: "tls_version",
        }
    }
}

impl fmt::Debug for MysqlConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MysqlConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "[redacted]"))
            .field("tls", &self.tls)
            .field("tls_ca", &self.tls_ca)
            .field("server_id", &self.server_id)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MysqlConfig {
        MysqlConfig {
            host: "db1".to_owned(),
            port: 3306,
            database: "tramites".to_owned(),
            user: "bitacora".to_owned(),
            password: Some("s3cret".to_owned()),
            tls: TlsMode::VerifyFull,
            tls_ca: None,
            server_id: None,
        }
    }

    #[test]
    fn debug_output_never_shows_the_password() {
        let text = format!("{:?}", config());
        assert!(text.contains("[redacted]") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let wrong = MysqlConfig {
            host: String::new(),
            port: 0,
            user: "a\0b".to_owned(),
            server_id: Some(0),
            ..config()
        };
        let error = wrong.validate().unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Configuration);
        for part in ["host is empty", "port is 0", "user contains a NUL", "server_id is 0"] {
            assert!(error.to_string().contains(part), "{error} lacks {part}");
        }
        assert!(config().validate().is_ok());
    }

    #[test]
    fn a_socket_needs_no_port_and_is_never_encrypted() {
        let local = MysqlConfig { host: "/run/mysqld/mysqld.sock".to_owned(), port: 0, ..config() };
        assert!(local.validate().is_ok());
        assert_eq!(local.address(), "/run/mysqld/mysqld.sock");
        assert!(local.endpoint("").client_config().unwrap().is_none());
    }
}
