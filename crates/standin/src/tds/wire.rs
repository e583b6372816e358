//! One connection's bytes, plain or through TLS, in both directions at once.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::ProtocolError;
use super::packet::{Assembler, Kind, Message, packet};

/// A connection and the messages that have come over it.
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    assembler: Assembler,
    /// Bytes that are to go to the socket.
    out: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Wire {
        Wire { stream, tls: None, assembler: Assembler::default(), out: Vec::new() }
    }

    /// The next whole message; `None` when the client has gone.
    ///
    /// # Errors
    /// [`ProtocolError`] for bytes that cannot be, and when the connection fails.
    pub(crate) async fn message(&mut self) -> Result<Option<Message>, ProtocolError> {
        loop {
            if let Some(message) = self.assembler.next_message()? {
                return Ok(Some(message));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// A message that has already come whole.
    ///
    /// # Errors
    /// As [`Wire::message`].
    pub(crate) fn ready_message(&mut self) -> Result<Option<Message>, ProtocolError> {
        self.assembler.next_message()
    }

    /// Puts whole packets in the queue to the socket, encrypting them where that was agreed on.
    ///
    /// # Errors
    /// [`ProtocolError::Tls`].
    pub(crate) fn queue(&mut self, packets: &[u8]) -> Result<(), ProtocolError> {
        match &mut self.tls {
            None => self.out.extend_from_slice(packets),
            Some(tls) => {
                // Small pieces: the library's buffer of plain text is limited.
                for piece in packets.chunks(16 << 10) {
                    tls.writer().write_all(piece)?;
                    write_records(tls, &mut self.out)?;
                }
            }
        }
        Ok(())
    }

    /// How many bytes wait for the socket.
    pub(crate) fn queued(&self) -> usize {
        self.out.len()
    }

    /// Waits until something was read or written; `false` when the client has gone.
    ///
    /// # Errors
    /// [`ProtocolError`] when the connection or its encryption fails.
    pub(crate) async fn exchange(&mut self) -> Result<bool, ProtocolError> {
        let interest =
            if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        let ready = self.stream.ready(interest).await?;
        if ready.is_writable() && !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if ready.is_readable() {
            return self.read_some();
        }
        Ok(true)
    }

    /// Writes everything that waits.
    ///
    /// # Errors
    /// As [`Wire::exchange`].
    pub(crate) async fn flush(&mut self) -> Result<(), ProtocolError> {
        while !self.out.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<bool, ProtocolError> {
        self.flush().await?;
        self.stream.readable().await?;
        self.read_some()
    }

    fn read_some(&mut self) -> Result<bool, ProtocolError> {
        let mut buffer = [0u8; 16 << 10];
        let count = match self.stream.try_read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = buffer.get(..count).unwrap_or_default();
        let Some(tls) = &mut self.tls else {
            self.assembler.push(bytes);
            return Ok(true);
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            let state = tls.process_new_packets()?;
            let mut plain = vec![0u8; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut plain)?;
            self.assembler.push(&plain);
        }
        write_records(tls, &mut self.out)?;
        Ok(true)
    }

    /// Does the TLS handshake, whose bytes travel inside PRELOGIN packets in both directions.
    ///
    /// # Errors
    /// [`ProtocolError`] when the client breaks it off or wants what the server does not have.
    pub(crate) async fn handshake(&mut self, config: Arc<ServerConfig>) -> Result<(), ProtocolError> {
        let mut tls = ServerConnection::new(config)?;
        while tls.is_handshaking() {
            let (kind, payload) = loop {
                if let Some((kind, _, payload)) = self.assembler.next_packet()? {
                    break (kind, payload);
                }
                if !self.fill().await? {
                    return Err(ProtocolError::Malformed("the client left during the TLS handshake"));
                }
            };
            if kind != Kind::Prelogin {
                return Err(ProtocolError::Malformed("the TLS handshake is not inside prelogin packets"));
            }
            let mut bytes = payload.as_slice();
            while !bytes.is_empty() {
                tls.read_tls(&mut bytes)?;
                tls.process_new_packets()?;
            }
            let mut records = Vec::new();
            write_records(&mut tls, &mut records)?;
            for piece in records.chunks(4000) {
                self.out.extend_from_slice(&packet(0x12, piece, true, 0));
            }
            self.flush().await?;
        }
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Goes on in plain text: only the log-in was to be encrypted.
    pub(crate) fn end_encryption(&mut self) {
        self.tls = None;
    }
}

fn write_records(tls: &mut ServerConnection, out: &mut Vec<u8>) -> std::io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(out)?;
    }
    Ok(())
}
