//! Bytes from the server, cut into messages in place.

use std::io::{self, Read};

/// Bytes that the buffer holds at first, and again after a message that was longer: enough for one gulp.
const CAPACITY_BYTES: usize = 512 * 1024;
/// The longest message that is taken. The server's own limit for a value is 1 GiB, and a row's text may be
/// longer than its storage; what exceeds this is taken for garbage.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// A read with less room than this would be a sip.
const ROOM_BYTES_MIN: usize = 64 * 1024;
/// The message's type and length.
const HEADER_BYTES: usize = 5;

/// A message of the server without its header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// Its type
    /// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
    pub(crate) tag: u8,
    /// What follows its length.
    pub(crate) body: &'a [u8],
}

/// A length that no message can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message of type {tag:#04x} claims {length} bytes")]
pub(super) struct BadLength {
    tag: u8,
    length: u32,
}

/// What has been read and not been taken yet.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl BadLength {
    /// The type of the message that claims it.
    pub(super) fn tag(self) -> u8 {
        self.tag
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; CAPACITY_BYTES], start: 0, end: 0 }
    }

    /// Reads once, as much as there is room for. Zero means that the server closed the connection.
    pub(super) fn fill(&mut self, reader: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = reader.read(room)?;
        self.end = self.end.saturating_add(count).min(self.buffer.len());
        Ok(count)
    }

    /// Whether another read would find room without moving what is there.
    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() - self.end >= ROOM_BYTES_MIN
    }

    /// Whether a whole message is there.
    pub(super) fn has_message(&self) -> Result<bool, BadLength> {
        Ok(self.front()?.is_some())
    }

    /// The next whole message, if there is one.
    pub(super) fn take(&mut self) -> Result<Option<Raw<'_>>, BadLength> {
        let taken = match self.front()? {
            Some(raw) => HEADER_BYTES + raw.body.len(),
            None => return Ok(None),
        };
        self.start += taken;
        let whole = self.buffer.get(self.start - taken..self.start).unwrap_or_default();
        let message = whole.split_first_chunk::<HEADER_BYTES>();
        Ok(message.map(|([tag, ..], body)| Raw { tag: *tag, body }))
    }

    fn front(&self) -> Result<Option<Raw<'_>>, BadLength> {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(([tag, length @ ..], rest)) = unread.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let (tag, claimed) = (*tag, u32::from_be_bytes(*length));
        // The length counts itself, but not the type.
        let length = usize::try_from(claimed).ok().and_then(|length| length.checked_sub(4));
        let Some(length) = length.filter(|length| *length <= MESSAGE_BYTES_MAX) else {
            return Err(BadLength { tag, length: claimed });
        };
        Ok(rest.get(..length).map(|body| Raw { tag, body }))
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > CAPACITY_BYTES {
                self.buffer = vec![0; CAPACITY_BYTES];
            }
        }
        if self.has_room() {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if !self.has_room() {
            // Doubling as the bytes arrive: a claimed length alone makes us allocate nothing.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    /// Hands its bytes out in pieces of the given sizes.
    struct Drip<'a>(&'a [u8], Vec<usize>);

    impl Read for Drip<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let size = self.1.pop().unwrap_or(usize::MAX).max(1).min(room.len()).min(self.0.len());
            let (head, rest) = self.0.split_at(size);
            room[..size].copy_from_slice(head);
            self.0 = rest;
            Ok(size)
        }
    }

    fn drain(inbox: &mut Inbox, source: &mut impl Read) -> Vec<(u8, Vec<u8>)> {
        let mut taken = Vec::new();
        loop {
            while let Some(raw) = inbox.take().unwrap() {
                taken.push((raw.tag, raw.body.to_vec()));
            }
            if inbox.fill(source).unwrap() == 0 {
                return taken;
            }
        }
    }

    #[test]
    fn a_message_longer_than_the_buffer_arrives_whole_and_the_buffer_shrinks_again() {
        let body = vec![7; 3 * CAPACITY_BYTES];
        let bytes = [framed(b'd', &body), framed(b'Z', b"I")].concat();
        let mut inbox = Inbox::new();
        let taken = drain(&mut inbox, &mut Drip(&bytes, Vec::new()));
        assert_eq!(taken, [(b'd', body), (b'Z', b"I".to_vec())]);
        assert_eq!(inbox.buffer.len(), CAPACITY_BYTES);
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_allocated() {
        for length in [0, 3, u32::MAX, 1 << 31] {
            let mut inbox = Inbox::new();
            let bytes = [&b"d"[..], &u32::to_be_bytes(length)].concat();
            inbox.fill(&mut bytes.as_slice()).unwrap();
            assert_eq!(inbox.take().unwrap_err(), BadLength { tag: b'd', length });
        }
    }

    proptest! {
        #[test]
        fn messages_do_not_depend_on_how_the_bytes_were_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
            cuts in prop::collection::vec(1_usize..40, 0..100),
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|body| framed(b'd', body)).collect();
            let taken = drain(&mut Inbox::new(), &mut Drip(&bytes, cuts));
            let expected: Vec<_> = bodies.into_iter().map(|body| (b'd', body)).collect();
            prop_assert_eq!(taken, expected);
        }
    }
}
