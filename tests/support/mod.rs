//! What the tests are made of.
//!
//! - `backend`: what an engine brings so that the conformance suite can run against it
//! - `scene`: a database, a dashboard and the product between them
//! - `config`: a configuration file as a test writes it
//! - `product`, `daemon`: the product's commands and its running daemon
//! - `dashboard`: the simulator, in this process
//! - `http`: reading a page
//! - `load`: a live workload from several sessions
//! - `oracle`: what the database says must have arrived
//! - `wait`: waiting for events with a deadline
//! - `heavy`: tests that need the machine for themselves

pub(crate) mod backend;
pub(crate) mod config;
pub(crate) mod daemon;
pub(crate) mod dashboard;
pub(crate) mod heavy;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod oracle;
pub(crate) mod product;
pub(crate) mod scene;
pub(crate) mod wait;
