//! Where in the log's files we are. Events tell the low half of their end only: what a file of more than 4 GiB needs
//! beyond it is counted.

use std::sync::Arc;

use crate::binlog::DecodeError;
use crate::binlog::event::{Header, kind};
use crate::position::Place;
use crate::wire::fields::Fields;

const LOW_HALF: u64 = 0xffff_ffff;
/// The parts of the newer heartbeat
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Heartbeat__event__v2.html>).
const HEARTBEAT_FILE: usize = 1;
const HEARTBEAT_OFFSET: usize = 2;

/// Follows the files.
#[derive(Debug)]
pub(crate) struct Tracker {
    /// Where the last event of the file ended.
    here: Place,
    /// Where the present event begins, and its time.
    start: u64,
    at: i64,
    /// Up to where everything has been read; `None` until the first transaction of another server's log.
    reached: Option<Place>,
    /// Transactions that begin before it have been handed over by an earlier stream.
    old_before: Option<Place>,
    moved: bool,
    advanced: bool,
}

impl Tracker {
    /// Starts to read at `from`; everything up to `reached` has been handed over.
    pub(crate) fn new(from: Place, reached: Option<Place>) -> Self {
        let old_before = reached.clone();
        Self { start: from.offset, here: from, at: 0, reached, old_before, moved: false, advanced: false }
    }

    /// Up to where everything has been read.
    pub(crate) fn reached(&self) -> Option<&Place> {
        self.reached.as_ref()
    }

    /// Where the present event begins.
    pub(crate) fn event_start(&self) -> Place {
        Place { file: Arc::clone(&self.here.file), offset: self.start }
    }

    /// Where the next event should begin.
    pub(crate) fn event_end(&self) -> Place {
        self.here.clone()
    }

    /// When the present event was written, in microseconds since the epoch.
    pub(crate) fn event_at(&self) -> i64 {
        self.at
    }

    /// Whether a transaction that begins here was handed over by an earlier stream.
    pub(crate) fn is_old(&self, place: &Place) -> bool {
        self.old_before.as_ref().is_some_and(|before| place < before)
    }

    /// An event begins.
    pub(crate) fn enter(&mut self, header: &Header) {
        self.at = i64::from(header.at) * 1_000_000;
        self.moved = header.is_in_file() && !is_heartbeat(header.kind);
        if self.moved {
            self.here.offset = extended(self.here.offset, u64::from(header.size), header.log_pos);
            self.start = self.here.offset.saturating_sub(u64::from(header.size));
        }
    }

    /// The event has been taken in; whether it stood between transactions decides whether the position has moved.
    pub(crate) fn leave(&mut self, between: bool) {
        if self.moved && between {
            self.advance();
        }
    }

    /// The present event ends a transaction.
    pub(crate) fn commit(&mut self) {
        if !self.is_old(&self.event_start()) {
            self.reached = Some(self.here.clone());
        }
    }

    /// The next file begins, or the first one.
    ///
    /// # Errors
    /// When the bytes are too few.
    pub(crate) fn rotate(&mut self, header: &Header, body: &[u8]) -> Result<(), DecodeError> {
        if header.kind != kind::ROTATE {
            return Ok(());
        }
        let mut fields = Fields(body);
        let offset = fields.u64()?;
        let name = String::from_utf8_lossy(fields.0.strip_suffix(&[0]).unwrap_or(fields.0));
        self.here = Place { file: name.as_ref().into(), offset };
        self.start = offset;
        Ok(())
    }

    /// The server has nothing new; it tells how far it has read.
    ///
    /// # Errors
    /// When the bytes are too few.
    pub(crate) fn heartbeat(
        &mut self,
        header: &Header,
        body: &[u8],
        between: bool,
    ) -> Result<(), DecodeError> {
        let (file, offset) = match header.kind {
            kind::HEARTBEAT => (body, extended(self.here.offset, 0, header.log_pos)),
            _ => heartbeat_parts(body)?,
        };
        if between && file == self.here.file.as_bytes() && offset > self.here.offset {
            self.here.offset = offset;
            self.advance();
        }
        Ok(())
    }

    /// Moves forward only: after connecting by GTIDs the server begins with a file from before them.
    fn advance(&mut self) {
        if self.reached.as_ref().is_none_or(|reached| self.here > *reached) {
            self.reached = Some(self.here.clone());
            self.advanced = true;
        }
    }

    /// Whether the position has moved between transactions since this was asked last.
    pub(crate) fn take_advanced(&mut self) -> bool {
        std::mem::take(&mut self.advanced)
    }
}

fn is_heartbeat(event: u8) -> bool {
    matches!(event, kind::HEARTBEAT | kind::HEARTBEAT_V2)
}

/// The end of an event of `size` bytes that begins at or after `from`, of which only the low half is told.
fn extended(from: u64, size: u64, low: u32) -> u64 {
    let counted = from.saturating_add(size);
    if counted & LOW_HALF == u64::from(low) {
        return counted;
    }
    // The server left events out: the next place with this low half.
    let told = from & !LOW_HALF | u64::from(low);
    if told < from { told.saturating_add(LOW_HALF + 1) } else { told }
}

fn heartbeat_parts(body: &[u8]) -> Result<(&[u8], u64), DecodeError> {
    let mut fields = Fields(body);
    let (mut file, mut offset) = (&[][..], 0);
    while !fields.0.is_empty() {
        let part = fields.length()?;
        if part == 0 {
            break;
        }
        let mut content = Fields(fields.counted()?);
        match part {
            HEARTBEAT_FILE => file = content.0,
            HEARTBEAT_OFFSET => offset = content.length()? as u64,
            _ => {}
        }
    }
    Ok((file, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_beyond_4_gib_are_counted_on() {
        let low = |offset: u64| u32::try_from(offset & LOW_HALF).unwrap();
        let edge = (1 << 32) - 10;
        assert_eq!(extended(edge, 100, low(edge + 100)), edge + 100);
        assert_eq!(extended(edge, 100, low(edge + 300)), edge + 300);
        assert_eq!(extended(5 << 32, 31, low((5 << 32) + 31)), (5 << 32) + 31);
        assert_eq!(extended(4, 100, 256), 256);
    }

    #[test]
    fn a_heartbeat_of_the_newer_kind_tells_the_whole_offset() {
        let body = [&[1, 9][..], b"bin.00001", &[2, 9, 0xfe, 0, 0, 0, 0, 1, 0, 0, 0, 0]].concat();
        assert_eq!(heartbeat_parts(&body), Ok((&b"bin.00001"[..], 1 << 32)));
        for cut in 1..body.len() - 1 {
            drop(heartbeat_parts(&body[..cut]));
        }
    }
}
