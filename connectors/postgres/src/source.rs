//! The connector as the product sees it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use change::{
    Beginning, Begun, Checkpoint, Inspection, Position, Removal, Retention, Scope, SnapshotPlan, Source,
    SourceError, SourceErrorKind, Statement,
};

use crate::catalog::{self, Table};
use crate::config::PostgresConfig;
use crate::identity::Server;
use crate::name::quote_literal;
use crate::position::Lsn;
use crate::publication::Ensured;
use crate::retention::{self, LogRate};
use crate::session::Session;
use crate::slot::Slot;
use crate::snapshot::{self, Copied, PostgresSnapshot};
use crate::stream::{self, PostgresStream};
use crate::wire::{Connection, Purpose};
use crate::{check, publication, removal, session, setup, slot};

/// One table of a PostgreSQL database, version 13 or newer.
#[derive(Debug)]
pub struct PostgresSource {
    config: PostgresConfig,
    scope: Scope,
    log_rate: LogRate,
    /// Whether the server has refused to let a backlog be read in pieces: it is not asked again.
    streams_only: Arc<AtomicBool>,
}

impl PostgresSource {
    /// Makes the connector; nothing is connected yet.
    #[must_use]
    pub fn new(config: PostgresConfig, scope: Scope) -> Self {
        Self { config, scope, log_rate: LogRate::default(), streams_only: Arc::default() }
    }

    async fn look_up(&self) -> Result<(Session, Table), SourceError> {
        self.config.validate()?;
        let session = session::connect(&self.config).await?;
        let table = catalog::table(&session, &self.scope).await?;
        Ok((session, table))
    }

    /// The table, with a publication in place that covers it. The publication comes before the slot: changes that
    /// are older than their publication cannot be decoded.
    async fn prepare(&self) -> Result<(Table, Ensured), SourceError> {
        let (session, table) = self.look_up().await?;
        let ensured = publication::ensure(&session, &self.config, &table, &self.scope).await?;
        Ok((table, ensured))
    }
}

impl Source for PostgresSource {
    type Stream = PostgresStream;
    type Snapshot = PostgresSnapshot;

    async fn check(&self, sample_rows: u32) -> Inspection {
        check::inspect(&self.config, &self.scope, sample_rows).await
    }

    async fn setup(&self) -> Result<Vec<Statement>, SourceError> {
        setup::statements(&self.config, &self.scope).await
    }

    async fn apply(&self, statements: &[Statement]) -> Result<(), SourceError> {
        setup::apply(&self.config, statements).await
    }

    async fn removal(&self) -> Result<Removal, SourceError> {
        removal::removal(&self.config).await
    }

    async fn begin(&self, beginning: &Beginning) -> Result<Begun<PostgresSnapshot>, SourceError> {
        let (table, publication) = self.prepare().await?;
        let estimate = table.rows_estimate;
        let opening = Opening { config: self.config.clone(), scope: self.scope.clone(), table };
        let beginning = match (publication, beginning) {
            // A slot that is older than its publication holds changes that the server can only refuse, or skip.
            (Ensured::Made, Beginning::Present) => Beginning::Anew,
            (_, beginning) => beginning.clone(),
        };
        // The thread finds out by this that nobody waits for the slot any more.
        let wanted = Arc::new(());
        let held = Arc::clone(&wanted);
        let mut begun = blocking(move || opening.begin(&beginning, &held)).await?;
        drop(wanted);
        begun.rows_estimate = estimate;
        Ok(begun)
    }

    async fn stream(&self, checkpoint: &Checkpoint) -> Result<PostgresStream, SourceError> {
        let (table, _) = self.prepare().await?;
        let (config, keys, checkpoint) = (self.config.clone(), self.scope.keys, checkpoint.clone());
        let streams_only = Arc::clone(&self.streams_only);
        blocking(move || stream::open(&config, &table, keys, &checkpoint, &streams_only)).await
    }

    async fn snapshot(&self, plan: &SnapshotPlan) -> Result<PostgresSnapshot, SourceError> {
        let (session, table) = self.look_up().await?;
        drop(session);
        let (config, scope, plan) = (self.config.clone(), self.scope.clone(), plan.clone());
        blocking(move || snapshot::open(&config, &table, &scope, &plan)).await
    }

    fn covers(&self, position: &Position, fence: &Position) -> Result<bool, SourceError> {
        Ok(Lsn::of(position)? >= Lsn::of(fence)?)
    }

    async fn retention(&self, _position: &Position) -> Result<Retention, SourceError> {
        let session = session::connect(&self.config).await?;
        retention::retention(&session, &self.config, &self.log_rate).await
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(SourceError::new(SourceErrorKind::Unreachable, "the work on the database was cut short")
            .caused_by(error))
    })
}

/// What beginning needs. Its methods block.
struct Opening {
    config: PostgresConfig,
    scope: Scope,
    table: Table,
}

impl Opening {
    fn begin(&self, beginning: &Beginning, wanted: &Arc<()>) -> Result<Begun<PostgresSnapshot>, SourceError> {
        let mut connection = Connection::open(&self.config, Purpose::Replication)?;
        let server = Server::identify(&mut connection)?;
        match beginning {
            Beginning::Anew => slot::drop_if_exists(&mut connection, &self.config)?,
            Beginning::Present => {
                if let Some(slot) = slot::wait_until_free(&mut connection, &self.config.slot)? {
                    let at = slot.confirmed_flush(&self.config)?;
                    return Ok(self.adopted(&server, at, at));
                }
            }
            Beginning::At(position) => {
                let at = Lsn::of(position)?;
                let confirmed = self.expect_reaches_back(&mut connection, &server, at)?;
                return Ok(self.adopted(&server, at, confirmed));
            }
        }
        self.make(connection, &server, wanted)
    }

    /// Makes the slot and opens the copy that is exactly as of its beginning.
    fn make(
        &self,
        mut connection: Connection,
        server: &Server,
        wanted: &Arc<()>,
    ) -> Result<Begun<PostgresSnapshot>, SourceError> {
        let created = slot::create(&mut connection, &self.config, server.standby, wanted)?;
        let snapshot = match &created.snapshot {
            Some(name) => Some(self.exact_snapshot(name)?),
            None => None,
        };
        // The snapshot lives on in the copy's transaction.
        connection.terminate();
        Ok(self.begun(server, created.consistent, snapshot, None))
    }

    fn exact_snapshot(&self, name: &str) -> Result<PostgresSnapshot, SourceError> {
        let mut connection = Connection::open(&self.config, Purpose::Sql)?;
        let context = "take over the new slot's snapshot";
        connection.query(context, snapshot::BEGIN)?;
        connection.query(context, &format!("SET TRANSACTION SNAPSHOT {}", quote_literal(name)))?;
        snapshot::whole(connection, Copied::new(&self.table, &self.scope, false))
    }

    /// Whether the slot still holds everything after a position that the operator named.
    fn expect_reaches_back(
        &self,
        connection: &mut Connection,
        server: &Server,
        at: Lsn,
    ) -> Result<Lsn, SourceError> {
        let refuse = |why: String| {
            let hint = "start without a position: the connector then begins where the slot stands, or at the present";
            Err(SourceError::new(SourceErrorKind::Configuration, why).with_hint(hint))
        };
        let name = &self.config.slot;
        let slot: Option<Slot> = slot::wait_until_free(connection, name)?;
        let Some(slot) = slot else {
            return refuse(format!(
                "replication slot \"{name}\" does not exist, so the log since {at} was not kept"
            ));
        };
        let confirmed = slot.confirmed_flush(&self.config)?;
        if confirmed > at {
            return refuse(format!(
                "replication slot \"{name}\" keeps the log since {confirmed} only, not since {at}"
            ));
        }
        if server.flushed < at {
            return refuse(format!("the server's log ends at {}, before {at}", server.flushed));
        }
        Ok(confirmed)
    }

    fn adopted(&self, server: &Server, at: Lsn, confirmed: Lsn) -> Begun<PostgresSnapshot> {
        let message = format!(
            "replication slot \"{}\" exists already, confirmed up to {confirmed}: it is adopted, and streaming begins \
             at {at}",
            self.config.slot
        );
        self.begun(server, at, None, Some(message))
    }

    fn begun(
        &self,
        server: &Server,
        at: Lsn,
        snapshot: Option<PostgresSnapshot>,
        adopted: Option<String>,
    ) -> Begun<PostgresSnapshot> {
        let checkpoint = Checkpoint { position: at.to_position(), server: server.identity(&self.config) };
        Begun { checkpoint, snapshot, adopted, rows_estimate: None }
    }
}
