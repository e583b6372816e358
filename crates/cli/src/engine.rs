//! Whichever engine the configuration names, behind the one seam.

use change::{
    Batch, Beginning, Begun, ChangeStream, Checkpoint, Inspection, Page, Position, Retention, Scope,
    Snapshot, SnapshotPlan, Source, SourceError, Statement,
};
use mysql_connector::{MysqlSnapshot, MysqlSource, MysqlStream};
use postgres_connector::{PostgresSnapshot, PostgresSource, PostgresStream};

use crate::config::{Config, Engine};
use crate::exit::Failure;

/// A connector of any engine that is built in.
pub(crate) enum AnySource {
    Postgres(PostgresSource),
    Mysql(MysqlSource),
}

/// Its log.
pub(crate) enum AnyStream {
    Postgres(PostgresStream),
    Mysql(MysqlStream),
}

/// Its copy of the table.
pub(crate) enum AnySnapshot {
    Postgres(PostgresSnapshot),
    Mysql(MysqlSnapshot),
}

impl AnySource {
    /// Makes the connector that `config` names; nothing is connected yet.
    pub(crate) fn new(config: &Config, scope: Scope) -> Result<Self, Failure> {
        match config.source.engine {
            Engine::Postgres => Ok(Self::Postgres(PostgresSource::new(config.to_postgres(), scope))),
            Engine::Mysql => Ok(Self::Mysql(MysqlSource::new(config.to_mysql(), scope))),
            Engine::Sqlserver => Err(Failure::usage(
                "this version captures PostgreSQL, MySQL and MariaDB, and [source] engine is \"sqlserver\"",
            )
            .for_the_data("nothing was read and nothing was sent")
            .with_hint(
                "write engine = \"postgres\" or \"mysql\", or install a version of bitacora that names this engine",
            )),
        }
    }
}

impl Source for AnySource {
    type Stream = AnyStream;
    type Snapshot = AnySnapshot;

    async fn check(&self, sample_rows: u32) -> Inspection {
        match self {
            Self::Postgres(source) => source.check(sample_rows).await,
            Self::Mysql(source) => source.check(sample_rows).await,
        }
    }

    async fn setup(&self) -> Result<Vec<Statement>, SourceError> {
        match self {
            Self::Postgres(source) => source.setup().await,
            Self::Mysql(source) => source.setup().await,
        }
    }

    async fn apply(&self, statements: &[Statement]) -> Result<(), SourceError> {
        match self {
            Self::Postgres(source) => source.apply(statements).await,
            Self::Mysql(source) => source.apply(statements).await,
        }
    }

    async fn begin(&self, beginning: &Beginning) -> Result<Begun<AnySnapshot>, SourceError> {
        match self {
            Self::Postgres(source) => Ok(begun(source.begin(beginning).await?, AnySnapshot::Postgres)),
            Self::Mysql(source) => Ok(begun(source.begin(beginning).await?, AnySnapshot::Mysql)),
        }
    }

    async fn stream(&self, checkpoint: &Checkpoint) -> Result<AnyStream, SourceError> {
        match self {
            Self::Postgres(source) => source.stream(checkpoint).await.map(AnyStream::Postgres),
            Self::Mysql(source) => source.stream(checkpoint).await.map(AnyStream::Mysql),
        }
    }

    async fn snapshot(&self, plan: &SnapshotPlan) -> Result<AnySnapshot, SourceError> {
        match self {
            Self::Postgres(source) => source.snapshot(plan).await.map(AnySnapshot::Postgres),
            Self::Mysql(source) => source.snapshot(plan).await.map(AnySnapshot::Mysql),
        }
    }

    fn covers(&self, position: &Position, fence: &Position) -> Result<bool, SourceError> {
        match self {
            Self::Postgres(source) => source.covers(position, fence),
            Self::Mysql(source) => source.covers(position, fence),
        }
    }

    async fn retention(&self, position: &Position) -> Result<Retention, SourceError> {
        match self {
            Self::Postgres(source) => source.retention(position).await,
            Self::Mysql(source) => source.retention(position).await,
        }
    }
}

impl ChangeStream for AnyStream {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        match self {
            Self::Postgres(stream) => stream.next().await,
            Self::Mysql(stream) => stream.next().await,
        }
    }

    fn acknowledge(&mut self, position: &Position) -> Result<(), SourceError> {
        match self {
            Self::Postgres(stream) => stream.acknowledge(position),
            Self::Mysql(stream) => stream.acknowledge(position),
        }
    }
}

impl Snapshot for AnySnapshot {
    async fn next_page(&mut self) -> Result<Option<Page>, SourceError> {
        match self {
            Self::Postgres(snapshot) => snapshot.next_page().await,
            Self::Mysql(snapshot) => snapshot.next_page().await,
        }
    }
}

/// The same beginning with its copy as `any` wraps it.
fn begun<S>(begun: Begun<S>, any: impl FnOnce(S) -> AnySnapshot) -> Begun<AnySnapshot> {
    let Begun { checkpoint, snapshot, adopted, rows_estimate } = begun;
    Begun { checkpoint, snapshot: snapshot.map(any), adopted, rows_estimate }
}
