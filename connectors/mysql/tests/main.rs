//! The connector against real servers.

mod database;
mod streaming;
