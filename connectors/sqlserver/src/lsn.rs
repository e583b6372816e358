//! Places in the log: commits, as the change tables number them.

use std::fmt;
use std::str::FromStr;

use change::{Position, SourceError, SourceErrorKind};

/// How many bytes the server's `binary(10)` has.
pub(crate) const LSN_BYTES: usize = 10;

/// A log sequence number: of a commit, where it is a position. Everything up to it, itself included, has been read.
///
/// The server's numbers are compared byte by byte
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/sql-server-transaction-log-architecture-and-management-guide>).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Lsn([u8; LSN_BYTES]);

impl Lsn {
    /// Reads the server's bytes; `None` when there are not ten.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The server's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The next number, as `sys.fn_cdc_increment_lsn` makes it.
    pub(crate) fn next(self) -> Self {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (sum, overflowed) = byte.overflowing_add(1);
            *byte = sum;
            if !overflowed {
                return Self(bytes);
            }
        }
        self
    }

    /// Reads what the product stored, or an operator gave.
    ///
    /// # Errors
    /// A configuration error when it is no such number.
    pub(crate) fn of(position: &Position) -> Result<Self, SourceError> {
        position.as_str().parse().map_err(|()| {
            SourceError::new(
                SourceErrorKind::Configuration,
                format!("position is \"{position}\", expected 0x and 20 hexadecimal digits"),
            )
            .with_hint("SELECT sys.fn_cdc_get_max_lsn() shows the captured log's end")
        })
    }

    /// As the product stores it.
    pub(crate) fn to_position(self) -> Position {
        Position::new(self.to_string())
    }
}

impl FromStr for Lsn {
    type Err = ();

    /// Takes `0x…` as queries show it, and `00000027:00000758:0005` as the management views do.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        let digits = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => digits.to_owned(),
            None if text.contains(':') => {
                let parts: Vec<&str> = text.split(':').collect();
                let widths = [8, 8, 4];
                if parts.len() != widths.len()
                    || parts.iter().zip(widths).any(|(part, width)| part.len() != width)
                {
                    return Err(());
                }
                parts.concat()
            }
            None => text.to_owned(),
        };
        if digits.len() != 2 * LSN_BYTES {
            return Err(());
        }
        let mut bytes = [0; LSN_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let mut value = 0;
            for digit in pair {
                let digit = char::from(*digit).to_digit(16).ok_or(())?;
                value = value * 16 + digit;
            }
            *byte = u8::try_from(value).map_err(|_| ())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02X}"))
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0x00000027000007580005";

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    #[test]
    fn every_spelling_of_a_position_reads_the_same() {
        for text in [TEXT, "00000027000007580005", " 0X00000027000007580005\n", "00000027:00000758:0005"] {
            assert_eq!(lsn(text).to_string(), TEXT);
        }
        assert_eq!(lsn("0xabcdef00000000000000"), lsn("ABCDEF00000000000000"));
    }

    #[test]
    fn what_is_no_position_is_refused_with_an_example() {
        for text in [
            "",
            "0x",
            "0/16B3748",
            "0x0000002700000758000",
            "0x0000002700000758000G",
            "27:758:5",
            "ñ0000027000007580005",
        ] {
            let error = Lsn::of(&Position::new(text)).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Configuration, "{text}");
            assert!(error.to_string().contains("20 hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn numbers_follow_each_other_byte_by_byte() {
        assert_eq!(lsn("0x000000270000075800FF").next(), lsn("0x00000027000007580100"));
        assert_eq!(lsn("0x0000002700000758FFFF").next(), lsn("0x00000027000007590000"));
        assert_eq!(lsn("0xFFFFFFFFFFFFFFFFFFFF").next(), lsn("0xFFFFFFFFFFFFFFFFFFFF"));
        assert!(lsn("0x000000280000000000FF") > lsn("0x00000027FFFFFFFFFFFF"));
    }
}
