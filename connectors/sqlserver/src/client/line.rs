//! The wire to the server, encrypted as the configuration asks.
//!
//! The TDS client beneath knows no certificate of another authority that is not for this very host, and no server's
//! own certificate; and it would bring a second TLS library along. So encryption is agreed on here, as the other
//! connectors do it, and the client is told that there is none: its first message is not sent, and its answer is ours.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use change::{SourceError, SourceErrorKind};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::framing::Framing;
use super::prelogin::{self, Encryption, HEADER_BYTES};
use crate::config::SqlServerConfig;
use crate::fault;

/// Reaching the server at all: log-ins may take longer.
const REACH_MAX: Duration = Duration::from_secs(10);

/// Addresses of a host that are tried: more subnets than an availability group has replicas for.
const ADDRESSES_MAX: usize = 16;

/// The wire.
#[derive(Debug)]
pub(crate) struct Line {
    wire: Wire,
    opening: Opening,
}

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<Framing>>),
}

/// The client's first message and its answer, which stay here.
#[derive(Debug)]
struct Opening {
    head: Vec<u8>,
    /// Bytes of the message after its header that have not come yet; `None` until the header has.
    left: Option<usize>,
    answer: Vec<u8>,
    answered: usize,
}

impl Opening {
    /// Takes what belongs to the message; 0 when it is complete.
    fn swallow(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left else {
            let wanted = HEADER_BYTES - self.head.len();
            let part = bytes.get(..wanted.min(bytes.len())).unwrap_or_default();
            self.head.extend(part);
            if let Ok(head) = <[u8; HEADER_BYTES]>::try_from(self.head.as_slice()) {
                self.left = Some(prelogin::payload(head)?);
            }
            return Ok(part.len());
        };
        let taken = left.min(bytes.len());
        self.left = Some(left - taken);
        Ok(taken)
    }

    /// The next bytes of the answer.
    fn give(&mut self, most: usize) -> &[u8] {
        let rest = self.answer.get(self.answered..).unwrap_or_default();
        let part = rest.get(..most.min(rest.len())).unwrap_or_default();
        self.answered += part.len();
        part
    }
}

impl Line {
    /// Reaches the server and agrees with it on encryption. There is no falling back.
    ///
    /// # Errors
    /// When it cannot be reached, does not encrypt as asked, or is not the one that we trust.
    pub(super) async fn open(config: &SqlServerConfig, host: &str, port: u16) -> Result<Self, SourceError> {
        let address = SqlServerConfig::address(host, port);
        let unreachable = |cause| fault::unreachable(&address, cause);
        let reaching = tokio::time::timeout(REACH_MAX, reach(host, port));
        let mut tcp =
            reaching.await.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let endpoint = config.endpoint(host, &address);
        let tls = endpoint.client_config()?;
        let wanted = if tls.is_some() { Encryption::On } else { Encryption::NotSupported };
        let offered = prelogin::exchange(&mut tcp, wanted).await.map_err(unreachable)?;
        let wire = match (tls, offered) {
            (None, Encryption::Off | Encryption::NotSupported) => Wire::Plain(tcp),
            (None, Encryption::On | Encryption::Required) => {
                let context = format!("{address} demands TLS, and tls = \"disable\" forbids it");
                return Err(SourceError::new(SourceErrorKind::Tls, context)
                    .with_hint("set tls to at least \"require\""));
            }
            (Some(_), Encryption::Off | Encryption::NotSupported) => {
                return Err(endpoint.refused("give the server a certificate in its configuration manager"));
            }
            (Some(tls), Encryption::On | Encryption::Required) => {
                let name = endpoint.server_name()?;
                let connecting = TlsConnector::from(tls).connect(name, Framing::new(tcp));
                let mut stream =
                    Box::pin(connecting).await.map_err(|error| endpoint.handshake_error(Box::new(error)))?;
                stream.get_mut().0.agree();
                Wire::Encrypted(Box::new(stream))
            }
        };
        let answer = prelogin::answer(Encryption::NotSupported).map_err(unreachable)?;
        let opening = Opening { head: Vec::with_capacity(HEADER_BYTES), left: None, answer, answered: 0 };
        Ok(Self { wire, opening })
    }
}

/// Connects to the first address of the host that answers.
///
/// The listener of an availability group over several subnets has an address in each, of which only one is in use: those
/// that are not say nothing for longer than anybody waits. So all are tried at once, as Microsoft's own clients do with
/// `MultiSubnetFailover`
/// (<https://learn.microsoft.com/en-us/sql/database-engine/availability-groups/windows/listeners-client-connectivity-application-failover>).
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    first_of(addresses.take(ADDRESSES_MAX)).await
}

async fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut tries: FuturesUnordered<_> = addresses.map(TcpStream::connect).collect();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host name resolves to no address");
    while let Some(tried) = tries.next().await {
        match tried {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let given = this.opening.give(room.remaining());
        if !given.is_empty() {
            room.put_slice(given);
            return Poll::Ready(Ok(()));
        }
        let before = room.filled().len();
        let remaining = room.remaining();
        ready!(match &mut this.wire {
            Wire::Plain(wire) => Pin::new(wire).poll_read(context, room),
            Wire::Encrypted(wire) => Pin::new(wire.as_mut()).poll_read(context, room),
        })?;
        // The client beneath takes an end in the middle of an answer for one that goes on.
        if room.filled().len() == before && remaining > 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let swallowed = this.opening.swallow(bytes)?;
        if swallowed > 0 {
            return Poll::Ready(Ok(swallowed));
        }
        match &mut this.wire {
            Wire::Plain(wire) => Pin::new(wire).poll_write(context, bytes),
            Wire::Encrypted(wire) => Pin::new(wire.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(wire) => Pin::new(wire).poll_flush(context),
            Wire::Encrypted(wire) => Pin::new(wire.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(wire) => Pin::new(wire).poll_shutdown(context),
            Wire::Encrypted(wire) => Pin::new(wire.as_mut()).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// A listener whose queue is full says nothing to whoever comes next, as an address that is not in use does.
    #[tokio::test]
    async fn an_address_that_says_nothing_does_not_hold_up_the_one_that_answers() {
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(1).unwrap();
        let deaf = silent.local_addr().unwrap();
        let mut queued = Vec::new();
        let moment = Duration::from_millis(200);
        while let Ok(connected) = tokio::time::timeout(moment, TcpStream::connect(deaf)).await {
            queued.push(connected.unwrap());
            assert!(queued.len() < 100, "the queue should have been full");
        }
        let answering = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = answering.local_addr().unwrap();
        let reaching = first_of([deaf, good].into_iter());
        let tcp = tokio::time::timeout(REACH_MAX, reaching).await.unwrap().unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn a_host_at_whose_addresses_nothing_listens_is_told_so() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = first_of([nobody, nobody].into_iter()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first_of(std::iter::empty()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
