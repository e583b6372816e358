//! A wire on which TLS's own messages travel inside packets until both sides have agreed
//! (<https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/cb43ff3f-38c5-4ba2-b465-4fb9a6a1ab56>).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::prelogin::{HEADER_BYTES, KIND_PRELOGIN, header, payload};

/// Bytes of TLS in one packet: a packet has 4096 until both sides agree on more.
const PAYLOAD_MAX: usize = 4096 - HEADER_BYTES;

/// The wire.
#[derive(Debug)]
pub(super) struct Framing {
    tcp: TcpStream,
    agreed: bool,
    head: [u8; HEADER_BYTES],
    head_filled: usize,
    /// Bytes of the packet being read that have not come yet.
    left: usize,
    out: Vec<u8>,
    sent: usize,
}

impl Framing {
    pub(super) fn new(tcp: TcpStream) -> Self {
        let head = [0; HEADER_BYTES];
        Self { tcp, agreed: false, head, head_filled: 0, left: 0, out: Vec::new(), sent: 0 }
    }

    /// From now on TLS's messages travel as they are.
    pub(super) fn agree(&mut self) {
        self.agreed = true;
    }

    /// Reads the header of the next packet.
    fn poll_header(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.head_filled < HEADER_BYTES {
            let mut room = ReadBuf::new(self.head.get_mut(self.head_filled..).unwrap_or_default());
            ready!(Pin::new(&mut self.tcp).poll_read(context, &mut room))?;
            match room.filled().len() {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                read => self.head_filled += read,
            }
        }
        self.head_filled = 0;
        self.left = payload(self.head)?;
        Poll::Ready(Ok(()))
    }

    /// Sends what waits to be sent.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.tcp).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Framing {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.agreed && this.left == 0 {
            return Pin::new(&mut this.tcp).poll_read(context, room);
        }
        while this.left == 0 {
            ready!(this.poll_header(context))?;
        }
        let mut part = [0; PAYLOAD_MAX];
        let most = this.left.min(room.remaining()).min(PAYLOAD_MAX);
        let mut inner = ReadBuf::new(part.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(&mut this.tcp).poll_read(context, &mut inner))?;
        this.left -= inner.filled().len();
        room.put_slice(inner.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Framing {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        if this.agreed {
            return Pin::new(&mut this.tcp).poll_write(context, bytes);
        }
        let part = bytes.get(..bytes.len().min(PAYLOAD_MAX)).unwrap_or_default();
        this.out.extend(header(KIND_PRELOGIN, part.len())?);
        this.out.extend(part);
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.tcp).poll_shutdown(context)
    }
}
