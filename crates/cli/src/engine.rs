//! Whichever engine the configuration names, behind the one seam.

use change::{
    Batch, Beginning, Begun, ChangeStream, Checkpoint, Inspection, Page, Position, Removal, Retention, Scope,
    Snapshot, SnapshotPlan, Source, SourceError, Statement,
};
use mysql_connector::{MysqlSnapshot, MysqlSource, MysqlStream};
use postgres_connector::{PostgresSnapshot, PostgresSource, PostgresStream};
use sqlserver_connector::{SqlServerSnapshot, SqlServerSource, SqlServerStream};

use crate::config::{Config, Engine};

/// A connector of any engine that is built in.
pub(crate) enum AnySource {
    Postgres(PostgresSource),
    Mysql(MysqlSource),
    SqlServer(SqlServerSource),
}

/// Its log.
pub(crate) enum AnyStream {
    Postgres(PostgresStream),
    Mysql(MysqlStream),
    SqlServer(SqlServerStream),
}

/// Its copy of the table.
pub(crate) enum AnySnapshot {
    Postgres(PostgresSnapshot),
    Mysql(MysqlSnapshot),
    SqlServer(SqlServerSnapshot),
}

impl AnySource {
    /// Makes the connector that `config` names; nothing is connected yet.
    pub(crate) fn new(config: &Config, scope: Scope) -> Self {
        match config.source.engine {
            Engine::Postgres => Self::Postgres(PostgresSource::new(config.to_postgres(), scope)),
            Engine::Mysql => Self::Mysql(MysqlSource::new(config.to_mysql(), scope)),
            Engine::Sqlserver => Self::SqlServer(SqlServerSource::new(config.to_sqlserver(), scope)),
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
            Self::SqlServer(source) => source.check(sample_rows).await,
        }
    }

    async fn setup(&self) -> Result<Vec<Statement>, SourceError> {
        match self {
            Self::Postgres(source) => source.setup().await,
            Self::Mysql(source) => source.setup().await,
            Self::SqlServer(source) => source.setup().await,
        }
    }

    async fn apply(&self, statements: &[Statement]) -> Result<(), SourceError> {
        match self {
            Self::Postgres(source) => source.apply(statements).await,
            Self::Mysql(source) => source.apply(statements).await,
            Self::SqlServer(source) => source.apply(statements).await,
        }
    }

    async fn removal(&self) -> Result<Removal, SourceError> {
        match self {
            Self::Postgres(source) => source.removal().await,
            Self::Mysql(source) => source.removal().await,
            Self::SqlServer(source) => source.removal().await,
        }
    }

    async fn begin(&self, beginning: &Beginning) -> Result<Begun<AnySnapshot>, SourceError> {
        match self {
            Self::Postgres(source) => Ok(begun(source.begin(beginning).await?, AnySnapshot::Postgres)),
            Self::Mysql(source) => Ok(begun(source.begin(beginning).await?, AnySnapshot::Mysql)),
            Self::SqlServer(source) => Ok(begun(source.begin(beginning).await?, AnySnapshot::SqlServer)),
        }
    }

    async fn stream(&self, checkpoint: &Checkpoint) -> Result<AnyStream, SourceError> {
        match self {
            Self::Postgres(source) => source.stream(checkpoint).await.map(AnyStream::Postgres),
            Self::Mysql(source) => source.stream(checkpoint).await.map(AnyStream::Mysql),
            Self::SqlServer(source) => source.stream(checkpoint).await.map(AnyStream::SqlServer),
        }
    }

    async fn snapshot(&self, plan: &SnapshotPlan) -> Result<AnySnapshot, SourceError> {
        match self {
            Self::Postgres(source) => source.snapshot(plan).await.map(AnySnapshot::Postgres),
            Self::Mysql(source) => source.snapshot(plan).await.map(AnySnapshot::Mysql),
            Self::SqlServer(source) => source.snapshot(plan).await.map(AnySnapshot::SqlServer),
        }
    }

    fn covers(&self, position: &Position, fence: &Position) -> Result<bool, SourceError> {
        match self {
            Self::Postgres(source) => source.covers(position, fence),
            Self::Mysql(source) => source.covers(position, fence),
            Self::SqlServer(source) => source.covers(position, fence),
        }
    }

    async fn retention(&self, position: &Position) -> Result<Retention, SourceError> {
        match self {
            Self::Postgres(source) => source.retention(position).await,
            Self::Mysql(source) => source.retention(position).await,
            Self::SqlServer(source) => source.retention(position).await,
        }
    }
}

impl ChangeStream for AnyStream {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        match self {
            Self::Postgres(stream) => stream.next().await,
            Self::Mysql(stream) => stream.next().await,
            Self::SqlServer(stream) => stream.next().await,
        }
    }

    fn acknowledge(&mut self, position: &Position) -> Result<(), SourceError> {
        match self {
            Self::Postgres(stream) => stream.acknowledge(position),
            Self::Mysql(stream) => stream.acknowledge(position),
            Self::SqlServer(stream) => stream.acknowledge(position),
        }
    }
}

impl Snapshot for AnySnapshot {
    async fn next_page(&mut self) -> Result<Option<Page>, SourceError> {
        match self {
            Self::Postgres(snapshot) => snapshot.next_page().await,
            Self::Mysql(snapshot) => snapshot.next_page().await,
            Self::SqlServer(snapshot) => snapshot.next_page().await,
        }
    }
}

/// The same beginning with its copy as `any` wraps it.
fn begun<S>(begun: Begun<S>, any: impl FnOnce(S) -> AnySnapshot) -> Begun<AnySnapshot> {
    let Begun { checkpoint, snapshot, adopted, rows_estimate } = begun;
    Begun { checkpoint, snapshot: snapshot.map(any), adopted, rows_estimate }
}
