//! The connector as its operator has it: a program with commands. Here the program is this one, run again.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, ChildStdin, Command};

use crate::failure::Failure;

/// The first argument by which this program becomes the connector.
const AS_CONNECTOR: &str = "__bitacora";

/// The same, ended when the standard input ends: when whoever started it is gone, however it went.
const ON_A_LEASH: &str = "__bitacora-on-a-leash";

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often the status is asked for.
const LOOK: Duration = Duration::from_millis(200);

/// Runs the connector when this program was started as such.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let first = words.next()?;
    if first == ON_A_LEASH {
        std::thread::spawn(|| {
            // Any end of the input is the end, an error included.
            drop(std::io::stdin().read_to_end(&mut Vec::new()));
            std::process::exit(1);
        });
    } else if first != AS_CONNECTOR {
        return None;
    }
    Some(bitacora::main_with(std::iter::once(OsString::from("bitacora")).chain(words)))
}

/// The connector with one configuration.
pub(crate) struct Connector {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
}

impl Connector {
    /// The connector of the configuration `folder/bitacora.toml`.
    ///
    /// # Errors
    /// When this program's own file cannot be found.
    pub(crate) fn new(folder: &Path) -> Result<Connector, Failure> {
        let program = std::env::current_exe().map_err(Failure::of("find this program's own file"))?;
        Ok(Connector { program, config: folder.join("bitacora.toml"), log: folder.join("connector.log") })
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Runs a command to its end and returns what it printed.
    ///
    /// # Errors
    /// When its exit status is not 0.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<String, Failure> {
        let mut command = self.command(AS_CONNECTOR, words)?;
        let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).output();
        let output = tokio::time::timeout(PATIENCE, output)
            .await
            .map_err(|_| Failure::new(format!("`bitacora {}` took too long", words.join(" "))))?
            .map_err(Failure::of("run the connector"))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(printed);
        }
        Err(Failure::new(format!("`bitacora {}` ended with {}: {printed}", words.join(" "), output.status)))
    }

    /// Starts `bitacora run`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start_daemon(&self) -> Result<Daemon<'_>, Failure> {
        let mut command = self.command(ON_A_LEASH, &["run"])?;
        let child = command.stdin(Stdio::piped()).stdout(self.open_log()?).spawn();
        let mut child = child.map_err(Failure::of("start the connector"))?;
        let leash = child.stdin.take();
        Ok(Daemon { connector: self, child, _leash: leash })
    }

    fn command(&self, kind: &str, words: &[&str]) -> Result<Command, Failure> {
        let mut command = Command::new(&self.program);
        command.arg(kind).args(words).arg(OsStr::new("--config")).arg(&self.config);
        command.stderr(self.open_log()?).kill_on_drop(true);
        Ok(command)
    }

    fn open_log(&self) -> Result<File, Failure> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        log.map_err(Failure::of("open the connector's log"))
    }
}

/// `bitacora run` while it runs. It ends when this is dropped.
pub(crate) struct Daemon<'a> {
    connector: &'a Connector,
    child: Child,
    /// Taken out of `child`, which would close it before it waits for the end.
    _leash: Option<ChildStdin>,
}

impl Daemon<'_> {
    /// Asks `bitacora status` again and again until its answer is as wished; returns that answer.
    ///
    /// # Errors
    /// When the daemon ends instead, or nothing happens for too long.
    pub(crate) async fn wait(
        &mut self,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Failure::new(format!("`bitacora run` ended with {status} before {what}")));
            }
            // Before there is a ledger there is no status either.
            if let Ok(printed) = self.connector.run(&["status", "--json"]).await
                && let Ok(status) = serde_json::from_str::<Value>(&printed)
                && is_so(&status)
            {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Failure::new(format!("waited {} s in vain until {what}", PATIENCE.as_secs())))
    }

    /// kill -9.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(Failure::of("kill the connector"))
    }

    /// Asks it to stop, as a service manager does, and waits until it has.
    ///
    /// # Errors
    /// When there is no shell to send the signal, or the daemon says that it failed.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = self.child.id() {
            let script = format!("kill -s TERM {pid}");
            Command::new("sh").args(["-c", &script]).status().await.map_err(Failure::of("send a signal"))?;
        }
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.map_err(|_| Failure::new("`bitacora run` did not stop when asked to"))?;
        match status.map_err(Failure::of("wait for the connector"))? {
            status if ExitStatus::success(&status) => Ok(()),
            status => Err(Failure::new(format!("`bitacora run` was asked to stop and ended with {status}"))),
        }
    }
}
