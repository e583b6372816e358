//! The server's process: started, awaited, stopped, killed.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::binaries::Binaries;
use crate::TestbedError;
use crate::account::Account;
use crate::program::{signal, tail};

/// How long a server may take to begin, recovery after a crash included, and to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a file or process is looked at while it is awaited.
const LOOK: Duration = Duration::from_millis(5);

/// How much of the log an error carries, in bytes.
const LOG_TAIL: usize = 4_000;

/// How a server is asked to stop, in
/// [its own words](https://www.postgresql.org/docs/current/server-shutdown.html).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shutdown {
    /// Rolls back open transactions, writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// Why a server did not start.
pub(crate) enum NoStart {
    /// Somebody else listens on the port.
    PortTaken,
    /// Anything else.
    Failed(TestbedError),
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Postmaster {
    process: Child,
}

impl Postmaster {
    /// Starts the server of the data folder `dir/data` on `port`, and waits until it takes connections.
    pub(crate) fn start(
        binaries: &Binaries,
        dir: &Path,
        port: u16,
        account: Account,
    ) -> Result<Postmaster, NoStart> {
        let failed = |error| NoStart::Failed(error);
        let log_path = log_path(dir);
        let log_before = fs::metadata(&log_path).map_or(0, |found| found.len());
        let log = OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.map_err(TestbedError::io("open", &log_path)).map_err(failed)?;
        let errors = log.try_clone().map_err(TestbedError::io("open", &log_path)).map_err(failed)?;
        let mut command = binaries.program("postgres");
        command.arg("-D").arg(dir.join("data")).args(["-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // A Ctrl-C in the terminal is for its owner, which then ends the server in good order.
        command.process_group(0);
        account.apply(&mut command);
        let program = format!("{}/postgres", binaries.bin_dir.display());
        let process = command
            .spawn()
            .map_err(|error| failed(TestbedError::Program { program, output: error.to_string() }))?;
        let mut postmaster = Postmaster { process };
        match postmaster.await_ready(&pid_file(dir)) {
            Ok(()) => Ok(postmaster),
            Err(reason) => {
                drop(postmaster.kill());
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
    pub(crate) fn stop(mut self, how: Shutdown) -> Result<(), TestbedError> {
        let word = match how {
            Shutdown::Fast => "INT",
            Shutdown::Immediate => "QUIT",
        };
        signal(self.pid(), word);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(LOOK),
                Ok(Some(_)) | Err(_) => return Ok(()),
            }
        }
        self.kill()?;
        let output = format!("did not stop within {} s and was killed", PATIENCE.as_secs());
        Err(TestbedError::Program { program: format!("postgres ({how:?} shutdown)"), output })
    }

    /// Kills the server and its backends like a power cut, and waits until all of them are gone.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when the system refuses to kill it.
    pub(crate) fn kill(&mut self) -> Result<(), TestbedError> {
        let backends = children_of(self.pid());
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed.map_err(|error| TestbedError::Program {
            program: "kill".to_owned(),
            output: error.to_string(),
        })?;
        for &backend in &backends {
            signal(backend, "KILL");
        }
        let deadline = Instant::now() + PATIENCE;
        while backends.iter().any(|&backend| is_alive(backend)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until the [pid file](https://www.postgresql.org/docs/current/storage-file-layout.html) of this very
    /// process says that connections are taken.
    fn await_ready(&mut self, pid_file: &Path) -> Result<(), String> {
        let ours = self.pid().to_string();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("it ended with {status}"));
            }
            let text = fs::read_to_string(pid_file).unwrap_or_default();
            let mut lines = text.lines();
            if lines.next() == Some(&ours) && lines.any(|line| line.trim_end() == "ready") {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("it took no connections for {} s", PATIENCE.as_secs()))
    }
}

/// Where the server writes its process id and its state.
pub(crate) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("data").join("postmaster.pid")
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
        server: format!("PostgreSQL {}", binaries.major),
        dir: dir.to_owned(),
        reason,
        log: tail(&new, LOG_TAIL).to_owned(),
    })
}

/// The processes whose parent is `pid`; none where the system has no `/proc`.
fn children_of(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|&id| stat(id).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// Does `pid` still run? One that is dead and only waits for its parent does not.
fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process, which follow its name in
/// [`/proc/PID/stat`](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, closing brackets included.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
