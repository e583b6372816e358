//! Drains a slot's backlog to nowhere and tells how fast: what the connector itself can do, without a ledger.
//!
//! The slot must exist; it is moved to where the backlog ends, so drain a copy of it
//! (`pg_copy_logical_replication_slot`) to drain the same backlog again. Settings come from
//! `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE` and `PGSSLMODE` (`disable` or `require`).
//!
//! ```text
//! cargo run --release -p postgres-connector --example drain_slot -- TABLE COLUMN[,COLUMN…] SLOT PUBLICATION
//! cargo run --release -p postgres-connector --example drain_slot -- TABLE COLUMN[,COLUMN…]
//! ```
//!
//! Without a slot the table is copied instead.

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use change::{Beginning, ChangeStream, Snapshot, SnapshotPlan, Source, TableScope};
use postgres_connector::{PostgresConfig, PostgresSource, TlsMode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [table, columns] => copy(&source(table, columns, "none", "none")?).await,
        [table, columns, slot, publication] => drain(&source(table, columns, slot, publication)?).await,
        _ => Err("expected TABLE COLUMN[,COLUMN…] [SLOT PUBLICATION]".into()),
    }
}

fn source(
    table: &str,
    columns: &str,
    slot: &str,
    publication: &str,
) -> Result<PostgresSource, Box<dyn Error>> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let config = PostgresConfig {
        host: setting("PGHOST", "127.0.0.1"),
        port: setting("PGPORT", "5432").parse()?,
        database: setting("PGDATABASE", "postgres"),
        user: setting("PGUSER", "postgres"),
        password: env::var("PGPASSWORD").ok(),
        tls: setting("PGSSLMODE", "disable").parse::<TlsMode>()?,
        tls_ca: None,
        slot: slot.to_owned(),
        publication: publication.to_owned(),
    };
    let columns = columns.split(',').map(str::to_owned).collect();
    Ok(PostgresSource::new(
        config,
        TableScope {
            table: table.to_owned(),
            columns,
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        },
    ))
}

async fn drain(source: &PostgresSource) -> Result<(), Box<dyn Error>> {
    let begun = source.begin(&Beginning::Present).await?;
    let started = Instant::now();
    let mut stream = source.stream(&begun.checkpoint).await?;
    let (mut changes, mut batches, mut first, mut last) = (0_usize, 0_usize, None, started.elapsed());
    loop {
        let batch = stream.next().await?;
        if !batch.changes.is_empty() {
            first.get_or_insert_with(|| started.elapsed());
            changes += batch.changes.len();
            batches += 1;
            last = started.elapsed();
        }
        if let Some(position) = &batch.position {
            stream.acknowledge(position)?;
        }
        if batch.caught_up {
            break;
        }
    }
    report("changes", changes, last);
    println!(
        "{batches} batches, the first after {} ms; streaming after {} ms",
        first.unwrap_or_default().as_millis(),
        started.elapsed().as_millis()
    );
    Ok(())
}

async fn copy(source: &PostgresSource) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut snapshot = source.snapshot(&SnapshotPlan::OnePass).await?;
    let mut rows = 0;
    while let Some(page) = snapshot.next_page().await? {
        rows += page.rows.len();
    }
    report("rows", rows, started.elapsed());
    Ok(())
}

fn report(what: &str, count: usize, elapsed: Duration) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    println!(
        "{count} {what} in {:.2} s: {:.0} a second",
        elapsed.as_secs_f64(),
        f64::from(count) / elapsed.as_secs_f64()
    );
}
