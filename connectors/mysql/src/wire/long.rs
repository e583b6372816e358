//! A packet that is read piece by piece, because it may be longer than memory allows.

use std::io::{self, Read};

use change::SourceError;

use super::inbox::Frame;
use super::{Connection, Filled};

/// The body of one packet. It must be read to its end before anything else is read from the connection.
#[derive(Debug)]
pub(crate) struct LongPacket<'a> {
    connection: &'a mut Connection,
    frame: Option<Frame>,
    left: usize,
}

impl<'a> LongPacket<'a> {
    /// Begins with the next packet, whose first header has been peeked at.
    pub(crate) fn new(connection: &'a mut Connection) -> Self {
        Self { connection, frame: None, left: 0 }
    }

    /// Reads and forgets what is left.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn skip_rest(&mut self) -> io::Result<u64> {
        io::copy(self, &mut io::sink())
    }

    fn fill(&mut self) -> io::Result<()> {
        match self.connection.fill() {
            Ok(Filled::Bytes(_)) => Ok(()),
            Ok(Filled::Nothing) => Err(io::ErrorKind::TimedOut.into()),
            Ok(Filled::Closed) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(broken(error)),
        }
    }
}

fn broken(error: SourceError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

impl Read for LongPacket<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            if self.frame.is_some_and(|frame| !frame.continues()) {
                return Ok(0);
            }
            match self.connection.inbox.take_header() {
                Some(frame) => {
                    self.frame = Some(frame);
                    self.left = frame.length;
                }
                None => self.fill()?,
            }
        }
        if self.connection.inbox.is_empty() {
            self.fill()?;
        }
        let bytes = self.connection.inbox.take_bytes(self.left.min(room.len()));
        let count = bytes.len();
        room.get_mut(..count).unwrap_or_default().copy_from_slice(bytes);
        self.left -= count;
        Ok(count)
    }
}
