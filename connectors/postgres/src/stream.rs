//! The log, opened at a checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use change::{Batch, ChangeStream, Checkpoint, Position, Scope, SourceError, SourceErrorKind};
use tokio::sync::mpsc;

use crate::assembly::{Assembly, PartitionOf};
use crate::catalog::{Kind, Table};
use crate::catch_up::{self, CatchUp};
use crate::config::PostgresConfig;
use crate::identity::Server;
use crate::name::quote_ident;
use crate::outlet::{End, Outlet, Shared};
use crate::position::Lsn;
use crate::pump::{Pump, Terms};
use crate::relation::Target;
use crate::slot::{self, Slot};
use crate::wire::{Closer, Connection, Purpose};

/// Batches that wait for the product. Together with one being read and one being stored they bound memory.
const BATCHES_WAITING_MAX: usize = 3;

/// A stream of the configured tables' changes.
#[derive(Debug)]
pub struct PostgresStream {
    batches: mpsc::Receiver<Result<Batch, SourceError>>,
    shared: Arc<Shared>,
    reader: Thread,
}

impl ChangeStream for PostgresStream {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        let batch = self.batches.recv().await;
        self.reader.unpark();
        batch.unwrap_or_else(|| Err(SourceError::new(SourceErrorKind::Unreachable, "the stream has ended")))
    }

    fn acknowledge(&mut self, position: &Position) -> Result<(), SourceError> {
        self.shared.acknowledge(Lsn::of(position)?);
        self.reader.unpark();
        Ok(())
    }
}

impl Drop for PostgresStream {
    fn drop(&mut self) {
        self.shared.stop();
        self.reader.unpark();
    }
}

/// Opens the log strictly after the checkpoint. Blocks.
///
/// A long backlog is read in pieces first, unless `streams_only`; what forbids streaming then shows after them.
///
/// # Errors
/// [`SourceErrorKind::LostLog`] when the log no longer holds what follows.
pub(crate) fn open(
    config: &PostgresConfig,
    tables: &[Table],
    scope: &Scope,
    checkpoint: &Checkpoint,
    streams_only: &Arc<AtomicBool>,
) -> Result<PostgresStream, SourceError> {
    let at = Lsn::of(&checkpoint.position)?;
    let mut connection = Connection::open(config, Purpose::Replication)?;
    let server = Server::identify(&mut connection)?;
    server.expect_history_of(&mut connection, checkpoint)?;
    let slot = slot::wait_until_free(&mut connection, &config.slot)?;
    expect_holds(slot, config, at)?;

    let targets =
        scope.numbered().zip(tables).map(|((number, wanted), table)| Target::new(number, table, wanted.keys));
    let partitioned: Vec<(u16, u32)> = (0..)
        .zip(tables)
        .filter(|(_, table)| table.kind == Kind::Partitioned)
        .map(|(number, table)| (number, table.oid))
        .collect();
    let lookup = (!partitioned.is_empty()).then(|| partition_lookup(config, partitioned));
    let mut assembly = Assembly::new(targets.collect(), at, lookup);
    let log_end = server.flushed;
    let pieces = !server.standby && !streams_only.load(Ordering::Relaxed) && catch_up::is_long(at, log_end);
    if !pieces {
        let terms = start(&mut connection, config, at, log_end)?;
        let closer = connection.closer()?;
        return spawn(at, closer, move |outlet| Pump::new(connection, assembly, outlet, terms).run());
    }
    let closer = connection.closer()?;
    let (config, refused) = (config.clone(), Arc::clone(streams_only));
    spawn(at, closer, move |outlet| {
        let caught_up = CatchUp::new(&config, &mut connection, &mut assembly, &outlet).run(&refused);
        let started =
            caught_up.and_then(|()| Ok(start(&mut connection, &config, assembly.reached(), log_end)?));
        match started {
            Ok(terms) => Pump::new(connection, assembly, outlet, terms).run(),
            Err(end) => {
                outlet.let_go_of_connection();
                drop(connection);
                if let End::Failed(error) = end {
                    outlet.fail(error);
                }
            }
        }
    })
}

fn spawn(
    at: Lsn,
    closer: Closer,
    read: impl FnOnce(Outlet) + Send + 'static,
) -> Result<PostgresStream, SourceError> {
    let shared = Arc::new(Shared::new(at, closer));
    let (sender, batches) = mpsc::channel(BATCHES_WAITING_MAX);
    let outlet = Outlet::new(sender, Arc::clone(&shared));
    let thread = thread::Builder::new().name("postgres-log".to_owned()).spawn(move || read(outlet));
    let thread = thread.map_err(|error| {
        SourceError::new(SourceErrorKind::Busy, "start the thread that reads the log").caused_by(error)
    })?;
    Ok(PostgresStream { batches, shared, reader: thread.thread().clone() })
}

/// Whether the slot still holds everything after `at`.
fn expect_holds(slot: Option<Slot>, config: &PostgresConfig, at: Lsn) -> Result<(), SourceError> {
    let slot = slot.ok_or_else(|| slot::missing(&config.slot))?;
    let confirmed = slot.confirmed_flush(config)?;
    if confirmed > at {
        return Err(slot.lost(&format!("was moved to {confirmed}, past the checkpoint {at}")));
    }
    Ok(())
}

/// Starts streaming strictly after `at`.
fn start(
    connection: &mut Connection,
    config: &PostgresConfig,
    at: Lsn,
    log_end: Lsn,
) -> Result<Terms, SourceError> {
    let server_patience = sender_timeout(connection)?;
    // The replication grammar takes a backslash in a string for itself, unlike SQL's escape strings.
    let publications = quote_ident(&config.publication).replace('\'', "''");
    let command = format!(
        "START_REPLICATION SLOT {} LOGICAL {at} (proto_version '1', publication_names '{publications}')",
        quote_ident(&config.slot)
    );
    let context = format!("start streaming from slot \"{}\"", config.slot);
    let gather = connection.start_replication(&context, &command)?;
    // The server starts where the slot stands, whatever was asked for. Had someone moved it since it was looked
    // at, changes would be missing without a word.
    let mut onlooker = Connection::open(config, Purpose::Sql)?;
    let slot = Slot::read(&mut onlooker, &config.slot)?;
    expect_holds(slot, config, at)?;
    onlooker.terminate();
    tracing::info!(slot = config.slot, position = %at, "stream opened");
    Ok(Terms { publication: config.publication.clone(), log_end, server_patience, gather })
}

fn sender_timeout(connection: &mut Connection) -> Result<Duration, SourceError> {
    let rows = connection.query(
        "read wal_sender_timeout",
        "SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'",
    )?;
    let millis = rows.into_iter().flatten().flatten().next().and_then(|text| text.parse().ok());
    Ok(Duration::from_millis(millis.unwrap_or(60_000)))
}

/// Asks the catalogue of which table a relation is a partition.
///
/// Partitions appear under their own names when someone alters the publication while we stream, and then
/// again partitions may be attached at any time: so it is asked when a relation first appears.
fn partition_lookup(config: &PostgresConfig, roots: Vec<(u16, u32)>) -> PartitionOf {
    let config = config.clone();
    Box::new(move |oid| {
        let mut connection = Connection::open(&config, Purpose::Sql)?;
        let sql = format!("SELECT relid::oid FROM pg_partition_ancestors({oid})");
        let rows = connection.query("look for the partition's table", &sql)?;
        connection.terminate();
        let ancestors: Vec<u32> =
            rows.into_iter().flatten().flatten().filter_map(|oid| oid.parse().ok()).collect();
        let found = roots.iter().find(|(_, root)| ancestors.contains(root));
        Ok(found.map(|(number, _)| *number))
    })
}
