//! The measurements on MySQL and MariaDB.

use testbed::mysql::Product;
use tokio::runtime::Runtime;

use crate::connector::Connector;
use crate::figures::{Figures, machine};
use crate::mysql_rival as rival;
use crate::mysql_stage::MysqlStage;
use crate::stage::Backlog;
use crate::{Failure, Options};

/// Takes all of them and prints them.
pub(crate) fn run(options: &Options, product: Product) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stage = runtime.block_on(MysqlStage::set(product, options.rows))?;
    let (major, minor, patch) = stage.server.version();
    println!("machine: {}; {product} {major}.{minor}.{patch}; TCP on loopback, no TLS", machine());
    println!("table: {} rows, 12 columns, 5 mapped\n", options.rows);
    let mut snapshot = Figures::new("snapshot, rows/s", "bitacora, first copy", "client --quick (SELECT …)");
    for _ in 0..options.rounds {
        let rival = rival::copy(&stage)?;
        let mut connector = Connector::fresh(&stage.source())?;
        let (mine, _) = connector.snapshot()?;
        snapshot.add(f64::from(options.rows), mine, rival);
        connector.stop()?;
    }
    snapshot.print();
    let mut connector = Connector::fresh(&stage.source())?;
    connector.settle_in()?;
    for backlog in [Backlog::Large(options.rows), Backlog::Single(options.single)] {
        drain(options, &runtime, &mut stage, &mut connector, backlog)?;
    }
    one_transaction(options, &runtime, &mut stage, &mut connector)?;
    if product == Product::MySql {
        runtime.block_on(stage.compress())?;
        println!("compressed:");
        one_transaction(options, &runtime, &mut stage, &mut connector)?;
    }
    Ok(())
}

/// The same backlog through the reader of binary logs, in two ways, and through the connector.
fn drain(
    options: &Options,
    runtime: &Runtime,
    stage: &mut MysqlStage,
    connector: &mut Connector,
    backlog: Backlog,
) -> Result<(), Failure> {
    let title = format!("drain of {backlog}, changes/s");
    let mine = "bitacora, ledger commits included";
    let mut beside_raw = Figures::new(&title, mine, "reader of binary logs, raw to files");
    let mut beside_decoded = Figures::new(&title, mine, "reader of binary logs, decoded");
    let mut peak = 0;
    let updates = f64::from(backlog.updates());
    for _ in 0..options.rounds {
        let first = runtime.block_on(stage.make_backlog(backlog))?;
        let raw = rival::raw(stage, &first)?;
        let drained = connector.drain(u64::from(backlog.updates()))?;
        connector.stop()?;
        let decoded = rival::decoded(stage, &first)?;
        beside_raw.add(updates, drained.seconds, raw);
        beside_decoded.add(updates, drained.seconds, decoded);
        peak = peak.max(drained.peak_kib);
    }
    beside_raw.print();
    beside_decoded.print();
    println!("  peak resident memory: {:.1} MiB\n", f64::from(peak) / 1024.0);
    Ok(())
}

/// Memory under one transaction that updates every row.
fn one_transaction(
    options: &Options,
    runtime: &Runtime,
    stage: &mut MysqlStage,
    connector: &mut Connector,
) -> Result<(), Failure> {
    runtime.block_on(stage.make_backlog(Backlog::OneTransaction(options.rows)))?;
    let drained = connector.drain(u64::from(options.rows))?;
    connector.stop()?;
    println!("one transaction of {} updates", options.rows);
    println!("  captured after {:.1} s", drained.seconds);
    println!("  peak resident memory: {:.1} MiB", f64::from(drained.peak_kib) / 1024.0);
    Ok(())
}
