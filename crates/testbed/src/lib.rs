//! Throw-away real database servers for demo, tests and benchmarks.
//!
//! A server is found on the machine, and no rights are needed. Servers of different versions run side by side, each in its own folder
//! and on its own port, and none outlives the process that started it.
//!
//! # Layout
//! - [`postgres`]: PostgreSQL servers
//! - `account`: the unprivileged user that servers run as when we are root
//! - `program`: other programs, run to their end
//! - `watchdog`: what stops a server when its owner was killed

mod account;
mod error;
pub mod postgres;
mod program;
mod watchdog;

pub use error::TestbedError;
