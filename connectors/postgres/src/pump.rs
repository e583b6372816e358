//! The thread that reads the log, answers the server and hands batches over.
//!
//! It must never wait for the product without telling the server that it lives: the server gives up on a
//! reader that is silent for `wal_sender_timeout`
//! (<https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-WAL-SENDER-TIMEOUT>).

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use change::{Batch, SourceError};

use crate::assembly::Assembly;
use crate::outlet::{End, Outlet};
use crate::position::Lsn;
use crate::walsender::{ended, take_in};
use crate::wire::{Connection, Filled, StatusUpdate};

/// Bytes that come within this time, or so many at once, mean that more is on its way.
const FLOOD_WITHIN: Duration = Duration::from_millis(2);
const FLOOD_BYTES: usize = 16 * 1024;
/// A read of fewer bytes during a flood means that what had gathered is read. The first after a pause may be small
/// because the window was full: it is followed by another in any case.
const GATHERED_BYTES: usize = 4 * 1024;
/// How long a read waits during a flood until the flood is over.
const FLOOD_READ: Duration = Duration::from_millis(1);
/// Committed changes wait no longer than this for company.
const COMPANY: Duration = Duration::from_millis(20);
/// How often the server hears from us, whatever happens.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How soon an acknowledgement is passed on while the log is idle.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(100);
/// How often a position without changes is handed over at most: on a busy server that changes other tables only, each
/// would cost the ledger a commit.
const POSITION_EVERY: Duration = Duration::from_millis(200);
/// The server counts microseconds from 2000-01-01.
const SERVER_EPOCH: Duration = Duration::from_secs(946_684_800);

/// What is fixed when the stream begins.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The publication, for messages.
    pub(crate) publication: String,
    /// Where the server's log ended when the stream began: before that it has not caught up.
    pub(crate) log_end: Lsn,
    /// How long the server bears our silence; zero for ever.
    pub(crate) server_patience: Duration,
    /// How long data gathers between reads while the log floods in. The server sends every row by itself, and a reader
    /// that waited for the next would be woken for each, at the server's cost.
    pub(crate) gather: Duration,
}

/// A stream that has been started.
pub(crate) struct Pump {
    connection: Connection,
    assembly: Assembly,
    outlet: Outlet,
    terms: Terms,
    heard_at: Instant,
    status_at: Instant,
    durable_told: Lsn,
    batch_at: Option<Instant>,
    /// Whether the last batch said that the log's end had been reached.
    told_caught_up: bool,
    waiting_since: Option<Instant>,
    flooding: bool,
    reads_since_pause: u32,
    drained: bool,
    read_timeout: Option<Duration>,
}

impl Pump {
    /// Takes over a connection on which replication has been started.
    pub(crate) fn new(connection: Connection, assembly: Assembly, outlet: Outlet, terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            connection,
            assembly,
            outlet,
            terms,
            heard_at: now,
            // Long ago: the first report is due at once.
            status_at: now.checked_sub(STATUS_EVERY).unwrap_or(now),
            durable_told: Lsn::default(),
            batch_at: None,
            told_caught_up: false,
            waiting_since: None,
            flooding: false,
            reads_since_pause: 0,
            drained: false,
            read_timeout: None,
        }
    }

    /// Reads until the stream is not wanted any more or cannot go on; the reason goes the way of the batches.
    pub(crate) fn run(mut self) {
        if let End::Failed(error) = self.pump() {
            return self.outlet.fail(error);
        }
        // The last word: what was acknowledged need not be sent again.
        match self.report(false) {
            Ok(()) => self.connection.terminate(),
            Err(error) => tracing::debug!(error = %error, "last status could not be sent"),
        }
    }

    fn pump(&mut self) -> End {
        loop {
            if let Err(end) = self.turn() {
                return end;
            }
        }
    }

    /// Takes in what has been read, hands over what is due, reports, and reads on.
    fn turn(&mut self) -> Result<(), End> {
        self.take_in()?;
        if self.outlet.is_stopped() {
            return Err(End::Stopped);
        }
        if self.flooding {
            if self.waiting_since.is_some_and(|since| since.elapsed() >= COMPANY) {
                self.hand_over(false)?;
            }
            self.report_if_due(false)?;
            if self.drained && self.reads_since_pause > 1 {
                thread::sleep(self.terms.gather);
                self.reads_since_pause = 0;
            }
            self.wait_at_most(FLOOD_READ)?;
        } else {
            self.hand_over(self.assembly.reached() >= self.terms.log_end)?;
            self.report_if_due(true)?;
            self.wait_at_most(self.idle_wait())?;
        }
        let asked_at = Instant::now();
        match self.connection.fill()? {
            Filled::Bytes(count) => {
                self.heard_at = Instant::now();
                self.flooding = count >= FLOOD_BYTES || self.heard_at - asked_at < FLOOD_WITHIN;
                self.drained = count < GATHERED_BYTES;
                self.reads_since_pause += 1;
            }
            Filled::Nothing => {
                self.flooding = false;
                self.expect_alive()?;
            }
            Filled::Closed if self.outlet.is_stopped() => return Err(End::Stopped),
            Filled::Closed => return Err(ended("the server closed the connection").into()),
        }
        Ok(())
    }

    fn take_in(&mut self) -> Result<(), End> {
        let mut reply_asked = false;
        while let Some(raw) = self.connection.take()? {
            reply_asked |= take_in(&mut self.assembly, raw, &self.terms.publication)?;
            if self.assembly.is_full()
                && let Some(batch) = self.assembly.take_full()
            {
                self.waiting_since = None;
                self.deliver(batch)?;
            }
        }
        if self.waiting_since.is_none() && self.assembly.has_committed() {
            self.waiting_since = Some(Instant::now());
        }
        if reply_asked {
            self.report(false)?;
        }
        Ok(())
    }

    /// Hands over what is committed; a position alone only now and then.
    fn hand_over(&mut self, caught_up: bool) -> Result<(), End> {
        if caught_up && !self.told_caught_up {
            // The last batch of a flood cannot know that it is the last, and on an idle log nothing follows it soon.
            self.assembly.note_moved();
        }
        if !self.assembly.has_committed() && !self.position_left().is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        self.waiting_since = None;
        match self.assembly.take_committed(caught_up) {
            Some(batch) => self.deliver(batch),
            None => Ok(()),
        }
    }

    /// How long a position that has moved must still wait; `None` when it has not moved.
    fn position_left(&self) -> Option<Duration> {
        self.assembly.has_moved().then(|| match self.batch_at {
            Some(at) => POSITION_EVERY.saturating_sub(at.elapsed()),
            None => Duration::ZERO,
        })
    }

    /// Waits until there is room for the batch, and keeps the server content meanwhile.
    fn deliver(&mut self, batch: Batch) -> Result<(), End> {
        self.told_caught_up = batch.caught_up;
        let mut waiting = Some(batch);
        while let Some(batch) = waiting.take() {
            waiting = self.outlet.offer(batch)?;
            if waiting.is_some() {
                self.report_if_due(false)?;
                thread::park_timeout(self.status_left());
            }
        }
        self.batch_at = Some(Instant::now());
        Ok(())
    }

    /// How long a read may wait when the log is idle: until something else is due.
    fn idle_wait(&self) -> Duration {
        let unsent = self.outlet.acknowledged() < self.assembly.reached();
        let until_status = self.status_left();
        let until_status = if unsent { until_status.min(ACKNOWLEDGE_WITHIN) } else { until_status };
        let wait = self.position_left().map_or(until_status, |left| left.min(until_status));
        wait.max(FLOOD_READ)
    }

    fn wait_at_most(&mut self, timeout: Duration) -> Result<(), End> {
        if self.read_timeout != Some(timeout) {
            self.connection.set_read_timeout(Some(timeout))?;
            self.read_timeout = Some(timeout);
        }
        Ok(())
    }

    /// The interval between reports: a third of what the server bears.
    fn status_every(&self) -> Duration {
        match self.terms.server_patience {
            Duration::ZERO => STATUS_EVERY,
            patience => STATUS_EVERY.min(patience / 3),
        }
    }

    fn status_left(&self) -> Duration {
        self.status_every().saturating_sub(self.status_at.elapsed())
    }

    /// Reports in time, and sooner when the product has acknowledged more on an idle log. An idle server is
    /// asked to answer, which tells how far it has read its log and that it lives.
    fn report_if_due(&mut self, idle: bool) -> Result<(), End> {
        if self.status_left().is_zero() {
            self.report(idle)?;
        } else if idle
            && self.outlet.acknowledged() > self.durable_told
            && self.status_at.elapsed() >= ACKNOWLEDGE_WITHIN.min(self.status_every())
        {
            self.report(false)?;
        }
        Ok(())
    }

    /// Tells the server how far we are.
    ///
    /// What is durable is told only when that has moved. A server that is being shut down waits until its readers have
    /// confirmed everything as durable if they confirm at all, and else until they have received it: it must not wait
    /// for a product that stores nothing at the moment.
    fn report(&mut self, ask_for_reply: bool) -> Result<(), SourceError> {
        let acknowledged = self.outlet.acknowledged();
        let clock = SystemTime::now().duration_since(UNIX_EPOCH + SERVER_EPOCH).unwrap_or_default();
        let update = StatusUpdate {
            received: self.assembly.reached().max(acknowledged),
            durable: if acknowledged > self.durable_told { acknowledged } else { Lsn::default() },
            server_clock_micros: i64::try_from(clock.as_micros()).unwrap_or(i64::MAX),
            reply: ask_for_reply,
        };
        self.connection.send_copy_data(&update.to_bytes())?;
        self.status_at = Instant::now();
        self.durable_told = acknowledged;
        Ok(())
    }

    /// The server answers every second's question unless it is deep in a transaction of other tables; then it
    /// still speaks twice within its own patience. A dead host is found by the system's own means.
    fn expect_alive(&self) -> Result<(), SourceError> {
        let limit = match self.terms.server_patience {
            Duration::ZERO => Duration::from_secs(600),
            patience => patience.max(Duration::from_secs(60)),
        };
        if self.heard_at.elapsed() < limit {
            return Ok(());
        }
        Err(ended(&format!("the server has not answered for {} s", limit.as_secs())))
    }
}
