//! The first exchange of a connection: whether it will be encrypted
//! (<https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/60f56408-0188-4cd5-8b90-25c6f2423868>).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes in front of every packet: kind, status, length, and four that do not matter here.
pub(super) const HEADER_BYTES: usize = 8;
/// A packet of this exchange, and one that carries TLS's own.
pub(super) const KIND_PRELOGIN: u8 = 0x12;
const KIND_ANSWER: u8 = 0x04;
/// The packet ends its message.
pub(super) const STATUS_LAST: u8 = 0x01;
/// A server's answer has a few dozen bytes.
const ANSWER_BYTES_MAX: usize = 4096;

const OPTION_VERSION: u8 = 0;
const OPTION_ENCRYPTION: u8 = 1;
const OPTIONS_END: u8 = 0xff;

/// What client and server say about encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// For the log-in alone.
    Off,
    /// Always.
    On,
    /// Never.
    NotSupported,
    /// Always, and nothing else will do.
    Required,
}

impl Encryption {
    fn code(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::NotSupported => 2,
            Self::Required => 3,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Off, Self::On, Self::NotSupported, Self::Required].into_iter().find(|one| one.code() == code)
    }
}

/// A packet's header.
pub(super) fn header(kind: u8, payload: usize) -> io::Result<[u8; HEADER_BYTES]> {
    let length = u16::try_from(payload + HEADER_BYTES).map_err(io::Error::other)?;
    let [high, low] = length.to_be_bytes();
    Ok([kind, STATUS_LAST, high, low, 0, 0, 1, 0])
}

/// How many bytes follow a packet's header.
///
/// # Errors
/// When the length that it tells leaves no room for itself.
pub(super) fn payload(header: [u8; HEADER_BYTES]) -> io::Result<usize> {
    let [_, _, high, low, ..] = header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    length.checked_sub(HEADER_BYTES).ok_or_else(|| broken("a packet is shorter than its header"))
}

/// A message that says `encryption` and nothing else; a version is demanded and means nothing.
pub(super) fn message(encryption: Encryption) -> Vec<u8> {
    let mut bytes = vec![OPTION_VERSION, 0, 11, 0, 6, OPTION_ENCRYPTION, 0, 17, 0, 1, OPTIONS_END];
    bytes.extend([16, 0, 0, 0, 0, 0]);
    bytes.push(encryption.code());
    bytes
}

/// A server's answer to its client, as a whole packet.
pub(super) fn answer(encryption: Encryption) -> io::Result<Vec<u8>> {
    let message = message(encryption);
    let mut packet = header(KIND_ANSWER, message.len())?.to_vec();
    packet.extend(message);
    Ok(packet)
}

/// Says what we want and hears what the server will do.
///
/// # Errors
/// When the connection breaks, and when what answers does not speak TDS.
pub(super) async fn exchange(tcp: &mut TcpStream, wanted: Encryption) -> io::Result<Encryption> {
    let message = message(wanted);
    let mut packet = header(KIND_PRELOGIN, message.len())?.to_vec();
    packet.extend(message);
    tcp.write_all(&packet).await?;
    tcp.flush().await?;
    let mut answer = Vec::new();
    loop {
        let mut head = [0; HEADER_BYTES];
        tcp.read_exact(&mut head).await?;
        let [kind, status, ..] = head;
        let length = payload(head)?;
        if kind != KIND_ANSWER || answer.len() + length > ANSWER_BYTES_MAX {
            return Err(broken("what answers there does not speak SQL Server's protocol"));
        }
        let begin = answer.len();
        answer.resize(begin + length, 0);
        tcp.read_exact(answer.get_mut(begin..).unwrap_or_default()).await?;
        if status & STATUS_LAST != 0 {
            return encryption(&answer).ok_or_else(|| broken("the server does not say whether it encrypts"));
        }
    }
}

/// What a message says about encryption: a table of options, each with its place and length, and then their values.
fn encryption(message: &[u8]) -> Option<Encryption> {
    let mut options = message;
    loop {
        let (option, rest) = options.split_first()?;
        if *option == OPTIONS_END {
            return None;
        }
        let ([high, low, _, _], rest) = rest.split_first_chunk::<4>()?;
        if *option == OPTION_ENCRYPTION {
            let place = usize::from(u16::from_be_bytes([*high, *low]));
            return Encryption::of(*message.get(place)?);
        }
        options = rest;
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for said in [Encryption::Off, Encryption::On, Encryption::NotSupported, Encryption::Required] {
            assert_eq!(encryption(&message(said)), Some(said));
        }
    }

    #[test]
    fn a_message_that_breaks_off_says_nothing() {
        let whole = message(Encryption::On);
        for length in 0..whole.len() {
            assert_eq!(encryption(&whole[..length]), None, "{length}");
        }
        assert_eq!(encryption(&[OPTION_ENCRYPTION, 0xff, 0xff, 0, 1, OPTIONS_END]), None);
        assert_eq!(payload([4, 1, 0, 7, 0, 0, 1, 0]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
