//! Little-endian fields, taken off the front.

use std::str;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ends in the middle of a field")]
pub(crate) struct Truncated;

/// Bytes from which fields are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// Exactly so many bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }

    /// An unsigned integer of up to eight bytes.
    #[inline]
    pub(crate) fn uint(&mut self, width: usize) -> Result<u64, Truncated> {
        match width {
            1 => self.u8().map(u64::from),
            2 => self.u16().map(u64::from),
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            9.. => Err(Truncated),
            _ => Ok(self.bytes(width)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))),
        }
    }

    #[inline]
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// Bytes up to a zero byte, which is taken off too.
    pub(crate) fn until_zero(&mut self) -> Result<&'a [u8], Truncated> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Truncated)?;
        let text = self.bytes(end)?;
        self.u8()?;
        Ok(text)
    }

    /// An integer whose first byte tells its length
    /// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>). NULL and errors, which
    /// share its first byte, are for the caller to tell before.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, Truncated> {
        let value = match self.u8()? {
            0xfc => self.uint(2)?,
            0xfd => self.uint(3)?,
            0xfe => self.uint(8)?,
            0xfb | 0xff => return Err(Truncated),
            short => u64::from(short),
        };
        usize::try_from(value).map_err(|_| Truncated)
    }

    /// Bytes with their length in front.
    pub(crate) fn counted(&mut self) -> Result<&'a [u8], Truncated> {
        let length = self.length()?;
        self.bytes(length)
    }

    /// Text with its length in front; what is not UTF-8 is replaced.
    pub(crate) fn counted_text(&mut self) -> Result<String, Truncated> {
        self.counted().map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// Text of exactly so many bytes.
    pub(crate) fn text(&mut self, count: usize) -> Result<&'a str, Truncated> {
        str::from_utf8(self.bytes(count)?).map_err(|_| Truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_width_are_read() {
        for (bytes, expected) in [
            (&[250][..], Ok(250)),
            (&[0xfc, 1, 2], Ok(0x201)),
            (&[0xfd, 1, 2, 3], Ok(0x30201)),
            (&[0xfe, 1, 0, 0, 0, 0, 0, 0, 0], Ok(1)),
            (&[0xfb], Err(Truncated)),
            (&[0xff], Err(Truncated)),
            (&[0xfc, 1], Err(Truncated)),
            (&[], Err(Truncated)),
        ] {
            assert_eq!(Fields(bytes).length(), expected);
        }
    }
}
