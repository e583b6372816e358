//! The byte stream to the server: TCP, TLS over TCP, or a local socket; always blocking.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use change::SourceError;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, SockRef, TcpKeepalive, Type};

use super::Purpose;
use crate::config::PostgresConfig;
use crate::session::CONNECT_TIMEOUT;
use crate::{fault, tls};

/// Encrypted bytes that are read from the socket at once. The TLS library by itself reads one record at a time.
const GULP_BYTES: usize = 256 * 1024;
/// The receive buffer for a log that comes from this very machine, and the largest piece that it is sent in.
///
/// The server sends every row by itself, and over the loopback interface each of these sends takes the row all the way
/// through the network stack. A window that is soon full makes rows line up in the sender's memory instead, from
/// where they go over in large pieces when we read: the server spends a quarter less on a row. Pieces smaller than half
/// the window keep the two from waiting for each other.
#[cfg(target_os = "linux")]
const LOOPBACK_BUFFER_BYTES: usize = 16 * 1024;
#[cfg(target_os = "linux")]
const LOOPBACK_PIECE_BYTES: u32 = 8 * 1024;
/// How long rows may line up before the sender would have to wait: its buffer holds some hundred kilobytes for TCP, but
/// only a few hundred rows for a local socket.
const TCP_GATHER: Duration = Duration::from_millis(3);
#[cfg(unix)]
const LOCAL_GATHER: Duration = Duration::from_micros(500);
/// After this long without an acknowledgement of sent bytes the peer is dead. Our status messages give it something
/// to acknowledge every second.
const DEAD_PEER_AFTER: Duration = Duration::from_secs(60);

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Local(UnixStream),
}

impl Socket {
    fn connect(config: &PostgresConfig, purpose: Purpose) -> io::Result<Self> {
        #[cfg(unix)]
        if let Some(dir) = config.socket_dir() {
            return UnixStream::connect(dir.join(format!(".s.PGSQL.{}", config.port))).map(Self::Local);
        }
        connect_tcp(config, purpose).map(Self::Tcp)
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            #[cfg(unix)]
            Self::Local(stream) => stream.try_clone().map(Self::Local),
        }
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            #[cfg(unix)]
            Self::Local(stream) => stream.set_read_timeout(timeout),
        }
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(timeout),
            #[cfg(unix)]
            Self::Local(stream) => stream.set_write_timeout(timeout),
        }
    }

    /// How long rows may gather between reads without making the sender wait.
    fn gather(&self) -> Duration {
        match self {
            Self::Tcp(_) => TCP_GATHER,
            #[cfg(unix)]
            Self::Local(_) => LOCAL_GATHER,
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            #[cfg(unix)]
            Self::Local(stream) => stream.shutdown(how),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(room),
            #[cfg(unix)]
            Self::Local(stream) => stream.read(room),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Local(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries the host's addresses one after the other within the time that connecting may take in all.
fn connect_tcp(config: &PostgresConfig, purpose: Purpose) -> io::Result<TcpStream> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let mut last =
        io::Error::new(io::ErrorKind::NotFound, "failed to lookup address information: no address");
    for address in (config.host.as_str(), config.port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if purpose == Purpose::Replication && address.ip().is_loopback() {
            prefer_large_pieces(&socket);
        }
        match socket.connect_timeout(&address.into(), left) {
            Ok(()) => {
                let stream = TcpStream::from(socket);
                watch_over(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Makes rows from this machine line up at the sender. It must be done before connecting: a window that was offered
/// once is never taken back. What the system refuses costs speed only.
#[cfg(target_os = "linux")]
fn prefer_large_pieces(socket: &socket2::Socket) {
    let set = socket
        .set_recv_buffer_size(LOOPBACK_BUFFER_BYTES)
        .and_then(|()| socket.set_tcp_mss(LOOPBACK_PIECE_BYTES));
    if let Err(error) = set {
        tracing::debug!(error = %error, "receive buffer stays as it is");
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_large_pieces(_socket: &socket2::Socket) {}

/// Lets the system find out about a peer that vanished without a word.
fn watch_over(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(DEAD_PEER_AFTER))?;
    Ok(())
}

/// A socket with a large buffer in front, for the TLS library to read from.
#[derive(Debug)]
pub(super) struct Gulped {
    socket: Socket,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Gulped {
    fn new(socket: Socket) -> Self {
        Self { socket, buffer: vec![0; GULP_BYTES], start: 0, end: 0 }
    }
}

impl Read for Gulped {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.socket.read(&mut self.buffer)?;
        }
        let mut unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        let count = unread.read(room)?;
        self.start += count;
        Ok(count)
    }
}

impl Write for Gulped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The byte stream, as far protected as the configuration asks.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Gulped>>),
}

/// Ends a connection from another thread.
#[derive(Debug)]
pub(crate) struct Closer(Socket);

impl Closer {
    /// Ends reading: what the server has sent already may still be read, then the stream ends. Writing goes on,
    /// for a last word.
    pub(crate) fn stop_reading(&self) {
        if let Err(error) = self.0.shutdown(Shutdown::Read) {
            tracing::debug!(error = %error, "connection had ended before it was stopped");
        }
    }
}

impl Transport {
    /// Connects, and encrypts where the configuration asks for it. Never falls back to less.
    ///
    /// # Errors
    /// When the server cannot be reached or its certificate is not believed.
    pub(super) fn connect(config: &PostgresConfig, purpose: Purpose) -> Result<Self, SourceError> {
        let tls = tls::client_config(config)?;
        let broken = |error| fault::unreachable(config, error);
        let socket = Socket::connect(config, purpose).map_err(broken)?;
        socket.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(broken)?;
        socket.set_write_timeout(Some(DEAD_PEER_AFTER)).map_err(broken)?;
        match tls {
            None => Ok(Self::Plain(socket)),
            Some(tls) => encrypt(config, tls, socket),
        }
    }

    /// The binding of the log-in to this very TLS connection, where there is one.
    pub(super) fn binding(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        stream.conn.peer_certificates()?.first().and_then(|certificate| tls::endpoint_binding(certificate))
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether a read could go on without asking the system.
    pub(super) fn has_gulped(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.sock.start < stream.sock.end,
        }
    }

    pub(super) fn closer(&self) -> io::Result<Closer> {
        self.socket().try_clone().map(Closer)
    }

    /// How long a read may wait; `None` for ever. What has been read of a TLS record survives the timeout.
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_read_timeout(timeout)
    }

    /// How long rows may gather between reads without making the sender wait.
    pub(super) fn gather(&self) -> Duration {
        self.socket().gather()
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock.socket,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(room),
            Self::Tls(stream) => stream.read(room),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Asks for TLS and shakes hands
/// (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>).
fn encrypt(
    config: &PostgresConfig,
    tls: Arc<ClientConfig>,
    mut socket: Socket,
) -> Result<Transport, SourceError> {
    let broken = |error| fault::unreachable(config, error);
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::ssl_request(&mut request);
    socket.write_all(&request).map_err(broken)?;
    // Exactly one byte: whatever came with it in the clear must not pass for encrypted.
    let mut answer = [0];
    socket.read_exact(&mut answer).map_err(broken)?;
    if answer != *b"S" {
        return Err(tls::refused(config));
    }
    let refused = |error: io::Error| tls::handshake_error(config, Box::new(error));
    let mut connection = ClientConnection::new(tls, tls::server_name(config)?)
        .map_err(|error| tls::handshake_error(config, Box::new(error)))?;
    let mut gulped = Gulped::new(socket);
    while connection.is_handshaking() {
        connection.complete_io(&mut gulped).map_err(refused)?;
    }
    Ok(Transport::Tls(Box::new(StreamOwned::new(connection, gulped))))
}
