//! The connector on the stand-in of SQL Server.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod beginning;
mod capturing;
mod connecting;
mod copying;
mod database;
mod instances;
mod kinds;
mod losing;
mod polling;
mod removal;
mod several;
mod statements;
mod streaming;
