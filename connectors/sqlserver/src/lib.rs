//! The SQL Server connector: change tables, snapshots, checks.
//!
//! SQL Server's own capture job reads the log and writes what it finds into change tables, from which this connector
//! reads window by window
//! (<https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/about-change-data-capture-sql-server>).
//!
//! # Layout
//! - `config`, `name`, `fault`: settings, names, what errors mean
//! - `client`: the connection
//! - `lsn`, `identity`, `clock`: places in the log, which history they belong to, the server's times
//! - `catalog`, `instance`, `value`: the table, what is captured of it, its cells
//! - `server`, `jobs`, `rights`: what the server says about itself, its capture, our user
//! - `check`, `setup`, `retention`: what an operator wants to know
//! - `stream`: the change table, read as a log
//! - `snapshot`: copies of the table
//! - `poll`: scans of the table, where nothing is captured

mod catalog;
mod check;
mod client;
mod clock;
mod config;
mod fault;
mod identity;
mod instance;
mod jobs;
mod lsn;
mod name;
mod poll;
mod removal;
mod retention;
mod rights;
mod server;
mod setup;
mod snapshot;
mod source;
mod stream;
mod value;

pub use config::{Mode, SqlServerConfig};
pub use snapshot::SqlServerSnapshot;
pub use source::SqlServerSource;
pub use stream::SqlServerStream;
pub use trust::TlsMode;
