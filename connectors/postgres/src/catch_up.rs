//! A long backlog, read in pieces before streaming begins.
//!
//! The server's sender of the log spends most of its time on sending each row by itself. The function that decodes a
//! piece of the log inside the server and returns it as a table costs a fraction of that
//! (<https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION>), so it reads the backlog until
//! little is left.
//!
//! The function moves its slot as soon as it has decoded, long before anything is stored here. It therefore works on
//! temporary copies of our slot, which the server drops with their sessions. Our own slot keeps the log meanwhile, and
//! is moved to nothing but what the product has acknowledged.
//!
//! Two sessions take turns: the server decodes the next piece for one while the other's is being read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use change::{Batch, SourceError, SourceErrorKind};

use crate::assembly::Assembly;
use crate::config::PostgresConfig;
use crate::copy_binary::{self, Piece};
use crate::decode::{DecodeError, Fields};
use crate::name::quote_literal;
use crate::outlet::{End, Outlet};
use crate::piece_reader::{Extent, PieceReader};
use crate::position::Lsn;
use crate::walsender::notice;
use crate::wire::{Connection, refused};

/// Less than this is streamed: it would be read before the copy of the slot is made.
const BACKLOG_BYTES_MIN: u64 = 16 << 20;
/// What one piece holds. The server stores its messages in a temporary file before it sends the first. Two pieces are
/// under way at a time: while one is read, the server decodes the next, and more and smaller ones would be decoded
/// from further back (see [`AGAIN_BYTES_MAX`]).
const PIECE: Extent = Extent { bytes: 1 << 30, messages: 500_000 };
/// Every piece is decoded from the slot's restart point on, which transactions that stay open for long hold back.
/// Where more than this would be decoded again, streaming is cheaper.
const AGAIN_BYTES_MAX: u64 = 1 << 30;
/// Our own slot is moved each time that this much has been acknowledged, so that the server can remove log. It reads
/// the log once more for that.
const RELEASE_BYTES: u64 = 1 << 30;
/// How long the product may take nothing until a piece is given up. The server cannot clean its tables up while the
/// statement runs.
const TAKE_PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of catching up waits for the last acknowledgement. With it the stream starts where reading ended;
/// without it the server decodes again what was read.
const ACKNOWLEDGE_PATIENCE: Duration = Duration::from_secs(2);
/// How often a thread that waits looks around, should nobody wake it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether so much log waits that it is worth catching up in pieces.
pub(crate) fn is_long(at: Lsn, log_end: Lsn) -> bool {
    log_end.0.saturating_sub(at.0) >= BACKLOG_BYTES_MIN
}

/// Why reading in pieces ends early.
enum Halt {
    /// The server does not do it for us; it may stream all the same.
    Refused(SourceError),
    /// Nothing can be read any more.
    Ended(End),
}

impl From<End> for Halt {
    fn from(end: End) -> Self {
        Self::Ended(end)
    }
}

impl From<SourceError> for Halt {
    fn from(error: SourceError) -> Self {
        match error.kind() {
            SourceErrorKind::Unreachable => Self::Ended(End::Failed(error)),
            _ => Self::Refused(error),
        }
    }
}

/// Where a temporary slot stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Everything before this has been decoded.
    confirmed: Lsn,
    /// Decoding begins here.
    restart: Lsn,
    /// The end of the server's log.
    log_end: Lsn,
}

impl Place {
    fn is_worth_a_piece(self) -> bool {
        is_long(self.confirmed, self.log_end)
            && self.confirmed.0.saturating_sub(self.restart.0) <= AGAIN_BYTES_MAX
    }
}

/// What follows a piece.
#[derive(Debug, Default)]
struct Following {
    /// Where the slot stands after the piece.
    place: Option<Place>,
    /// The session that has been asked for the next piece.
    reader: Option<PieceReader>,
}

/// Reads a backlog beside a connection that afterwards streams the rest.
pub(crate) struct CatchUp<'a> {
    config: &'a PostgresConfig,
    connection: &'a mut Connection,
    assembly: &'a mut Assembly,
    outlet: &'a Outlet,
    /// Our own slot stands here, or further.
    released: Lsn,
    /// The session whose piece has been read; it will read the piece after the next.
    idle: Option<PieceReader>,
    /// Whether the server lets two sessions take turns.
    takes_turns: bool,
}

impl<'a> CatchUp<'a> {
    /// Prepares to read what follows the place that the assembly has reached.
    pub(crate) fn new(
        config: &'a PostgresConfig,
        connection: &'a mut Connection,
        assembly: &'a mut Assembly,
        outlet: &'a Outlet,
    ) -> Self {
        let released = assembly.reached();
        Self { config, connection, assembly, outlet, released, idle: None, takes_turns: true }
    }

    /// Reads until little is left. A server that refuses is streamed from where reading ended, and `refused` is set.
    ///
    /// # Errors
    /// When the stream is not wanted any more or cannot go on, not even by streaming.
    pub(crate) fn run(mut self, refused: &AtomicBool) -> Result<(), End> {
        let read = self.read_backlog();
        if let Some(idle) = self.idle.take() {
            idle.end();
        }
        self.outlet.wake_by(self.connection.closer()?)?;
        match read {
            Ok(()) => Ok(()),
            Err(Halt::Ended(end)) => Err(end),
            Err(Halt::Refused(error)) => {
                refused.store(true, Ordering::Relaxed);
                self.give_up(error)
            }
        }
    }

    fn give_up(&mut self, refusal: SourceError) -> Result<(), End> {
        if !self.assembly.forget_open() {
            let what = "the server gave up in the middle of a transaction while the backlog was read";
            return Err(SourceError::new(SourceErrorKind::Busy, what).caused_by(refusal).into());
        }
        tracing::warn!(error = %refusal, "the backlog cannot be read in pieces, which is faster: it is streamed");
        self.hand_over(false)
    }

    fn read_backlog(&mut self) -> Result<(), Halt> {
        let at = self.assembly.reached();
        let mut reader = PieceReader::open(self.config)?;
        reader.copy_slot(&self.config.slot)?;
        let mut place = self.place(reader.slot())?;
        if place.confirmed > at {
            // Somebody has moved our slot. Streaming finds that out as well, and says it.
            reader.end();
            return Ok(());
        }
        if place.confirmed < at {
            reader.move_slot(at)?;
            place = self.place(reader.slot())?;
        }
        let bytes = place.log_end.0.saturating_sub(place.confirmed.0);
        tracing::info!(position = %at, bytes, "catching up with the backlog");
        if place.is_worth_a_piece() {
            reader.ask(place.confirmed, PIECE)?;
            self.read_pieces(reader, place.confirmed)?;
        } else {
            reader.end();
        }
        self.wait_for_acknowledgement();
        self.release()
    }

    /// Reads the piece that `reader` has been asked for, and those after it.
    fn read_pieces(&mut self, reader: PieceReader, from: Lsn) -> Result<(), Halt> {
        let (mut reader, mut before) = (reader, from);
        loop {
            let mut following = Following::default();
            if let Err(halt) = self.read_piece(&mut reader, before, &mut following) {
                reader.end();
                following.reader.into_iter().for_each(PieceReader::end);
                return Err(halt);
            }
            let place = match following.place {
                Some(place) => place,
                None => self.place(reader.slot())?,
            };
            self.assembly.keepalive(place.confirmed);
            self.hand_over(place.confirmed >= place.log_end)?;
            if place.confirmed <= before || !place.is_worth_a_piece() {
                reader.end();
                return Ok(());
            }
            if self.outlet.acknowledged().0.saturating_sub(self.released.0) >= RELEASE_BYTES {
                self.release()?;
            }
            reader = match following.reader {
                Some(next) => {
                    self.idle = Some(reader);
                    next
                }
                None => {
                    reader.ask(place.confirmed, PIECE)?;
                    reader
                }
            };
            before = place.confirmed;
        }
    }

    fn place(&mut self, slot: &str) -> Result<Place, Halt> {
        let context = "read where the copy of the replication slot stands";
        let sql = format!(
            "SELECT confirmed_flush_lsn, restart_lsn, pg_current_wal_flush_lsn()
               FROM pg_replication_slots WHERE slot_name = {}",
            quote_literal(slot)
        );
        let rows = self.connection.query(context, &sql)?;
        let mut cells = rows.into_iter().flatten().map(|cell| cell?.parse().ok());
        let mut next = || cells.next().flatten();
        match (next(), next(), next()) {
            (Some(confirmed), Some(restart), Some(log_end)) => Ok(Place { confirmed, restart, log_end }),
            _ => Err(Halt::Refused(SourceError::new(
                SourceErrorKind::Protocol,
                format!("{context}: the answer is not readable"),
            ))),
        }
    }

    /// Tells the server what it may forget.
    fn release(&mut self) -> Result<(), Halt> {
        let acknowledged = self.outlet.acknowledged();
        if acknowledged > self.released {
            let context = format!("advance the replication slot \"{}\"", self.config.slot);
            let sql = format!(
                "SELECT pg_replication_slot_advance(slot_name, '{acknowledged}') FROM pg_replication_slots
                  WHERE slot_name = {} AND confirmed_flush_lsn < '{acknowledged}'",
                quote_literal(&self.config.slot)
            );
            self.connection.query(&context, &sql)?;
            self.released = acknowledged;
        }
        Ok(())
    }

    fn wait_for_acknowledgement(&self) {
        let deadline = Instant::now() + ACKNOWLEDGE_PATIENCE;
        while self.outlet.acknowledged() < self.assembly.reached() && !self.outlet.is_stopped() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Reads the messages of a piece. When the first row comes, all is decoded and the slot stands behind it: then the
    /// other session is asked for what follows.
    fn read_piece(
        &mut self,
        reader: &mut PieceReader,
        from: Lsn,
        following: &mut Following,
    ) -> Result<(), Halt> {
        self.outlet.wake_by(reader.closer()?)?;
        let context = "read a piece of the log";
        let (mut refusal, mut is_decoded) = (None, false);
        loop {
            while let Some(raw) = reader.take().map_err(End::from)? {
                match raw.tag {
                    b'd' => {
                        is_decoded = true;
                        if let Some(message) = log_message(raw.body).map_err(End::from)? {
                            self.assembly.read(message).map_err(End::from)?;
                        }
                    }
                    b'E' => refusal = Some(refused(context, raw.body)),
                    b'N' => notice(raw.body, &self.config.publication).map_err(End::from)?,
                    b'Z' => return refusal.map_or(Ok(()), |error| Err(error.into())),
                    _ => {}
                }
                if self.assembly.is_full()
                    && let Some(batch) = self.assembly.take_full()
                {
                    self.deliver(batch, TAKE_PATIENCE)?;
                }
            }
            if is_decoded && refusal.is_none() && following.place.is_none() {
                let place = self.place(reader.slot())?;
                following.place = Some(place);
                if place.confirmed > from && place.is_worth_a_piece() {
                    following.reader = self.read_ahead(reader, place);
                }
            }
            if let Err(error) = reader.fill() {
                return Err(End::Failed(refusal.unwrap_or(error)).into());
            }
        }
    }

    /// Has another session decode what follows `place`, where `reader`'s slot stands. A server that has no room for it
    /// is read piece by piece.
    fn read_ahead(&mut self, reader: &PieceReader, place: Place) -> Option<PieceReader> {
        if !self.takes_turns {
            return None;
        }
        let mut asked = || {
            let mut next = match self.idle.take() {
                Some(idle) => idle,
                None => PieceReader::open(self.config)?,
            };
            next.copy_slot(reader.slot())?;
            next.ask(place.confirmed, PIECE)?;
            Ok::<_, SourceError>(next)
        };
        match asked() {
            Ok(next) => Some(next),
            Err(error) => {
                tracing::debug!(error = %error, "the backlog is read by one session alone");
                self.takes_turns = false;
                None
            }
        }
    }

    /// Hands over what is committed.
    fn hand_over(&mut self, caught_up: bool) -> Result<(), End> {
        match self.assembly.take_committed(caught_up) {
            Some(batch) => self.deliver(batch, Duration::MAX),
            None => Ok(()),
        }
    }

    fn deliver(&self, batch: Batch, patience: Duration) -> Result<(), End> {
        let since = Instant::now();
        let mut waiting = Some(batch);
        while let Some(batch) = waiting.take() {
            waiting = self.outlet.offer(batch)?;
            if waiting.is_some() {
                if since.elapsed() >= patience {
                    let what = format!(
                        "nothing has been taken for {} s: reading the backlog is interrupted so that the server can clean up",
                        patience.as_secs()
                    );
                    return Err(SourceError::new(SourceErrorKind::Busy, what).into());
                }
                // The receiver unparks us when it has taken a batch.
                thread::park_timeout(LOOK_EVERY);
            }
        }
        Ok(())
    }
}

/// The message of the log that a message of the copy carries; `None` when it carries none.
fn log_message(copied: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
    match copy_binary::piece(copied).ok_or(DecodeError::Truncated)? {
        Piece::Nothing => Ok(None),
        Piece::Row(1, cell) => {
            let mut fields = Fields(cell);
            // The function's bytes are never NULL, whose length no message has.
            let length = usize::try_from(fields.u32()?).map_err(|_| DecodeError::Truncated)?;
            fields.bytes(length).map(Some)
        }
        Piece::Row(cells, _) => {
            Err(DecodeError::Width { actual: usize::try_from(cells).unwrap_or_default(), expected: 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What PostgreSQL 15 sent for `COPY (VALUES ('\x4201'::bytea), ('')) TO STDOUT (FORMAT binary)`, message by
    /// message.
    const CAPTURED: [&[u8]; 3] =
        [b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x02\x42\x01", b"\0\x01\0\0\0\0", b"\xff\xff"];

    #[test]
    fn captured_messages_carry_their_cell() {
        let read = CAPTURED.map(|message| log_message(message).unwrap());
        assert_eq!(read, [Some(&b"\x42\x01"[..]), Some(&b""[..]), None]);
    }

    #[test]
    fn null_rows_of_other_widths_and_cut_rows_are_errors() {
        for message in
            [&b"\0\x01\xff\xff\xff\xff"[..], b"\0\x02\0\0\0\0\0\0\0\0", b"\0\0", b"\0\x01\0\0\0\x02\x42"]
        {
            assert!(log_message(message).is_err(), "{message:?}");
        }
    }

    #[test]
    fn a_backlog_is_read_in_pieces_unless_more_would_be_read_again_than_anew() {
        let place = |confirmed, restart, log_end| Place {
            confirmed: Lsn(confirmed),
            restart: Lsn(restart),
            log_end: Lsn(log_end),
        };
        assert!(place(4 << 30, 4 << 30, 5 << 30).is_worth_a_piece());
        assert!(!place(4 << 30, 4 << 30, (4 << 30) + 1).is_worth_a_piece());
        assert!(!place(4 << 30, 2 << 30, 5 << 30).is_worth_a_piece());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(message: Vec<u8>) {
            let _read = log_message(&message);
        }
    }
}
