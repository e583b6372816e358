//! The connector as the product sees it.

use change::{
    Beginning, Begun, Checkpoint, Inspection, Position, Retention, Scope, SnapshotPlan, Source, SourceError,
    SourceErrorKind, Statement,
};

use crate::config::SqlServerConfig;
use crate::lsn::Lsn;
use crate::snapshot::SqlServerSnapshot;
use crate::stream::SqlServerStream;
use crate::{check, retention, setup};

/// One table of a SQL Server database, version 2016 or newer, or of an Azure SQL database.
#[derive(Debug)]
pub struct SqlServerSource {
    config: SqlServerConfig,
    scope: Scope,
}

impl SqlServerSource {
    /// Makes the connector; nothing is connected yet.
    #[must_use]
    pub fn new(config: SqlServerConfig, scope: Scope) -> Self {
        Self { config, scope }
    }
}

fn absent() -> SourceError {
    SourceError::new(SourceErrorKind::Configuration, "this build reads no changes yet")
}

impl Source for SqlServerSource {
    type Stream = SqlServerStream;
    type Snapshot = SqlServerSnapshot;

    async fn check(&self, sample_rows: u32) -> Inspection {
        check::inspect(&self.config, &self.scope, sample_rows).await
    }

    async fn setup(&self) -> Result<Vec<Statement>, SourceError> {
        setup::statements(&self.config, &self.scope).await
    }

    async fn apply(&self, statements: &[Statement]) -> Result<(), SourceError> {
        setup::apply(&self.config, statements).await
    }

    async fn begin(&self, _beginning: &Beginning) -> Result<Begun<SqlServerSnapshot>, SourceError> {
        Err(absent())
    }

    async fn stream(&self, _checkpoint: &Checkpoint) -> Result<SqlServerStream, SourceError> {
        Err(absent())
    }

    async fn snapshot(&self, _plan: &SnapshotPlan) -> Result<SqlServerSnapshot, SourceError> {
        Err(absent())
    }

    fn covers(&self, position: &Position, fence: &Position) -> Result<bool, SourceError> {
        Ok(Lsn::of(position)? >= Lsn::of(fence)?)
    }

    async fn retention(&self, position: &Position) -> Result<Retention, SourceError> {
        retention::retention(&self.config, Lsn::of(position)?).await
    }
}
