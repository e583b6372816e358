//! The start-up packet and the log-in
//! (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>).

use bytes::BytesMut;
use change::{SourceError, SourceErrorKind};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;

use super::{Connection, Purpose, malformed, refused};
use crate::config::PostgresConfig;
use crate::decode::{DecodeError, Fields};
use crate::session::{APPLICATION_NAME, PINNED, version_number};

/// The kinds of authentication message.
mod code {
    pub(super) const OK: u32 = 0;
    pub(super) const CLEARTEXT: u32 = 3;
    pub(super) const MD5: u32 = 5;
    pub(super) const SASL: u32 = 10;
    pub(super) const SASL_CONTINUE: u32 = 11;
    pub(super) const SASL_FINAL: u32 = 12;
}

/// Settings that win over [`PINNED`]: making a slot and copying a large table take as long as they take, and a warning
/// may be all that the server says about changes that it skips.
const OVERRIDES: [(&str, &str); 3] =
    [("statement_timeout", "0"), ("lock_timeout", "0"), ("client_min_messages", "warning")];

/// Logs in and waits until the server is ready for statements.
///
/// # Errors
/// When the server refuses, or does not prove that it knows the password where the method lets it.
pub(super) fn log_in(
    connection: &mut Connection,
    config: &PostgresConfig,
    purpose: Purpose,
) -> Result<(), SourceError> {
    send_start_up(connection, config, purpose)?;
    authenticate(connection, config)?;
    let context = format!("connect to {}", config.address());
    loop {
        let raw = connection.wait()?;
        let mut fields = Fields(raw.body);
        match raw.tag {
            b'Z' => return Ok(()),
            b'E' => return Err(refused(&context, raw.body)),
            b'S' if fields.text() == Ok("server_version") => {
                connection.version = fields.text().map(version_number).unwrap_or_default();
            }
            b'K' => {
                if let (Ok(process), Ok(secret)) = (fields.u32(), fields.u32()) {
                    connection.cancel_key = (process.cast_signed(), secret.cast_signed());
                }
            }
            _ => {}
        }
    }
}

fn send_start_up(
    connection: &mut Connection,
    config: &PostgresConfig,
    purpose: Purpose,
) -> Result<(), SourceError> {
    let mut parameters = vec![
        ("user", config.user.as_str()),
        ("database", config.database.as_str()),
        ("application_name", APPLICATION_NAME),
        ("client_encoding", "UTF8"),
    ];
    parameters.extend(PINNED);
    // Where a setting is given twice the server takes the last.
    parameters.extend(OVERRIDES);
    if purpose == Purpose::Replication {
        parameters.push(("replication", "database"));
    }
    let mut message = BytesMut::new();
    frontend::startup_message(parameters, &mut message).map_err(|error| connection.broken(error))?;
    connection.send(&message)
}

/// How far the log-in has come.
enum Progress {
    /// Nothing has been proved.
    Open,
    /// The exchange runs.
    Scram(Box<ScramSha256>),
    /// The server, too, has shown that it knows the password.
    Proved,
}

fn authenticate(connection: &mut Connection, config: &PostgresConfig) -> Result<(), SourceError> {
    let context = format!("log in to {} as \"{}\"", config.address(), config.user);
    let binding = connection.transport.binding();
    let encrypted = connection.transport.is_encrypted();
    let mut progress = Progress::Open;
    loop {
        let raw = connection.wait()?;
        match raw.tag {
            b'R' => {}
            b'E' => return Err(refused(&context, raw.body)),
            b'N' | b'v' => continue,
            tag => return Err(malformed(&config.address(), tag)),
        }
        let unreadable = |_: DecodeError| malformed(&config.address(), b'R');
        let mut fields = Fields(raw.body);
        let mut answer = BytesMut::new();
        let kind = fields.u32().map_err(unreadable)?;
        let written = match (kind, &mut progress) {
            (code::OK, Progress::Open | Progress::Proved) => return Ok(()),
            (code::CLEARTEXT, Progress::Open) => frontend::password_message(password(config)?, &mut answer),
            (code::MD5, Progress::Open) => {
                let salt = fields.u32().map_err(unreadable)?.to_be_bytes();
                let hash = md5_hash(config.user.as_bytes(), password(config)?, salt);
                frontend::password_message(hash.as_bytes(), &mut answer)
            }
            (code::SASL, Progress::Open) => {
                let (mechanism, bound) = mechanism(fields.0, binding.clone(), encrypted)
                    .ok_or_else(|| unsupported(config, "a way of logging in other than SCRAM-SHA-256"))?;
                let scram = ScramSha256::new(password(config)?, bound);
                let written = frontend::sasl_initial_response(mechanism, scram.message(), &mut answer);
                progress = Progress::Scram(Box::new(scram));
                written
            }
            (code::SASL_CONTINUE, Progress::Scram(scram)) => {
                scram.update(fields.0).map_err(|error| unproved(config).caused_by(error))?;
                frontend::sasl_response(scram.message(), &mut answer)
            }
            (code::SASL_FINAL, Progress::Scram(scram)) => {
                scram.finish(fields.0).map_err(|error| unproved(config).caused_by(error))?;
                progress = Progress::Proved;
                continue;
            }
            (code::OK, Progress::Scram(_)) => return Err(unproved(config)),
            _ => return Err(unsupported(config, &format!("authentication method {kind}"))),
        };
        written.map_err(|error| connection.broken(error))?;
        connection.send(&answer)?;
    }
}

fn password(config: &PostgresConfig) -> Result<&[u8], SourceError> {
    config.password.as_deref().map(str::as_bytes).ok_or_else(|| {
        SourceError::new(
            SourceErrorKind::Authentication,
            format!(
                "{} asks for the password of \"{}\", and none is configured",
                config.address(),
                config.user
            ),
        )
        .with_hint("set password in the [source] part of the configuration")
    })
}

/// The strongest mechanism that both sides know, out of the server's list of zero-terminated names.
fn mechanism(
    offered: &[u8],
    binding: Option<Vec<u8>>,
    encrypted: bool,
) -> Option<(&'static str, ChannelBinding)> {
    let offers = |name: &str| offered.split(|byte| *byte == 0).any(|offer| offer == name.as_bytes());
    match binding {
        Some(binding) if offers(sasl::SCRAM_SHA_256_PLUS) => {
            Some((sasl::SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(binding)))
        }
        // Saying that we could have bound the log-in lets the server notice that its offer was tampered with.
        Some(_) if encrypted && offers(sasl::SCRAM_SHA_256) => {
            Some((sasl::SCRAM_SHA_256, ChannelBinding::unrequested()))
        }
        _ if offers(sasl::SCRAM_SHA_256) => Some((sasl::SCRAM_SHA_256, ChannelBinding::unsupported())),
        _ => None,
    }
}

fn unsupported(config: &PostgresConfig, what: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Authentication,
        format!("{} asks for {what}, expected a password by scram-sha-256 or md5", config.address()),
    )
    .with_hint("use scram-sha-256 for this role in pg_hba.conf")
}

fn unproved(config: &PostgresConfig) -> SourceError {
    SourceError::new(
        SourceErrorKind::Authentication,
        format!("{} did not prove that it knows the password of \"{}\"", config.address(), config.user),
    )
    .with_hint("check the password, and that nobody sits between this machine and the server")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_in_is_bound_to_the_connection_wherever_both_sides_can() {
        let both = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        let plain = b"SCRAM-SHA-256\0\0";
        let name = |offered: &[u8], binding: Option<Vec<u8>>, encrypted| {
            mechanism(offered, binding, encrypted).map(|(name, _)| name)
        };
        assert_eq!(name(both, Some(vec![1]), true), Some("SCRAM-SHA-256-PLUS"));
        assert_eq!(name(both, None, true), Some("SCRAM-SHA-256"));
        assert_eq!(name(plain, Some(vec![1]), true), Some("SCRAM-SHA-256"));
        assert_eq!(name(plain, None, false), Some("SCRAM-SHA-256"));
        assert_eq!(name(b"OAUTHBEARER\0\0", None, false), None);
        assert_eq!(name(b"", None, true), None);
    }
}
