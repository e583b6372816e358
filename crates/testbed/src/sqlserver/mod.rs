//! SQL Server: the stand-in as a process, or a real server that somebody else runs.
//!
//! A real server cannot be fetched and started as the others are. The stand-in models its change data capture; what
//! passes on it has passed on a model.
//!
//! # Layout
//! - `address`: where a server is, and connections to it
//! - `standin`: the stand-in's process

mod address;
mod standin;

pub use self::standin::StandIn;
pub use ::standin::{Action, Command, Fault, Options, main_with};
pub use address::{Address, Client, batches};
pub use tiberius::Row;
pub use tiberius::error::Error;
