//! Where the server is, who we are there, and what is ours on it.

use std::fmt;
use std::path::{Path, PathBuf};

use change::{SourceError, SourceErrorKind};
use trust::{Endpoint, TlsMode};

/// The longest name that the server keeps, in bytes
/// (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>).
const NAME_BYTES_MAX: usize = 63;

/// The settings of one PostgreSQL source.
///
/// `Debug` never shows the password.
#[derive(Clone)]
pub struct PostgresConfig {
    /// A host name, an IP address, or a directory that starts with `/` and holds the server's socket.
    pub host: String,
    /// The port; for a socket, the number in its file's name.
    pub port: u16,
    /// The database that holds the table.
    pub database: String,
    /// The role to log in as.
    pub user: String,
    /// The role's password, unless the server asks for none.
    pub password: Option<String>,
    /// How far the connection is protected. A socket is never encrypted, whatever this says.
    pub tls: TlsMode,
    /// PEM file of the authorities to trust; they take the place of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The replication slot, which is ours alone.
    pub slot: String,
    /// The publication that the slot reads.
    pub publication: String,
}

impl PostgresConfig {
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
        if self.port == 0 {
            faults.push("port is 0, expected 1 to 65535".to_owned());
        }
        faults.extend(slot_fault(&self.slot));
        if self.publication.is_empty() || self.publication.len() > NAME_BYTES_MAX {
            faults.push(format!(
                "publication is \"{}\", expected a name of 1 to {NAME_BYTES_MAX} bytes",
                self.publication
            ));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(SourceError::new(SourceErrorKind::Configuration, faults.join("; "))
            .with_hint("mend the settings in the [source] part of the configuration"))
    }

    /// The directory of the server's socket, where the host is one.
    pub(crate) fn socket_dir(&self) -> Option<&Path> {
        self.host.starts_with('/').then(|| Path::new(&self.host))
    }

    /// The server's address as messages show it.
    pub(crate) fn address(&self) -> String {
        match self.socket_dir() {
            Some(dir) => dir.join(format!(".s.PGSQL.{}", self.port)).display().to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// The server as TLS sees it, at `address`. A socket is never encrypted.
    pub(crate) fn endpoint<'a>(&'a self, address: &'a str) -> Endpoint<'a> {
        let mode = if self.socket_dir().is_some() { TlsMode::Disable } else { self.tls };
        Endpoint {
            mode,
            authorities: self.tls_ca.as_deref(),
            host: &self.host,
            address,
            version_setting: "ssl_min_protocol_version",
        }
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "[redacted]"))
            .field("tls", &self.tls)
            .field("tls_ca", &self.tls_ca)
            .field("slot", &self.slot)
            .field("publication", &self.publication)
            .finish()
    }
}

/// What is wrong with a slot's name
/// (<https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION>).
fn slot_fault(slot: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = !slot.is_empty() && slot.len() <= NAME_BYTES_MAX && slot.bytes().all(allowed);
    (!fits).then(|| {
        format!(
            "slot is \"{slot}\", expected 1 to {NAME_BYTES_MAX} lower-case letters, digits and underscores"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PostgresConfig {
        PostgresConfig {
            host: "db1".to_owned(),
            port: 5432,
            database: "tramites".to_owned(),
            user: "bitacora".to_owned(),
            password: Some("s3cret".to_owned()),
            tls: TlsMode::VerifyFull,
            tls_ca: None,
            slot: "bitacora".to_owned(),
            publication: "bitacora".to_owned(),
        }
    }

    #[test]
    fn debug_output_never_shows_the_password() {
        let text = format!("{:?}", config());
        assert!(text.contains("[redacted]") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let wrong = PostgresConfig {
            host: String::new(),
            port: 0,
            slot: "Bitacora-1".to_owned(),
            publication: "p".repeat(64),
            ..config()
        };
        let error = wrong.validate().unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Configuration);
        for part in ["host is empty", "port is 0", "slot is \"Bitacora-1\"", "publication is \"ppp"] {
            assert!(error.to_string().contains(part), "{error} lacks {part}");
        }
        assert!(config().validate().is_ok());
    }

    #[test]
    fn addresses_read_as_operators_write_them() {
        let at = |host: &str| PostgresConfig { host: host.to_owned(), ..config() }.address();
        assert_eq!(at("db1"), "db1:5432");
        assert_eq!(at("::1"), "[::1]:5432");
        assert_eq!(at("/run/postgresql"), "/run/postgresql/.s.PGSQL.5432");
    }
}
