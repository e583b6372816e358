//! Copies a table to nowhere and tells the rate.
//!
//! `cargo run --release -p mysql-connector --example scan -- HOST PORT USER PASSWORD DATABASE TABLE COLUMNS`
//! with columns separated by commas.

use std::error::Error;
use std::time::Instant;

use change::{Snapshot, SnapshotPlan, Source, TableScope};
use mysql_connector::{MysqlConfig, MysqlSource, TlsMode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, user, password, database, table, columns] = arguments.as_slice() else {
        return Err("expected HOST PORT USER PASSWORD DATABASE TABLE COLUMNS".into());
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
