//! The task that reads the change tables and hands batches over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use change::{Batch, Incident, SourceError, SourceErrorKind};

use super::End;
use super::followed::Followed;
use super::liveness::Liveness;
use super::merge::{Handover, Merge};
use super::window::{Window, ends_before, expect_kept};
use crate::client::Client;
use crate::clock::Clock;
use crate::config::SqlServerConfig;
use crate::identity::captured_end;
use crate::lsn::Lsn;

/// On an idle log a batch says this often that the server answered.
const HEARD_EVERY: Duration = Duration::from_secs(15);

/// How often the capture may be in the way before that is told: each time for as long as locks are waited for.
const DELAYS_MAX: u32 = 60;

/// What the task works with.
pub(super) struct Reader {
    pub(super) config: Arc<SqlServerConfig>,
    pub(super) client: Client,
    /// The tables, by their numbers.
    pub(super) followed: Vec<Followed>,
    pub(super) clock: Clock,
    /// Everything up to here has been handed over.
    pub(super) from: Lsn,
    pub(super) handover: Handover,
    pub(super) liveness: Liveness,
}

impl Reader {
    /// Reads until nobody wants it or it fails, and says why.
    pub(super) async fn run(mut self) {
        let Err(End::Failed(error)) = self.read_on().await else { return };
        if self.handover.batches.send(Err(error)).await.is_err() {
            tracing::debug!("the stream was not wanted any more when it failed");
        }
    }

    async fn read_on(&mut self) -> Result<Infallible, End> {
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
                () = self.handover.batches.closed() => return Err(End::Unwanted),
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
        for followed in &mut self.followed {
            followed.choose_instance(&mut self.client, &self.config, self.from).await?;
        }
        Window::after(&mut self.client, &self.clock, self.from).await
    }

    /// Reads a window. Its position is told only after the second look at the low ends: until then its changes are open.
    async fn read_window(&mut self, window: &Window) -> Result<(), End> {
        for followed in &mut self.followed {
            followed.look_again(&mut self.client, &self.config, (self.from, window.to)).await?;
        }
        let (client, handover) = (&mut self.client, &mut self.handover);
        Merge::new(client, handover, &self.followed, (self.from, window)).run().await?;
        self.handover.assembly.end_transaction();
        for followed in &self.followed {
            expect_kept(&mut self.client, &followed.layout.instance, self.from).await?;
        }
        let mut last = self.handover.assembly.take(Some(window.to.to_position()), !window.full);
        last.incidents.extend(self.liveness.moved());
        self.handover.send(last).await?;
        self.from = window.to;
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
        self.handover.send(Batch { changes: Vec::new(), incidents, position, caught_up: !behind }).await
    }
}
