//! The task that reads the change table and hands batches over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use change::{Batch, Incident, SourceError, SourceErrorKind, TableScope};
use tokio::sync::mpsc;

use super::assembly::Assembly;
use super::liveness::Liveness;
use super::pages::{Pages, read};
use super::window::{Window, altered, dropped, ends_before, expect_kept};
use crate::catalog::{self, Table};
use crate::client::{Client, Param};
use crate::clock::Clock;
use crate::config::SqlServerConfig;
use crate::identity::captured_end;
use crate::instance::{self, Layout, by_preference};
use crate::lsn::Lsn;

/// Bytes of changes in a batch.
const BATCH_BYTES: usize = 1 << 20;
/// Changes in a batch.
const BATCH_CHANGES: usize = 8192;
/// On an idle log a batch says this often that the server answered.
const HEARD_EVERY: Duration = Duration::from_secs(15);

/// How often the capture may be in the way before that is told: each time for as long as locks are waited for.
const DELAYS_MAX: u32 = 60;

/// Why the task ends.
pub(super) enum End {
    /// Nobody wants the stream any more.
    Unwanted,
    /// It cannot go on.
    Failed(SourceError),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// What the task works with.
pub(super) struct Reader {
    pub(super) config: Arc<SqlServerConfig>,
    pub(super) scope: TableScope,
    pub(super) client: Client,
    pub(super) table: Table,
    pub(super) layout: Layout,
    /// Instances that lack mapped columns, by the numbers of their change tables.
    pub(super) unfit: Vec<i64>,
    pub(super) clock: Clock,
    /// Everything up to here has been handed over.
    pub(super) from: Lsn,
    pub(super) batches: mpsc::Sender<Result<Batch, SourceError>>,
    pub(super) assembly: Assembly,
    pub(super) liveness: Liveness,
}

impl Reader {
    /// Reads until nobody wants it or it fails, and says why.
    pub(super) async fn run(mut self) {
        let Err(End::Failed(error)) = self.read_on().await else { return };
        if self.batches.send(Err(error)).await.is_err() {
            tracing::debug!("the stream was not wanted any more when it failed");
        }
    }

    async fn read_on(&mut self) -> Result<Infallible, End> {
        self.assembly.read_from(&self.layout.large);
        let mut heard_at: Option<Instant> = None;
        let mut delays = 0;
        loop {
            match self.next_window().await {
                Ok(Some(window)) => {
                    self.read_window(&window).await?;
                    heard_at = Some(Instant::now());
                    delays = 0;
                    if window.full {
                        continue;
                    }
                }
                Ok(None) => {
                    self.nothing_new(&mut heard_at).await?;
                    delays = 0;
                }
                Err(error) if self.may_wait_after(&error) && delays < DELAYS_MAX => {
                    tracing::debug!("the capture is in the way: {error}");
                    delays += 1;
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = self.batches.closed() => return Err(End::Unwanted),
                () = tokio::time::sleep(self.config.poll_interval) => {}
            }
        }
    }

    /// Where versions of rows may not be read, the capture job's own transaction locks what it writes, for minutes where the
    /// application's was huge. Nothing was handed over yet, so that it can simply be asked again.
    fn may_wait_after(&self, error: &SourceError) -> bool {
        error.kind() == SourceErrorKind::Busy && !self.client.is_spent()
    }

    async fn next_window(&mut self) -> Result<Option<Window>, SourceError> {
        self.choose_instance().await?;
        Window::after(&mut self.client, &self.clock, self.from).await
    }

    async fn send(&self, batch: Batch) -> Result<(), End> {
        self.batches.send(Ok(batch)).await.map_err(|_| End::Unwanted)
    }

    /// Stays with the instance that is being read while no better one covers what comes next; this is also the first of the
    /// two looks at the low end.
    async fn choose_instance(&mut self) -> Result<(), SourceError> {
        let instances = instance::list(&mut self.client, &self.table).await?;
        let best = by_preference(&instances, &self.config)
            .into_iter()
            .find(|one| one.covers(self.from) && !self.unfit.contains(&one.object_id));
        if best.is_some_and(|best| best.object_id == self.layout.instance.object_id) {
            return Ok(());
        }
        let (table, scope) = (&self.table, &self.scope);
        let layout = instance::choose(&mut self.client, &self.config, (table, scope), self.from).await?;
        if layout.instance.object_id == self.layout.instance.object_id {
            // The better one lacks columns, and it always will.
            self.unfit.extend(best.map(|best| best.object_id));
            return Ok(());
        }
        tracing::info!(
            from = self.layout.instance.name,
            to = layout.instance.name,
            position = %self.from,
            "the stream goes on with another capture instance"
        );
        self.assembly.read_from(&layout.large);
        self.layout = layout;
        Ok(())
    }

    /// Reads a window. Its position is told only after the second look at the low end: until then its changes are open.
    async fn read_window(&mut self, window: &Window) -> Result<(), End> {
        if altered(&mut self.client, self.table.object_id, (self.from, window.to)).await? {
            self.look_at_table_again().await?;
        }
        let mut pages = Pages::new(self.from, window.to);
        while let Some((sql, params)) = pages.next(&self.layout) {
            match self.read_page(&mut pages, (&sql, &params), window).await {
                // A change table that is not as it was: was it altered, or is it gone?
                Err(End::Failed(error)) if error.kind() == SourceErrorKind::Schema => {
                    let left = instance::list(&mut self.client, &self.table).await?;
                    let here = left.iter().any(|one| one.object_id == self.layout.instance.object_id);
                    let gone = dropped(&self.layout.instance);
                    return Err(if here { error.into() } else { gone.caused_by(error).into() });
                }
                turned => turned?,
            }
        }
        self.assembly.end_transaction();
        expect_kept(&mut self.client, &self.layout.instance, self.from).await?;
        let mut last = self.assembly.take(Some(window.to.to_position()), !window.full);
        last.incidents.extend(self.liveness.moved());
        self.send(last).await?;
        self.from = window.to;
        Ok(())
    }

    async fn read_page(
        &mut self,
        pages: &mut Pages,
        (sql, params): (&str, &[Param]),
        window: &Window,
    ) -> Result<(), End> {
        let mut rows = self.client.read("read the change table", sql, params).await?;
        let (mut count, mut last) = (0_u32, None);
        while let Some(row) = rows.next().await? {
            let (place, captured) = read(&row, &self.layout)?;
            (count, last) = (count + 1, Some(place));
            self.assembly.push(captured, |lsn| window.committed_at(lsn));
            if self.assembly.bytes() >= BATCH_BYTES || self.assembly.ready() >= BATCH_CHANGES {
                let batch = self.assembly.take(None, false);
                self.batches.send(Ok(batch)).await.map_err(|_| End::Unwanted)?;
            }
        }
        pages.turned(count, last);
        Ok(())
    }

    /// After a change of definitions: a mapped column that went away would read as NULL from here on.
    async fn look_at_table_again(&mut self) -> Result<(), End> {
        self.table = catalog::table(&mut self.client, &self.scope).await?;
        self.table.mapped_kinds()?;
        let (table, scope) = (&self.table, &self.scope);
        self.layout = instance::choose(&mut self.client, &self.config, (table, scope), self.from).await?;
        self.assembly.read_from(&self.layout.large);
        Ok(())
    }

    /// The log's end is reached, or the log ends before our position.
    async fn nothing_new(&mut self, heard_at: &mut Option<Instant>) -> Result<(), End> {
        let end = captured_end(&mut self.client).await?;
        let mut behind = end.is_none_or(|end| end < self.from);
        if behind && super::is_ahead(&mut self.client, self.from).await? {
            behind = false;
        }
        // Another replica may be behind the one that was read before.
        if behind && !self.config.read_only {
            return Err(ends_before(end, self.from).into());
        }
        let incident = self.liveness.still(&mut self.client, &self.config).await?;
        if incident.is_none() && heard_at.is_some_and(|at| at.elapsed() < HEARD_EVERY) {
            return Ok(());
        }
        *heard_at = Some(Instant::now());
        let incidents: Vec<Incident> = incident.into_iter().collect();
        let position = Some(self.from.to_position());
        self.send(Batch { changes: Vec::new(), incidents, position, caught_up: !behind }).await
    }
}
