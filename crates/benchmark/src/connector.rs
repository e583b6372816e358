//! The connector, as a whole process, watched through its ledger.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ledger::LedgerReader;

use crate::Failure;

/// The argument by which this program plays the connector.
pub(crate) const AS_CONNECTOR: &str = "__bitacora";

/// How often the ledger is looked at: fine enough for the figures, too seldom to disturb.
const LOOK_EVERY: Duration = Duration::from_millis(10);

const PATIENCE: Duration = Duration::from_secs(600);

/// What a drain took.
pub(crate) struct Drained {
    /// From the process's start until the last change was durable in the ledger.
    pub(crate) seconds: f64,
    /// The most memory that the process had.
    pub(crate) peak_kib: u32,
}

/// One installation of the connector.
pub(crate) struct Connector {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9/api/load";

/// What follows `[source]` in the configuration.
const REST: &str = r#"
[mapping]
service_id = { column = "servicio" }
request_id = { column = "numero" }
opening_date = { column = "fecha_apertura", time_zone = "America/Santo_Domingo" }
status_id = { column = "estado", map = { RECIBIDA = 9, APROBADA = 3 } }
last_modified_date = { column = "fecha_modificacion", time_zone = "America/Santo_Domingo" }

[schedule]
flush_at = ["02:00"]
time_zone = "America/Santo_Domingo"

[delivery]
url = "ENDPOINT"

[ledger]
dir = "ledger"

[status]
listen = "127.0.0.1:0"
"#;

impl Connector {
    /// An installation with an empty ledger; `source` is its section `[source]` with what belongs to it.
    pub(crate) fn fresh(source: &str) -> Result<Self, Failure> {
        Self::delivering_to(source, NOWHERE)
    }

    /// The same with a dashboard at `url`.
    pub(crate) fn delivering_to(source: &str, url: &str) -> Result<Self, Failure> {
        let dir = tempfile::tempdir()?;
        let rest = REST.replace("ENDPOINT", url);
        fs::write(dir.path().join("bitacora.toml"), format!("{source}{rest}"))?;
        Ok(Self { dir, child: None })
    }

    /// Runs a command of the connector, without a daemon beside it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Ran, Failure> {
        command(arguments, &self.dir.path().join("bitacora.toml"))
    }

    /// Starts on an empty ledger and waits until the table is copied: seconds, and the peak memory in KiB.
    pub(crate) fn snapshot(&mut self) -> Result<(f64, u32), Failure> {
        let started = self.start()?;
        self.wait(|reader| Ok(reader.queries().checkpoint()?.is_some()))?;
        Ok((started.elapsed().as_secs_f64(), self.peak_kib()))
    }

    /// Copies the table on an empty ledger, waits until the copy is merged with the last known statuses, and stops: what
    /// is drained afterwards must not pay for it.
    pub(crate) fn settle_in(&mut self) -> Result<(), Failure> {
        self.start()?;
        self.wait(|reader| Ok(reader.queries().copy_progress()?.is_some_and(|copy| copy.is_merged)))?;
        self.stop()
    }

    /// Starts on a backlog of `changes` and waits until all of them are durable.
    pub(crate) fn drain(&mut self, changes: u64) -> Result<Drained, Failure> {
        let before = LedgerReader::open(&self.ledger_dir())?.queries().captured_changes()?;
        let started = self.start()?;
        self.wait(|reader| Ok(reader.queries().captured_changes()? >= before + changes))?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Drained { seconds, peak_kib: self.peak_kib() })
    }

    /// The same, and until all of them are compared with the last known statuses, joined to their parents where they have
    /// some.
    pub(crate) fn drain_and_settle(&mut self, changes: u64) -> Result<Drained, Failure> {
        let before = LedgerReader::open(&self.ledger_dir())?.queries().captured_changes()?;
        let started = self.start()?;
        self.wait(|reader| {
            let queries = reader.queries();
            Ok(queries.captured_changes()? >= before + changes && queries.is_settled()?)
        })?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Drained { seconds, peak_kib: self.peak_kib() })
    }

    /// Runs until `advance` says that the server has let go of the log that was read.
    pub(crate) fn catch_up(&mut self, advance: impl Fn() -> Result<bool, Failure>) -> Result<(), Failure> {
        self.start()?;
        self.wait(|_| advance())?;
        self.stop()
    }

    /// Tells the process to stop and waits for it.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let told = Command::new("kill").arg(child.id().to_string()).status()?;
        let status = child.wait()?;
        if !told.success() || !status.success() {
            return Err(format!("the connector ended with {status}; {}", self.log_tail()).into());
        }
        Ok(())
    }

    fn start(&mut self) -> Result<Instant, Failure> {
        let log = fs::File::create(self.log())?;
        let started = Instant::now();
        let child = Command::new(std::env::current_exe()?)
            .args([AS_CONNECTOR, "run", "-c"])
            .arg(self.dir.path().join("bitacora.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(started)
    }

    fn wait(
        &mut self,
        mut reached: impl FnMut(&LedgerReader) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut reader = None;
        while Instant::now() < deadline {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                return Err(format!("the connector ended with {status}; {}", self.log_tail()).into());
            }
            if reader.is_none() {
                // Not there before the connector has made it.
                reader = LedgerReader::open(&self.ledger_dir()).ok();
            }
            if let Some(reader) = &reader
                && reached(reader)?
            {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(format!("the connector did not get there in {PATIENCE:?}; {}", self.log_tail()).into())
    }

    fn peak_kib(&self) -> u32 {
        self.child.as_ref().map_or(0, |child| peak_kib_of(child.id()))
    }

    fn ledger_dir(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("connector.log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(15)).copied().collect::<Vec<_>>();
        format!("the end of its log:\n{}", tail.join("\n"))
    }
}

/// A command that ran to its end.
pub(crate) struct Ran {
    pub(crate) seconds: f64,
    /// The most memory that the process had, as far as it was looked at.
    pub(crate) peak_kib: u32,
    pub(crate) status: ExitStatus,
    /// What it wrote to its standard output.
    pub(crate) told: String,
}

/// Runs a command of the connector with this configuration.
pub(crate) fn command(arguments: &[&str], configuration: &Path) -> Result<Ran, Failure> {
    let started = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .arg(AS_CONNECTOR)
        .args(arguments)
        .arg("-c")
        .arg(configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut peak_kib = 0;
    let status = loop {
        // What the process had is gone with it, so it is looked at while it runs.
        peak_kib = peak_kib.max(peak_kib_of(child.id()));
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(LOOK_EVERY),
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let mut told = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut told)?;
    }
    Ok(Ran { seconds, peak_kib, status, told })
}

/// The high-water mark of a process's resident memory: `VmHWM` of proc_pid_status(5).
pub(crate) fn peak_kib_of(process: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

impl Drop for Connector {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
