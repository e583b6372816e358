//! What callers hold: one running server.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};

use super::binaries::Binaries;
use super::cluster::{Cluster, SUPERUSER};
use super::postmaster::{self, NoStart, Postmaster, Shutdown};
use super::{Options, Version, certificate};
use crate::TestbedError;
use crate::account::Account;
use crate::port;
use crate::watchdog::Watchdog;

/// A running PostgreSQL server in a folder of its own.
///
/// When it is dropped, the server is stopped and the folder removed. The same happens when the process ends in
/// any other way, kill -9 included.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    account: Account,
    cluster: Cluster,
    port: u16,
    tls_ca: Option<PathBuf>,
    postmaster: Mutex<Option<Postmaster>>,
    /// Declared last: the folder is removed after the server has stopped.
    _watchdog: Watchdog,
}

impl Server {
    /// Starts a new server and waits until it takes connections. Blocks for about 1 s, and for as long as the
    /// download takes when binaries have to be fetched.
    ///
    /// # Errors
    /// [`TestbedError::Missing`] when there are no binaries, [`TestbedError::Start`] when the server does not
    /// start, and what else the system says.
    pub fn start(options: Options) -> Result<Server, TestbedError> {
        let account = Account::for_servers()?;
        let binaries = Binaries::obtain(options.version, account)?;
        let dir = Cluster::make_folder(account)?;
        let watchdog = Watchdog::start(&dir, &dir.join("data"), &postmaster::pid_file(&dir), account)?;
        let cluster = Cluster::initialise(dir, &binaries, account)?;
        let tls_ca = if options.tls { Some(certificate::install(&cluster, account)?) } else { None };
        cluster
            .append_settings(options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        let (port, postmaster) = start_on_free_port(&binaries, &cluster.dir, account)?;
        let postmaster = Mutex::new(Some(postmaster));
        Ok(Server { binaries, account, cluster, port, tls_ca, postmaster, _watchdog: watchdog })
    }

    /// The address that the server listens on.
    pub fn host(&self) -> &str {
        "127.0.0.1"
    }

    /// The TCP port, which stays the same as long as the server lives.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's name.
    pub fn superuser(&self) -> &str {
        SUPERUSER
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.cluster.password
    }

    /// The major version, 13 to 18.
    pub fn major(&self) -> u32 {
        self.binaries.major
    }

    /// The folder of the server's programs; see [`Server::program`] for running one.
    pub fn bin_dir(&self) -> &Path {
        &self.binaries.bin_dir
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.cluster.data()
    }

    /// The folder of the server's Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.cluster.dir
    }

    /// The certificate of the authority that signed the server's certificate; `None` without TLS.
    pub fn tls_ca(&self) -> Option<&Path> {
        self.tls_ca.as_deref()
    }

    /// The process id of the server; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Postmaster::pid)
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        postmaster::log_tail(&self.cluster.dir)
    }

    /// A command that runs a program of the server's version, such as `pg_recvlogical`, with the superuser's
    /// password, host and port in its environment.
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.binaries.program(name);
        command.env("PGHOST", self.host()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", SUPERUSER).env("PGPASSWORD", self.password());
        command
    }

    /// The superuser's connection string for `database`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@{}:{}/{database}", self.password(), self.host(), self.port)
    }

    /// The superuser's connection settings for `database`.
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host(self.host()).port(self.port).user(SUPERUSER).password(self.password()).dbname(database);
        config
    }

    /// Connects to `database` as superuser. The connection ends when the client is dropped.
    ///
    /// # Errors
    /// [`TestbedError::Sql`] when the server refuses.
    pub async fn connect(&self, database: &str) -> Result<Client, TestbedError> {
        let (client, connection) = self.config(database).connect(NoTls).await?;
        // What ends the connection is told to whoever uses the client.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// [`TestbedError::Sql`] when the server refuses.
    pub async fn create_database(&self, name: &str) -> Result<(), TestbedError> {
        let statement = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        Ok(self.connect(SUPERUSER).await?.batch_execute(&statement).await?)
    }

    /// Changes settings and waits until the server has read them again. What only a restart can change waits
    /// for [`Server::restart`].
    ///
    /// # Errors
    /// [`TestbedError::Io`] and [`TestbedError::Sql`].
    pub async fn set(&self, settings: &[(&str, &str)]) -> Result<(), TestbedError> {
        self.cluster.append_settings(settings.iter().copied())?;
        let loaded = "SELECT extract(epoch FROM pg_conf_load_time())::float8";
        let before: f64 = self.connect(SUPERUSER).await?.query_one(loaded, &[]).await?.get(0);
        self.connect(SUPERUSER).await?.batch_execute("SELECT pg_reload_conf()").await?;
        // A new session has what the server's parent process had read when the session began.
        while self.connect(SUPERUSER).await?.query_one(loaded, &[]).await?.get::<_, f64>(0) <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Stops the server as its administrator would; connections are cut. Does nothing when it is stopped.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when it does not stop in time.
    pub fn stop_fast(&self) -> Result<(), TestbedError> {
        match self.process().take() {
            Some(postmaster) => postmaster.stop(Shutdown::Fast),
            None => Ok(()),
        }
    }

    /// Kills the server and its backends like a power cut. Does nothing when it is stopped.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when the system refuses.
    pub fn kill(&self) -> Result<(), TestbedError> {
        match self.process().take() {
            Some(mut postmaster) => postmaster.kill(),
            None => Ok(()),
        }
    }

    /// Stops the server when it runs, starts it again on the same port and waits until it takes connections.
    ///
    /// # Errors
    /// [`TestbedError::Start`] when it does not come back.
    pub fn restart(&self) -> Result<(), TestbedError> {
        self.stop_fast()?;
        match Postmaster::start(&self.binaries, &self.cluster.dir, self.port, self.account) {
            Ok(postmaster) => {
                *self.process() = Some(postmaster);
                Ok(())
            }
            Err(NoStart::Failed(error)) => Err(error),
            Err(NoStart::PortTaken) => {
                Err(no_port(&self.binaries, &self.cluster.dir, "its port was taken meanwhile"))
            }
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Postmaster>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(postmaster) = self.process().take() {
            // A server that does not stop was killed; there is nobody to tell.
            drop(postmaster.stop(Shutdown::Immediate));
        }
    }
}

/// The server of `version` that all tests of this process share. It does without disk flushes, and ends with
/// the process.
///
/// # Errors
/// As [`Server::start`].
pub fn shared(version: Version) -> Result<&'static Server, TestbedError> {
    static SERVERS: Mutex<Option<HashMap<Version, &'static Server>>> = Mutex::new(None);
    let mut guard = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = guard.get_or_insert_with(HashMap::new);
    if let Some(server) = servers.get(&version) {
        return Ok(server);
    }
    let options = Options::new(version).without_fsync().setting("max_connections", "200");
    let options = options.setting("max_replication_slots", "100").setting("max_wal_senders", "100");
    let server: &'static Server = Box::leak(Box::new(Server::start(options)?));
    servers.insert(version, server);
    Ok(server)
}

fn start_on_free_port(
    binaries: &Binaries,
    dir: &Path,
    account: Account,
) -> Result<(u16, Postmaster), TestbedError> {
    for _ in 0..port::PORT_TRIES {
        let Some(port) = port::free() else { continue };
        match Postmaster::start(binaries, dir, port, account) {
            Ok(postmaster) => return Ok((port, postmaster)),
            Err(NoStart::PortTaken) => {}
            Err(NoStart::Failed(error)) => return Err(error),
        }
    }
    Err(no_port(binaries, dir, &port::none_free()))
}

fn no_port(binaries: &Binaries, dir: &Path, reason: &str) -> TestbedError {
    TestbedError::Start {
        server: format!("PostgreSQL {}", binaries.major),
        dir: dir.to_owned(),
        reason: reason.to_owned(),
        log: postmaster::log_tail(dir),
    }
}
