//! Reading a message's bytes in order, and never past their end.

use super::ProtocolError;

/// Reads little-endian fields from a message.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] when the message ends before.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], ProtocolError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(ProtocolError::Malformed("the message ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        self.take(N)?.try_into().map_err(|_| ProtocolError::Malformed("the message ends too early"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ProtocolError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ProtocolError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ProtocolError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ProtocolError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A text whose length in characters is told by one byte before it.
    pub(crate) fn b_varchar(&mut self) -> Result<String, ProtocolError> {
        let length = usize::from(self.u8()?);
        self.utf16(length)
    }

    /// `length` UTF-16 units.
    pub(crate) fn utf16(&mut self, length: usize) -> Result<String, ProtocolError> {
        Ok(utf16_text(self.take(length.saturating_mul(2))?))
    }

    /// Whatever is left.
    pub(crate) fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Text from little-endian UTF-16; what is no Unicode becomes the replacement character.
pub(crate) fn utf16_text(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| match pair {
        [low, high] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    });
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// Appends a text with its length in UTF-16 units in one byte before it; longer ones are cut.
pub(crate) fn push_b_varchar(out: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().take(255).collect();
    out.push(u8::try_from(units.len()).unwrap_or(u8::MAX));
    for unit in units {
        out.extend_from_slice(&unit.to_le_bytes());
    }
}

/// Appends a text with its length in UTF-16 units in two bytes before it; longer ones are cut.
pub(crate) fn push_us_varchar(out: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().take(usize::from(u16::MAX)).collect();
    out.extend_from_slice(&u16::try_from(units.len()).unwrap_or(u16::MAX).to_le_bytes());
    for unit in units {
        out.extend_from_slice(&unit.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_ends_early_is_an_error() {
        let mut reader = Reader::new(&[1, 0, 5]);
        assert_eq!(reader.u16().unwrap(), 1);
        assert!(reader.u32().is_err());
        assert!(Reader::new(&[3, b'a', 0]).b_varchar().is_err());
    }

    #[test]
    fn text_survives_the_way_to_utf16_and_back() {
        let mut out = Vec::new();
        push_b_varchar(&mut out, "señal 🦜");
        assert_eq!(utf16_text(&out[1..]), "señal 🦜");
    }
}
