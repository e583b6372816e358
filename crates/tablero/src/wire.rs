//! Connections that can be broken on purpose.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::carrier::Carrier;

const INTACT: u8 = 0;
const RESET: u8 = 1;
const GARBAGE: u8 = 2;
const NOT_HTTP: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46 this is not HTTP\r\n\r\n";

/// The handle with which a request's handler breaks its own connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker(Arc<AtomicU8>);

impl Breaker {
    /// The connection is reset instead of answered.
    pub(crate) fn reset(&self) {
        self.0.store(RESET, Ordering::Release);
    }

    /// The connection carries garbage instead of the answer.
    pub(crate) fn garble(&self) {
        self.0.store(GARBAGE, Ordering::Release);
    }

    /// Whether the connection will carry no answer.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire) != INTACT
    }
}

impl Connected<IncomingStream<'_, Wires>> for Breaker {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.io().breaker.clone()
    }
}

/// Listens, and hands out connections that end when the simulator stops.
pub(crate) struct Wires {
    pub(crate) listener: TcpListener,
    /// Where the simulator speaks TLS.
    pub(crate) acceptor: Option<TlsAcceptor>,
    pub(crate) stop: CancellationToken,
}

impl Listener for Wires {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    return (Wire::new(stream, self.acceptor.as_ref(), self.stop.clone()), peer);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: a pause lets some connections end.
                    tracing::warn!(error = %error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// One connection.
pub(crate) struct Wire {
    carrier: Carrier,
    breaker: Breaker,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    fn new(stream: TcpStream, acceptor: Option<&TlsAcceptor>, stop: CancellationToken) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = %error, "connection keeps its delay");
        }
        let carrier = Carrier::new(stream, acceptor);
        Self { carrier, breaker: Breaker::default(), stopped: Box::pin(stop.cancelled_owned()) }
    }

    /// Whether the simulator stops; if not, the connection's task is woken when it does.
    fn has_stopped(&mut self, context: &mut Context<'_>) -> bool {
        self.stopped.as_mut().poll(context).is_ready()
    }

    /// Makes the coming close send RST instead of FIN.
    fn reset(&self) -> io::Error {
        if let Some(socket) = self.carrier.socket()
            && let Err(error) = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(error = %error, "connection closes without a reset");
        }
        io::ErrorKind::ConnectionReset.into()
    }
}

impl AsyncRead for Wire {
    /// A read is always pending while a request is handled, so this is also where a hanging one learns that the
    /// simulator stops.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_stopped(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.carrier).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_stopped(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match self.breaker.0.load(Ordering::Acquire) {
            RESET => Poll::Ready(Err(self.reset())),
            GARBAGE => Pin::new(&mut self.carrier)
                .poll_write(context, NOT_HTTP)
                .map(|_| Err(io::ErrorKind::ConnectionAborted.into())),
            _ => Pin::new(&mut self.carrier).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.breaker.is_broken() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.carrier).poll_shutdown(context)
    }
}
