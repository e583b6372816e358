//! Throw-away database servers for demo, tests and benchmarks: real ones, and a stand-in for SQL Server.
//!
//! A server is found on the machine, or its binaries are fetched once into a cache folder; nothing has to be
//! prepared and no rights are needed. Servers of different versions run side by side, each in its own folder
//! and on its own port, and none outlives the process that started it.
//!
//! # Environment
//! - `BITACORA_TESTBED_CACHE`: where fetched binaries stay. The default is `/var/cache/bitacora-testbed` for
//!   root and a folder in the user's own cache for everybody else.
//! - `BITACORA_TEST_SQLSERVER_URL`: a real SQL Server to use in the stand-in's place.
//! - `BITACORA_TESTBED_IGNORE_INSTALLED=1`: behave as on a machine on which nothing is installed.
//!
//! # Layout
//! - [`postgres`]: PostgreSQL servers
//! - [`mysql`]: MySQL and MariaDB servers
//! - [`sqlserver`]: the stand-in for SQL Server, and real ones
//! - `account`: the unprivileged user that servers run as when we are root
//! - `cache`: fetched binaries, shared by processes
//! - `certificate`: TLS for one server
//! - `port`: a free port
//! - `program`: other programs, run to their end
//! - `watchdog`: what stops a server when its owner was killed

mod account;
mod cache;
mod certificate;
mod error;
pub mod mysql;
mod port;
pub mod postgres;
mod program;
pub mod sqlserver;
mod watchdog;

pub use error::TestbedError;
