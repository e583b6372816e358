//! A simulator of the dashboard, with faults.
//!
//! It takes what the dashboard takes, refuses what the dashboard refuses, remembers every record and every
//! attempt in memory, and fails in any way that an endpoint, a proxy or X-Road may fail: see [`Fault`].
//! It knows nothing of the product that it is used to rehearse, so the two cannot share a mistake.
//!
//! ```no_run
//! # async fn rehearse() -> Result<(), tablero::StartError> {
//! let tablero = tablero::Tablero::start(tablero::TableroConfig::default()).await?;
//! println!("send to {}", tablero.url());
//! tablero.wait_for(1000).await;
//! # Ok(()) }
//! ```
//!
//! # Layout
//! - `server`: the running simulator, and its interface for tests
//! - `routes`: which address does what
//! - `contract`: what the dashboard accepts
//! - `answers`: what it says
//! - `fault`: how it can be told to fail
//! - `wire`: connections that can be broken on purpose; `carrier`, `tls`: what carries them
//! - `store`: what was received
//! - `upload`: reading a body that may be too large

mod answers;
mod carrier;
mod contract;
mod fault;
mod routes;
mod server;
mod store;
mod tls;
mod upload;
mod wire;

#[cfg(test)]
mod tests;

pub use contract::Record;
pub use fault::{Fault, FaultError, FaultKind, XRoadCode};
pub use server::{StartError, Tablero, TableroConfig, serve};
pub use store::{Attempt, Received, Summary};
pub use tls::TlsIdentity;
