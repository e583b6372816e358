//! The log, opened at a checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use change::{Batch, ChangeStream, Checkpoint, Position, Scope, SourceError, SourceErrorKind};
use tokio::sync::mpsc;

use crate::binlog::event::Checksum;
use crate::binlog::statement::Subjects;
use crate::catalog::{self, Collations};
use crate::config::MysqlConfig;
use crate::dump::{self, FILE_START, From};
use crate::identity::{self, Identity};
use crate::log_end::log_end;
use crate::place::Tracker;
use crate::position::{LogPosition, Place};
use crate::pump::{Pump, Terms};
use crate::reader::Reader;
use crate::tables::{Catalog, ReadCatalog, Tables};
use crate::wire::{Closer, Connection};

/// Batches that wait for the product. Together with one being read and one being stored they bound memory.
const BATCHES_WAITING_MAX: usize = 3;

/// A stream of the configured tables' changes.
#[derive(Debug)]
pub struct MysqlStream {
    batches: mpsc::Receiver<Result<Batch, SourceError>>,
    stopped: Arc<AtomicBool>,
    pump: Thread,
    closer: Closer,
}

impl ChangeStream for MysqlStream {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        let batch = self.batches.recv().await;
        self.pump.unpark();
        batch.unwrap_or_else(|| Err(SourceError::new(SourceErrorKind::Unreachable, "the stream has ended")))
    }

    /// The server keeps its log by time, whoever reads it: there is nothing to tell it.
    fn acknowledge(&mut self, position: &Position) -> Result<(), SourceError> {
        LogPosition::of(position).map(drop)
    }
}

impl Drop for MysqlStream {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.closer.close();
        self.pump.unpark();
    }
}

/// Where to begin, and what is known there.
struct Route {
    from: From,
    reached: Option<Place>,
    learns_gtids: bool,
    gtids: Option<crate::gtid::GtidSet>,
}

/// Opens the log strictly after the checkpoint. Blocks.
///
/// # Errors
/// [`SourceErrorKind::LostLog`] when the log no longer holds what follows.
pub(crate) fn open(
    config: &MysqlConfig,
    scope: &Scope,
    checkpoint: &Checkpoint,
) -> Result<MysqlStream, SourceError> {
    let position = LogPosition::of(&checkpoint.position)?;
    let mut connection = Connection::open(config)?;
    let (catalogs, log_end) = ask_catalogs(&mut connection, config, scope)?;
    for catalog in &catalogs {
        catalog.table.mapped_kinds()?;
    }
    let identity = Identity::ask(&mut connection)?;
    let same = identity.expect_holds(&mut connection, checkpoint, &position)?;
    let nothing_prepared = position.prepared.is_none();
    let route = route(&mut connection, &identity, position, same)?;
    let name = reader_name(scope);
    let checksum = dump::start(&mut connection, config, &name, &route.from)?;
    let tables = catalog::listed(catalogs.iter().map(|catalog| &catalog.table));
    tracing::info!(tables, position = %checkpoint.position, "stream opened");
    let here = route.reached.is_some() && nothing_prepared;
    let mut reader = reader((config, scope), catalogs, &identity, (route, checksum));
    if here {
        // On an idle log nothing else would tell how far the stream has come.
        reader.assembly.note_moved();
    }
    let server_id = dump::server_id(config, &name);
    spawn(connection, reader, Terms { log_end, server_id, starts_back: !nothing_prepared })
}

/// What tells this stream from others of the same user: the tables that it reads.
fn reader_name(scope: &Scope) -> String {
    let names: Vec<&str> = scope.tables.iter().map(|table| table.table.as_str()).collect();
    names.join("\0")
}

/// What the catalogue says of the tables, and where the log ends. That comes last: no change of a table's definition
/// before it is missing in what was read.
fn ask_catalogs(
    connection: &mut Connection,
    config: &MysqlConfig,
    scope: &Scope,
) -> Result<(Vec<Catalog>, Place), SourceError> {
    let tables = catalog::tables(connection, config, scope)?;
    let collations = Arc::new(Collations::ask(connection)?);
    let end = log_end(connection)?;
    let read_at = Place { file: end.file.into(), offset: end.offset };
    let catalog = |table| Catalog { table, collations: Arc::clone(&collations), read_at: read_at.clone() };
    Ok((tables.into_iter().map(catalog).collect(), read_at.clone()))
}

/// By GTIDs wherever there are any; by place else, and where a prepared transaction must be read again.
fn route(
    connection: &mut Connection,
    identity: &Identity,
    position: LogPosition,
    same: bool,
) -> Result<Route, SourceError> {
    let maria = connection.flavour().is_mariadb();
    let reached = position.place.filter(|_| same);
    let mut gtids = position.gtids.filter(|_| identity.uses_gtids);
    if let (Some(prepared), true) = (&position.prepared, same)
        && identity::files(connection)?.iter().any(|(name, _)| **name == *prepared.file)
    {
        return Ok(Route { from: From::Place(addressable(prepared)), reached, learns_gtids: false, gtids });
    }
    if let Some(set) = &gtids {
        return Ok(Route { from: From::Gtids(set.clone()), reached, learns_gtids: false, gtids });
    }
    let Some(place) = &reached else {
        let what = "the checkpoint has GTIDs only, and the server numbers no transactions";
        return Err(SourceError::new(SourceErrorKind::LostLog, what)
            .with_hint("SET PERSIST gtid_mode = ON, or begin anew at FILE:OFFSET"));
    };
    let mut from = addressable(place);
    let learns_gtids = identity.uses_gtids && !maria;
    if learns_gtids {
        from.offset = FILE_START;
    } else if maria {
        gtids = identity::gtids_at(connection, place)?
            .or(Some(crate::gtid::GtidSet::MariaDb(Default::default())));
    }
    Ok(Route { from: From::Place(from), reached, learns_gtids, gtids })
}

/// The place, or the beginning of its file where the offset is too large to be asked for.
fn addressable(place: &Place) -> Place {
    let offset = if u32::try_from(place.offset).is_ok() { place.offset } else { FILE_START };
    Place { file: Arc::clone(&place.file), offset }
}

fn reader(
    (config, scope): (&MysqlConfig, &Scope),
    catalogs: Vec<Catalog>,
    identity: &Identity,
    (route, checksum): (Route, Checksum),
) -> Reader {
    let names = |catalog: &Catalog| (catalog.table.database.clone(), catalog.table.name.clone());
    let subjects =
        Subjects { tables: catalogs.iter().map(names).collect(), case_counts: identity.case_counts };
    let from = match route.from {
        From::Place(place) => place,
        // The server tells which file it begins with.
        From::Gtids(_) => Place { file: "".into(), offset: 0 },
    };
    let keys = scope.tables.iter().map(|table| table.keys);
    let tables = Tables::new(subjects, catalogs.into_iter().zip(keys), read_catalog(config, scope));
    let mut reader = Reader::new(tables, Tracker::new(from, route.reached), route.gtids, checksum);
    if route.learns_gtids {
        reader.learn_gtids();
    }
    reader
}

fn read_catalog(config: &MysqlConfig, scope: &Scope) -> ReadCatalog {
    let (config, scope) = (config.clone(), scope.clone());
    Box::new(move |number| {
        let only = Scope { tables: scope.table(number).cloned().into_iter().collect() };
        let mut connection = Connection::open(&config)?;
        let (catalogs, _) = ask_catalogs(&mut connection, &config, &only)?;
        connection.terminate();
        catalogs.into_iter().next().ok_or_else(|| {
            SourceError::new(SourceErrorKind::Protocol, format!("there is no table with number {number}"))
        })
    })
}

fn spawn(connection: Connection, reader: Reader, terms: Terms) -> Result<MysqlStream, SourceError> {
    let closer = connection.closer()?;
    let stopped = Arc::new(AtomicBool::new(false));
    let (outlet, batches) = mpsc::channel(BATCHES_WAITING_MAX);
    let pump = Pump::new(connection, reader, outlet, Arc::clone(&stopped), terms);
    let thread = thread::Builder::new().name("mysql-log".to_owned()).spawn(move || pump.run());
    let thread = thread.map_err(|error| {
        SourceError::new(SourceErrorKind::Busy, "start the thread that reads the log").caused_by(error)
    })?;
    Ok(MysqlStream { batches, stopped, pump: thread.thread().clone(), closer })
}
