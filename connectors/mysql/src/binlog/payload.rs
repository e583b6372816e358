//! Whole transactions that MySQL compressed into one event, inflated as a stream: they may be longer than memory
//! (<https://dev.mysql.com/doc/refman/8.4/en/binary-log-transaction-compression.html>).

use std::io::{self, BufReader, Read};

use super::DecodeError;
use super::event::{HEADER_BYTES, Header};
use crate::wire::fields::Fields;

const END: u64 = 0;
const COMPRESSION: u64 = 2;
const ZSTD: u64 = 0;
const UNCOMPRESSED: u64 = 255;
/// A part of the head is a few bytes long.
const PART_BYTES_MAX: u64 = 1024;
/// An event within a payload is as long as one outside may be.
const EVENT_BYTES_MAX: u32 = 1 << 30;
/// Memory for inflating: what the highest level of compression needs.
const WINDOW_LOG_MAX: u32 = 27;

/// The events of a payload, one after the other.
pub(crate) struct Payload<'a> {
    inflated: Box<dyn Read + 'a>,
    event: Vec<u8>,
}

impl<'a> Payload<'a> {
    /// Reads the payload's head; `bytes` ends where the event's body does.
    ///
    /// # Errors
    /// When the head cannot be read or names a compression that is not known.
    pub(crate) fn open(mut bytes: impl Read + 'a) -> Result<Self, DecodeError> {
        let mut compression = ZSTD;
        loop {
            let part = packed(&mut bytes)?;
            if part == END {
                break;
            }
            let length = packed(&mut bytes)?;
            if length > PART_BYTES_MAX {
                return Err(DecodeError::Truncated);
            }
            let mut content = Vec::new();
            bytes.by_ref().take(length).read_to_end(&mut content).map_err(torn)?;
            if part == COMPRESSION {
                compression = packed(&mut content.as_slice())?;
            }
        }
        let inflated: Box<dyn Read + 'a> = match compression {
            ZSTD => {
                let mut decoder = zstd::stream::read::Decoder::new(bytes).map_err(torn)?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(torn)?;
                Box::new(BufReader::with_capacity(256 * 1024, decoder))
            }
            UNCOMPRESSED => Box::new(BufReader::new(bytes)),
            other => return Err(DecodeError::UnknownCompression(other)),
        };
        Ok(Self { inflated, event: Vec::new() })
    }

    /// The next event, header and body; `None` after the last.
    ///
    /// # Errors
    /// When the payload is torn or cannot be inflated.
    pub(crate) fn next_event(&mut self) -> Result<Option<(Header, &[u8])>, DecodeError> {
        // A transaction with one very long row does not keep its memory for all that follow.
        if self.event.capacity() > 1 << 20 {
            self.event = Vec::new();
        }
        self.event.clear();
        let head = HEADER_BYTES as u64;
        let read = self.inflated.by_ref().take(head).read_to_end(&mut self.event).map_err(torn)?;
        if read == 0 {
            return Ok(None);
        }
        let header = Header::read(&mut Fields(&self.event))?;
        if header.size > EVENT_BYTES_MAX {
            return Err(DecodeError::Size { claimed: header.size, actual: 0 });
        }
        let rest = u64::from(header.size) - head;
        // Grows as the bytes come: a claimed length alone allocates nothing.
        let read = self.inflated.by_ref().take(rest).read_to_end(&mut self.event).map_err(torn)?;
        if read as u64 != rest {
            return Err(DecodeError::Size { claimed: header.size, actual: read + HEADER_BYTES });
        }
        Ok(Some((header, self.event.get(HEADER_BYTES..).unwrap_or_default())))
    }
}

fn torn(error: io::Error) -> DecodeError {
    DecodeError::Inflate(error.to_string())
}

/// An integer whose first byte tells its length.
fn packed(bytes: &mut impl Read) -> Result<u64, DecodeError> {
    let mut first = [0];
    bytes.read_exact(&mut first).map_err(torn)?;
    let [first] = first;
    let width = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return Err(DecodeError::Truncated),
        short => return Ok(u64::from(short)),
    };
    let mut value = [0; 8];
    bytes.read_exact(value.get_mut(..width).unwrap_or_default()).map_err(torn)?;
    Ok(u64::from_le_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: u8, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(HEADER_BYTES + body.len()).unwrap().to_le_bytes();
        [&[0, 0, 0, 0, kind, 1, 0, 0, 0][..], &size, &[0; 6], body].concat()
    }

    fn payload(events: &[u8]) -> Vec<u8> {
        let compressed = zstd::encode_all(events, 3).unwrap();
        [&[2, 1, 0, 3, 1, 100, 1, 1, 50, 0][..], &compressed].concat()
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, DecodeError> {
        let mut payload = Payload::open(bytes)?;
        let mut events = Vec::new();
        while let Some((header, body)) = payload.next_event()? {
            events.push((header.kind, body.to_vec()));
        }
        Ok(events)
    }

    #[test]
    fn the_events_of_a_payload_come_one_after_the_other() {
        let events = [event(19, b"table"), event(30, &[7; 3_000_000]), event(16, b"")].concat();
        let read = read_all(&payload(&events)).unwrap();
        assert_eq!(
            read.iter().map(|(kind, body)| (*kind, body.len())).collect::<Vec<_>>(),
            [(19, 5), (30, 3_000_000), (16, 0)]
        );
    }

    #[test]
    fn a_payload_that_is_cut_anywhere_is_an_error() {
        let whole = payload(&[event(19, b"table"), event(16, b"")].concat());
        for cut in 0..whole.len() {
            assert!(read_all(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_payload_is_no_reason_to_panic(at in 0_usize..60, with in any::<u8>()) {
            let mut bytes = payload(&[event(19, b"table"), event(16, b"")].concat());
            let at = at % bytes.len();
            bytes[at] = with;
            drop(read_all(&bytes));
        }
    }
}
