//! What the server's and the connection's errors mean, in words that an operator can act on.

use std::io;

use change::{SourceError, SourceErrorKind};
use tiberius::error::TokenError;

const SETUP: &str = "run `bitacora setup` and have its statements executed by the database's administrator";

/// The error of a server that could not be reached at all.
pub(crate) fn unreachable(address: &str, cause: io::Error) -> SourceError {
    let (what, hint) = match cause.kind() {
        io::ErrorKind::ConnectionRefused => (
            format!("nothing listens at {address}"),
            "check host and port, that the server runs, and that TCP/IP is enabled in its network configuration",
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => (
            format!("{address} does not answer"),
            "check that the host and port are right and that no firewall drops the connection",
        ),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => (
            format!("{address} closed the connection during the log-in"),
            "look into the server's error log; it may be starting or stopping, or demand TDS 8.0 (strict encryption)",
        ),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            (format!("there is no route to {address}"), "check the network and any VPN between")
        }
        _ if cause.to_string().contains("lookup") || cause.to_string().contains("resolve") => (
            format!("the host name of {address} is not known here"),
            "check its spelling and this machine's DNS",
        ),
        _ => (format!("connect to {address}"), "check host, port and the network between"),
    };
    SourceError::new(SourceErrorKind::Unreachable, what).with_hint(hint).caused_by(cause)
}

/// What the client's error means; `context` says what was attempted.
pub(crate) fn client_error(context: &str, error: tiberius::error::Error) -> SourceError {
    use tiberius::error::Error;
    match error {
        Error::Server(refusal) => server_error(context, &refusal),
        Error::Io { .. } => {
            SourceError::new(SourceErrorKind::Unreachable, format!("{context}: the connection broke"))
                .caused_by(error)
        }
        Error::Tls(_) => SourceError::new(SourceErrorKind::Tls, context).caused_by(error),
        _ => SourceError::new(
            SourceErrorKind::Protocol,
            format!("{context}: the server's answer cannot be read"),
        )
        .caused_by(error),
    }
}

fn server_error(context: &str, refusal: &TokenError) -> SourceError {
    numbered(context, refusal.code(), refusal.message())
}

/// What a server's refusal means, by its number
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/database-engine-events-and-errors>).
/// `message` is the server's own and becomes part of it.
pub(crate) fn numbered(context: &str, number: u32, message: &str) -> SourceError {
    let (kind, hint) = meaning(number);
    let error = SourceError::new(kind, format!("{context}: {message} (error {number})"));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

type Meaning = (SourceErrorKind, Option<&'static str>);

fn meaning(number: u32) -> Meaning {
    access(number)
        .or_else(|| passing(number))
        .or_else(|| replica(number))
        .or_else(|| captured(number))
        .unwrap_or((SourceErrorKind::Protocol, None))
}

/// Who we are, and what we may do.
fn access(number: u32) -> Option<Meaning> {
    use SourceErrorKind::{Authentication, Configuration, Permission};
    Some(match number {
        18_456 => (
            Authentication,
            Some(
                "check user and password, and that the server allows SQL Server log-ins beside those of Windows",
            ),
        ),
        18_452 => (Authentication, Some("name a SQL Server login: log-ins of Windows are not spoken")),
        18_470 | 18_486 => {
            (Authentication, Some("ALTER LOGIN … ENABLE, or ALTER LOGIN … WITH PASSWORD = … UNLOCK"))
        }
        18_463..=18_468 | 18_487 | 18_488 => {
            (Authentication, Some("ALTER LOGIN … WITH PASSWORD = …: it has expired"))
        }
        4060 | 911 => (
            Configuration,
            Some(
                "check database in the [source] part, that it is online, and that the login has a user in it",
            ),
        ),
        229 | 230 | 262 | 297 | 300 | 371 | 378 | 15_247 | 22_902 | 22_904 => (Permission, Some(SETUP)),
        916 => (Permission, Some("CREATE USER … FOR LOGIN … in that database: `bitacora setup` prints it")),
        _ => return None,
    })
}

/// What passes by itself.
fn passing(number: u32) -> Option<Meaning> {
    use SourceErrorKind::{Busy, Unreachable};
    Some(match number {
        1205 => (Busy, Some("the server chose our statement to end a deadlock; it is tried again")),
        1222 => (Busy, Some("another session keeps the rows locked: look for a transaction that stays open")),
        3960 | 3961 | 3957 | 3958 | 3966 => {
            (Busy, Some("the snapshot that was read from is gone; it is tried again"))
        }
        40_613 | 40_197 | 40_540 => {
            (Busy, Some("the database is being moved or is starting; it is tried again"))
        }
        10_928 | 10_929 | 40_501 | 40_544 | 40_549..=40_553 | 49_918..=49_920 => {
            (Busy, Some("the service limits what the database may use: raise its tier, or poll_interval"))
        }
        701 | 802 | 1204 | 8645 | 8651 | 9001 | 9002 | 17_300 | 17_809 | 64_004 => {
            (Busy, Some("the server is short of a resource: look into its error log"))
        }
        904 | 922 | 924 | 927 | 942 | 945 | 946 | 952 | 954 | 955 => {
            (Busy, Some("the database is not online: look at its state in sys.databases"))
        }
        596 | 6005 | 17_142 | 17_143 | 10_053 | 10_054 | 10_060 | 121 | 233 => (Unreachable, None),
        _ => return None,
    })
}

/// A replica that is not as the configuration takes it.
fn replica(number: u32) -> Option<Meaning> {
    use SourceErrorKind::{Busy, Configuration};
    Some(match number {
        976 | 982 | 983 | 988 => (
            Busy,
            Some("the replica is not readable at present: connect to the availability group's listener"),
        ),
        978 | 979 => (
            Configuration,
            Some("the replica takes readers only: set read_only = true in [source.sqlserver]"),
        ),
        3952 => (
            Configuration,
            Some("ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION ON: the setting was changed meanwhile"),
        ),
        3906 | 3908 => (Configuration, Some("the database is read-only: run the statement on its primary")),
        _ => return None,
    })
}

/// What is captured, and what is not.
fn captured(number: u32) -> Option<Meaning> {
    use SourceErrorKind::{Configuration, LostLog, Schema};
    Some(match number {
        207 | 208 | 4902 | 15_151 => {
            (Schema, Some("compare table and columns with the server's, and run `bitacora check`"))
        }
        313 => (
            LostLog,
            Some(
                "the interval that was asked for is not in the change table any more: the table is read anew and compared",
            ),
        ),
        22_960 => {
            (LostLog, Some("the change table no longer has what was asked for: the table is read anew"))
        }
        22_901 | 22_910 | 22_985 => (Configuration, Some(SETUP)),
        22_891 => {
            (Configuration, Some("ALTER DATABASE … SET DELAYED_DURABILITY = DISABLED: capture demands it"))
        }
        22_920 | 22_921 | 22_934 => {
            (Configuration, Some("the capture instance is not there: run `bitacora check`"))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_meaning() {
        use SourceErrorKind::{Authentication, Busy, Configuration, LostLog, Permission, Protocol, Schema};
        for (number, kind) in [
            (18_456, Authentication),
            (4060, Configuration),
            (229, Permission),
            (208, Schema),
            (313, LostLog),
            (1205, Busy),
            (1222, Busy),
            (3960, Busy),
            (40_613, Busy),
            (10_928, Busy),
            (976, Busy),
            (978, Configuration),
            (22_901, Configuration),
            (22_891, Configuration),
            (102, Protocol),
        ] {
            let error = numbered("read the change table", number, "No.");
            assert_eq!(error.kind(), kind, "{number}");
            assert_eq!(error.to_string(), format!("read the change table: No. (error {number})"));
        }
    }
}
