//! Copies a table to nowhere and tells the rate.
//!
//! `cargo run --release -p mysql-connector --example scan -- HOST PORT USER PASSWORD DATABASE TABLE COLUMNS`
//! with columns separated by commas.

mod table_of;

use std::error::Error;
use std::time::Instant;

use change::{Snapshot, SnapshotPlan, Source};
use table_of::{ARGUMENTS, table_of};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = arguments.try_into().map_err(|_| format!("expected {ARGUMENTS}"))?;
    let source = table_of(&arguments)?;
    let started = Instant::now();
    let mut copy = source.snapshot(&SnapshotPlan::OnePass).await?;
    let (mut rows, mut pages) = (0, 0);
    while let Some(page) = copy.next_page().await? {
        rows += page.rows.len();
        pages += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(rows)?) / seconds;
    println!("{rows} rows in {pages} pages, {seconds:.2} s, {rate:.0} rows/s");
    Ok(())
}
