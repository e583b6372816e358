//! The MySQL and MariaDB connector: the binlog, snapshots, checks.
//!
//! Everything goes over a blocking connection of our own, which reads in big gulps. The log is read by a thread that
//! decodes the mapped columns only.
//!
//! # Layout
//! - `config`, `name`, `flavour`, `fault`: settings, names, which product answers, what errors mean
//! - `wire`: the connection
//! - `catalog`, `server`, `rights`, `log_end`: what the server says about the table, itself, our user, its log
//! - `check`, `setup`, `retention`: what an operator wants to know
//! - `snapshot`, `value_text`: copies of the table

mod assembly;
mod binlog;
mod catalog;
mod changes;
mod check;
mod config;
mod dump;
mod fault;
mod flavour;
mod gtid;
mod identity;
mod log_end;
mod name;
mod place;
mod position;
mod prepared;
mod pump;
mod reader;
mod relation;
mod removal;
mod retention;
mod rights;
mod server;
mod setup;
mod snapshot;
mod source;
mod stream;
mod tables;
mod value_text;
mod wire;

pub use config::MysqlConfig;
pub use snapshot::MysqlSnapshot;
pub use source::MysqlSource;
pub use stream::MysqlStream;
pub use trust::TlsMode;
