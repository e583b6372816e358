//! A raw, blocking connection to the server: for the log and for copies of the table, which want large reads
//! and no allocation per row.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use change::{SourceError, SourceErrorKind};
use postgres_protocol::message::frontend;

use crate::config::PostgresConfig;
use crate::decode::Fields;
use crate::fault;
use crate::position::Lsn;

mod inbox;
mod login;
mod transport;

use inbox::{BadLength, Inbox};
use transport::Transport;

pub(crate) use inbox::Raw;
pub(crate) use transport::Closer;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Ordinary statements.
    Sql,
    /// The commands of the replication protocol, and ordinary statements between them
    /// (<https://www.postgresql.org/docs/current/protocol-replication.html>).
    Replication,
}

/// A row of an answer, as text.
pub(crate) type TextRow = Vec<Option<String>>;

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// So many bytes came.
    Bytes(usize),
    /// Nothing came in time.
    Nothing,
    /// The server closed the connection.
    Closed,
}

/// A logged-in connection; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Transport,
    inbox: Inbox,
    address: String,
    version: u32,
    cancel_key: (i32, i32),
}

impl Connection {
    /// Connects and logs in, with the session's settings pinned and no limit on how long a statement runs.
    ///
    /// # Errors
    /// The kind says whether trying again helps.
    pub(crate) fn open(config: &PostgresConfig, purpose: Purpose) -> Result<Self, SourceError> {
        let transport = Transport::connect(config, purpose)?;
        let mut connection = Self {
            transport,
            inbox: Inbox::new(),
            address: config.address(),
            version: 0,
            cancel_key: (0, 0),
        };
        login::log_in(&mut connection, config, purpose)?;
        connection.set_read_timeout(None)?;
        Ok(connection)
    }

    /// The server's version as `server_version_num` has it: 150014 for 15.14.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// The number of the server's process that serves this connection.
    pub(crate) fn process(&self) -> u32 {
        self.cancel_key.0.unsigned_abs()
    }

    /// Ends reading from another thread.
    ///
    /// # Errors
    /// When the system has no handle left.
    pub(crate) fn closer(&self) -> Result<Closer, SourceError> {
        self.transport.closer().map_err(|error| self.broken(error))
    }

    /// What cancels a statement that this connection waits for.
    pub(crate) fn canceller(&self, config: &PostgresConfig) -> Canceller {
        Canceller { config: config.clone(), key: self.cancel_key }
    }

    /// How long a read may wait; `None` for ever.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<(), SourceError> {
        self.transport.set_read_timeout(timeout).map_err(|error| self.broken(error))
    }

    /// Runs a statement and returns its rows; `context` says what it is for.
    ///
    /// # Errors
    /// When the server refuses it or the connection breaks.
    pub(crate) fn query(&mut self, context: &str, sql: &str) -> Result<Vec<TextRow>, SourceError> {
        self.send_query(sql)?;
        let mut rows = Vec::new();
        let mut refusal = None;
        loop {
            let raw = self.wait()?;
            match raw.tag {
                b'D' => match text_row(raw.body) {
                    Some(row) => rows.push(row),
                    None => return Err(malformed(&self.address, b'D')),
                },
                b'E' => refusal = Some(refused(context, raw.body)),
                b'Z' => break,
                _ => {}
            }
        }
        refusal.map_or(Ok(rows), Err)
    }

    /// Sends a statement, whose answer is then read message by message.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<(), SourceError> {
        self.send_query(sql)
    }

    /// Starts a `COPY … TO STDOUT`; its rows follow as messages of type `d`, then `c`, then what ends a
    /// statement.
    ///
    /// # Errors
    /// When the server refuses it or the connection breaks.
    pub(crate) fn start_copy(&mut self, context: &str, sql: &str) -> Result<(), SourceError> {
        self.start(context, sql, b'H')
    }

    /// Starts replication, after which messages of type `d` flow in both directions. Returns how long they may gather
    /// between reads when many come, without making the server wait.
    ///
    /// # Errors
    /// When the server refuses it or the connection breaks.
    pub(crate) fn start_replication(
        &mut self,
        context: &str,
        command: &str,
    ) -> Result<Duration, SourceError> {
        self.start(context, command, b'W')?;
        Ok(self.transport.gather())
    }

    fn start(&mut self, context: &str, sql: &str, answer: u8) -> Result<(), SourceError> {
        self.send_query(sql)?;
        loop {
            let raw = self.wait()?;
            match raw.tag {
                tag if tag == answer => return Ok(()),
                b'E' => return Err(refused(context, raw.body)),
                b'N' | b'S' => {}
                tag => return Err(malformed(&self.address, tag)),
            }
        }
    }

    /// The next message that has been read already.
    ///
    /// # Errors
    /// When what came is not a message.
    pub(crate) fn take(&mut self) -> Result<Option<Raw<'_>>, SourceError> {
        self.inbox.take().map_err(|fault| garbage(&self.address, fault))
    }

    /// The next message, waiting for it as long as it takes.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn wait(&mut self) -> Result<Raw<'_>, SourceError> {
        while !self.inbox.has_message().map_err(|fault| garbage(&self.address, fault))? {
            match self.fill()? {
                Filled::Bytes(_) => {}
                Filled::Nothing => return Err(self.broken(io::ErrorKind::TimedOut.into())),
                Filled::Closed => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        match self.inbox.take() {
            Ok(Some(raw)) => Ok(raw),
            Ok(None) => Err(malformed(&self.address, 0)),
            Err(fault) => Err(garbage(&self.address, fault)),
        }
    }

    /// Reads what the server has sent, in one gulp.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn fill(&mut self) -> Result<Filled, SourceError> {
        let mut read = 0;
        loop {
            match self.inbox.fill(&mut self.transport) {
                Ok(0) if read == 0 => return Ok(Filled::Closed),
                Ok(count) => read += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    // What was read before is used first; the next read tells again.
                    _ if read > 0 => return Ok(Filled::Bytes(read)),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(Filled::Nothing),
                    // Servers that die do not say good-bye to the TLS layer.
                    io::ErrorKind::UnexpectedEof => return Ok(Filled::Closed),
                    _ => return Err(self.broken(error)),
                },
            }
            if !(self.transport.has_gulped() && self.inbox.has_room()) {
                return Ok(Filled::Bytes(read));
            }
        }
    }

    /// Sends one message of a copy.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn send_copy_data(&mut self, payload: &[u8]) -> Result<(), SourceError> {
        let mut message = BytesMut::with_capacity(payload.len() + 5);
        let data = frontend::CopyData::new(payload).map_err(|error| self.broken(error))?;
        data.write(&mut message);
        self.send(&message)
    }

    /// Says good-bye, so that the server ends its side at once. A connection that is broken already is as good.
    pub(crate) fn terminate(mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        if let Err(error) = self.send(&message) {
            tracing::debug!(error = %error, "connection had ended before it was closed");
        }
    }

    fn send_query(&mut self, sql: &str) -> Result<(), SourceError> {
        let mut message = BytesMut::with_capacity(sql.len() + 6);
        frontend::query(sql, &mut message).map_err(|error| self.broken(error))?;
        self.send(&message)
    }

    fn send(&mut self, message: &[u8]) -> Result<(), SourceError> {
        let sent = self.transport.write_all(message).and_then(|()| self.transport.flush());
        sent.map_err(|error| self.broken(error))
    }

    fn broken(&self, cause: io::Error) -> SourceError {
        SourceError::new(SourceErrorKind::Unreachable, format!("connection to {} broke off", self.address))
            .caused_by(cause)
    }
}

/// Asks the server to give up a statement of another connection.
#[derive(Debug)]
pub(crate) struct Canceller {
    config: PostgresConfig,
    key: (i32, i32),
}

impl Canceller {
    /// Asks; whether the server heeds it shows on the connection that waits.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) fn cancel(&self) -> Result<(), SourceError> {
        let mut transport = Transport::connect(&self.config, Purpose::Sql)?;
        let mut message = BytesMut::new();
        frontend::cancel_request(self.key.0, self.key.1, &mut message);
        let sent = transport.write_all(&message).and_then(|()| transport.flush());
        // The server closes the connection when it has passed the request on.
        let answered = sent.and_then(|()| transport.read(&mut [0]));
        match answered {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(fault::unreachable(&self.config, error)),
        }
    }
}

/// What a server says when it refuses.
#[derive(Debug, Default)]
struct Refusal {
    sqlstate: String,
    message: String,
    detail: String,
}

impl Refusal {
    fn read(body: &[u8]) -> Self {
        let mut refusal = Self::default();
        let mut rest = body;
        while let Some((field, text)) = rest.split_first().filter(|(field, _)| **field != 0) {
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            let (text, after) = text.split_at_checked(end).unwrap_or_default();
            let text = String::from_utf8_lossy(text).into_owned();
            match field {
                b'C' => refusal.sqlstate = text,
                b'M' => refusal.message = text,
                b'D' => refusal.detail = text,
                _ => {}
            }
            rest = after.get(1..).unwrap_or_default();
        }
        refusal
    }
}

/// The SQLSTATE of a message of type `N` or `E`.
pub(crate) fn sqlstate(body: &[u8]) -> String {
    Refusal::read(body).sqlstate
}

/// The error for a message of type `E`.
pub(crate) fn refused(context: &str, body: &[u8]) -> SourceError {
    let refusal = Refusal::read(body);
    let message = if refusal.detail.is_empty() {
        refusal.message
    } else {
        format!("{}: {}", refusal.message, refusal.detail)
    };
    fault::server_error(context, &refusal.sqlstate, &message)
}

/// The error for a message that has no place where it came, or that cannot be read.
fn malformed(address: &str, tag: u8) -> SourceError {
    SourceError::new(
        SourceErrorKind::Protocol,
        format!("{address} sent a message of type {tag:#04x} that cannot be understood"),
    )
    .with_hint("check that host and port lead to PostgreSQL 13 or newer itself")
}

fn garbage(address: &str, fault: BadLength) -> SourceError {
    malformed(address, fault.tag()).caused_by(fault)
}

/// Reads a `DataRow`.
fn text_row(body: &[u8]) -> Option<TextRow> {
    let mut fields = Fields(body);
    let count = fields.u16().ok()?;
    (0..count)
        .map(|_| {
            let length = fields.u32().ok()?;
            // A length of -1 stands for NULL.
            if length == u32::MAX {
                return Some(None);
            }
            let text = fields.bytes(usize::try_from(length).ok()?).ok()?;
            Some(Some(String::from_utf8_lossy(text).into_owned()))
        })
        .collect()
}

/// A standby status update
/// (<https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-STANDBY-STATUS-UPDATE>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusUpdate {
    /// Up to where the log was received.
    pub(crate) received: Lsn,
    /// Up to where it is durable here and may be forgotten there; zero to confirm nothing.
    pub(crate) durable: Lsn,
    /// The moment, in microseconds since 2000-01-01.
    pub(crate) server_clock_micros: i64,
    /// Whether the server shall answer.
    pub(crate) reply: bool,
}

impl StatusUpdate {
    /// As it goes over the wire.
    pub(crate) fn to_bytes(self) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(34);
        bytes.put_u8(b'r');
        bytes.put_u64(self.received.0);
        bytes.put_u64(self.durable.0);
        bytes.put_u64(self.durable.0);
        bytes.put_i64(self.server_clock_micros);
        bytes.put_u8(u8::from(self.reply));
        bytes
    }
}
