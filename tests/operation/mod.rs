//! Commands, status and ledger, as an operator meets them.
//!
//! - `alerts`: who is told of what
//! - `browser`: the status page as people use it
//! - `commands`: `init`, `check`, `tablero`, exit statuses
//! - `explain`: the life of one request
//! - `quarantine`: what could not be sent
//! - `status`: `status --json`, the status page, health and metrics
//! - `supervised`: the daemon under a service manager
//! - `uninstall`: taking the connector out of the database

mod alerts;
mod browser;
mod commands;
mod explain;
mod quarantine;
mod status;
mod supervised;
mod uninstall;

use crate::postgres::{Distribution, Postgres};

type Scene = crate::support::scene::Scene<Postgres<Distribution>>;
