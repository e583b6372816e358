//! What callers hold: one running server.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

use super::binaries::Binaries;
use super::daemon::{self, Daemon, NoStart};
use super::data_folder::{DataFolder, SUPERUSER};
use super::{Options, Product};
use crate::TestbedError;
use crate::account::Account;
use crate::port;
use crate::watchdog::Watchdog;

/// A running MySQL or MariaDB server in a folder of its own.
///
/// When it is dropped, the server is stopped and the folder removed. The same happens when the process ends in
/// any other way, kill -9 included.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    account: Account,
    folder: DataFolder,
    port: u16,
    daemon: Mutex<Option<Daemon>>,
    /// Declared last: the folder is removed after the server has stopped.
    _watchdog: Watchdog,
}

impl Server {
    /// Starts a new server and waits until it takes connections. Blocks for 1 to 2 s, and for as long as the
    /// download takes when binaries have to be fetched.
    ///
    /// # Errors
    /// [`TestbedError::Missing`] when there are no binaries, [`TestbedError::Start`] when the server does not
    /// start, and what else the system says.
    pub fn start(options: Options) -> Result<Server, TestbedError> {
        let account = Account::for_servers()?;
        let binaries = Binaries::obtain(options.product, account)?;
        let dir = DataFolder::make_folder(account)?;
        let watchdog = Watchdog::start(&dir, &dir.join("data"), &daemon::pid_file(&dir), account)?;
        let folder = DataFolder::initialise(dir, &binaries, &options, account)?;
        let (port, daemon) = start_on_free_port(&binaries, &folder.dir, account)?;
        let daemon = Mutex::new(Some(daemon));
        Ok(Server { binaries, account, folder, port, daemon, _watchdog: watchdog })
    }

    /// Which of the two products it is.
    pub fn product(&self) -> Product {
        self.binaries.product
    }

    /// Major, minor and patch version.
    pub fn version(&self) -> (u32, u32, u32) {
        self.binaries.version
    }

    /// The address that the server listens on.
    pub fn host(&self) -> &str {
        "127.0.0.1"
    }

    /// The TCP port, which stays the same as long as the server lives.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The administrator's name.
    pub fn superuser(&self) -> &str {
        SUPERUSER
    }

    /// The administrator's password.
    pub fn password(&self) -> &str {
        &self.folder.password
    }

    /// The folder that holds everything of this server.
    pub fn dir(&self) -> &Path {
        &self.folder.dir
    }

    /// The data folder, in which the binary logs are, too.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.data()
    }

    /// The server's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.socket()
    }

    /// The certificate of the authority that signed the server's certificate: the testbed's own, or the one that
    /// MySQL makes for itself; `None` without TLS.
    pub fn tls_ca(&self) -> Option<PathBuf> {
        let own = || Some(self.data_dir().join("ca.pem")).filter(|path| path.is_file());
        self.folder.tls_ca.clone().or_else(own)
    }

    /// The process id of the server; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Daemon::pid)
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        daemon::log_tail(&self.folder.dir)
    }

    /// A command that runs a program of the server's version, such as [`Product::binlog_program`], with the
    /// administrator's name, password, host and port.
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.binaries.program(name);
        command.arg("--no-defaults").arg("--protocol=TCP").arg(format!("--host={}", self.host()));
        command.arg(format!("--port={}", self.port)).arg(format!("--user={SUPERUSER}"));
        command.env("MYSQL_PWD", self.password());
        command
    }

    /// The administrator's address of `database`.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://{SUPERUSER}:{}@{}:{}/{database}", self.password(), self.host(), self.port)
    }

    /// The administrator's connection settings; without a database when `database` is empty.
    pub fn opts(&self, database: &str) -> Opts {
        let builder = OptsBuilder::default().ip_or_hostname(self.host()).tcp_port(self.port);
        let builder = builder.user(Some(SUPERUSER)).pass(Some(self.password()));
        let builder = builder.db_name(Some(database).filter(|name| !name.is_empty()));
        // The socket that the server would offer is of no use to whoever runs in another container.
        builder.prefer_socket(false).into()
    }

    /// Connects to `database` as administrator; to none when it is empty.
    ///
    /// # Errors
    /// [`TestbedError::Mysql`] when the server refuses.
    pub async fn connect(&self, database: &str) -> Result<Conn, TestbedError> {
        Ok(Box::pin(Conn::new(self.opts(database))).await?)
    }

    /// Runs one statement as administrator.
    ///
    /// # Errors
    /// [`TestbedError::Mysql`] when the server refuses.
    pub async fn run(&self, statement: &str) -> Result<(), TestbedError> {
        let mut client = self.connect("").await?;
        client.query_drop(statement).await?;
        Ok(client.disconnect().await?)
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// [`TestbedError::Mysql`] when the server refuses.
    pub async fn create_database(&self, name: &str) -> Result<(), TestbedError> {
        self.run(&format!("CREATE DATABASE `{}`", name.replace('`', "``"))).await
    }

    /// Changes variables for all sessions to come, and in the option file for the next start.
    ///
    /// # Errors
    /// [`TestbedError::Io`] and [`TestbedError::Mysql`].
    pub async fn set(&self, settings: &[(&str, &str)]) -> Result<(), TestbedError> {
        for (name, value) in settings {
            self.run(&format!("SET GLOBAL {name} = {value}")).await?;
        }
        self.set_on_restart(settings)
    }

    /// Changes variables in the option file: [`Server::restart`] brings them into force.
    ///
    /// # Errors
    /// [`TestbedError::Io`] when the file cannot be written.
    pub fn set_on_restart(&self, settings: &[(&str, &str)]) -> Result<(), TestbedError> {
        self.folder.append_settings(settings.iter().copied())
    }

    /// Stops the server as its administrator would; connections are cut. Does nothing when it is stopped.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when it does not stop in time.
    pub fn stop(&self) -> Result<(), TestbedError> {
        match self.process().take() {
            Some(daemon) => daemon.stop(),
            None => Ok(()),
        }
    }

    /// Kills the server like a power cut. Does nothing when it is stopped.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when the system refuses.
    pub fn kill(&self) -> Result<(), TestbedError> {
        match self.process().take() {
            Some(mut daemon) => daemon.kill(),
            None => Ok(()),
        }
    }

    /// Stops the server when it runs, starts it again on the same port and waits until it takes connections.
    ///
    /// # Errors
    /// [`TestbedError::Start`] when it does not come back.
    pub fn restart(&self) -> Result<(), TestbedError> {
        self.stop()?;
        match Daemon::start(&self.binaries, &self.folder.dir, self.port, self.account) {
            Ok(daemon) => {
                *self.process() = Some(daemon);
                Ok(())
            }
            Err(NoStart::Failed(error)) => Err(error),
            Err(NoStart::PortTaken) => {
                Err(no_port(&self.binaries, &self.folder.dir, "its port was taken meanwhile".to_owned()))
            }
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody needs the data any more: a kill is the quickest end. When it fails, the watchdog tries.
        drop(self.kill());
    }
}

/// The server of `product` that all tests of this process share. It does without disk flushes, and ends with the
/// process.
///
/// # Errors
/// As [`Server::start`].
pub fn shared(product: Product) -> Result<&'static Server, TestbedError> {
    static SERVERS: Mutex<Option<HashMap<Product, &'static Server>>> = Mutex::new(None);
    let mut guard = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = guard.get_or_insert_with(HashMap::new);
    if let Some(server) = servers.get(&product) {
        return Ok(server);
    }
    let options = Options::new(product).without_fsync().setting("max_connections", "400");
    let server: &'static Server = Box::leak(Box::new(Server::start(options)?));
    servers.insert(product, server);
    Ok(server)
}

fn start_on_free_port(
    binaries: &Binaries,
    dir: &Path,
    account: Account,
) -> Result<(u16, Daemon), TestbedError> {
    for _ in 0..port::PORT_TRIES {
        let Some(port) = port::free() else { continue };
        match Daemon::start(binaries, dir, port, account) {
            Ok(daemon) => return Ok((port, daemon)),
            Err(NoStart::PortTaken) => {}
            Err(NoStart::Failed(error)) => return Err(error),
        }
    }
    Err(no_port(binaries, dir, port::none_free()))
}

fn no_port(binaries: &Binaries, dir: &Path, reason: String) -> TestbedError {
    TestbedError::Start { server: binaries.title(), dir: dir.to_owned(), reason, log: daemon::log_tail(dir) }
}
