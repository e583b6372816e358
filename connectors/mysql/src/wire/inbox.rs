//! Bytes from the server, cut into packets in place
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>).

use std::io::{self, Read};

/// Bytes that the buffer holds at first, and again after a packet that was longer: enough for one gulp.
const CAPACITY_BYTES: usize = 512 * 1024;
/// The longest packet that is taken whole: what `max_allowed_packet` can be at most, and an event's header.
const PACKET_BYTES_MAX: usize = (1 << 30) + (1 << 16);
/// A read with less room than this would be a sip.
const ROOM_BYTES_MIN: usize = 64 * 1024;
/// A frame of this length is continued by the next one.
const FRAME_BYTES_MAX: usize = 0xff_ffff;
/// The frame's length and its number.
pub(super) const HEADER_BYTES: usize = 4;

/// A packet longer than any that the server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packet of more than {PACKET_BYTES_MAX} bytes")]
pub(super) struct TooLong;

/// A packet of the server without its headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    /// The number of its last frame.
    pub(crate) sequence: u8,
    /// What it carries.
    pub(crate) body: &'a [u8],
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// How many bytes follow the header.
    pub(super) length: usize,
    sequence: u8,
}

impl Frame {
    /// Whether another frame continues the packet.
    pub(super) fn continues(self) -> bool {
        self.length == FRAME_BYTES_MAX
    }
}

/// What has been read and not been taken yet.
///
/// A packet of several frames is put together at the front, behind the header of its first frame, as the frames come.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the front packet's earlier frames, whose headers have been taken out.
    joined: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; CAPACITY_BYTES], start: 0, end: 0, joined: 0 }
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

    /// Whether nothing waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first frame's length, and as much of it as has come; `None` before its header is there, and while
    /// frames are being put together.
    pub(super) fn peek(&self) -> Option<(Frame, &[u8])> {
        if self.joined > 0 {
            return None;
        }
        let (frame, rest) = header(self.unread())?;
        Some((frame, rest.get(..frame.length).unwrap_or(rest)))
    }

    /// The next whole packet, if there is one.
    pub(super) fn take(&mut self) -> Result<Option<Packet<'_>>, TooLong> {
        let Some((length, sequence)) = self.join()? else { return Ok(None) };
        let body = self.start + HEADER_BYTES;
        self.start = body + length;
        self.joined = 0;
        let body = self.buffer.get(body..self.start).unwrap_or_default();
        Ok(Some(Packet { sequence, body }))
    }

    /// Whether a whole packet is there.
    pub(super) fn has_packet(&mut self) -> Result<bool, TooLong> {
        Ok(self.join()?.is_some())
    }

    /// Takes the header of a frame off the front, for a reader that takes the frame piece by piece.
    pub(super) fn take_header(&mut self) -> Option<Frame> {
        let (frame, _) = header(self.unread())?;
        self.start += HEADER_BYTES;
        Some(frame)
    }

    /// Takes up to `count` bytes of a frame off the front.
    pub(super) fn take_bytes(&mut self, count: usize) -> &[u8] {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.buffer.get(self.start - count..self.start).unwrap_or_default()
    }

    /// The length and last number of the front packet once all its frames have come.
    fn join(&mut self) -> Result<Option<(usize, u8)>, TooLong> {
        loop {
            // Behind the first frame's header, which stays until the packet is taken.
            let behind = if self.joined == 0 { 0 } else { HEADER_BYTES + self.joined };
            let at = self.start + behind;
            let Some((frame, rest)) = header(self.buffer.get(at..self.end).unwrap_or_default()) else {
                return Ok(None);
            };
            let whole = self.joined + frame.length;
            if whole > PACKET_BYTES_MAX {
                return Err(TooLong);
            }
            if rest.len() < frame.length {
                return Ok(None);
            }
            if self.joined > 0 {
                self.buffer.copy_within(at + HEADER_BYTES..self.end, at);
                self.end -= HEADER_BYTES;
            }
            if !frame.continues() {
                return Ok(Some((whole, frame.sequence)));
            }
            self.joined = whole;
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
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

fn header(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let ([a, b, c, sequence], rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
    Some((Frame { length, sequence: *sequence }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet as the server frames it.
    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = body;
        for sequence in 0_u8.. {
            let (frame, after) = rest.split_at(rest.len().min(FRAME_BYTES_MAX));
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            bytes.extend_from_slice(&[length[0], length[1], length[2], sequence]);
            bytes.extend_from_slice(frame);
            rest = after;
            if frame.len() < FRAME_BYTES_MAX {
                break;
            }
        }
        bytes
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

    fn drain(inbox: &mut Inbox, source: &mut impl Read) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        loop {
            while let Some(packet) = inbox.take().unwrap() {
                taken.push(packet.body.to_vec());
            }
            if inbox.fill(source).unwrap() == 0 {
                return taken;
            }
        }
    }

    #[test]
    fn a_packet_of_several_frames_arrives_whole_and_the_buffer_shrinks_again() {
        for extra in [0, 1, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 7] {
            let body: Vec<u8> = (0..FRAME_BYTES_MAX + extra).map(|index| (index % 251) as u8).collect();
            let bytes = [framed(&body), framed(b"next")].concat();
            let mut inbox = Inbox::new();
            let taken = drain(&mut inbox, &mut Drip(&bytes, Vec::new()));
            assert_eq!(taken.len(), 2);
            assert!(taken[0] == body && taken[1] == b"next", "{extra} bytes beyond a frame");
            assert_eq!(inbox.buffer.len(), CAPACITY_BYTES);
        }
    }

    #[test]
    fn a_claimed_length_alone_allocates_nothing() {
        let mut inbox = Inbox::new();
        inbox.fill(&mut &[0xff, 0xff, 0xff, 0][..]).unwrap();
        assert!(inbox.take().unwrap().is_none());
        assert_eq!(inbox.buffer.len(), CAPACITY_BYTES);
    }

    proptest! {
        #[test]
        fn packets_do_not_depend_on_how_the_bytes_were_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
            cuts in prop::collection::vec(1_usize..40, 0..100),
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            let taken = drain(&mut Inbox::new(), &mut Drip(&bytes, cuts));
            prop_assert_eq!(taken, bodies);
        }
    }
}
