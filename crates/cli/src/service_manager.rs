//! What a service manager such as systemd is told: that the daemon is ready, that it lives, that it stops.
//!
//! A message is one datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>). Where nobody named one, nothing is told.
//! A sign of life is sent only after the loops have shown that they live: a manager that hears none starts the daemon
//! anew.

use std::ffi::OsString;
use std::time::Duration;

use pipeline::Requests;

/// Of the time within which the manager wants to hear of us, what the loops are given to show that they live: with as
/// much for the pause in between, one late answer does no harm.
const PATIENCE_PART: u32 = 3;

/// The manager that started this process, if there is one.
pub(crate) struct ServiceManager {
    socket: Option<Socket>,
    /// Within this time it wants to hear of us.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment of the process tells.
    pub(crate) fn of_environment() -> Self {
        Self::of(&|name| std::env::var_os(name), std::process::id())
    }

    fn of(variable: &dyn Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let socket = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            let connected = Socket::connect(&name);
            connected
                .map_err(|error| tracing::warn!("the service manager cannot be told anything: {error}"))
                .ok()
        });
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        // https://www.freedesktop.org/software/systemd/man/latest/sd_watchdog_enabled.html
        let for_us = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(u64::from(pid));
        let within = number("WATCHDOG_USEC").filter(|micros| for_us && *micros > 0);
        Self { socket, watchdog: within.map(Duration::from_micros) }
    }

    /// Tells that the daemon does its work from now on.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Tells that the daemon was told to stop.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Tells again and again that the daemon lives, as long as its loops do. Never returns.
    pub(crate) async fn keep_alive(&self, requests: &Requests) {
        let Some(patience) = self.watchdog.map(|within| within / PATIENCE_PART) else {
            return std::future::pending().await;
        };
        loop {
            match requests.expect_alive(patience).await {
                Ok(()) => {
                    let state = format!("{:?}", requests.health().view().state).to_lowercase();
                    self.tell(&format!("WATCHDOG=1\nSTATUS={state}"));
                }
                Err(error) => tracing::error!("no sign of life to the service manager: {error}"),
            }
            tokio::time::sleep(patience).await;
        }
    }

    fn tell(&self, message: &str) {
        let sent = self.socket.as_ref().map_or(Ok(()), |socket| socket.send(message));
        if let Err(error) = sent {
            tracing::warn!("the service manager could not be told: {error}");
        }
    }
}

#[cfg(unix)]
struct Socket(std::os::unix::net::UnixDatagram);

#[cfg(unix)]
impl Socket {
    /// Connects to a socket in the file system, or on Linux, where the name begins with `@`, to an abstract one
    /// (<https://man7.org/linux/man-pages/man7/unix.7.html>).
    fn connect(name: &std::ffi::OsStr) -> std::io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        // A manager that does not read must not hold us up.
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        #[cfg(target_os = "linux")]
        if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(name).strip_prefix(b"@") {
            use std::os::linux::net::SocketAddrExt;
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
            return Ok(Self(socket));
        }
        socket.connect(name)?;
        Ok(Self(socket))
    }

    fn send(&self, message: &str) -> std::io::Result<()> {
        self.0.send(message.as_bytes()).map(|_| ())
    }
}

/// Elsewhere there is no such socket, and nobody to be told.
#[cfg(not(unix))]
struct Socket;

#[cfg(not(unix))]
impl Socket {
    fn connect(_name: &std::ffi::OsStr) -> std::io::Result<Self> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn send(&self, _message: &str) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn manager(variables: &[(&str, &str)]) -> ServiceManager {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        ServiceManager::of(&variable, 42)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 200];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes.into_iter().take(length).collect()).unwrap()
    }

    #[test]
    fn a_manager_hears_of_us_on_a_socket_in_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = manager(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
        manager.ready();
        manager.stopping();
        assert_eq!(heard(&socket), "READY=1");
        assert_eq!(heard(&socket), "STOPPING=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_manager_hears_of_us_on_an_abstract_socket() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("bitacora-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        manager(&[("NOTIFY_SOCKET", &format!("@{name}"))]).ready();
        assert_eq!(heard(&socket), "READY=1");
    }

    #[test]
    fn without_a_manager_nothing_is_told_and_nothing_fails() {
        for variables in [&[][..], &[("NOTIFY_SOCKET", "")], &[("NOTIFY_SOCKET", "/nowhere/at/all")]] {
            manager(variables).ready();
        }
    }

    #[test]
    fn signs_of_life_are_due_only_where_they_are_asked_of_this_very_process() {
        let within = |variables: &[(&str, &str)]| manager(variables).watchdog;
        let minute = Some(Duration::from_secs(60));
        assert_eq!(within(&[("WATCHDOG_USEC", "60000000")]), minute);
        assert_eq!(within(&[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "42")]), minute);
        for variables in [
            &[][..],
            &[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "43")],
            &[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "x")],
            &[("WATCHDOG_USEC", "0")],
            &[("WATCHDOG_USEC", "-5")],
            &[("WATCHDOG_USEC", "soon")],
        ] {
            assert_eq!(within(variables), None, "{variables:?}");
        }
    }
}
