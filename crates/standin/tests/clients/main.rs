//! The stand-in seen by three clients that know nothing of each other: tiberius, FreeTDS and python-tds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod capture;
mod others;
mod support;
mod transactions;
mod wire;
