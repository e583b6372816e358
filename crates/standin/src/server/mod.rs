//! The server: its databases and logins, its port, and what tests do to it.

pub(crate) mod control;
pub(crate) mod faults;
pub(crate) mod listener;
pub(crate) mod state;
mod told;
