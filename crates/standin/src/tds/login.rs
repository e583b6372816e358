//! LOGIN7: who the client is and which database it wants ([MS-TDS] 2.2.6.4).
//!
//! [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/773a62b6-ee89-4c02-9e5e-344882630aac

use super::ProtocolError;
use super::bytes::{Reader, utf16_text};

/// What a client said of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login {
    pub(crate) packet_size: usize,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    /// The client connects only to read, and may be routed elsewhere (`ApplicationIntent=ReadOnly`).
    pub(crate) read_only_intent: bool,
}

const READ_ONLY_INTENT: u8 = 0x20;

/// Where the table of offsets begins, in bytes.
const TABLE: usize = 36;

/// Reads a LOGIN7 message.
///
/// # Errors
/// [`ProtocolError::Malformed`] when a text lies outside the message.
pub(crate) fn parse(body: &[u8]) -> Result<Login, ProtocolError> {
    let mut reader = Reader::new(body);
    reader.take(8)?;
    let packet_size = reader.u32()? as usize;
    reader.take(12)?;
    let flags = reader.take(4)?;
    let read_only_intent = flags.get(2).is_some_and(|flags| flags & READ_ONLY_INTENT != 0);
    let field = |number: usize| -> Result<&[u8], ProtocolError> {
        let at = TABLE + number * 4;
        let mut entry = Reader::new(body.get(at..at + 4).ok_or(OUTSIDE)?);
        let offset = usize::from(entry.u16()?);
        let length = usize::from(entry.u16()?) * 2;
        body.get(offset..offset + length).ok_or(OUTSIDE)
    };
    let password: Vec<u8> = field(2)?.iter().map(|byte| (byte ^ 0xA5).rotate_left(4)).collect();
    Ok(Login {
        packet_size,
        user: utf16_text(field(1)?),
        password: utf16_text(&password),
        database: utf16_text(field(8)?),
        read_only_intent,
    })
}

const OUTSIDE: ProtocolError = ProtocolError::Malformed("a text of the log-in lies outside the message");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_login_is_an_error_at_every_length() {
        let mut body = vec![0u8; 94];
        body[40..44].copy_from_slice(&[94, 0, 2, 0]);
        body.extend_from_slice(&[b's', 0, b'a', 0]);
        assert_eq!(parse(&body).unwrap().user, "sa");
        for length in [0, 10, 36, 60, 97] {
            assert!(parse(&body[..length]).is_err(), "{length} bytes");
        }
    }
}
