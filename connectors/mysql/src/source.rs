//! The connector as the product sees it.

use std::sync::Arc;

use change::{
    Beginning, Begun, Checkpoint, Inspection, Position, Removal, Retention, Scope, SnapshotPlan, Source,
    SourceError, SourceErrorKind, Statement,
};

use crate::config::MysqlConfig;
use crate::identity::Identity;
use crate::position::LogPosition;
use crate::retention::{self, ClosedFiles};
use crate::snapshot::{self, MysqlSnapshot};
use crate::stream::{self, MysqlStream};
use crate::wire::Connection;
use crate::{catalog, check, removal, setup};

/// One table of a MySQL database, version 8.0 or newer, or of a MariaDB database, version 10.6 or newer.
#[derive(Debug)]
pub struct MysqlSource {
    config: MysqlConfig,
    scope: Scope,
    closed_files: Arc<ClosedFiles>,
}

impl MysqlSource {
    /// Makes the connector; nothing is connected yet.
    #[must_use]
    pub fn new(config: MysqlConfig, scope: Scope) -> Self {
        Self { config, scope, closed_files: Arc::default() }
    }

    /// Runs what blocks on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MysqlConfig, &Scope) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (config, scope) = (self.config.clone(), self.scope.clone());
        tokio::task::spawn_blocking(move || work(&config, &scope)).await.unwrap_or_else(|error| {
            Err(SourceError::new(SourceErrorKind::Unreachable, "the work on the database was cut short")
                .caused_by(error))
        })
    }
}

impl Source for MysqlSource {
    type Stream = MysqlStream;
    type Snapshot = MysqlSnapshot;

    async fn check(&self, sample_rows: u32) -> Inspection {
        let inspected =
            self.blocking(move |config, scope| Ok(check::inspect(config, scope, sample_rows))).await;
        inspected.unwrap_or_default()
    }

    async fn setup(&self) -> Result<Vec<Statement>, SourceError> {
        self.blocking(setup::statements).await
    }

    async fn apply(&self, statements: &[Statement]) -> Result<(), SourceError> {
        let statements = statements.to_vec();
        self.blocking(move |config, _| setup::apply(config, &statements)).await
    }

    async fn removal(&self) -> Result<Removal, SourceError> {
        self.blocking(|config, _| removal::removal(config)).await
    }

    async fn begin(&self, beginning: &Beginning) -> Result<Begun<MysqlSnapshot>, SourceError> {
        let beginning = beginning.clone();
        self.blocking(move |config, scope| begin(config, scope, &beginning)).await
    }

    async fn stream(&self, checkpoint: &Checkpoint) -> Result<MysqlStream, SourceError> {
        let checkpoint = checkpoint.clone();
        self.blocking(move |config, scope| stream::open(config, scope, &checkpoint)).await
    }

    async fn snapshot(&self, plan: &SnapshotPlan) -> Result<MysqlSnapshot, SourceError> {
        let plan = plan.clone();
        self.blocking(move |config, scope| snapshot::open(config, scope, &plan)).await
    }

    fn covers(&self, position: &Position, fence: &Position) -> Result<bool, SourceError> {
        LogPosition::of(position)?.covers(&LogPosition::of(fence)?)
    }

    async fn retention(&self, position: &Position) -> Result<Retention, SourceError> {
        let Some(place) = LogPosition::of(position)?.place else { return Ok(Retention::default()) };
        let closed_files = Arc::clone(&self.closed_files);
        self.blocking(move |config, _| {
            retention::retention(config, &closed_files, (&*place.file, place.offset))
        })
        .await
    }
}

/// The server keeps its log by itself: there is nothing to reserve, and nothing to adopt.
fn begin(
    config: &MysqlConfig,
    scope: &Scope,
    beginning: &Beginning,
) -> Result<Begun<MysqlSnapshot>, SourceError> {
    if let Beginning::At(position) = beginning {
        let named = LogPosition::of(position)?;
        let mut connection = Connection::open(config)?;
        let table = catalog::table(&mut connection, config, scope)?;
        let identity = Identity::ask(&mut connection)?;
        let checkpoint = Checkpoint { position: named.to_position(), server: identity.server() };
        identity.expect_holds(&mut connection, &checkpoint, &named)?;
        connection.terminate();
        return Ok(Begun { checkpoint, snapshot: None, adopted: None, rows_estimate: table.rows_estimate });
    }
    let mut connection = Connection::open(config)?;
    let server = Identity::ask(&mut connection)?.server();
    connection.terminate();
    let start = snapshot::start(config, scope)?;
    let text = match &start.gtids {
        Some(gtids) => format!("{}:{} {gtids}", start.file, start.offset),
        None => format!("{}:{}", start.file, start.offset),
    };
    let position = LogPosition::of(&Position::new(text))?.to_position();
    let checkpoint = Checkpoint { position, server };
    Ok(Begun { checkpoint, snapshot: start.snapshot, adopted: None, rows_estimate: start.rows_estimate })
}
