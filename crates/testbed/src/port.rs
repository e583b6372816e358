//! A port that nobody uses.

use std::net::TcpListener;

use rand::Rng;

/// Ports that the system does not hand out to outgoing connections, so that a port is still free when a
/// server that was stopped comes back.
pub(crate) const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How many ports are tried.
pub(crate) const PORT_TRIES: usize = 50;

/// A port that is free at this moment; `None` when the one that chance named is not.
pub(crate) fn free() -> Option<u16> {
    let port = rand::rng().random_range(PORTS);
    TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
}

/// What is said when no port was free.
pub(crate) fn none_free() -> String {
    format!("{PORT_TRIES} ports from {} to {} were taken", PORTS.start, PORTS.end)
}
