//! The dashboard's simulator.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Failure;
use crate::connector::AS_CONNECTOR;

/// The simulator as a process of its own, which ends with this.
pub(crate) struct Endpoint {
    child: Child,
    pub(crate) url: String,
}

impl Endpoint {
    pub(crate) fn start() -> Result<Self, Failure> {
        Self::answering_after(0)
    }

    /// The same, answering each POST so many milliseconds after it came.
    pub(crate) fn answering_after(milliseconds: u32) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([AS_CONNECTOR, "tablero", "--listen", "127.0.0.1:0", "--answer-after"])
            .arg(milliseconds.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().ok_or("the simulator has no output")?;
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let url = lines
            .filter_map(|line| {
                line.trim().strip_prefix("[delivery] url = ").map(|url| url.trim_matches('"').to_owned())
            })
            .next();
        match url {
            Some(url) => Ok(Self { child, url }),
            None => {
                child.wait()?;
                Err("the simulator did not say where it listens".into())
            }
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
