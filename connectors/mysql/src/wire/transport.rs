//! The byte stream to the server: TCP, TLS over TCP, or a local socket; always blocking.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use change::SourceError;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, SockRef, TcpKeepalive, Type};

use crate::config::MysqlConfig;
use crate::fault;

/// How long reaching the server and each answer during the log-in may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Encrypted bytes that are read from the socket at once. The TLS library by itself reads one record at a time.
const GULP_BYTES: usize = 256 * 1024;
/// After this long without an acknowledgement of sent bytes the peer is dead.
const DEAD_PEER_AFTER: Duration = Duration::from_secs(60);

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Local(UnixStream),
}

impl Socket {
    fn connect(config: &MysqlConfig) -> io::Result<Self> {
        #[cfg(unix)]
        if let Some(socket) = config.socket() {
            return UnixStream::connect(socket).map(Self::Local);
        }
        connect_tcp(config).map(Self::Tcp)
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
fn connect_tcp(config: &MysqlConfig) -> io::Result<TcpStream> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let mut last =
        io::Error::new(io::ErrorKind::NotFound, "failed to lookup address information: no address");
    for address in (config.host.as_str(), config.port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
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
    /// Ends the connection: whoever reads from it finds its end.
    pub(crate) fn close(&self) {
        if let Err(error) = self.0.shutdown(Shutdown::Both) {
            tracing::debug!(error = %error, "connection had ended before it was closed");
        }
    }
}

impl Transport {
    /// Connects, in the clear: the server speaks first, and only then can it be asked for TLS.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(super) fn connect(config: &MysqlConfig) -> Result<Self, SourceError> {
        let broken = |error| fault::unreachable(config, error);
        let socket = Socket::connect(config).map_err(broken)?;
        socket.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(broken)?;
        socket.set_write_timeout(Some(DEAD_PEER_AFTER)).map_err(broken)?;
        Ok(Self::Plain(socket))
    }

    /// Shakes hands for TLS, which the server has been asked for.
    ///
    /// # Errors
    /// When the server's certificate is not believed or the connection breaks.
    pub(super) fn encrypt(self, config: &MysqlConfig) -> Result<Self, SourceError> {
        let address = config.address();
        let endpoint = config.endpoint(&address);
        let (Self::Plain(socket), Some(tls)) = (self, endpoint.client_config()?) else {
            return Err(endpoint.refused("turn TLS on at the server"));
        };
        let mut connection = ClientConnection::new(tls, endpoint.server_name()?)
            .map_err(|error| endpoint.handshake_error(Box::new(error)))?;
        let mut gulped = Gulped::new(socket);
        while connection.is_handshaking() {
            connection.complete_io(&mut gulped).map_err(|error| endpoint.handshake_error(Box::new(error)))?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, gulped))))
    }

    /// Whether nobody between can read what is sent: encrypted, or within this machine.
    pub(super) fn is_private(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Plain(Socket::Tcp(_)) => false,
            #[cfg(unix)]
            Self::Plain(Socket::Local(_)) => true,
        }
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
