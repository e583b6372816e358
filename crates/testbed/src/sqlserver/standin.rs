//! The stand-in's process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use standin::{Command, Options, Process};

use super::Address;
use crate::{TestbedError, port};

/// A stand-in in a process and a folder of its own, which may be killed and started again.
///
/// When it is dropped, or this process ends in whatever way, the server ends and the folder is removed.
#[derive(Debug)]
pub struct StandIn {
    program: PathBuf,
    options: Options,
    dir: PathBuf,
    address: Address,
    process: Mutex<Option<Process>>,
}

impl StandIn {
    /// Starts `program`, which calls [`main_with`](super::main_with), and waits until it takes connections.
    ///
    /// # Errors
    /// [`TestbedError::StandIn`] when it does not start, [`TestbedError::Io`] when there is no folder for it.
    pub fn start(program: &Path, mut options: Options) -> Result<StandIn, TestbedError> {
        let parent = std::env::temp_dir();
        let folder = tempfile::Builder::new().prefix("bitacora-standin-").tempdir_in(&parent);
        let dir = folder.map_err(TestbedError::io("create a folder in", &parent))?.keep();
        options.dir = Some(dir.clone());
        options.ephemeral = true;
        let mut last = None;
        for _ in 0..port::PORT_TRIES {
            // A port that stays the same when the server comes back.
            let Some(port) = port::free() else { continue };
            options.port = port;
            match Process::start(program, &options) {
                Ok(process) => {
                    let address = Address {
                        host: "127.0.0.1".to_owned(),
                        port,
                        user: "sa".to_owned(),
                        password: options.sa_password.clone(),
                    };
                    let process = Mutex::new(Some(process));
                    return Ok(StandIn { program: program.to_owned(), options, dir, address, process });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(
            || TestbedError::Start {
                server: "the stand-in".to_owned(),
                dir,
                reason: port::none_free(),
                log: String::new(),
            },
            TestbedError::StandIn,
        ))
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The folder that holds everything of this server, its certificate `certificate.pem` included.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Does something to the server.
    ///
    /// # Errors
    /// [`TestbedError::StandIn`] with what it answers, and when it does not run.
    pub fn control(&self, command: &Command) -> Result<(), TestbedError> {
        match &*self.process() {
            Some(process) => Ok(process.control(command)?),
            None => Err(standin::StandinError::Process("the server does not run".to_owned()).into()),
        }
    }

    /// Kills the server like a power cut. Does nothing when it does not run.
    ///
    /// # Errors
    /// [`TestbedError::StandIn`] when the system refuses.
    pub fn kill(&self) -> Result<(), TestbedError> {
        match self.process().take() {
            Some(mut process) => Ok(process.kill()?),
            None => Ok(()),
        }
    }

    /// Kills the server when it runs, and starts it again on the same port.
    ///
    /// # Errors
    /// [`TestbedError::StandIn`] when it does not come back.
    pub fn restart(&self) -> Result<(), TestbedError> {
        self.kill()?;
        *self.process() = Some(Process::start(&self.program, &self.options)?);
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // A folder that stays behind is in the system's own place for such.
        drop(self.kill());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
