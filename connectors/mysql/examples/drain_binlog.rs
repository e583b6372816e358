//! Reads the log of a table to nowhere and tells the rate.
//!
//! `cargo run --release -p mysql-connector --example drain_binlog -- HOST PORT USER PASSWORD DATABASE TABLE COLUMNS POSITION CHANGES`
//! with columns separated by commas and a position as `SHOW BINARY LOG STATUS` has it, such as `binlog.000042:157`.

use std::error::Error;
use std::time::Instant;

use change::{Beginning, ChangeStream, Position, Source, TableScope};
use mysql_connector::{MysqlConfig, MysqlSource, TlsMode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, user, password, database, table, columns, position, changes] = arguments.as_slice()
    else {
        return Err("expected HOST PORT USER PASSWORD DATABASE TABLE COLUMNS POSITION CHANGES".into());
    };
    let config = MysqlConfig {
        host: host.clone(),
        port: port.parse()?,
        database: database.clone(),
        user: user.clone(),
        password: Some(password.clone()),
        tls: TlsMode::Disable,
        tls_ca: None,
        server_id: None,
    };
    let columns = columns.split(',').map(str::to_owned).collect();
    let source = MysqlSource::new(
        config,
        TableScope {
            table: table.clone(),
            columns,
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
        },
    );
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
