//! Audits of a table whose requests the dashboard has acknowledged, beside the database's own client.

use testbed::mysql::Product;

use crate::connector::Connector;
use crate::endpoint::Endpoint;
use crate::figures::{Figures, machine};
use crate::mysql_stage::MysqlStage;
use crate::stage::{SLOT, Stage};
use crate::{Failure, Options, mysql_rival, rival};

/// Measures audits on PostgreSQL.
pub(crate) fn postgres(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stage = runtime.block_on(Stage::set(options.rows))?;
    println!("machine: {}; PostgreSQL {}; TCP on loopback, no TLS\n", machine(), stage.version());
    let client = || Ok(rival::count(&stage)? + rival::copy(&stage)?);
    let mut connector = delivered(&stage.source(SLOT))?;
    audits(options, &mut connector, client, 0)?;
    runtime.block_on(stage.alter_four_unseen())?;
    audits(options, &mut connector, client, 4)
}

/// Measures audits on MySQL or MariaDB.
pub(crate) fn mysql(options: &Options, product: Product) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stage = runtime.block_on(MysqlStage::set(product, options.rows))?;
    let (major, minor, patch) = stage.server.version();
    println!("machine: {}; {product} {major}.{minor}.{patch}; TCP on loopback, no TLS\n", machine());
    let client = |stage: &MysqlStage| Ok(mysql_rival::count(stage)? + mysql_rival::copy(stage)?);
    let mut connector = delivered(&stage.source())?;
    audits(options, &mut connector, || client(&stage), 0)?;
    runtime.block_on(stage.alter_four_unseen())?;
    audits(options, &mut connector, || client(&stage), 4)
}

/// A connector whose backfill was acknowledged.
fn delivered(source: &str) -> Result<Connector, Failure> {
    let endpoint = Endpoint::start()?;
    let mut connector = Connector::delivering_to(source, &endpoint.url)?;
    connector.settle_in()?;
    let backfill = connector.run(&["backfill"])?;
    if !backfill.status.success() {
        return Err(format!("the backfill ended with {}: {}", backfill.status, backfill.told).into());
    }
    Ok(connector)
}

/// Audits that find so many differences.
fn audits(
    options: &Options,
    connector: &mut Connector,
    rival: impl Fn() -> Result<f64, Failure>,
    differences: usize,
) -> Result<(), Failure> {
    let title = format!("audit of {} requests with {differences} differences, requests/s", options.rows);
    let mut figures = Figures::new(&title, "bitacora audit", "client: count(*), mapped columns");
    let mut peak = 0;
    for _ in 0..options.rounds {
        let client = rival()?;
        let audit = connector.run(&["audit", "--json"])?;
        let found = ["missing", "different"]
            .iter()
            .map(|kind| audit.told.matches(&format!("\"difference\":\"{kind}\"")).count());
        let found: usize = found.sum();
        if found != differences || audit.status.success() != (differences == 0) {
            let told: String = audit.told.chars().take(2_000).collect();
            return Err(format!(
                "the audit found {found} differences, expected {differences}: {}: {told}",
                audit.status
            )
            .into());
        }
        figures.add(f64::from(options.rows), audit.seconds, client);
        peak = peak.max(audit.peak_kib);
    }
    figures.print();
    println!("  peak resident memory: {:.1} MiB\n", f64::from(peak) / 1024.0);
    Ok(())
}
