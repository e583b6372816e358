//! The running daemon.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::http;
use super::wait::{LATER, SOON, eventually};

/// The promise: SIGTERM stops any command within this time.
const STOP_MAX: Duration = Duration::from_secs(10);

/// A process of the product that runs until it is stopped, killed or dropped.
pub(crate) struct Daemon {
    process: Child,
    log: PathBuf,
    page: Option<String>,
}

impl Daemon {
    pub(crate) fn new(process: Child, log: PathBuf) -> Self {
        Self { process, log, page: None }
    }

    /// Waits until the status address answers.
    pub(crate) async fn served(&mut self) {
        let log = self.log.clone();
        let process = &mut self.process;
        let page = eventually("the daemon tells its status address", SOON, async || {
            let text = read(&log);
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{text}");
            }
            text.lines().find_map(status_page)
        });
        self.page = Some(page.await);
    }

    /// What the process has written to stdout and stderr.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// The address of the status page, with a `/` at its end.
    pub(crate) fn page(&self) -> &str {
        self.page.as_deref().expect("a daemon that was waited for")
    }

    /// A page under the status address, as text; an empty one when the daemon does not answer.
    pub(crate) async fn get(&self, path: &str) -> String {
        http::get(&format!("{}{path}", self.page())).await.map_or_else(String::new, |answer| answer.body)
    }

    /// `/status`; `None` while the daemon does not answer.
    pub(crate) async fn status(&self) -> Option<Value> {
        serde_json::from_str(&self.get("status").await).ok()
    }

    /// Waits until the status satisfies `wanted`, and returns it.
    pub(crate) async fn until(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let began = Instant::now();
        loop {
            if let Some(status) = self.status().await {
                if wanted(&status) {
                    return status;
                }
                last = status;
            }
            assert!(
                began.elapsed() < deadline,
                "not within {} s: {what}\n{last:#}\n{}",
                deadline.as_secs(),
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until changes are captured as they commit.
    pub(crate) async fn streaming(&self) -> Value {
        self.until("the daemon streams", LATER, |status| status["source"]["state"] == "streaming").await
    }

    /// Waits until `count` row changes have been captured since the ledger was made.
    pub(crate) async fn captured(&self, count: u64) -> Value {
        let what = format!("{count} row changes are captured");
        self.until(&what, LATER, |status| status["captured_changes"].as_u64() >= Some(count)).await
    }

    /// Waits until the delta holds exactly `records`.
    pub(crate) async fn delta(&self, records: u64) -> Value {
        let what = format!("the delta holds {records} records");
        self.until(&what, SOON, |status| status["delta"]["records"].as_u64() == Some(records)).await
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().expect("a process that was not waited for")
    }

    /// The largest amount of memory that was ever resident, in bytes. Linux only.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line VmHWM");
        let kibibytes = line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap();
        kibibytes * 1024
    }

    /// Kills the process like a power cut, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Tells the process to stop; it must do so in time. Returns its exit status.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        // The shell's own `kill`: minimal systems have no program of that name.
        let order = format!("kill -s TERM {}", self.pid());
        let told = Command::new("sh").args(["-c", &order]).status().await.unwrap();
        assert!(told.success(), "{order}");
        let Ok(ended) = tokio::time::timeout(STOP_MAX, self.process.wait()).await else {
            panic!("still running {} s after SIGTERM", STOP_MAX.as_secs());
        };
        ended.unwrap().code()
    }

    /// The same for a daemon, which ends with exit status 0.
    pub(crate) async fn stop(self) {
        assert_eq!(self.terminate().await, Some(0), "exit status after SIGTERM");
    }

    /// Waits until the process ends by itself; returns its exit status.
    pub(crate) async fn wait(mut self) -> Option<i32> {
        let Ok(ended) = tokio::time::timeout(LATER, self.process.wait()).await else {
            panic!("still running after {} s", LATER.as_secs());
        };
        ended.unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), tail(&self.log()));
        }
        // It has ended, or nobody needs it any more.
        drop(self.process.start_kill());
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn status_page(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line.get("page")?.as_str()?.to_owned())
}
