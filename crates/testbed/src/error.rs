//! What can go wrong between wanting a server and having it.

use std::path::{Path, PathBuf};

/// Why there is no server, or why it did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// The binaries are neither installed nor to be had.
    #[error("no {wanted} on this machine, and it could not be fetched: {reason}\n  hint: {hint}")]
    Missing {
        /// Which server was wanted.
        wanted: String,
        /// What was tried and how it failed.
        reason: String,
        /// How a person gets the server.
        hint: &'static str,
    },
    /// The server's process ended or hung before it took connections.
    #[error("{server} in {} did not start: {reason}; the end of its log:\n{log}", dir.display())]
    Start {
        /// Product and version.
        server: String,
        /// The server's own folder.
        dir: PathBuf,
        /// What was seen from outside.
        reason: String,
        /// The last lines that the server wrote.
        log: String,
    },
    /// Another program failed, or could not be run.
    #[error("`{program}` failed: {output}")]
    Program {
        /// The program and its arguments.
        program: String,
        /// The last lines that it wrote, or why it could not be run.
        output: String,
    },
    /// No certificate could be made for the server.
    #[error("make a certificate for the server")]
    Certificate(#[source] rcgen::Error),
    /// The file system said no.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, such as "create".
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A PostgreSQL server refused a connection or a statement.
    #[error("PostgreSQL refused the statement")]
    Sql(#[from] tokio_postgres::Error),
    /// A MySQL or MariaDB server refused a connection or a statement.
    #[error("the server refused the statement")]
    Mysql(#[from] mysql_async::Error),
    /// A SQL Server, or the stand-in for one, refused a connection or a statement.
    #[error("SQL Server refused the statement")]
    SqlServer(#[from] tiberius::error::Error),
    /// The stand-in for SQL Server did not start, or did not do what was asked.
    #[error("the stand-in for SQL Server")]
    StandIn(#[from] standin::StandinError),
}

impl TestbedError {
    /// Makes an [`TestbedError::Io`] out of what the system said; meant for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TestbedError {
        let path = path.to_owned();
        move |source| TestbedError::Io { action, path, source }
    }
}
