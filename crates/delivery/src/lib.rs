//! What one POST to the dashboard and its answer mean.
//!
//! The caller fills a [`Body`] with status changes, hands its bytes to [`Delivery::post`] as often as the
//! [`Verdict`] tells it to, and waits between two attempts as [`RetryPolicy`] says. Nothing here stores
//! anything, schedules anything or tries again by itself: one call is one exchange.
//!
//! Only one answer acknowledges a batch: a status from 200 to 299 *and* JSON that says so. Everything else is a
//! [`Fault`]: what happened, and what the institution should do about it. Where it is unknown whether the dashboard
//! has stored the batch, the verdict is [`Verdict::Retry`]: at least once is the promise, and the same bytes again.
//!
//! # Layout
//! - `config`: what a delivery needs to know
//! - `body`, `timestamp`: the JSON of a batch
//! - `x_road_address`: the address of a service behind X-Road
//! - `client`, `tls`, `presented`, `probe`, `services`: one exchange with the endpoint
//! - `reply`, `endpoint_words`: an answer as far as it is read, and what the endpoint says in it
//! - `verdict`, `x_road`, `retry_after`: what an answer means
//! - `failure`: what an exchange without an answer means
//! - `fault`: what went wrong, and what to do about it
//! - `backoff`: how long to wait before the next attempt

mod backoff;
mod body;
mod client;
mod config;
mod endpoint_words;
mod failure;
mod fault;
mod presented;
mod probe;
mod reply;
mod retry_after;
mod services;
mod timestamp;
mod tls;
mod verdict;
mod x_road;
mod x_road_address;

#[cfg(test)]
mod tests;

pub use backoff::RetryPolicy;
pub use body::Body;
pub use client::{Answer, Delivery};
pub use config::{ClientIdentity, DeliveryConfig, DeliveryError, Secret};
pub use fault::Fault;
pub use probe::ProbeReport;
pub use timestamp::Precision;
pub use verdict::Verdict;
pub use x_road_address::XRoadService;
