//! Black-box tests of the whole product: SQL in, HTTP out, files, exit codes.
//!
//! Nothing here knows how the product works: it is started as an institution starts it, against a real
//! database server and the dashboard's simulator, and judged by what the dashboard has received, what the
//! commands print and what the database says.
//!
//! # Layout
//! - [`support`]: servers, the product's process, the dashboard, a live workload, and the oracle that says
//!   what must have arrived
//! - [`conformance`]: what every engine must do, written once over [`support::backend::Backend`]
//! - [`postgres`]: PostgreSQL as a backend, and what only PostgreSQL has
//! - [`mysql`]: MySQL and MariaDB as backends, and what only they have
//! - [`sqlserver`]: SQL Server as a backend, and what only it has
//! - [`delivery`]: an endpoint that fails in every way, batches, schedule
//! - [`operation`]: commands, status, ledger, as an operator meets them
//! - [`messages`]: the errors that people read, word for word
//! - [`packaging`]: the Debian package and the guides
//! - [`dependencies`]: which package may use which

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, and its message says where"
)]

mod conformance;
mod delivery;
mod dependencies;
mod messages;
mod mysql;
mod operation;
mod packaging;
mod postgres;
mod sqlserver;
mod support;
