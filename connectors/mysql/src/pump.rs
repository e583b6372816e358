//! The thread that reads the log and hands batches over.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use change::{Batch, SourceError, SourceErrorKind};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::binlog::DecodeError;
use crate::binlog::event::{CHECKSUM_BYTES, Checksum, HEADER_BYTES, Header, kind};
use crate::dump::HEARTBEAT;
use crate::fault::Refusal;
use crate::position::Place;
use crate::reader::{Outlet, Reader};
use crate::wire::fields::Fields;
use crate::wire::{Connection, Filled, LongPacket};

/// Bytes that come within this time, or so many at once, mean that more is on its way.
const FLOOD_WITHIN: Duration = Duration::from_millis(2);
const FLOOD_BYTES: usize = 16 * 1024;
/// How long a read waits during a flood until the flood is over.
const FLOOD_READ: Duration = Duration::from_millis(1);
/// Committed changes wait no longer than this for company.
const COMPANY: Duration = Duration::from_millis(20);
/// How often a position without changes is handed over at most: on a busy server that changes other tables only, each
/// would cost the ledger a commit.
const POSITION_EVERY: Duration = Duration::from_millis(200);
/// A read that waits is interrupted this often, to see whether the stream is still wanted.
const LOOK_UP_EVERY: Duration = Duration::from_secs(1);
/// After this long without a heartbeat the server, or the way to it, is dead.
const DEAD_AFTER: Duration = Duration::from_secs(6 * HEARTBEAT.as_secs());
/// Compressed transactions that are longer are inflated as they come, not gathered first.
const STREAMED_BYTES_MIN: usize = 1 << 20;

/// Why the thread ends.
pub(crate) enum End {
    /// The stream is not wanted any more.
    Stopped,
    /// It cannot go on.
    Failed(SourceError),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        Self::Failed(error.into())
    }
}

/// The way to the product.
struct Handover {
    batches: mpsc::Sender<Result<Batch, SourceError>>,
    stopped: Arc<AtomicBool>,
    batch_at: Option<Instant>,
    /// Whether the last batch said that the log's end had been reached.
    told_caught_up: bool,
}

impl Handover {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn send(&mut self, message: Result<Batch, SourceError>) -> Result<(), End> {
        let mut message = message;
        loop {
            match self.batches.try_send(message) {
                Ok(()) => {
                    self.batch_at = Some(Instant::now());
                    return Ok(());
                }
                Err(TrySendError::Closed(_)) => return Err(End::Stopped),
                Err(TrySendError::Full(back)) => message = back,
            }
            if self.is_stopped() {
                return Err(End::Stopped);
            }
            // The receiver unparks us when it has taken a batch.
            thread::park_timeout(LOOK_UP_EVERY);
        }
    }
}

impl Outlet for Handover {
    fn deliver(&mut self, batch: Batch) -> Result<(), End> {
        self.told_caught_up = batch.caught_up;
        self.send(Ok(batch))
    }
}

/// What is fixed when the stream begins.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Where the log ended when the stream began: before that it has not caught up.
    pub(crate) log_end: Place,
    /// The number under which the log is read.
    pub(crate) server_id: u32,
    /// Whether reading begins before the position, at a prepared transaction that the position must go on naming.
    pub(crate) starts_back: bool,
}

/// A log that is being read.
pub(crate) struct Pump {
    connection: Connection,
    reader: Reader,
    handover: Handover,
    terms: Terms,
    heard_at: Instant,
    waiting_since: Option<Instant>,
    flooding: bool,
    read_timeout: Option<Duration>,
}

impl Pump {
    /// Takes over a connection on which the log has been asked for.
    pub(crate) fn new(
        connection: Connection,
        reader: Reader,
        batches: mpsc::Sender<Result<Batch, SourceError>>,
        stopped: Arc<AtomicBool>,
        terms: Terms,
    ) -> Self {
        Self {
            connection,
            reader,
            handover: Handover { batches, stopped, batch_at: None, told_caught_up: false },
            terms,
            heard_at: Instant::now(),
            waiting_since: None,
            flooding: false,
            read_timeout: None,
        }
    }

    /// Reads until the stream is not wanted any more or cannot go on; the reason goes the way of the batches.
    pub(crate) fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        if let End::Failed(error) = end {
            // Whoever does not take it is not interested any more.
            drop(self.handover.send(Err(error)));
        }
    }

    /// Takes in what has been read, hands over what is due, and reads on.
    fn turn(&mut self) -> Result<(), End> {
        self.take_in()?;
        if self.handover.is_stopped() {
            return Err(End::Stopped);
        }
        if self.waiting_since.is_none() && self.reader.assembly.has_committed() {
            self.waiting_since = Some(Instant::now());
        }
        if self.flooding {
            if self.waiting_since.is_some_and(|since| since.elapsed() >= COMPANY) {
                self.hand_over(false)?;
            }
            self.wait_at_most(FLOOD_READ)?;
        } else {
            self.hand_over(self.reader.has_reached(&self.terms.log_end))?;
            self.wait_at_most(self.idle_wait())?;
        }
        let asked_at = Instant::now();
        match self.connection.fill()? {
            Filled::Bytes(count) => {
                self.heard_at = Instant::now();
                self.flooding = count >= FLOOD_BYTES || self.heard_at - asked_at < FLOOD_WITHIN;
            }
            Filled::Nothing => {
                self.flooding = false;
                if self.heard_at.elapsed() >= DEAD_AFTER {
                    let what = format!("the server has been silent for {} s", DEAD_AFTER.as_secs());
                    return Err(ended(&what).into());
                }
            }
            Filled::Closed if self.handover.is_stopped() => return Err(End::Stopped),
            Filled::Closed => return Err(ended("the server closed the connection").into()),
        }
        Ok(())
    }

    fn take_in(&mut self) -> Result<(), End> {
        loop {
            if let Some((length, bytes)) = self.connection.peek()
                && length >= STREAMED_BYTES_MIN
                && bytes.len() < length
            {
                match bytes.get(5) {
                    Some(event) if *event == kind::TRANSACTION_PAYLOAD && bytes.first() == Some(&0) => {
                        self.take_in_long()?;
                        continue;
                    }
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
            let Some(packet) = self.connection.take()? else { return Ok(()) };
            match packet.body.split_first() {
                Some((0, event)) => self.reader.event(event, &mut self.handover)?,
                Some((0xff, refusal)) => {
                    let context =
                        format!("read the log as the replica with server_id {}", self.terms.server_id);
                    return Err(Refusal::read(refusal).into_error(&context).into());
                }
                Some((0xfe, _)) => return Err(ended("the server ended the log").into()),
                _ => return Err(DecodeError::Truncated.into()),
            }
        }
    }

    /// Takes in a compressed transaction while it comes.
    fn take_in_long(&mut self) -> Result<(), End> {
        self.wait_at_most(DEAD_AFTER)?;
        let checksum = self.reader.checksum();
        let mut packet = LongPacket::new(&mut self.connection);
        let mut head = [0; 1 + HEADER_BYTES];
        packet.read_exact(&mut head).map_err(|error| torn(&error))?;
        let (_, head) = head.split_first_chunk::<1>().ok_or(DecodeError::Truncated)?;
        let header = Header::read(&mut Fields(head))?;
        let protection = if checksum == Checksum::Crc32 { CHECKSUM_BYTES } else { 0 };
        let body = u64::from(header.size).saturating_sub((HEADER_BYTES + protection) as u64);
        let mut summed = Summed { inner: packet.by_ref().take(body), hasher: crc32fast::Hasher::new() };
        summed.hasher.update(head);
        self.reader.long_payload(&header, &mut summed, &mut self.handover)?;
        // What the decoder left unread belongs to the checksum too.
        io::copy(&mut summed, &mut io::sink()).map_err(|error| torn(&error))?;
        let actual = summed.hasher.finalize();
        if checksum == Checksum::Crc32 {
            let mut stored = [0; CHECKSUM_BYTES];
            packet.read_exact(&mut stored).map_err(|error| torn(&error))?;
            if u32::from_le_bytes(stored) != actual {
                return Err(DecodeError::Checksum(header.kind).into());
            }
        }
        let left = packet.skip_rest().map_err(|error| torn(&error))?;
        self.heard_at = Instant::now();
        if left > 0 { Err(DecodeError::Truncated.into()) } else { Ok(()) }
    }

    /// Hands over what is committed; a position alone only now and then.
    fn hand_over(&mut self, caught_up: bool) -> Result<(), End> {
        if caught_up && !self.handover.told_caught_up && !self.terms.starts_back {
            // The last batch of a flood cannot know that it is the last, and on an idle log nothing follows it.
            self.reader.assembly.note_moved();
        }
        let due = self.position_left().is_some_and(|left| left.is_zero());
        if !self.reader.assembly.has_committed() && !due {
            return Ok(());
        }
        self.waiting_since = None;
        let position = self.reader.position();
        match self.reader.assembly.take_committed(|| position.to_position(), caught_up) {
            Some(batch) => self.handover.deliver(batch),
            None => Ok(()),
        }
    }

    /// How long a position that has moved must still wait; `None` when it has not moved.
    fn position_left(&self) -> Option<Duration> {
        self.reader.assembly.has_moved().then(|| match self.handover.batch_at {
            Some(at) => POSITION_EVERY.saturating_sub(at.elapsed()),
            None => Duration::ZERO,
        })
    }

    /// How long a read may wait when the log is idle: until something else is due.
    fn idle_wait(&self) -> Duration {
        self.position_left().map_or(LOOK_UP_EVERY, |left| left.min(LOOK_UP_EVERY)).max(FLOOD_READ)
    }

    fn wait_at_most(&mut self, timeout: Duration) -> Result<(), End> {
        if self.read_timeout != Some(timeout) {
            self.connection.set_read_timeout(Some(timeout))?;
            self.read_timeout = Some(timeout);
        }
        Ok(())
    }
}

/// Counts the checksum of what passes.
struct Summed<R> {
    inner: R,
    hasher: crc32fast::Hasher,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(room)?;
        self.hasher.update(room.get(..count).unwrap_or_default());
        Ok(count)
    }
}

fn torn(error: &io::Error) -> SourceError {
    ended(&format!("the connection broke off within an event ({error})"))
}

fn ended(what: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, format!("reading the log ended: {what}"))
}
