//! A server that speaks SQL Server's protocol and models its change data capture, for tests.
//!
//! It executes T-SQL over tables of its own; what it cannot run is an error and never an empty answer. The README
//! of this crate says what is modelled, after which page of Microsoft's documentation, and what is not.
//!
//! # Layout
//! - `tds`: the wire
//! - `sql`: types, values and conversions
//! - `bind`: from T-SQL to SQLite's SQL
//! - `engine`: databases, versions of rows, rights
//! - `cdc`: change data capture
//! - `session`: statements
//! - `server`: connections, faults and control

mod bind;
mod cdc;
mod certificate;
mod engine;
mod process;
mod server;
mod session;
mod sql;
mod standin;
mod tds;

pub use process::{Process, main_with};
pub use server::control::Command;
pub use server::faults::{Action, Fault};
pub use sql::error::SqlError;
pub use standin::{Encryption, Options, Standin, StandinError};
