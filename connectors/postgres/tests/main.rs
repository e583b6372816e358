//! The connector against real servers, of the distribution's version and of the newest one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod capture;
mod catching_up;
mod check;
mod connect;
mod copying;
mod publication;
mod removal;
mod setup;
mod slots;
mod streaming;
mod support;
