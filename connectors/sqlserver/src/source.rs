//! The connector as the product sees it.

use change::{
    Beginning, Begun, Checkpoint, Inspection, Position, Removal, Retention, Scope, SnapshotPlan, Source,
    SourceError, SourceErrorKind, Statement,
};

use crate::catalog::{self, Table};
use crate::client::Client;
use crate::config::{Mode, SqlServerConfig};
use crate::identity::{Identity, captured_end};
use crate::instance;
use crate::lsn::Lsn;
use crate::poll::{self, ScanTime};
use crate::snapshot::{self, SqlServerSnapshot, exact};
use crate::stream::{self, SqlServerStream};
use crate::{check, removal, retention, setup};

/// Tables of a SQL Server database, version 2016 or newer, or of an Azure SQL database.
#[derive(Debug)]
pub struct SqlServerSource {
    config: SqlServerConfig,
    scope: Scope,
}

impl SqlServerSource {
    /// Makes the connector; nothing is connected yet.
    #[must_use]
    pub fn new(config: SqlServerConfig, scope: impl Into<Scope>) -> Self {
        Self { config, scope: scope.into() }
    }
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

    async fn removal(&self) -> Result<Removal, SourceError> {
        removal::removal(&self.config, &self.scope).await
    }

    async fn begin(&self, beginning: &Beginning) -> Result<Begun<SqlServerSnapshot>, SourceError> {
        self.config.validate()?;
        match self.config.mode {
            Mode::Capture => begin(&self.config, &self.scope, beginning).await,
            Mode::Poll { .. } => poll::begin(&self.config, &self.scope, beginning).await,
        }
    }

    async fn stream(&self, checkpoint: &Checkpoint) -> Result<SqlServerStream, SourceError> {
        self.config.validate()?;
        match self.config.mode {
            Mode::Capture => stream::open(&self.config, &self.scope, checkpoint).await,
            Mode::Poll { .. } => poll::open(&self.config, &self.scope, checkpoint).await,
        }
    }

    async fn snapshot(&self, plan: &SnapshotPlan) -> Result<SqlServerSnapshot, SourceError> {
        self.config.validate()?;
        if let Mode::Poll { .. } = self.config.mode {
            poll::only_table(&self.scope)?;
        }
        snapshot::open(&self.config, &self.scope, plan).await
    }

    fn covers(&self, position: &Position, fence: &Position) -> Result<bool, SourceError> {
        match self.config.mode {
            Mode::Capture => Ok(Lsn::of(position)? >= Lsn::of(fence)?),
            Mode::Poll { .. } => Ok(ScanTime::of(position)? >= ScanTime::of(fence)?),
        }
    }

    async fn retention(&self, position: &Position) -> Result<Retention, SourceError> {
        retention::retention(&self.config, &self.scope, Lsn::of(position)?).await
    }
}

/// The change tables are cleaned up by time, whoever reads them: there is nothing to reserve, and nothing to adopt.
///
/// With an exact copy the beginning is the log's own end at its moment, which the capture may not have reached yet. Else it
/// is the end of what was *captured*: what is committed and not captured yet comes by the stream, and the fences of the
/// copy see to it that it is taken from there.
async fn begin(
    config: &SqlServerConfig,
    scope: &Scope,
    beginning: &Beginning,
) -> Result<Begun<SqlServerSnapshot>, SourceError> {
    let mut client = Client::open(config).await?;
    let tables = catalog::tables(&mut client, scope).await?;
    for table in &tables {
        table.mapped_kinds()?;
    }
    let identity = Identity::ask(&mut client).await?;
    // Asked in this order: without a capture instance that the end is not known is no wonder.
    for table in &tables {
        if instance::list(&mut client, table).await?.is_empty() {
            return Err(instance::not_captured(table));
        }
    }
    let Some(end) = captured_end(&mut client).await? else {
        let context = "the capture job has not run yet: the captured log has no end to begin at";
        return Err(SourceError::new(SourceErrorKind::Busy, context).with_hint(
            "start SQL Server Agent, and look at the capture job's history: `bitacora check` tells more",
        ));
    };
    let mut snapshot = None;
    let at = match beginning {
        Beginning::At(position) => Lsn::of(position)?,
        Beginning::Present | Beginning::Anew if identity.snapshots => {
            match exact::open(&mut client, config, scope, &tables).await? {
                Some((at, copy)) => {
                    snapshot = Some(copy);
                    at
                }
                None => end,
            }
        }
        Beginning::Present | Beginning::Anew => end,
    };
    if at > end && snapshot.is_none() {
        let context = format!("position {at} lies after the captured log's end, which is {end}");
        return Err(SourceError::new(SourceErrorKind::Configuration, context)
            .with_hint("SELECT sys.fn_cdc_get_max_lsn() shows the largest that can be named"));
    }
    let chosen = expect_instances(&mut client, config, (scope, &tables), at).await;
    if let (Beginning::At(_), Err(error)) = (beginning, &chosen)
        && error.kind() == SourceErrorKind::LostLog
    {
        // Nothing was read from there yet, so that nothing is lost: the position was chosen badly.
        return Err(SourceError::new(SourceErrorKind::Configuration, error.to_string())
            .with_hint("start without a position: the connector then begins at the present"));
    }
    chosen?;
    let checkpoint = Checkpoint { position: at.to_position(), server: identity.server() };
    let rows_estimate = catalog::rows_estimate(&mut client, &tables).await?;
    Ok(Begun { checkpoint, snapshot, adopted: None, rows_estimate })
}

/// Checks that each table has an instance with all that follows `at`.
async fn expect_instances(
    client: &mut Client,
    config: &SqlServerConfig,
    (scope, tables): (&Scope, &[Table]),
    at: Lsn,
) -> Result<(), SourceError> {
    for (scope, table) in scope.tables.iter().zip(tables) {
        instance::choose(client, config, (table, scope), at).await?;
    }
    Ok(())
}
