//! The PostgreSQL connector: logical replication, snapshots, checks.
//!
//! The log is read through `pgoutput` on a connection of our own ([`stream`](PostgresStream)): a thread with a blocking
//! socket that reads in big gulps, decodes the mapped columns only, and answers the server whatever the
//! product is doing. Ordinary SQL goes through tokio-postgres.
//!
//! # Layout
//! - `config`, `tls`, `fault`: settings, encryption, what errors mean
//! - `session`, `catalog`, `publication`, `server`, `rights`, `check`, `setup`, `retention`: ordinary SQL
//! - `wire`: the raw connection
//! - `decode`, `relation`, `value`, `assembly`: from bytes to batches, without I/O
//! - `identity`, `slot`, `stream`, `outlet`: from a checkpoint to a thread that hands batches over
//! - `catch_up`: a long backlog, read in pieces before streaming begins
//! - `pump`, `walsender`: the running stream
//! - `copy_text`, `snapshot`: copies of the table

mod assembly;
mod catalog;
mod catch_up;
mod check;
mod config;
mod copy_binary;
mod copy_text;
mod decode;
mod fault;
mod identity;
mod name;
mod outlet;
mod piece_reader;
mod position;
mod publication;
mod pump;
mod relation;
mod removal;
mod retention;
mod rights;
mod server;
mod session;
mod setup;
mod slot;
mod snapshot;
mod source;
mod stream;
mod tls;
mod value;
mod walsender;
mod wire;

pub use config::PostgresConfig;
pub use snapshot::PostgresSnapshot;
pub use source::PostgresSource;
pub use stream::PostgresStream;
pub use trust::TlsMode;
