//! The server's process: started, awaited, stopped, killed.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::binaries::Binaries;
use super::data_folder::socket;
use crate::TestbedError;
use crate::account::Account;
use crate::program::{signal, tail};

/// How long a server may take to begin, recovery after a crash included, and to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a process is looked at while it is awaited.
const LOOK: Duration = Duration::from_millis(10);

/// How much of the log an error carries, in bytes.
const LOG_TAIL: usize = 4_000;

/// Why a server did not start.
pub(crate) enum NoStart {
    /// Somebody else listens on the port.
    PortTaken,
    /// Anything else.
    Failed(TestbedError),
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Child,
}

impl Daemon {
    /// Starts the server of the folder `dir` on `port`, and waits until it takes connections.
    pub(crate) fn start(
        binaries: &Binaries,
        dir: &Path,
        port: u16,
        account: Account,
    ) -> Result<Daemon, NoStart> {
        let log_path = log_path(dir);
        let log_before = fs::metadata(&log_path).map_or(0, |found| found.len());
        let process = spawn(binaries, dir, port, account).map_err(NoStart::Failed)?;
        let mut daemon = Daemon { process };
        // Ours instead of the server's own, which it writes late: the watchdog must find the server from here on.
        let pid_file = pid_file(dir);
        let written = fs::write(&pid_file, format!("{}\n", daemon.pid())).and_then(|()| {
            fs::set_permissions(&pid_file, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        });
        let ready = match written {
            Ok(()) => daemon.await_ready(&socket(dir)),
            Err(error) => Err(error.to_string()),
        };
        match ready {
            Ok(()) => Ok(daemon),
            Err(reason) => {
                drop(daemon.kill());
                Err(no_start(binaries, dir, log_before, reason))
            }
        }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks the server to stop and waits until it has.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when it did not stop in time; it was killed then.
    pub(crate) fn stop(mut self) -> Result<(), TestbedError> {
        signal(self.pid(), "TERM");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(LOOK),
                Ok(Some(_)) | Err(_) => return Ok(()),
            }
        }
        self.kill()?;
        let output = format!("did not stop within {} s and was killed", PATIENCE.as_secs());
        Err(TestbedError::Program { program: "the server".to_owned(), output })
    }

    /// Kills the server like a power cut, and waits until it is gone.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when the system refuses to kill it.
    pub(crate) fn kill(&mut self) -> Result<(), TestbedError> {
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed
            .map(drop)
            .map_err(|error| TestbedError::Program { program: "kill".to_owned(), output: error.to_string() })
    }

    /// Waits until a connection is greeted. The socket in the server's own folder cannot be somebody else's.
    fn await_ready(&mut self, socket: &Path) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("it ended with {status}"));
            }
            if is_greeted(socket) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("it took no connections for {} s", PATIENCE.as_secs()))
    }
}

fn spawn(binaries: &Binaries, dir: &Path, port: u16, account: Account) -> Result<Child, TestbedError> {
    let log_path = log_path(dir);
    let log = OpenOptions::new().create(true).append(true).open(&log_path);
    let log = log.map_err(TestbedError::io("open", &log_path))?;
    let errors = log.try_clone().map_err(TestbedError::io("open", &log_path))?;
    let name = binaries.product.server_program();
    let mut command = binaries.program(name);
    command.arg(format!("--defaults-file={}", dir.join("my.cnf").display()));
    command.args(binaries.server().arguments());
    let data = dir.join("data");
    command.arg(format!("--datadir={}", data.display())).arg(format!("--port={port}"));
    command.arg(format!("--init-file={}", dir.join("init.sql").display()));
    command.arg(format!("--pid-file={}", dir.join("own.pid").display()));
    // The server goes there itself; the watchdog knows it by its folder from the first moment on.
    command.current_dir(&data);
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    // A Ctrl-C in the terminal is for its owner, which then ends the server in good order.
    command.process_group(0);
    account.apply(&mut command);
    command
        .spawn()
        .map_err(|error| TestbedError::Program { program: name.to_owned(), output: error.to_string() })
}

/// Does the server greet a new connection with
/// [version 10 of the protocol](https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html)?
fn is_greeted(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let mut greeting = [0; 5];
    let read = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.read_exact(&mut greeting));
    read.is_ok() && greeting.last() == Some(&10)
}

/// Where the process id of the server is written.
pub(crate) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("server.pid")
}

/// The last lines of the server's log.
pub(crate) fn log_tail(dir: &Path) -> String {
    let log = fs::read(log_path(dir)).unwrap_or_default();
    tail(&String::from_utf8_lossy(&log), LOG_TAIL).to_owned()
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

/// Tells a taken port from everything else by what the server logged since `log_before`, in bytes.
fn no_start(binaries: &Binaries, dir: &Path, log_before: u64, reason: String) -> NoStart {
    let log = fs::read(log_path(dir)).unwrap_or_default();
    let earlier = usize::try_from(log_before).unwrap_or(usize::MAX);
    let new = String::from_utf8_lossy(log.get(earlier..).unwrap_or_default()).into_owned();
    if new.contains("Address already in use") {
        return NoStart::PortTaken;
    }
    NoStart::Failed(TestbedError::Start {
        server: binaries.title(),
        dir: dir.to_owned(),
        reason,
        log: tail(&new, LOG_TAIL).to_owned(),
    })
}
