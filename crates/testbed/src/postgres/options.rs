//! Which server is wanted.

use std::fmt;

/// Which PostgreSQL is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The one that the machine's distribution offers, 13 to 18.
    Distribution,
    /// Version 18; fetched binaries of it have neither TLS nor ICU.
    V18,
    /// Whichever is to be had soonest.
    Any,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Version::Distribution => "PostgreSQL 13 to 18 of the distribution",
            Version::V18 => "PostgreSQL 18",
            Version::Any => "PostgreSQL",
        })
    }
}

/// A version and what is special about the server.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) version: Version,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) tls: bool,
}

impl Options {
    /// A server as a careful institution runs it, with logical decoding switched on.
    pub fn new(version: Version) -> Options {
        Options { version, settings: Vec::new(), tls: false }
    }

    /// Sets a parameter of `postgresql.conf`; what is set later wins.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Options {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Does without disk flushes: faster, and a crash of the server alone still loses nothing, because the
    /// system keeps what the server wrote.
    #[must_use]
    pub fn without_fsync(self) -> Options {
        self.setting("fsync", "off").setting("full_page_writes", "off")
    }

    /// Lets the server offer TLS, with a certificate for `localhost` and `127.0.0.1` of an authority of its
    /// own; see [`Server::tls_ca`](super::Server::tls_ca).
    #[must_use]
    pub fn with_tls(mut self) -> Options {
        self.tls = true;
        self
    }
}
