//! A long backlog, read in pieces before streaming begins.
//!
//! The server's sender of the log spends most of its time on sending each row by itself. The function that decodes a
//! piece of the log inside the server and returns it as a table costs a fraction of that
//! (<https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION>), so it reads the backlog until
//! little is left.
//!
//! The function moves its slot as soon as it has decoded, long before anything is stored here. It therefore works on a
//! temporary copy of our slot, which the server drops with the session. Our own slot keeps the log meanwhile, and is
//! moved to nothing but what the product has acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use change::{Batch, SourceError, SourceErrorKind};

use crate::assembly::Assembly;
use crate::config::PostgresConfig;
use crate::copy_binary::{self, Piece};
use crate::decode::{DecodeError, Fields};
use crate::name::{quote_ident, quote_literal};
use crate::outlet::{End, Outlet};
use crate::position::Lsn;
use crate::walsender::{ended, notice};
use crate::wire::{Connection, Filled, refused};

/// Less than this is streamed: it would be read before the copy of the slot is made.
const BACKLOG_BYTES_MIN: u64 = 16 << 20;
/// How much of the log one piece covers at most, whoever's changes it holds.
const PIECE_BYTES: u64 = 1 << 30;
/// A piece ends with the transaction that makes it this many messages long. The server stores them all in a temporary
/// file before it sends the first.
const PIECE_MESSAGES: u32 = 1_000_000;
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
/// The first version that looks, while a statement runs, whether the client is still there
/// (<https://www.postgresql.org/docs/current/runtime-config-connection.html#GUC-CLIENT-CONNECTION-CHECK-INTERVAL>).
const CLIENT_CHECK_SINCE: u32 = 140_000;

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

/// Where the temporary slot stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Everything before this has been read.
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

/// Reads a backlog on a connection that afterwards is free to stream the rest.
pub(crate) struct CatchUp<'a> {
    config: &'a PostgresConfig,
    connection: &'a mut Connection,
    assembly: &'a mut Assembly,
    outlet: &'a Outlet,
    /// The temporary slot.
    slot: String,
    /// Our own slot stands here, or further.
    released: Lsn,
}

impl<'a> CatchUp<'a> {
    /// Prepares to read what follows the place that the assembly has reached.
    pub(crate) fn new(
        config: &'a PostgresConfig,
        connection: &'a mut Connection,
        assembly: &'a mut Assembly,
        outlet: &'a Outlet,
    ) -> Self {
        let slot = format!("bitacora_catch_up_{}", connection.process());
        let released = assembly.reached();
        Self { config, connection, assembly, outlet, slot, released }
    }

    /// Reads until little is left. A server that refuses is streamed from where reading ended, and `refused` is set.
    ///
    /// # Errors
    /// When the stream is not wanted any more or cannot go on, not even by streaming.
    pub(crate) fn run(mut self, refused: &AtomicBool) -> Result<(), End> {
        match self.read_backlog() {
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
        self.copy_slot()?;
        let mut place = self.place()?;
        if place.confirmed > at {
            // Somebody has moved our slot. Streaming finds that out as well, and says it.
            return Ok(());
        }
        if place.confirmed < at {
            self.move_slot(&self.slot.clone(), at)?;
            place = self.place()?;
        }
        let bytes = place.log_end.0.saturating_sub(place.confirmed.0);
        tracing::info!(position = %at, bytes, "catching up with the backlog");
        while place.is_worth_a_piece() {
            let before = place.confirmed;
            self.read_piece(before)?;
            place = self.place()?;
            self.assembly.keepalive(place.confirmed);
            self.hand_over(place.confirmed >= place.log_end)?;
            if place.confirmed <= before {
                break;
            }
            if self.outlet.acknowledged().0.saturating_sub(self.released.0) >= RELEASE_BYTES {
                self.release()?;
            }
        }
        self.drop_slot()?;
        self.wait_for_acknowledgement();
        self.release()
    }

    /// Makes the temporary slot. A session that is gone must not decode on: its end is what drops the slot.
    fn copy_slot(&mut self) -> Result<(), Halt> {
        if self.connection.version() >= CLIENT_CHECK_SINCE {
            let context = "have the server look whether we are still there";
            let set = self.connection.query(context, "SET client_connection_check_interval = '1s'");
            if let Err(error) = set {
                // Some systems cannot tell; the server then finds out when it sends.
                tracing::debug!(error = %error, "the server will notice our end later");
            }
        }
        let (own, copy) = (quote_literal(&self.config.slot), quote_literal(&self.slot));
        let sql = format!("SELECT pg_copy_logical_replication_slot({own}, {copy}, true)");
        self.connection.query("copy the replication slot for catching up", &sql)?;
        Ok(())
    }

    /// Drops the temporary slot, which an error of the session may have dropped already.
    fn drop_slot(&mut self) -> Result<(), Halt> {
        let sql = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {}",
            quote_literal(&self.slot)
        );
        self.connection.query("drop the copy of the replication slot", &sql)?;
        Ok(())
    }

    fn place(&mut self) -> Result<Place, Halt> {
        let context = "read where the copy of the replication slot stands";
        let sql = format!(
            "SELECT confirmed_flush_lsn, restart_lsn, pg_current_wal_flush_lsn()
               FROM pg_replication_slots WHERE slot_name = {}",
            quote_literal(&self.slot)
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

    /// Moves a slot forward, never backward.
    fn move_slot(&mut self, slot: &str, to: Lsn) -> Result<(), Halt> {
        let sql = format!(
            "SELECT pg_replication_slot_advance(slot_name, '{to}') FROM pg_replication_slots
              WHERE slot_name = {} AND confirmed_flush_lsn < '{to}'",
            quote_literal(slot)
        );
        self.connection.query(&format!("advance the replication slot \"{slot}\""), &sql)?;
        Ok(())
    }

    /// Tells the server what it may forget.
    fn release(&mut self) -> Result<(), Halt> {
        let acknowledged = self.outlet.acknowledged();
        if acknowledged > self.released {
            self.move_slot(&self.config.slot, acknowledged)?;
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

    fn read_piece(&mut self, from: Lsn) -> Result<(), Halt> {
        let publications = quote_literal(&quote_ident(&self.config.publication));
        let sql = format!(
            "COPY (SELECT data FROM pg_logical_slot_get_binary_changes({}, '{}', {PIECE_MESSAGES},
                'proto_version', '1', 'publication_names', {publications})) TO STDOUT (FORMAT binary)",
            quote_literal(&self.slot),
            Lsn(from.0.saturating_add(PIECE_BYTES)),
        );
        self.connection.ask(&sql).map_err(End::from)?;
        let read = self.read_answer();
        if self.outlet.is_stopped()
            && let Err(error) = self.connection.canceller(self.config).cancel()
        {
            tracing::debug!(error = %error, "the server will notice our end later");
        }
        read
    }

    /// Reads the messages that answer the statement.
    fn read_answer(&mut self) -> Result<(), Halt> {
        let context = "read a piece of the log";
        let mut refusal = None;
        loop {
            while let Some(raw) = self.connection.take().map_err(End::from)? {
                match raw.tag {
                    b'd' => {
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
            match self.connection.fill().map_err(End::from)? {
                Filled::Bytes(_) => {}
                Filled::Nothing | Filled::Closed => {
                    let error = refusal.unwrap_or_else(|| ended("the server closed the connection"));
                    return Err(End::Failed(error).into());
                }
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
