//! Texts that come again and again: a table has few statuses and few services, and a row of the log many of both.

use change::{Text, Value};

use super::cell::{Encoding, text};

/// How many texts are remembered; a power of two.
const TEXTS: usize = 64;
/// Longer ones are read anew: a cell of more bytes would lie in memory of its own.
const BYTES_MAX: usize = size_of::<Text>();

/// Short texts that were read lately, each at the place that its bytes choose.
#[derive(Debug)]
pub(crate) struct Familiar([Text; TEXTS]);

impl Default for Familiar {
    fn default() -> Self {
        Self([const { Text::const_new("") }; TEXTS])
    }
}

impl Familiar {
    /// The value of a cell that holds UTF-8. One that was read lately is copied, which costs less than to look at its
    /// bytes again.
    pub(crate) fn text(&mut self, cell: &[u8]) -> Value {
        if cell.len() > BYTES_MAX {
            return text(cell, Encoding::Utf8);
        }
        let Some(known) = self.0.get_mut(place(cell)) else { return text(cell, Encoding::Utf8) };
        if same(known.as_bytes(), cell) {
            return Value::Text(known.clone());
        }
        let read = text(cell, Encoding::Utf8);
        if let Value::Text(read) = &read {
            known.clone_from(read);
        }
        read
    }
}

/// Where a text is looked for. Both its ends count: numbers differ at their ends, and words at their beginnings.
fn place(cell: &[u8]) -> usize {
    let (Some(head), Some(tail)) = (cell.first_chunk(), cell.last_chunk()) else {
        return cell.iter().fold(cell.len(), |sum, byte| sum + usize::from(*byte)) % TEXTS;
    };
    let mixed = u32::from_le_bytes(*head).rotate_left(7) ^ u32::from_le_bytes(*tail);
    (mixed.wrapping_mul(0x9e37_79b1) >> 16) as usize % TEXTS
}

/// Whether these are the same bytes. Most cells are short, and for them the system's comparison takes longer to begin
/// than to compare.
#[inline]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    fn at_both_ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
        one.first_chunk::<N>() == other.first_chunk() && one.last_chunk::<N>() == other.last_chunk()
    }
    one.len() == other.len()
        && match one.len() {
            4..8 => at_both_ends::<4>(one, other),
            8..=16 => at_both_ends::<8>(one, other),
            _ => one == other,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_reads_the_same_however_often_it_comes(
            cells in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab\xc3\xb1".to_vec()), 0..26), 1..40),
        ) {
            let mut familiar = Familiar::default();
            for cell in cells.iter().chain(&cells) {
                prop_assert_eq!(familiar.text(cell), text(cell, Encoding::Utf8));
            }
        }

        #[test]
        fn bytes_are_the_same_only_when_each_is(
            one in prop::collection::vec(0_u8..2, 0..20),
            at in any::<prop::sample::Index>(),
            length in 0_usize..20,
        ) {
            prop_assert!(same(&one, &one.clone()));
            let mut other = one.clone();
            other.resize(length, 0);
            prop_assert_eq!(same(&one, &other), one == other);
            if !one.is_empty() {
                let mut other = one.clone();
                other[at.index(one.len())] ^= 1;
                prop_assert!(!same(&one, &other));
            }
        }
    }
}
