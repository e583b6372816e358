//! What the server's and the connection's errors mean, in words that an operator can act on.

use std::error::Error;
use std::io;

use change::{SourceError, SourceErrorKind};

use crate::config::PostgresConfig;
use crate::tls;

/// The error of a query; `context` says what it was for.
pub(crate) fn sql_error(context: &str, error: tokio_postgres::Error) -> SourceError {
    if let Some(refusal) = error.as_db_error() {
        // It says all that the library's error does.
        return server_error(context, refusal.code().code(), refusal.message());
    }
    let kind = if error.is_closed() || io_error(&error).is_some() {
        SourceErrorKind::Unreachable
    } else {
        SourceErrorKind::Protocol
    };
    SourceError::new(kind, context).caused_by(error)
}

/// The error of a log-in that tokio-postgres attempted.
pub(crate) fn connect_error(
    config: &PostgresConfig,
    context: &str,
    error: tokio_postgres::Error,
) -> SourceError {
    if let Some(refusal) = error.as_db_error() {
        // It says all that the library's error does.
        return server_error(context, refusal.code().code(), refusal.message());
    }
    // The library tells its kinds apart by their texts only.
    match error.to_string().as_str() {
        "error performing TLS handshake" => match error.into_source() {
            Some(cause) if cause.to_string() == "server does not support TLS" => tls::refused(config),
            Some(cause) => tls::handshake_error(config, cause),
            None => SourceError::new(SourceErrorKind::Tls, context),
        },
        "error connecting to server" => match error.into_source() {
            Some(cause) => match cause.downcast::<io::Error>() {
                Ok(cause) => unreachable(config, *cause),
                Err(cause) => SourceError::new(SourceErrorKind::Unreachable, context).caused_by(cause),
            },
            None => SourceError::new(SourceErrorKind::Unreachable, context),
        },
        "authentication error" | "invalid configuration" => SourceError::new(
            SourceErrorKind::Authentication,
            format!("{context} as \"{}\"", config.user),
        )
        .with_hint(if config.password.is_none() {
            "the server asks for a password: set password in the [source] part of the configuration"
        } else {
            "the server asks for a way of logging in that is not supported here: use scram-sha-256 in \
                     pg_hba.conf"
        })
        .caused_by(error),
        _ => sql_error(context, error),
    }
}

/// The error of a server that could not be reached at all.
pub(crate) fn unreachable(config: &PostgresConfig, cause: io::Error) -> SourceError {
    let address = config.address();
    let socket = config.socket_dir().is_some();
    let (what, hint) = match cause.kind() {
        io::ErrorKind::ConnectionRefused => (
            format!("nothing listens at {address}"),
            "check host and port, that the server runs, and its listen_addresses",
        ),
        io::ErrorKind::NotFound if socket => (
            format!("there is no server socket at {address}"),
            "check the directory and port, and the server's unix_socket_directories",
        ),
        io::ErrorKind::PermissionDenied if socket => (
            format!("the server's socket {address} may not be opened"),
            "run under an account that may, or connect by host name",
        ),
        io::ErrorKind::TimedOut => (
            format!("{address} does not answer"),
            "check that the host and port are right and that no firewall drops the connection",
        ),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            (format!("there is no route to {address}"), "check the network and any VPN between")
        }
        _ if cause.to_string().contains("lookup") || cause.to_string().contains("resolve") => (
            format!("host name \"{}\" is not known here", config.host),
            "check its spelling and this machine's DNS",
        ),
        _ => (format!("connect to {address}"), "check host, port and the network between"),
    };
    SourceError::new(SourceErrorKind::Unreachable, what).with_hint(hint).caused_by(cause)
}

/// What a server's refusal means, by its SQLSTATE
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
///
/// `context` says what was attempted; `message` is the server's own and becomes part of the error.
pub(crate) fn server_error(context: &str, sqlstate: &str, message: &str) -> SourceError {
    use SourceErrorKind::{
        Authentication, Busy, Configuration, LostLog, Permission, Protocol, Schema, Unreachable,
    };
    let full = format!("{context}: {message} (SQLSTATE {sqlstate})");
    let error = |kind| SourceError::new(kind, full.as_str());
    let class = sqlstate.get(..2).unwrap_or_default();
    if let Some(pooler) = pooler_refusal(sqlstate, message) {
        return error(Configuration).with_hint(pooler);
    }
    match (class, sqlstate) {
        (_, "28P01") => error(Authentication).with_hint("check user and password in the [source] part"),
        (_, "28000") => error(Authentication).with_hint(authorization_hint(message)),
        (_, "3D000") => error(Configuration).with_hint("check database in the [source] part: case counts"),
        (_, "42501") => error(Permission).with_hint(permission_hint(message)),
        (_, "42P01" | "42703" | "3F000") => {
            error(Schema).with_hint("compare table and columns with the server's")
        }
        // Neither can be had back as of where the log stands: a slot or publication made anew begins later.
        (_, "42704") if message.contains("slot") || message.contains("publica") => error(LostLog),
        (_, "57P03") => error(Busy).with_hint("the server is starting, stopping or recovering: wait"),
        (_, "57P01" | "57P02" | "57P05") => error(Unreachable),
        (_, "57014") => error(Busy)
            .with_hint("the server took too long: look for locks and load, and run `bitacora check`"),
        (_, "53300") => error(Busy).with_hint(connections_hint(message)),
        (_, "53400") => {
            error(Configuration).with_hint("raise max_replication_slots, then restart the server")
        }
        (_, "55006") => error(Busy).with_hint("another process uses it: see pg_replication_slots.active_pid"),
        (_, "55P03") => error(Busy).with_hint("another transaction holds a lock on it: see pg_locks"),
        (_, "55000") => prerequisite_error(&full, message),
        (_, "58P01") if names_log_segment(message) => error(LostLog),
        (_, "25006") => error(Configuration)
            .with_hint("the server is read-only (a standby, perhaps): run `bitacora setup` for the primary"),
        (_, "0A000") => error(Configuration),
        ("53" | "58" | "XX", _) => error(Busy).with_hint("look into the server's log"),
        ("08" | "57", _) => error(Unreachable),
        ("40", _) => error(Busy),
        ("28", _) => error(Authentication),
        ("42", _) => error(Schema),
        _ => error(Protocol),
    }
}

/// State errors (55000) cover a lost log as well as a setting that is wrong.
fn prerequisite_error(full: &str, message: &str) -> SourceError {
    // Up to 17 and from 18 on, and for slots invalidated for other reasons.
    let lost = ["can no longer get changes", "can no longer access replication slot", "has been invalidated"];
    if lost.iter().any(|part| message.contains(part)) {
        return SourceError::new(SourceErrorKind::LostLog, full);
    }
    if message.contains("wal_level") {
        return SourceError::new(SourceErrorKind::Configuration, full)
            .with_hint("ALTER SYSTEM SET wal_level = logical, then restart the server");
    }
    if message.contains("replica identity") {
        return SourceError::new(SourceErrorKind::Configuration, full)
            .with_hint("give the table a primary key, or choose ALTER TABLE … REPLICA IDENTITY");
    }
    SourceError::new(SourceErrorKind::Configuration, full)
}

/// The hint for what only a connection pooler says.
fn pooler_refusal(sqlstate: &str, message: &str) -> Option<&'static str> {
    const HINT: &str = "this is a connection pooler, which cannot carry replication: set host and port to \
        the PostgreSQL server itself";
    let says = |part: &str| message.contains(part);
    let pooler = says("unsupported startup parameter")
        || says("pgbouncer")
        || says("no such database:")
        || says("server_login_retry")
        || (sqlstate.starts_with("08") && says("replication") && says("not supported"))
        || says("pooler");
    pooler.then_some(HINT)
}

/// The hint for a refused log-in: for `pg_hba.conf`, the line that would admit it.
fn authorization_hint(message: &str) -> String {
    if message.contains("does not exist") || message.contains("no existe") {
        return "run `bitacora setup` and have its statements executed: they make the role".to_owned();
    }
    if message.contains("not permitted to log in") {
        return "ALTER ROLE … LOGIN".to_owned();
    }
    match pg_hba_line(message) {
        Some(line) => {
            format!("put this line at the top of pg_hba.conf and run SELECT pg_reload_conf(): {line}")
        }
        None => "check pg_hba.conf, user and password".to_owned(),
    }
}

/// Makes the line out of the server's own description of the connection, such as
/// `no pg_hba.conf entry for host "10.0.0.5", user "bitacora", database "tramites", no encryption`, in
/// whatever language it speaks.
fn pg_hba_line(message: &str) -> Option<String> {
    if !message.contains("pg_hba.conf") {
        return None;
    }
    let quoted = quoted_parts(message);
    let [host, user, database] = quoted.as_slice() else { return None };
    // Logical replication is admitted like any connection to the database; the keyword `replication` is for
    // the other kind.
    if *host == "[local]" {
        return Some(format!("local \"{database}\" \"{user}\" scram-sha-256"));
    }
    let bits = if host.contains(':') { 128 } else { 32 };
    let record = if message.ends_with("SSL encryption") { "hostssl" } else { "host" };
    Some(format!("{record} \"{database}\" \"{user}\" {host}/{bits} scram-sha-256"))
}

/// What stands in quotation marks, English or Spanish and French ones.
fn quoted_parts(message: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = message;
    while let Some((_, after)) = rest.split_once(['"', '«']) {
        let Some((part, after)) = after.split_once(['"', '»']) else { break };
        parts.push(part.trim());
        rest = after;
    }
    parts
}

/// Whether the message names a file of the log, such as `000000010000000000000001`: in every language that
/// one is gone.
fn names_log_segment(message: &str) -> bool {
    let mut words = message.split(|character: char| !character.is_ascii_alphanumeric());
    words.any(|word| word.len() == 24 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn permission_hint(message: &str) -> &'static str {
    if message.contains("row-level security") {
        return "row level security would hide rows from this role: ALTER ROLE … BYPASSRLS";
    }
    if message.contains("replication") || message.contains("REPLICATION") || message.contains("WAL sender") {
        return "ALTER ROLE … REPLICATION, or the managed service's own role, such as rds_replication";
    }
    "run `bitacora setup` and have its statements executed by the database's administrator"
}

fn connections_hint(message: &str) -> &'static str {
    if message.contains("standby connections") || message.contains("max_wal_senders") {
        return "all replication connections are taken: raise max_wal_senders, then restart the server";
    }
    "all connections are taken: raise max_connections or the role's CONNECTION LIMIT"
}

/// The I/O error in the chain, where there is one.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_and_hint(sqlstate: &str, message: &str) -> (SourceErrorKind, String) {
        let error = server_error("connect", sqlstate, message);
        (error.kind(), error.hint().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_refusal_by_pg_hba_names_the_line_that_admits_the_connection() {
        let (kind, hint) = kind_and_hint(
            "28000",
            "no pg_hba.conf entry for host \"10.0.0.5\", user \"bitacora\", database \"tramites\", no \
             encryption",
        );
        assert_eq!(kind, SourceErrorKind::Authentication);
        assert!(hint.ends_with(": host \"tramites\" \"bitacora\" 10.0.0.5/32 scram-sha-256"), "{hint}");
        let (_, hint) = kind_and_hint(
            "28000",
            "no pg_hba.conf entry for host \"::1\", user \"b\", database \"d\", SSL encryption",
        );
        assert!(hint.ends_with(": hostssl \"d\" \"b\" ::1/128 scram-sha-256"), "{hint}");
        let (_, hint) = kind_and_hint(
            "28000",
            "no hay una línea en pg_hba.conf para «10.0.0.5», usuario «b», base de datos «d», \
             sin cifrado",
        );
        assert!(hint.ends_with(": host \"d\" \"b\" 10.0.0.5/32 scram-sha-256"), "{hint}");
        let (_, hint) = kind_and_hint(
            "28000",
            "no pg_hba.conf entry for host \"[local]\", user \"b\", database \"d\", no encryption",
        );
        assert!(hint.ends_with(": local \"d\" \"b\" scram-sha-256"), "{hint}");
    }

    #[test]
    fn a_lost_log_is_told_from_a_wrong_setting_whatever_the_version_says() {
        for message in [
            "can no longer get changes from replication slot \"bitacora\"",
            "can no longer access replication slot \"bitacora\"",
        ] {
            assert_eq!(kind_and_hint("55000", message).0, SourceErrorKind::LostLog);
        }
        for missing in ["replication slot \"b\" does not exist", "no existe la publicación «b»"] {
            assert_eq!(kind_and_hint("42704", missing).0, SourceErrorKind::LostLog);
        }
        let removed = "requested WAL segment 000000010000000000000001 has already been removed";
        assert_eq!(kind_and_hint("58P01", removed).0, SourceErrorKind::LostLog);
        let (kind, hint) = kind_and_hint("55000", "logical decoding requires wal_level >= logical");
        assert_eq!(kind, SourceErrorKind::Configuration);
        assert!(hint.contains("wal_level = logical"), "{hint}");
    }

    #[test]
    fn refusals_fall_into_the_kind_that_decides_what_to_do() {
        for (sqlstate, message, kind) in [
            ("28P01", "password authentication failed for user \"b\"", SourceErrorKind::Authentication),
            ("3D000", "database \"x\" does not exist", SourceErrorKind::Configuration),
            ("57P03", "the database system is starting up", SourceErrorKind::Busy),
            ("53300", "sorry, too many clients already", SourceErrorKind::Busy),
            ("57P01", "terminating connection due to administrator command", SourceErrorKind::Unreachable),
            ("42501", "permission denied for table solicitudes", SourceErrorKind::Permission),
            ("55006", "replication slot \"bitacora\" is active for PID 77", SourceErrorKind::Busy),
            ("42P01", "relation \"x\" does not exist", SourceErrorKind::Schema),
            ("08P01", "unsupported startup parameter in options: DateStyle", SourceErrorKind::Configuration),
            ("53100", "could not extend file: No space left on device", SourceErrorKind::Busy),
        ] {
            assert_eq!(kind_and_hint(sqlstate, message).0, kind, "{sqlstate} {message}");
        }
    }

    #[test]
    fn a_pooler_is_named_for_what_it_is() {
        let (_, hint) = kind_and_hint("08P01", "unsupported startup parameter: options");
        assert!(hint.contains("pooler"), "{hint}");
    }
}
