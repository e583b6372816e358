//! What a join costs: the same backlog with and without one.

use crate::connector::Connector;
use crate::figures::{Figures, machine};
use crate::stage::{Backlog, SLOT, Stage};
use crate::{Failure, Options};

/// The slot of the connector that joins.
const JOINING_SLOT: &str = "bitacora_joined";

/// Each row has a parent of its own, which is more than a history asks for: there several rows share one.
const JOIN: &str = r#"
[[source.join]]
table = "public.expedientes"
on = { id = "id" }
columns = ["numero", "fecha_apertura"]
"#;

/// Drains the backlogs by both connectors, each from a slot of its own, until all is captured, joined and settled.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stage = runtime.block_on(Stage::set(options.rows))?;
    runtime.block_on(stage.add_parents())?;
    println!("machine: {}; PostgreSQL {}; TCP on loopback, no TLS", machine(), stage.version());
    println!("table: {} rows, each with a parent of its own\n", options.rows);
    let mut plain = Connector::fresh(&stage.source(SLOT))?;
    plain.settle_in()?;
    let mut joining = Connector::fresh(&format!("{}{JOIN}", stage.source(JOINING_SLOT)))?;
    joining.settle_in()?;
    for backlog in [Backlog::Large(options.rows), Backlog::Single(options.single)] {
        let title = format!("drain of {backlog}, until settled, changes/s");
        let mut figures = Figures::new(&title, "bitacora, with one join", "bitacora, without");
        let (updates, mut peak) = (u64::from(backlog.updates()), 0);
        for _ in 0..options.rounds {
            runtime.block_on(stage.churn(backlog))?;
            let alone = plain.drain_and_settle(updates)?;
            plain.stop()?;
            let joined = joining.drain_and_settle(updates)?;
            joining.stop()?;
            figures.add(f64::from(backlog.updates()), joined.seconds, alone.seconds);
            peak = peak.max(joined.peak_kib);
        }
        figures.print();
        println!("  peak resident memory with the join: {:.1} MiB\n", f64::from(peak) / 1024.0);
    }
    Ok(())
}
