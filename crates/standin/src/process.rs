//! The server as a process of its own, which a test can kill.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitCode, Stdio};

use crate::{Command, Options, Standin, StandinError};

/// A running process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// The process ends when this does, however we end.
    _leash: Option<ChildStdin>,
    port: u16,
    control_port: u16,
}

impl Process {
    /// Starts `binary`, the program of this crate, with `options`.
    ///
    /// # Errors
    /// [`StandinError::Io`] when it cannot be run, [`StandinError::Process`] when it does not come up.
    pub fn start(binary: &Path, options: &Options) -> Result<Process, StandinError> {
        let text =
            serde_json::to_string(options).map_err(|error| StandinError::Process(error.to_string()))?;
        let mut child = std::process::Command::new(binary)
            .arg(text)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(StandinError::io(format!("run {}", binary.display())))?;
        let leash = child.stdin.take();
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(StandinError::io("read the server's ports"))?;
        }
        let mut ports = line.split_whitespace().filter_map(|word| word.parse().ok());
        match (ports.next(), ports.next()) {
            (Some(port), Some(control_port)) => Ok(Process { child, _leash: leash, port, control_port }),
            _ => Err(StandinError::Process(line)),
        }
    }

    /// The port of TDS on the loopback address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does something to the server.
    ///
    /// # Errors
    /// [`StandinError::Process`] with what the server answers.
    pub fn control(&self, command: &Command) -> Result<(), StandinError> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.control_port))
            .map_err(StandinError::io("connect to the control port"))?;
        let text =
            serde_json::to_string(command).map_err(|error| StandinError::Process(error.to_string()))?;
        let mut out = &stream;
        writeln!(out, "{text}").map_err(StandinError::io("send a command"))?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).map_err(StandinError::io("read the answer"))?;
        if answer.trim() == "ok" { Ok(()) } else { Err(StandinError::Process(answer.trim().to_owned())) }
    }

    /// Kills the process as `kill -9` does, and waits for its end.
    ///
    /// # Errors
    /// [`StandinError::Io`] when it cannot be killed.
    pub fn kill(&mut self) -> Result<(), StandinError> {
        self.child.kill().map_err(StandinError::io("kill the server"))?;
        self.child.wait().map_err(StandinError::io("wait for the server"))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already cannot be killed again.
        drop(self.kill());
    }
}

/// The program of this crate: runs a server until the standard input ends.
///
/// `options` is the JSON of [`Options`]. The ports of TDS and of control are told in one line.
#[must_use]
pub fn main_with(options: Option<String>) -> ExitCode {
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    let options: Options = match options {
        Some(text) => serde_json::from_str(&text)?,
        None => Options::default(),
    };
    let server = Standin::start(options)?;
    let control = server.open_control_port()?;
    let mut out = std::io::stdout();
    writeln!(out, "{} {control}", server.port())?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
