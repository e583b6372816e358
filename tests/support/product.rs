//! The product's commands, as processes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::config::Config;
use super::daemon::Daemon;

/// How long a command may take.
const COMMAND_MAX: Duration = Duration::from_secs(300);

/// The variable that the tests' configurations take the database's password from.
pub(crate) const PASSWORD: &str = "BITACORA_DB_PASSWORD";

/// An installation of the product: a configuration file and a ledger in a folder of their own.
pub(crate) struct Product {
    dir: TempDir,
    environment: Vec<(String, String)>,
    starts: AtomicU32,
}

impl Product {
    /// Writes the configuration; `password` is handed over in `BITACORA_DB_PASSWORD`.
    pub(crate) fn new(config: &Config, password: &str) -> Self {
        let product = Self::bare().with_variable(PASSWORD, password);
        product.configure(config);
        product
    }

    /// An empty folder, without a configuration.
    pub(crate) fn bare() -> Self {
        let dir = tempfile::Builder::new().prefix("bitacora-test-").tempdir().unwrap();
        Self { dir, environment: Vec::new(), starts: AtomicU32::new(0) }
    }

    /// The same with this environment variable, in place of an earlier value.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, config: &Config) {
        self.write("bitacora.toml", &config.text());
    }

    /// Writes a file beside the configuration.
    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// A file beside the configuration.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The folder of configuration and ledger.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command to its end.
    pub(crate) async fn command(&self, args: &[&str]) -> Outcome {
        let running = self.process(args).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let Ok(output) = tokio::time::timeout(COMMAND_MAX, running).await else {
            panic!("`bitacora {}` did not end within {} s", args.join(" "), COMMAND_MAX.as_secs());
        };
        let output = output.unwrap();
        Outcome {
            command: format!("bitacora {}", args.join(" ")),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must end with exit status 0; returns what it printed.
    pub(crate) async fn must(&self, args: &[&str]) -> String {
        self.command(args).await.with_code(0).stdout
    }

    /// `status --json`.
    pub(crate) async fn status(&self) -> Value {
        let text = self.must(&["status", "--json"]).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Flushes; everything must be acknowledged.
    pub(crate) async fn flush(&self) {
        self.must(&["flush"]).await;
    }

    /// Starts the daemon and waits until it streams.
    pub(crate) async fn run(&self) -> Daemon {
        let daemon = self.start().await;
        daemon.streaming().await;
        daemon
    }

    /// Starts the daemon and waits until it serves its status.
    pub(crate) async fn start(&self) -> Daemon {
        self.start_with(&[]).await
    }

    /// The same with further arguments.
    pub(crate) async fn start_with(&self, args: &[&str]) -> Daemon {
        let mut daemon = self.spawn(args);
        daemon.served().await;
        daemon
    }

    /// Starts the daemon and does not wait for anything.
    pub(crate) fn spawn(&self, args: &[&str]) -> Daemon {
        let args = [&["run", "--log-format", "json"], args].concat();
        self.spawn_command(&args)
    }

    /// Starts any command and does not wait for it.
    pub(crate) fn spawn_command(&self, args: &[&str]) -> Daemon {
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let log = self.path(&format!("log-{number}.txt"));
        let file = std::fs::File::create(&log).unwrap();
        let process = self.process(args).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Daemon::new(process, log)
    }

    fn process(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitacora-under-test"));
        command.args(args).current_dir(self.dir()).env_remove(PASSWORD);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) command: String,
    /// The exit status; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The same, if the exit status is `code`.
    pub(crate) fn with_code(self, code: i32) -> Self {
        let Self { command, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "exit status of `{command}`\n{stdout}\n{stderr}");
        self
    }
}
