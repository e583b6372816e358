//! An endpoint that fails in every way, batches, schedule. The database is any one: a real server all the same.
//!
//! - `faults`: what the simulator can do wrong
//! - `refusals`: records and bodies that the dashboard does not take
//! - `batches`: how records are put together, and with which headers they leave
//! - `flushing`: flushes by command and by schedule
//! - `lanes`: several POSTs under way, and a kill among them
//! - `x_road`: the dashboard by the parts of its address; hours in which nothing is sent

mod batches;
mod faults;
mod flushing;
mod lanes;
mod refusals;
mod x_road;

use crate::postgres::{Distribution, Postgres};

type Scene = crate::support::scene::Scene<Postgres<Distribution>>;

/// Opens requests `S-1` to `S-count` and waits until the daemon has captured them.
async fn with_delta(scene: &Scene, count: u64) -> crate::support::daemon::Daemon {
    use crate::support::backend::Session;

    let daemon = scene.product.run().await;
    scene.sql.begin().await;
    for number in 1..=count {
        scene.open(&format!("S-{number}"), "RECIBIDA").await;
    }
    scene.sql.commit().await;
    daemon.delta(count).await;
    daemon
}
