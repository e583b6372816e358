//! PRELOGIN: what client and server tell each other before anything else ([MS-TDS] 2.2.6.5).
//!
//! [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/60f56408-0188-4cd5-8b90-25c6f2423868

use super::ProtocolError;
use super::bytes::Reader;

/// How much of a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Only the log-in message.
    Login = 0,
    /// Everything, because the client wants it.
    On = 1,
    /// Nothing: one of the two cannot.
    None = 2,
    /// Everything, because the server insists.
    Required = 3,
}

const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const INSTANCE: u8 = 2;
const THREAD: u8 = 3;
const MARS: u8 = 4;
const END: u8 = 0xFF;

/// Reads what the client wants encrypted.
///
/// # Errors
/// [`ProtocolError::Malformed`] when an option lies outside the message.
pub(crate) fn wanted(body: &[u8]) -> Result<u8, ProtocolError> {
    let mut reader = Reader::new(body);
    loop {
        let option = reader.u8()?;
        if option == END {
            return Ok(Encryption::None as u8);
        }
        let offset = usize::from(reader.u16()?.swap_bytes());
        let length = usize::from(reader.u16()?.swap_bytes());
        let value = body
            .get(offset..offset + length)
            .ok_or(ProtocolError::Malformed("a prelogin option lies outside the message"))?;
        if option == ENCRYPTION {
            return value.first().copied().ok_or(ProtocolError::Malformed("an empty encryption option"));
        }
    }
}

/// The server's answer: version 16, the encryption that was agreed on, and no MARS.
pub(crate) fn answer(encryption: Encryption) -> Vec<u8> {
    let options: [(u8, &[u8]); 5] = [
        (VERSION, &[16, 0, 0x10, 0x4A, 0, 0]),
        (ENCRYPTION, &[encryption as u8]),
        (INSTANCE, &[0]),
        (THREAD, &[]),
        (MARS, &[0]),
    ];
    let mut table = Vec::new();
    let mut data = Vec::new();
    let start = options.len() * 5 + 1;
    for (option, value) in options {
        let offset = u16::try_from(start + data.len()).unwrap_or(u16::MAX);
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        table.push(option);
        table.extend_from_slice(&offset.to_be_bytes());
        table.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(value);
    }
    table.push(END);
    table.extend_from_slice(&data);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_reads_back() {
        assert_eq!(wanted(&answer(Encryption::Required)).unwrap(), 3);
    }

    #[test]
    fn an_option_outside_the_message_is_an_error() {
        assert!(wanted(&[1, 0, 200, 0, 1, 0xFF]).is_err());
        assert!(wanted(&[1, 0]).is_err());
    }
}
