//! The measurements on PostgreSQL.

use crate::connector::Connector;
use crate::figures::{self, Figures, machine};
use crate::rival;
use crate::stage::{Backlog, SLOT, Stage};
use crate::{Failure, Options};

/// Takes all of them and prints them.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stage = runtime.block_on(Stage::set(options.rows))?;
    println!("machine: {}; PostgreSQL {}; TCP on loopback, no TLS", machine(), stage.version());
    println!(
        "table: {} rows of {} bytes on average, 12 columns, 5 mapped\n",
        options.rows,
        stage.row_bytes()
    );
    let mut snapshot = Figures::new("snapshot, rows/s", "bitacora, first copy", "psql COPY (SELECT …)");
    for _ in 0..options.rounds {
        let rival = rival::copy(&stage)?;
        let mut connector = Connector::fresh(&stage.source(SLOT))?;
        let (mine, _) = connector.snapshot()?;
        snapshot.add(f64::from(options.rows), mine, rival);
        connector.stop()?;
        runtime.block_on(stage.forget_slots())?;
    }
    snapshot.print();
    let mut connector = Connector::fresh(&stage.source(SLOT))?;
    connector.settle_in()?;
    drain(options, &runtime, &stage, &mut connector, Backlog::Large(options.rows))?;
    drain(options, &runtime, &stage, &mut connector, Backlog::Single(options.single))?;
    one_transaction(options, &runtime, &stage, &mut connector)?;
    start(options, &runtime, &stage, &mut connector)
}

/// From the process's start to its first captured change, on a log that was caught up with.
fn start(
    options: &Options,
    runtime: &tokio::runtime::Runtime,
    stage: &Stage,
    connector: &mut Connector,
) -> Result<(), Failure> {
    connector.catch_up(|| runtime.block_on(stage.advance_slot()))?;
    let mut seconds = Vec::new();
    for _ in 0..options.rounds {
        runtime.block_on(stage.change_one_row())?;
        seconds.push(connector.drain(1)?.seconds);
        connector.stop()?;
    }
    let (fastest, median, slowest) = figures::spread(&mut seconds);
    println!("\nprocess start to first captured change, seconds: {fastest:.2} {median:.2} {slowest:.2}");
    Ok(())
}

/// The same backlog through `pg_recvlogical` and through the connector.
fn drain(
    options: &Options,
    runtime: &tokio::runtime::Runtime,
    stage: &Stage,
    connector: &mut Connector,
    backlog: Backlog,
) -> Result<(), Failure> {
    let title = format!("drain of {backlog}, changes/s");
    let mut figures =
        Figures::new(&title, "bitacora, ledger commits included", "pg_recvlogical to /dev/null");
    let mut peak = 0;
    for _ in 0..options.rounds {
        let end = runtime.block_on(stage.make_backlog(backlog))?;
        let rival = rival::recvlogical(stage, &end)?;
        let drained = connector.drain(u64::from(backlog.updates()))?;
        figures.add(f64::from(backlog.updates()), drained.seconds, rival);
        peak = peak.max(drained.peak_kib);
        connector.stop()?;
        runtime.block_on(stage.drop_rival_slot())?;
    }
    figures.print();
    println!("  peak resident memory: {:.1} MiB\n", f64::from(peak) / 1024.0);
    Ok(())
}

/// Memory under one transaction that updates every row.
fn one_transaction(
    options: &Options,
    runtime: &tokio::runtime::Runtime,
    stage: &Stage,
    connector: &mut Connector,
) -> Result<(), Failure> {
    runtime.block_on(stage.make_backlog(Backlog::OneTransaction(options.rows)))?;
    let drained = connector.drain(u64::from(options.rows))?;
    connector.stop()?;
    runtime.block_on(stage.drop_rival_slot())?;
    println!("one transaction of {} updates", options.rows);
    println!("  captured after {:.1} s", drained.seconds);
    println!("  peak resident memory: {:.1} MiB", f64::from(drained.peak_kib) / 1024.0);
    Ok(())
}
