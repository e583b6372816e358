//! The connector against real servers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod agreement;
mod check;
mod connecting;
mod database;
mod drift;
mod retention;
mod setup;
mod several;
mod snapshot;
mod streaming;
mod way;
