//! Starting and stopping the server.

use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::server::state::ServerState;
use crate::server::{control, listener};
use crate::sql::error::SqlError;
use crate::{Command, certificate};

/// Which encryption the server offers in its PRELOGIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Encryption {
    /// It has no certificate.
    NotSupported,
    /// Only log-ins are encrypted unless the client wants more.
    Off,
    /// As the client wants.
    On,
    /// Everything, always.
    Required,
}

/// How the server is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Options {
    /// Where databases and `certificate.pem` are kept; a temporary folder when there is none.
    pub dir: Option<PathBuf>,
    /// Is that folder removed when the server ends by itself? A kill leaves it.
    pub ephemeral: bool,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The password of `sa`.
    pub sa_password: String,
    /// The encryption that is offered.
    pub encryption: Encryption,
    /// The server's own zone, in which it tells times without one: a name, or an offset such as `+09:00`.
    pub zone: String,
    /// Is the agent running at the start?
    pub agent: bool,
    /// How long the capture lags behind commits.
    pub capture_latency: Duration,
    /// How often the capture looks for commits.
    pub scan_interval: Duration,
    /// After how long without changes `lsn_time_mapping` gets a row all the same.
    pub idle_interval: Duration,
    /// The edition, such as `Express Edition`, which has no agent and no change data capture, or `SQL Azure`, which captures
    /// without an agent.
    pub edition: String,
    /// Where connections that only read are sent.
    pub read_only_route: Option<(String, u16)>,
    /// The name of the agent's service, which Windows translates.
    pub agent_service: String,
    /// Do change tables lack `__$command_id`, as those that were made before the updates of 2017?
    pub without_command_ids: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dir: None,
            ephemeral: false,
            port: 0,
            sa_password: "Standin-Passw0rd".to_owned(),
            encryption: Encryption::On,
            zone: "UTC".to_owned(),
            agent: true,
            capture_latency: Duration::ZERO,
            scan_interval: Duration::from_millis(20),
            idle_interval: Duration::from_secs(300),
            edition: "Developer Edition (64-bit)".to_owned(),
            read_only_route: None,
            agent_service: "SQL Server Agent (MSSQLSERVER)".to_owned(),
            without_command_ids: false,
        }
    }
}

/// Why there is no server, or why it did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandinError {
    /// The file system or the network said no.
    #[error("{action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error("make a certificate for the server")]
    Certificate(#[from] rcgen::Error),
    /// TLS refused the certificate.
    #[error("configure TLS")]
    Tls(#[from] rustls::Error),
    /// The server itself said no.
    #[error("the server refused: {0}")]
    Sql(#[from] SqlError),
    /// The server's process said no.
    #[error("the server's process answered {0:?}")]
    Process(String),
}

impl StandinError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> StandinError {
        let action = action.into();
        move |source| StandinError::Io { action, source }
    }
}

/// A server inside this process; dropping it stops it, and what had been committed stays in its folder.
pub struct Standin {
    state: Arc<ServerState>,
    port: u16,
    certificate: String,
    runtime: Option<Runtime>,
    _temporary: Option<TempDir>,
}

impl Standin {
    /// Starts a server.
    ///
    /// # Errors
    /// When the port is taken, or the folder cannot be used.
    pub fn start(options: Options) -> Result<Standin, StandinError> {
        let temporary = match options.dir {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(StandinError::io("create a temporary folder"))?),
        };
        let chosen = options.dir.clone().or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned()));
        let dir = chosen.unwrap_or_default();
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .map_err(StandinError::io(format!("listen on port {}", options.port)))?;
        listener.set_nonblocking(true).map_err(StandinError::io("listen"))?;
        let port = listener.local_addr().map_err(StandinError::io("listen"))?.port();
        let (tls, certificate) = certificate::make()?;
        let certificate_file = dir.join("certificate.pem");
        let state = Arc::new(ServerState::open(options, dir)?);
        std::fs::write(certificate_file, &certificate).map_err(StandinError::io("write the certificate"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("standin")
            .enable_all()
            .build()
            .map_err(StandinError::io("start the runtime"))?;
        let server = Arc::clone(&state);
        runtime.spawn(async move {
            if let Ok(listener) = TcpListener::from_std(listener) {
                listener::listen(listener, server, tls).await;
            }
        });
        let server = Arc::clone(&state);
        std::thread::spawn(move || control::run_agent(&server));
        Ok(Standin { state, port, certificate, runtime: Some(runtime), _temporary: temporary })
    }

    /// The port on the loopback address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's certificate, which signs itself, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Does something to the server.
    ///
    /// # Errors
    /// [`StandinError::Sql`] with what the server answers.
    pub fn control(&self, command: Command) -> Result<(), StandinError> {
        Ok(control::run(&self.state, command)?)
    }

    /// Runs T-SQL as the system administrator.
    ///
    /// # Errors
    /// [`StandinError::Sql`] with the first error.
    pub fn sql(&self, database: &str, text: &str) -> Result<(), StandinError> {
        self.control(Command::Sql { database: database.to_owned(), text: text.to_owned() })
    }

    /// Starts or stops the agent, and with it the capture jobs.
    pub fn set_agent(&self, on: bool) {
        self.state.set_agent(on);
    }

    /// Captures all that is committed in a database, agent or not.
    ///
    /// # Errors
    /// As [`Standin::control`].
    pub fn capture_now(&self, database: &str) -> Result<(), StandinError> {
        self.control(Command::CaptureNow { database: database.to_owned() })
    }

    /// Runs both halves of a clean-up.
    ///
    /// # Errors
    /// As [`Standin::control`].
    pub fn cleanup(&self, database: &str, retention_minutes: i64) -> Result<(), StandinError> {
        self.control(Command::CleanupLowWater { database: database.to_owned(), retention_minutes })?;
        self.control(Command::CleanupDelete { database: database.to_owned() })
    }

    /// Copies a database into `to`.
    ///
    /// # Errors
    /// As [`Standin::control`].
    pub fn backup(&self, database: &str, to: &Path) -> Result<(), StandinError> {
        self.control(Command::Backup { database: database.to_owned(), to: to.to_owned() })
    }

    /// Takes commands on a port of their own; answers the port.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn open_control_port(&self) -> Result<u16, StandinError> {
        let listener =
            StdListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StandinError::io("listen for commands"))?;
        let port = listener.local_addr().map_err(StandinError::io("listen for commands"))?.port();
        let server = Arc::clone(&self.state);
        std::thread::spawn(move || control::listen(&listener, &server));
        Ok(port)
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        if let Some(runtime) = self.runtime.take() {
            // A runtime cannot be shut down by a thread that drives another.
            let end = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(2)));
            drop(end.join());
        }
        if self.state.options.ephemeral {
            // What cannot be removed stays: there is nobody to tell.
            drop(self.state.options.dir.as_ref().map(std::fs::remove_dir_all));
        }
    }
}
