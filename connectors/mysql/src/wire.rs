//! A blocking connection to the server: for statements, for copies of the table, and for the log.

use std::io::{self, Write};
use std::time::Duration;

use change::{SourceError, SourceErrorKind};

use crate::config::MysqlConfig;
use crate::fault::{self, Refusal};
use crate::flavour::Flavour;

pub(crate) mod fields;
mod inbox;
mod login;
mod long;
mod rows;
mod transport;

use fields::Fields;
use inbox::{Inbox, TooLong};
use rows::Span;
use transport::Transport;

pub(crate) use inbox::Packet;
pub(crate) use long::LongPacket;
pub(crate) use rows::Cells;
pub(crate) use transport::Closer;

/// How long a statement may be silent: servers that die are noticed by the system sooner.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(900);
/// Columns of an answer at most, as many as a table can have.
const COLUMNS_MAX: usize = 4096;
/// The longest statement, so that it fits one packet.
const STATEMENT_BYTES_MAX: usize = 1 << 23;
const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;

/// Pins what would otherwise depend on the server's settings; the numbers are seconds. `NO_BACKSLASH_ESCAPES` makes
/// quoting simple, and the zone makes a TIMESTAMP read as it stands in the log.
const PIN_SESSION: &str = "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = 'NO_BACKSLASH_ESCAPES', \
    autocommit = 1, SQL_SELECT_LIMIT = DEFAULT, net_write_timeout = 3600, net_read_timeout = 600";

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
    /// `None` only while TLS is being put around it.
    transport: Option<Transport>,
    inbox: Inbox,
    address: String,
    flavour: Flavour,
    deprecates_eof: bool,
    next_sequence: u8,
    spans: Vec<Span>,
}

impl Connection {
    /// Connects and logs in, with the session's settings pinned.
    ///
    /// # Errors
    /// The kind says whether trying again helps.
    pub(crate) fn open(config: &MysqlConfig) -> Result<Self, SourceError> {
        config.validate()?;
        // Before anything is sent: a wrong file of authorities is the operator's to mend, server or not.
        config.endpoint(&config.address()).client_config()?;
        let mut connection = Self {
            transport: Some(Transport::connect(config)?),
            inbox: Inbox::new(),
            address: config.address(),
            flavour: Flavour::read(""),
            deprecates_eof: true,
            next_sequence: 0,
            spans: Vec::new(),
        };
        connection.flavour = login::log_in(&mut connection, config)?;
        connection.set_read_timeout(Some(STATEMENT_TIMEOUT))?;
        connection.execute("set up the session", PIN_SESSION)?;
        let unlimited = if connection.flavour.is_mariadb() {
            "SET max_statement_time = 0"
        } else {
            "SET max_execution_time = 0"
        };
        connection.execute("set up the session", unlimited)?;
        connection
            .execute("set up the session", "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
        Ok(connection)
    }

    /// Which product and version answers.
    pub(crate) fn flavour(&self) -> &Flavour {
        &self.flavour
    }

    /// Ends the connection from another thread.
    ///
    /// # Errors
    /// When the system has no handle left.
    pub(crate) fn closer(&self) -> Result<Closer, SourceError> {
        self.transport().and_then(Transport::closer).map_err(|error| self.broken(error))
    }

    /// How long a read may wait; `None` for ever.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<(), SourceError> {
        let set = self.transport().and_then(|transport| transport.set_read_timeout(timeout));
        set.map_err(|error| self.broken(error))
    }

    /// Runs a statement and returns its rows; `context` says what it is for.
    ///
    /// # Errors
    /// When the server refuses it or the connection breaks.
    pub(crate) fn query(&mut self, context: &str, sql: &str) -> Result<Vec<TextRow>, SourceError> {
        let mut rows = Vec::new();
        self.for_each_row(context, sql, |cells| {
            let text = |cell: &[u8]| String::from_utf8_lossy(cell).into_owned();
            rows.push((0..cells.len()).map(|index| cells.get(index).map(text)).collect());
            Ok(())
        })?;
        Ok(rows)
    }

    /// Runs a statement whose rows, if any, do not matter.
    ///
    /// # Errors
    /// When the server refuses it or the connection breaks.
    pub(crate) fn execute(&mut self, context: &str, sql: &str) -> Result<(), SourceError> {
        self.for_each_row(context, sql, |_| Ok(()))
    }

    /// Runs a statement and hands over its rows one by one, as they come.
    ///
    /// # Errors
    /// When the server refuses it, the connection breaks, or `row` fails: then the connection is spent.
    pub(crate) fn for_each_row(
        &mut self,
        context: &str,
        sql: &str,
        mut row: impl FnMut(&Cells<'_>) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let Some(columns) = self.start_query(context, sql)? else { return Ok(()) };
        let mut spans = std::mem::take(&mut self.spans);
        loop {
            let deprecates_eof = self.deprecates_eof;
            let address = self.address.clone();
            self.await_packet()?;
            // Rows that have come already are read without looking at the socket in between.
            while let Some(packet) = self.inbox.take().map_err(|fault| garbage(&address, fault))? {
                match packet.body.split_first() {
                    Some((0xff, refusal)) => return Err(Refusal::read(refusal).into_error(context)),
                    Some((0xfe, rest)) if is_end(rest, deprecates_eof) => {
                        self.spans = spans;
                        return Ok(());
                    }
                    _ => {}
                }
                let cells = Cells::read(packet.body, columns, &mut spans)
                    .map_err(|fault| malformed(&address).caused_by(fault))?;
                row(&cells)?;
            }
        }
    }

    /// Sends a statement and reads up to its first row; `None` when it has none. Returns the number of columns.
    fn start_query(&mut self, context: &str, sql: &str) -> Result<Option<usize>, SourceError> {
        if sql.len() > STATEMENT_BYTES_MAX {
            return Err(SourceError::new(
                SourceErrorKind::Protocol,
                format!(
                    "{context}: the statement has {} bytes, expected {STATEMENT_BYTES_MAX} at most",
                    sql.len()
                ),
            ));
        }
        let mut command = Vec::with_capacity(sql.len() + 1);
        command.push(COM_QUERY);
        command.extend_from_slice(sql.as_bytes());
        self.send_command(&command)?;
        let body = self.wait()?.body;
        let columns = match body.split_first() {
            Some((0x00, _)) => return Ok(None),
            Some((0xff, refusal)) => return Err(Refusal::read(refusal).into_error(context)),
            _ => Fields(body).length().ok().filter(|columns| (1..=COLUMNS_MAX).contains(columns)),
        };
        let columns = columns.ok_or_else(|| malformed(&self.address))?;
        let definitions = if self.deprecates_eof { columns } else { columns + 1 };
        for _ in 0..definitions {
            let body = self.wait()?.body;
            if let Some((0xff, refusal)) = body.split_first() {
                return Err(Refusal::read(refusal).into_error(context));
            }
        }
        Ok(Some(columns))
    }

    /// Sends a command that begins a new exchange.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn send_command(&mut self, body: &[u8]) -> Result<(), SourceError> {
        self.next_sequence = 0;
        self.send(body)
    }

    /// Runs a command that is answered by a word only; `context` says what it is for.
    ///
    /// # Errors
    /// When the server refuses it or the connection breaks.
    pub(crate) fn command(&mut self, context: &str, body: &[u8]) -> Result<(), SourceError> {
        self.send_command(body)?;
        match self.wait()?.body.split_first() {
            Some((0x00, _)) => Ok(()),
            Some((0xff, refusal)) => Err(Refusal::read(refusal).into_error(context)),
            _ => Err(malformed(&self.address)),
        }
    }

    /// The first frame of the next packet as far as it has come, with its length; `None` when nothing has come.
    pub(crate) fn peek(&self) -> Option<(usize, &[u8])> {
        self.inbox.peek().map(|(frame, bytes)| (frame.length, bytes))
    }

    /// The next packet that has been read already.
    ///
    /// # Errors
    /// When what came is not a packet.
    pub(crate) fn take(&mut self) -> Result<Option<Packet<'_>>, SourceError> {
        let address = &self.address;
        let packet = self.inbox.take().map_err(|fault| garbage(address, fault))?;
        if let Some(packet) = &packet {
            self.next_sequence = packet.sequence.wrapping_add(1);
        }
        Ok(packet)
    }

    /// The next packet, waiting for it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn wait(&mut self) -> Result<Packet<'_>, SourceError> {
        self.await_packet()?;
        match self.inbox.take() {
            Ok(Some(packet)) => {
                self.next_sequence = packet.sequence.wrapping_add(1);
                Ok(packet)
            }
            Ok(None) => Err(malformed(&self.address)),
            Err(fault) => Err(garbage(&self.address, fault)),
        }
    }

    fn await_packet(&mut self) -> Result<(), SourceError> {
        while !self.inbox.has_packet().map_err(|fault| garbage(&self.address, fault))? {
            match self.fill()? {
                Filled::Bytes(_) => {}
                Filled::Nothing => return Err(self.broken(io::ErrorKind::TimedOut.into())),
                Filled::Closed => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        Ok(())
    }

    /// The next packet of the log-in: a server that ends it without a word is not told as a broken connection.
    fn wait_for_login(&mut self, config: &MysqlConfig) -> Result<&[u8], SourceError> {
        while !self.inbox.has_packet().map_err(|fault| garbage(&self.address, fault))? {
            let error = match self.fill()? {
                Filled::Bytes(_) => continue,
                Filled::Nothing => io::ErrorKind::TimedOut,
                Filled::Closed => io::ErrorKind::UnexpectedEof,
            };
            return Err(fault::unreachable(config, error.into()));
        }
        self.wait().map(|packet| packet.body)
    }

    /// Reads what the server has sent, in one gulp.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn fill(&mut self) -> Result<Filled, SourceError> {
        let mut read = 0;
        loop {
            let Some(transport) = &mut self.transport else { return Ok(Filled::Closed) };
            match self.inbox.fill(transport) {
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
            if !(transport.has_gulped() && self.inbox.has_room()) {
                return Ok(Filled::Bytes(read));
            }
        }
    }

    /// Says good-bye, so that the server ends its side at once. A connection that is broken already is as good.
    pub(crate) fn terminate(mut self) {
        if let Err(error) = self.send_command(&[COM_QUIT]) {
            tracing::debug!(error = %error, "connection had ended before it was closed");
        }
    }

    /// Whether nobody between can read what is sent.
    fn is_private(&self) -> bool {
        self.transport.as_ref().is_some_and(Transport::is_private)
    }

    /// Puts TLS around the connection. What came in the clear must not pass for encrypted.
    fn encrypt(&mut self, config: &MysqlConfig) -> Result<(), SourceError> {
        if !self.inbox.is_empty() {
            return Err(malformed(&self.address));
        }
        if let Some(plain) = self.transport.take() {
            self.transport = Some(plain.encrypt(config)?);
        }
        Ok(())
    }

    fn transport(&self) -> io::Result<&Transport> {
        self.transport.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn send(&mut self, body: &[u8]) -> Result<(), SourceError> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let [a, b, c, _] = length;
        let mut message = Vec::with_capacity(body.len() + inbox::HEADER_BYTES);
        message.extend_from_slice(&[a, b, c, self.next_sequence]);
        message.extend_from_slice(body);
        self.next_sequence = self.next_sequence.wrapping_add(1);
        let sent = match &mut self.transport {
            Some(transport) => transport.write_all(&message).and_then(|()| transport.flush()),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        sent.map_err(|error| self.broken(error))
    }

    fn broken(&self, cause: io::Error) -> SourceError {
        SourceError::new(SourceErrorKind::Unreachable, format!("connection to {} broke off", self.address))
            .caused_by(cause)
    }
}

/// Whether a packet that begins with 0xfe ends the rows: as a cell's length it would stand before 16 MiB at least.
fn is_end(rest: &[u8], deprecates_eof: bool) -> bool {
    rest.len() < if deprecates_eof { 0xff_fffe } else { 8 }
}

/// The error for what cannot be understood.
fn malformed(address: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Protocol, format!("{address} sent a packet that cannot be understood"))
        .with_hint("check that host and port lead to MySQL 8.0 or MariaDB 10.6 or newer itself")
}

fn garbage(address: &str, fault: TooLong) -> SourceError {
    malformed(address).caused_by(fault)
}
