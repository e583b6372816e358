//! Places in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use change::{Position, SourceError, SourceErrorKind};

/// Bytes in a page of the write-ahead log, as every distribution builds the server.
const PAGE_BYTES: u64 = 8192;
/// Bytes of the header that each page begins with.
const PAGE_HEADER_BYTES: u64 = 24;
/// Bytes of the longer header that the first page of a segment begins with.
const SEGMENT_HEADER_BYTES: u64 = 40;

/// A place in the write-ahead log, spelled as PostgreSQL spells its type `pg_lsn`
/// (<https://www.postgresql.org/docs/current/datatype-pg-lsn.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Lsn(pub(crate) u64);

impl Lsn {
    /// Reads a position that the product gives back.
    ///
    /// # Errors
    /// When it is not a position of PostgreSQL.
    pub(crate) fn of(position: &Position) -> Result<Self, SourceError> {
        position.as_str().parse().map_err(|_| {
            SourceError::new(
                SourceErrorKind::Configuration,
                format!(
                    "position \"{position}\" is not a log sequence number, expected one such as 0/16B3748"
                ),
            )
            .with_hint(
                "take the position from `SELECT pg_current_wal_lsn()` or from the slot's confirmed_flush_lsn",
            )
        })
    }

    /// The position as the product stores it.
    pub(crate) fn to_position(self) -> Position {
        Position::new(self.to_string())
    }

    /// The end of the last record before this insert position.
    ///
    /// The server's insert position skips the header of a page that has just been begun, which the end of the last
    /// record does not: on an idle database no stream would ever reach a fence right after such a header. Where a
    /// record does end at such a place, it began before the boundary, and no stream stops within a record.
    pub(crate) fn before_page_header(self) -> Self {
        let in_page = self.0 % PAGE_BYTES;
        if in_page == PAGE_HEADER_BYTES || in_page == SEGMENT_HEADER_BYTES {
            return Self(self.0 - in_page);
        }
        self
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// Not a log sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAnLsn;

impl FromStr for Lsn {
    type Err = NotAnLsn;

    fn from_str(text: &str) -> Result<Self, NotAnLsn> {
        let half = |digits: &str| {
            let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if fits { u64::from_str_radix(digits, 16).map_err(|_| NotAnLsn) } else { Err(NotAnLsn) }
        };
        let (high, low) = text.split_once('/').ok_or(NotAnLsn)?;
        Ok(Self(half(high)? << 32 | half(low)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_position_reads_as_the_server_writes_it() {
        let lsn = Lsn(0x16_0000_B374);
        assert_eq!(lsn.to_string(), "16/B374");
        assert_eq!("16/B374".parse(), Ok(lsn));
        assert_eq!("16/0000b374".parse(), Ok(lsn));
    }

    #[test]
    fn what_is_not_a_position_is_refused_with_an_example() {
        for text in ["", "/", "0", "0/", "/0", "0/0/0", "0/+1", "0/123456789", " 0/1", "x/1"] {
            let error = Lsn::of(&Position::new(text)).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Configuration, "{text}");
            assert!(error.to_string().contains("0/16B3748"), "{error}");
        }
    }

    #[test]
    fn a_fence_after_a_page_header_moves_back_to_the_page_boundary() {
        assert_eq!(Lsn(3 * PAGE_BYTES + 24).before_page_header(), Lsn(3 * PAGE_BYTES));
        assert_eq!(Lsn(0x300_0000 + 40).before_page_header(), Lsn(0x300_0000));
        assert_eq!(Lsn(3 * PAGE_BYTES + 25).before_page_header(), Lsn(3 * PAGE_BYTES + 25));
        assert_eq!(Lsn(3 * PAGE_BYTES).before_page_header(), Lsn(3 * PAGE_BYTES));
    }

    proptest! {
        #[test]
        fn every_position_survives_its_text(raw: u64) {
            prop_assert_eq!(Lsn(raw).to_string().parse(), Ok(Lsn(raw)));
        }

        #[test]
        fn text_never_panics(text: String) {
            let _parsed = text.parse::<Lsn>();
        }
    }
}
