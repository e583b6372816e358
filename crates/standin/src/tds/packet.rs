//! Packets: eight bytes of header, and messages that are made of several ([MS-TDS] 2.2.3).
//!
//! [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/e5ea8520-1ea3-4a75-a2a9-c17e63e9ee19

use super::ProtocolError;

/// Length of a packet's header in bytes.
pub(crate) const HEADER: usize = 8;
/// Size of packets until the log-in has agreed on another, in bytes.
pub(crate) const DEFAULT_SIZE: usize = 4096;
/// The largest size that a client may ask for, in bytes.
pub(crate) const SIZE_MAX: usize = 32_767;
/// The largest message that is taken, in bytes: far above every request of a test.
const MESSAGE_MAX: usize = 64 << 20;

/// The last packet of a message.
const END_OF_MESSAGE: u8 = 0x01;
/// The client does not want the message that it began to be run.
const IGNORE: u8 = 0x02;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Batch,
    Rpc,
    Attention,
    BulkLoad,
    TransactionManager,
    Login,
    Prelogin,
    Other,
}

impl Kind {
    fn of(byte: u8) -> Kind {
        match byte {
            0x01 => Kind::Batch,
            0x03 => Kind::Rpc,
            0x06 => Kind::Attention,
            0x07 => Kind::BulkLoad,
            0x0E => Kind::TransactionManager,
            0x10 => Kind::Login,
            0x12 => Kind::Prelogin,
            _ => Kind::Other,
        }
    }
}

/// A whole message from the client.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
}

/// Puts messages together from the bytes of a connection.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    bytes: Vec<u8>,
    body: Vec<u8>,
}

impl Assembler {
    /// Takes bytes as they come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The payload of the next packet alone, for the TLS handshake, whose messages have no end of their own.
    pub(crate) fn next_packet(&mut self) -> Result<Option<(Kind, u8, Vec<u8>)>, ProtocolError> {
        let Some(&[kind, status, high, low]) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < HEADER {
            return Err(ProtocolError::Malformed("a packet is shorter than its header"));
        }
        if self.bytes.len() < length {
            return Ok(None);
        }
        let packet: Vec<u8> = self.bytes.drain(..length).collect();
        let payload = packet.get(HEADER..).unwrap_or_default().to_vec();
        Ok(Some((Kind::of(kind), status, payload)))
    }

    /// The next whole message, when its last packet has come.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] for a header that cannot be, and for a message over 64 MiB.
    pub(crate) fn next_message(&mut self) -> Result<Option<Message>, ProtocolError> {
        while let Some((kind, status, payload)) = self.next_packet()? {
            if kind == Kind::Attention {
                return Ok(Some(Message { kind, body: Vec::new() }));
            }
            if self.body.len() + payload.len() > MESSAGE_MAX {
                return Err(ProtocolError::Malformed("a message is over 64 MiB"));
            }
            self.body.extend_from_slice(&payload);
            if status & END_OF_MESSAGE != 0 {
                let body = std::mem::take(&mut self.body);
                if status & IGNORE == 0 {
                    return Ok(Some(Message { kind, body }));
                }
            }
        }
        Ok(None)
    }
}

/// A packet of an answer: type 4, or what `kind` says.
pub(crate) fn packet(kind: u8, payload: &[u8], last: bool, id: u8) -> Vec<u8> {
    let length = u16::try_from(HEADER + payload.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut out = Vec::with_capacity(usize::from(length));
    out.extend_from_slice(&[kind, u8::from(last), high, low, 0, 0, id, 0]);
    out.extend_from_slice(payload);
    out
}

/// Packets of type 4 that carry `payload` whole.
pub(crate) fn answer(payload: &[u8], size: usize) -> Vec<u8> {
    let room = size.saturating_sub(HEADER).max(1);
    let count = payload.len().div_ceil(room).max(1);
    let mut out = Vec::with_capacity(payload.len() + count * HEADER);
    if payload.is_empty() {
        return packet(4, &[], true, 1);
    }
    for (number, chunk) in payload.chunks(room).enumerate() {
        let id = u8::try_from((number + 1) % 256).unwrap_or(0);
        out.extend_from_slice(&packet(4, chunk, number + 1 == count, id));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_put_together_from_packets_that_come_in_pieces() {
        let mut bytes = packet(1, b"one ", false, 1);
        bytes.extend(packet(1, b"two", true, 2));
        let mut assembler = Assembler::default();
        for byte in &bytes[..bytes.len() - 1] {
            assembler.push(&[*byte]);
            assert!(assembler.next_message().unwrap().is_none());
        }
        assembler.push(&bytes[bytes.len() - 1..]);
        let message = assembler.next_message().unwrap().unwrap();
        assert_eq!((message.kind, message.body.as_slice()), (Kind::Batch, b"one two".as_slice()));
    }

    #[test]
    fn a_header_that_cannot_be_is_an_error() {
        let mut assembler = Assembler::default();
        assembler.push(&[1, 1, 0, 3, 0, 0, 0, 0]);
        assert!(assembler.next_message().is_err());
    }
}
