//! What the server's and the connection's errors mean, in words that an operator can act on.

use std::io;

use change::{SourceError, SourceErrorKind};

use crate::config::MysqlConfig;

/// The error of a server that could not be reached at all.
pub(crate) fn unreachable(config: &MysqlConfig, cause: io::Error) -> SourceError {
    let address = config.address();
    let socket = config.socket().is_some();
    let (what, hint) = match cause.kind() {
        io::ErrorKind::ConnectionRefused => (
            format!("nothing listens at {address}"),
            "check host and port, that the server runs, and its bind_address and skip_networking",
        ),
        io::ErrorKind::NotFound if socket => (
            format!("there is no server socket at {address}"),
            "check the path against the server's socket setting",
        ),
        io::ErrorKind::PermissionDenied if socket => (
            format!("the server's socket {address} may not be opened"),
            "run under an account that may, or connect by host name",
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => (
            format!("{address} does not answer"),
            "check that the host and port are right and that no firewall drops the connection",
        ),
        io::ErrorKind::UnexpectedEof => (
            format!("{address} closed the connection during the log-in"),
            "look into the server's log; it may be starting, stopping or out of connections",
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

/// What a server says when it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The error's number.
    pub(crate) code: u16,
    /// The server's own words.
    pub(crate) message: String,
}

impl Refusal {
    /// Reads an ERR packet's body after its first byte
    /// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html>).
    pub(crate) fn read(body: &[u8]) -> Self {
        let (code, rest) = match body.split_first_chunk::<2>() {
            Some((code, rest)) => (u16::from_le_bytes(*code), rest),
            None => (0, body),
        };
        // During the log-in the state may be missing.
        let text = match rest.split_first_chunk::<6>() {
            Some(([b'#', ..], text)) => text,
            _ => rest,
        };
        Self { code, message: String::from_utf8_lossy(text).into_owned() }
    }

    /// The error; `context` says what was attempted.
    pub(crate) fn into_error(self, context: &str) -> SourceError {
        server_error(context, self.code, &self.message)
    }
}

/// What a server's refusal means, by its number
/// (<https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html>,
/// <https://mariadb.com/docs/server/reference/error-codes>). `message` is the server's own and becomes part of it.
pub(crate) fn server_error(context: &str, code: u16, message: &str) -> SourceError {
    use SourceErrorKind::{Authentication, Busy, Configuration, Permission, Protocol, Schema, Unreachable};
    let full = format!("{context}: {message} (error {code})");
    let error = |kind| SourceError::new(kind, full.as_str());
    match code {
        // MariaDB has a number of its own for a reader that is in the way of another.
        1236 | 4052 => dump_error(&full, message),
        1045 | 1698 | 1524 | 1251 => error(Authentication).with_hint(
            "check user, password and the host that the user may come from; a user is named 'user'@'host'",
        ),
        1820 | 1862 | 3118 | 4151 => {
            error(Authentication).with_hint("ALTER USER … IDENTIFIED BY … and ALTER USER … ACCOUNT UNLOCK")
        }
        1130 => error(Authentication)
            .with_hint("the server admits no user from this machine: run `bitacora setup` for the statement"),
        3159 => {
            error(SourceErrorKind::Tls).with_hint("the server demands TLS: set tls to at least \"require\"")
        }
        1044 | 1142 | 1143 | 1227 | 1370 | 1095 => error(Permission).with_hint(
            "run `bitacora setup` and have its statements executed by the database's administrator",
        ),
        1049 => error(Configuration).with_hint("check database in the [source] part: case may count"),
        1146 | 1054 | 1051 | 1176 => error(Schema).with_hint("compare table and columns with the server's"),
        1381 => error(Configuration).with_hint("turn log_bin on, then restart the server"),
        1290 | 1792 | 1836 => error(Configuration)
            .with_hint("the server is read-only (a replica, perhaps): run the statement on its primary"),
        1040 | 1203 | 1226 => {
            error(Busy).with_hint("all connections are taken: raise max_connections or the user's own limit")
        }
        1205 | 1213 | 1969 | 3024 | 1317 => error(Busy)
            .with_hint("the server gave the statement up: look for locks and load, and run `bitacora check`"),
        1053 | 1077 | 1079 | 1152 | 1153..=1161 | 1184 | 1927 | 4031 => error(Unreachable),
        1021 | 1037 | 1038 | 1041 | 1030 | 1135 => error(Busy).with_hint("look into the server's log"),
        1129 => error(Unreachable)
            .with_hint("FLUSH HOSTS: the server blocks this machine after failed connections"),
        _ => error(Protocol),
    }
}

/// Reading the log ends with one number for everything; only the words tell what it means
/// (<https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html#error_er_source_fatal_error_reading_binlog>).
fn dump_error(full: &str, message: &str) -> SourceError {
    let says = |part: &str| message.contains(part);
    if says("same server_uuid/server_id")
        || says("same server_uuid")
        || says("same server_id")
        || says("server_id") && says("connected")
    {
        // Trying again at once would throw the other reader out in its turn.
        return SourceError::new(
            SourceErrorKind::Configuration,
            format!("another reader of this server's log has the same server_id; {full}"),
        )
        .with_hint("choose another server_id in [source.mysql], or stop the other reader");
    }
    if says("Misconfigured master")
        || says("Misconfigured source")
        || says("server_id was not set")
        || says("server id was not set")
    {
        return SourceError::new(SourceErrorKind::Configuration, full)
            .with_hint("set log_bin and a server_id other than 0, then restart the server");
    }
    if says("Binary log is not open") {
        return SourceError::new(SourceErrorKind::Configuration, full)
            .with_hint("turn log_bin on, then restart the server");
    }
    if says("max_allowed_packet") {
        return SourceError::new(SourceErrorKind::Configuration, full)
            .with_hint("SET GLOBAL max_allowed_packet = 1073741824: an event of the log is longer than it");
    }
    SourceError::new(SourceErrorKind::LostLog, full)
        .with_hint("the server has purged, reset or damaged what follows the checkpoint: the table is read anew and compared")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_with_and_without_a_state() {
        let read = Refusal::read(b"\x15\x04#28000Access denied");
        assert_eq!(read, Refusal { code: 1045, message: "Access denied".to_owned() });
        let read = Refusal::read(b"\x10\x04Too many connections");
        assert_eq!(read, Refusal { code: 1040, message: "Too many connections".to_owned() });
        assert_eq!(Refusal::read(b"\x10").code, 0);
    }

    #[test]
    fn the_end_of_a_dump_is_told_by_its_words() {
        let kind = |message: &str| server_error("read the log", 1236, message).kind();
        for (message, expected) in [
            (
                "A slave with the same server_uuid/server_id as this slave has connected to the master",
                SourceErrorKind::Configuration,
            ),
            (
                "A replica with the same server_uuid/server_id as this replica has connected to the source",
                SourceErrorKind::Configuration,
            ),
            ("Could not find first log file name in binary log index file", SourceErrorKind::LostLog),
            ("Cannot replicate because the source purged required binary logs.", SourceErrorKind::LostLog),
            (
                "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source",
                SourceErrorKind::Configuration,
            ),
            ("Binary log is not open", SourceErrorKind::Configuration),
            (
                "Client requested source to start replication from position > file size",
                SourceErrorKind::LostLog,
            ),
        ] {
            assert_eq!(kind(message), expected, "{message}");
        }
    }
}
