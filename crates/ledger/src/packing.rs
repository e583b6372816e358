//! How lengths and texts lie in packed rows.

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
pub(crate) fn pack_length(packed: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    while rest >= 0x80 {
        packed.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    packed.push(rest.to_le_bytes()[0]);
}

/// A length, and what follows it; `None` when the bytes are cut short or say more than a length can.
pub(crate) fn unpack_length(packed: &[u8]) -> Option<(usize, &[u8])> {
    let (mut length, mut rest) = (0_usize, packed);
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, following) = rest.split_first()?;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        rest = following;
        if byte & 0x80 == 0 {
            return Some((length, rest));
        }
    }
    None
}

/// The next `length` bytes as text, and what follows them; `None` when they are cut short or no text.
pub(crate) fn text(packed: &[u8], length: usize) -> Option<(&str, &[u8])> {
    let (text, rest) = packed.split_at_checked(length)?;
    Some((str::from_utf8(text).ok()?, rest))
}
