//! Reads the log of a table to nowhere and tells the rate.
//!
//! `cargo run --release -p mysql-connector --example drain_binlog -- HOST PORT USER PASSWORD DATABASE TABLE COLUMNS POSITION CHANGES`
//! with columns separated by commas and a position as `SHOW BINARY LOG STATUS` has it, such as `binlog.000042:157`.

mod table_of;

use std::error::Error;
use std::time::Instant;

use change::{Beginning, ChangeStream, Position, Source};
use table_of::{ARGUMENTS, COUNT, table_of};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((table, [position, changes])) = arguments.split_first_chunk::<COUNT>() else {
        return Err(format!("expected {ARGUMENTS} POSITION CHANGES").into());
    };
    let source = table_of(table)?;
    let begun = source.begin(&Beginning::At(Position::new(position.as_str()))).await?;
    let wanted: usize = changes.parse()?;
    let started = Instant::now();
    let mut stream = source.stream(&begun.checkpoint).await?;
    let (mut count, mut batches) = (0, 0);
    let mut last = None;
    while count < wanted {
        let batch = stream.next().await?;
        count += batch.changes.len();
        batches += 1;
        last = batch.position.or(last);
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(count)?) / seconds;
    println!("{count} changes in {batches} batches, {seconds:.2} s, {rate:.0} changes/s; up to {last:?}");
    Ok(())
}
