//! The program of this package, as another process that can be killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The `testbed` program while it holds a server.
pub(crate) struct Held {
    pub(crate) process: Child,
    pub(crate) data: PathBuf,
    /// Kept open, or else the program could not go on writing.
    _output: BufReader<ChildStdout>,
}

impl Held {
    /// Starts it with these variables in its environment.
    pub(crate) fn start(version: &str, environment: &[(&str, &str)]) -> Held {
        Held::await_start(Held::spawn(version, environment))
    }

    /// Starts it without waiting for the server.
    pub(crate) fn spawn(version: &str, environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        command.arg(version).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program of this package")
    }

    /// Waits until the server runs.
    pub(crate) fn await_start(mut process: Child) -> Held {
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("text");
        let (_, data) = line.trim_end().split_once(" in ").expect("the server's folder");
        Held { process, data: PathBuf::from(data), _output: output }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        drop(self.process.wait());
    }
}

/// Looks again and again, because the death of a process that is not our child wakes nobody.
pub(crate) fn wait_until(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::yield_now();
    }
}
