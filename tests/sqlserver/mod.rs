//! SQL Server as a backend of the conformance suite, and what only it has.
//!
//! On the stand-in everything runs; on a real server, which `BITACORA_TEST_SQLSERVER_URL` names, what needs no fault on
//! demand.
//!
//! - `backend`: the backend
//! - `capture`: the server's own capture stands still
//! - `lost_log`: clean-ups and restored databases
//! - `connection`: what goes wrong on the way
//! - `instances`: capture instances that come and go
//! - `rights`: the least that the product's user needs, TLS
//! - `tables`: names, and columns of other types
//! - `poll`: where capture cannot be had

mod backend;
mod capture;
mod connection;
mod instances;
mod lost_log;
mod poll;
mod rights;
mod tables;

use backend::SqlServer;

crate::conformance::suite!(sqlserver: SqlServer);
