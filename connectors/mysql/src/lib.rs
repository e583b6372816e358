//! The MySQL and MariaDB connector: the binlog, snapshots, checks.
//!
//! Everything goes over a blocking connection of our own, which reads in big gulps. The log is read by a thread that
//! decodes the mapped columns only.
//!
//! # Layout
//! - `config`, `name`, `flavour`, `fault`: settings, names, which product answers, what errors mean
//! - `wire`: the connection

mod config;
mod fault;
mod flavour;
mod name;
mod wire;

pub use config::MysqlConfig;
pub use trust::TlsMode;
