//! An ordinary SQL connection, with everything pinned that could change what a query answers.

use std::ops::Deref;
use std::time::Duration;

use change::{SourceError, SourceErrorKind};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::PostgresConfig;
use crate::tls;

pub(crate) use crate::fault::sql_error;

/// How long connecting may take in all: finding the host, TCP, TLS, the password.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The name that the server's views show for our connections.
pub(crate) const APPLICATION_NAME: &str = "bitacora";

/// Settings of the session that decide how values read and which rows and names are seen. Server,
/// database and role may have set others.
///
/// - The first four fix the text of dates, times and floating-point numbers
///   (<https://www.postgresql.org/docs/current/runtime-config-client.html>).
/// - `row_security=off` turns rows that a policy hides into an error: a copy that lacks rows must never pass
///   for a whole one.
/// - `search_path` keeps another schema's functions and operators out of our queries.
/// - The time limits keep a question from hanging; connections for copies and the log set their own.
pub(crate) const PINNED: [(&str, &str); 10] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("row_security", "off"),
    ("search_path", "pg_catalog"),
    ("statement_timeout", "60000"),
    ("lock_timeout", "10000"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// A connection for ordinary SQL; dropping it ends it.
pub(crate) struct Session {
    client: Client,
    connection: JoinHandle<()>,
    version: u32,
}

impl Session {
    /// The server's version as `server_version_num` has it: 150014 for 15.14.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// Runs a query; `context` says what it is for.
    ///
    /// # Errors
    /// When the server refuses it or the connection breaks.
    pub(crate) async fn query(
        &self,
        context: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SourceError> {
        self.client.query(sql, params).await.map_err(|error| sql_error(context, error))
    }

    /// Runs a query that answers exactly one row.
    ///
    /// # Errors
    /// Also when it answers none or several.
    pub(crate) async fn query_one(
        &self,
        context: &str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, SourceError> {
        self.client.query_one(sql, params).await.map_err(|error| sql_error(context, error))
    }

    /// Runs statements that answer nothing of interest.
    ///
    /// # Errors
    /// When the server refuses one or the connection breaks.
    pub(crate) async fn execute(&self, context: &str, sql: &str) -> Result<(), SourceError> {
        self.client.batch_execute(sql).await.map_err(|error| sql_error(context, error))
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Connects and logs in.
///
/// # Errors
/// The kind says whether trying again helps; the hint names the line or setting to mend.
pub(crate) async fn connect(config: &PostgresConfig) -> Result<Session, SourceError> {
    let tls = tls::client_config(config)?;
    let options = options(config, tls.is_some());
    let context = format!("connect to {}", config.address());
    let connecting = async {
        let failed = |error| crate::fault::connect_error(config, &context, error);
        match tls {
            Some(tls) => {
                let connector = MakeRustlsConnect::new(tls.as_ref().clone());
                let (client, connection) = options.connect(connector).await.map_err(failed)?;
                let version = connection.parameter("server_version").map(version_number);
                Ok((client, tokio::spawn(drive(connection)), version))
            }
            None => {
                let (client, connection) = options.connect(NoTls).await.map_err(failed)?;
                let version = connection.parameter("server_version").map(version_number);
                Ok((client, tokio::spawn(drive(connection)), version))
            }
        }
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let (client, connection, version) = connected.unwrap_or_else(|_| Err(timed_out(&context)))?;
    Ok(Session { client, connection, version: version.unwrap_or_default() })
}

/// Serves the connection until it ends. Why it ended is told to whoever waits for an answer.
async fn drive<E: std::fmt::Display>(connection: impl Future<Output = Result<(), E>>) {
    if let Err(error) = connection.await {
        tracing::debug!(error = %error, "connection to the database ended");
    }
}

fn timed_out(context: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Unreachable,
        format!("{context}: no answer within {} s", CONNECT_TIMEOUT.as_secs()),
    )
    .with_hint("check that the host and port are right and that no firewall drops the connection")
}

fn options(config: &PostgresConfig, encrypted: bool) -> Config {
    let mut options = Config::new();
    options
        .host(&config.host)
        .port(config.port)
        .user(&config.user)
        .dbname(&config.database)
        .application_name(APPLICATION_NAME)
        .options(pinned_options())
        .ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable })
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(30))
        .keepalives_interval(Duration::from_secs(10))
        .keepalives_retries(3);
    if let Some(password) = &config.password {
        options.password(password);
    }
    options
}

/// The pinned settings as the start-up packet takes them.
pub(crate) fn pinned_options() -> String {
    let options: Vec<String> = PINNED.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
    options.join(" ")
}

/// Reads `15.14 (Debian 15.14-1)`, `18beta2` or `13.22` as `server_version_num` would have it.
pub(crate) fn version_number(text: &str) -> u32 {
    let mut parts = text.split(|character: char| !character.is_ascii_digit());
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or_default();
    let major = next();
    let minor = if text.trim_start_matches(|character: char| character.is_ascii_digit()).starts_with('.') {
        next()
    } else {
        0
    };
    major.saturating_mul(10_000).saturating_add(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_the_server_numbers_them() {
        assert_eq!(version_number("15.14 (Debian 15.14-0+deb12u1)"), 150_014);
        assert_eq!(version_number("18beta2"), 180_000);
        assert_eq!(version_number("17devel"), 170_000);
        assert_eq!(version_number("PostgreSQL"), 0);
    }

    #[test]
    fn every_pinned_setting_goes_into_the_start_up_packet() {
        let options = pinned_options();
        assert!(
            options.starts_with("-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC"),
            "{options}"
        );
        assert!(options.contains("-c row_security=off"), "{options}");
    }
}
