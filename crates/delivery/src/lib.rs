//! What one POST to the dashboard and its answer mean.
//!
//! The caller fills a [`Body`] with status changes, hands its bytes to [`Delivery::post`] as often as the
//! [`Verdict`] tells it to, and waits between two attempts as [`RetryPolicy`] says. Nothing here stores
//! anything, schedules anything or tries again by itself: one call is one exchange.
//!
//! # Layout
//! - `config`: what a delivery needs to know
//! - `body`, `timestamp`: the JSON of a batch
//! - `client`, `probe`: one exchange with the endpoint
//! - `verdict`, `fault`: what an answer means, and what went wrong
//! - `backoff`: how long to wait before the next attempt

mod backoff;
mod body;
mod client;
mod config;
mod fault;
mod probe;
mod timestamp;
mod verdict;

pub use backoff::RetryPolicy;
pub use body::Body;
pub use client::{Answer, Delivery};
pub use config::{DeliveryConfig, DeliveryError, Secret};
pub use fault::Fault;
pub use probe::ProbeReport;
pub use timestamp::Precision;
pub use verdict::Verdict;
