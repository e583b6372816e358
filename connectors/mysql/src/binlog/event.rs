//! Events: their headers, their kinds, and their checksums.

use super::DecodeError;
use crate::wire::fields::Fields;

/// Bytes of an event's header in version 4 of the format, the only one since MySQL 5.0.
pub(crate) const HEADER_BYTES: usize = 19;
/// The checksum at an event's end.
pub(crate) const CHECKSUM_BYTES: usize = 4;
/// The server made the event up for this connection; it is not in the file.
const ARTIFICIAL: u16 = 0x20;
/// Whoever does not know the event may go on.
const IGNORABLE: u16 = 0x80;
/// The file is being written: set in the first event of the last file, and left out of its checksum.
const IN_USE: u8 = 1;

/// What stands before every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Seconds since the epoch.
    pub(crate) at: u32,
    /// The event's type.
    pub(crate) kind: u8,
    /// The `server_id` of the server that it came from first.
    pub(crate) server: u32,
    /// Bytes of the whole event.
    pub(crate) size: u32,
    /// The low half of where the event ends in its file; zero for what is not in it.
    pub(crate) log_pos: u32,
    flags: u16,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are too few, or fewer than the event claims to have.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let at = fields.u32()?;
        let kind = fields.u8()?;
        let server = fields.u32()?;
        let header =
            Self { at, kind, server, size: fields.u32()?, log_pos: fields.u32()?, flags: fields.u16()? };
        if (header.size as usize) < HEADER_BYTES {
            return Err(DecodeError::Size { claimed: header.size, actual: HEADER_BYTES });
        }
        Ok(header)
    }

    /// Whether it lies in the file.
    pub(crate) fn is_in_file(&self) -> bool {
        self.log_pos != 0 && self.flags & ARTIFICIAL == 0
    }

    /// Whether whoever does not know it may go on.
    pub(crate) fn is_ignorable(&self) -> bool {
        self.flags & IGNORABLE != 0
    }
}

/// How events are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// Not at all.
    None,
    /// By a CRC32 at their end.
    Crc32,
}

impl Checksum {
    /// Splits a whole event into header and body, and verifies it.
    ///
    /// # Errors
    /// When it is torn or altered.
    pub(crate) fn open<'a>(&mut self, event: &'a [u8]) -> Result<(Header, &'a [u8]), DecodeError> {
        let mut fields = Fields(event);
        let header = Header::read(&mut fields)?;
        if header.size as usize != event.len() {
            return Err(DecodeError::Size { claimed: header.size, actual: event.len() });
        }
        if header.kind == kind::FORMAT_DESCRIPTION {
            *self = Self::of_file(event)?;
            // It always has room for a checksum, used or not.
            self.verify(event, header.kind)?;
            return Ok((header, without_checksum(fields.0)?));
        }
        if *self == Self::None {
            return Ok((header, fields.0));
        }
        self.verify(event, header.kind)?;
        Ok((header, without_checksum(fields.0)?))
    }

    /// What a file's first event says about those that follow: its last byte before its checksum.
    fn of_file(event: &[u8]) -> Result<Self, DecodeError> {
        let (rest, _) = event.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DecodeError::Truncated)?;
        match rest.last() {
            Some(0) => Ok(Self::None),
            Some(1) => Ok(Self::Crc32),
            Some(other) => Err(DecodeError::ChecksumKind(*other)),
            None => Err(DecodeError::Truncated),
        }
    }

    fn verify(self, event: &[u8], kind: u8) -> Result<(), DecodeError> {
        if self == Self::None {
            return Ok(());
        }
        let (covered, stored) = event.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DecodeError::Truncated)?;
        let actual = match covered.split_at_checked(17) {
            Some((head, [flags, rest @ ..])) if kind == kind::FORMAT_DESCRIPTION => {
                let mut hasher = crc32fast::Hasher::new();
                hasher.update(head);
                hasher.update(&[flags & !IN_USE]);
                hasher.update(rest);
                hasher.finalize()
            }
            _ => crc32fast::hash(covered),
        };
        if actual == u32::from_le_bytes(*stored) { Ok(()) } else { Err(DecodeError::Checksum(kind)) }
    }
}

fn without_checksum(body: &[u8]) -> Result<&[u8], DecodeError> {
    body.split_last_chunk::<CHECKSUM_BYTES>().map(|(body, _)| body).ok_or(DecodeError::Truncated)
}

/// The types of events
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/namespacemysql_1_1binlog_1_1event.html>).
pub(crate) mod kind {
    pub(crate) const QUERY: u8 = 2;
    pub(crate) const STOP: u8 = 3;
    pub(crate) const ROTATE: u8 = 4;
    pub(crate) const INTVAR: u8 = 5;
    pub(crate) const APPEND_BLOCK: u8 = 9;
    pub(crate) const DELETE_FILE: u8 = 11;
    pub(crate) const RAND: u8 = 13;
    pub(crate) const USER_VAR: u8 = 14;
    pub(crate) const FORMAT_DESCRIPTION: u8 = 15;
    pub(crate) const XID: u8 = 16;
    pub(crate) const BEGIN_LOAD_QUERY: u8 = 17;
    pub(crate) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(crate) const TABLE_MAP: u8 = 19;
    pub(crate) const WRITE_ROWS_V1: u8 = 23;
    pub(crate) const UPDATE_ROWS_V1: u8 = 24;
    pub(crate) const DELETE_ROWS_V1: u8 = 25;
    pub(crate) const INCIDENT: u8 = 26;
    pub(crate) const HEARTBEAT: u8 = 27;
    pub(crate) const IGNORABLE: u8 = 28;
    pub(crate) const ROWS_QUERY: u8 = 29;
    pub(crate) const WRITE_ROWS: u8 = 30;
    pub(crate) const UPDATE_ROWS: u8 = 31;
    pub(crate) const DELETE_ROWS: u8 = 32;
    pub(crate) const GTID: u8 = 33;
    pub(crate) const ANONYMOUS_GTID: u8 = 34;
    pub(crate) const PREVIOUS_GTIDS: u8 = 35;
    pub(crate) const TRANSACTION_CONTEXT: u8 = 36;
    pub(crate) const VIEW_CHANGE: u8 = 37;
    pub(crate) const XA_PREPARE: u8 = 38;
    pub(crate) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(crate) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(crate) const HEARTBEAT_V2: u8 = 41;
    pub(crate) const GTID_TAGGED: u8 = 42;
    pub(crate) const MARIA_ANNOTATE_ROWS: u8 = 160;
    pub(crate) const MARIA_BINLOG_CHECKPOINT: u8 = 161;
    pub(crate) const MARIA_GTID: u8 = 162;
    pub(crate) const MARIA_GTID_LIST: u8 = 163;
    pub(crate) const MARIA_START_ENCRYPTION: u8 = 164;
    pub(crate) const MARIA_QUERY_COMPRESSED: u8 = 165;
    pub(crate) const MARIA_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub(crate) const MARIA_UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    pub(crate) const MARIA_DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub(crate) const MARIA_WRITE_ROWS_COMPRESSED: u8 = 169;
    pub(crate) const MARIA_UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub(crate) const MARIA_DELETE_ROWS_COMPRESSED: u8 = 171;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An XID event as MariaDB 10.11 wrote it.
    fn event() -> Vec<u8> {
        let mut event = vec![0x85, 0x9e, 0x59, 0xa3, kind::XID, 1, 0, 0, 0, 31, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        event.extend_from_slice(&7_u64.to_le_bytes());
        let crc = crc32fast::hash(&event);
        event.extend_from_slice(&crc.to_le_bytes());
        event
    }

    #[test]
    fn an_event_is_opened_without_its_checksum() {
        let event = event();
        let (header, body) = Checksum::Crc32.open(&event).unwrap();
        assert_eq!((header.kind, header.size, header.log_pos), (kind::XID, 31, 256));
        assert_eq!(body, 7_u64.to_le_bytes());
        assert_eq!(Checksum::None.open(&event).unwrap().1.len(), 12);
    }

    #[test]
    fn an_altered_or_torn_event_is_an_error() {
        let whole = event();
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            assert!(Checksum::Crc32.open(&altered).is_err(), "byte {at}");
            assert!(Checksum::Crc32.open(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
