//! Cells of a logged row: how far each reaches, and what the wanted ones hold.

use std::str;

use change::{Text, Value};

use super::table_map::{ColumnType, kind};
use super::{DecodeError, temporal};
use crate::name::hex;
use crate::wire::fields::Fields;

/// How far a cell reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Always so many bytes.
    Fixed(usize),
    /// A length of so many bytes, and as many bytes as it says.
    Counted(usize),
}

impl Extent {
    /// The extent of a column's cells
    /// (<https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html>).
    ///
    /// # Errors
    /// When the type is not known.
    pub(crate) fn of(column: ColumnType) -> Result<Self, DecodeError> {
        let meta = usize::from(column.meta);
        Ok(match column.kind {
            kind::TINY | kind::YEAR => Self::Fixed(1),
            kind::SHORT => Self::Fixed(2),
            kind::INT24 | kind::DATE | kind::NEWDATE | kind::TIME => Self::Fixed(3),
            kind::LONG | kind::TIMESTAMP | kind::FLOAT => Self::Fixed(4),
            kind::LONGLONG | kind::DATETIME | kind::DOUBLE => Self::Fixed(8),
            kind::TIMESTAMP2 => Self::Fixed(4 + temporal::fraction_bytes(column.meta)),
            kind::DATETIME2 => Self::Fixed(5 + temporal::fraction_bytes(column.meta)),
            kind::TIME2 => Self::Fixed(3 + temporal::fraction_bytes(column.meta)),
            kind::DECIMAL => {
                let (whole, scale) = digits(column.meta);
                Self::Fixed(digit_bytes(whole) + digit_bytes(scale))
            }
            // Bits beyond the last whole byte, and whole bytes.
            kind::BIT => Self::Fixed(usize::from(column.meta & 0xff) + usize::from(column.meta >> 8 > 0)),
            kind::ENUM | kind::SET => Self::Fixed(meta),
            kind::VARCHAR | kind::VAR_STRING | kind::STRING | kind::MARIA_VARCHAR_COMPRESSED => {
                Self::Counted(if meta > 255 { 2 } else { 1 })
            }
            kind::BLOB | kind::JSON | kind::GEOMETRY | kind::VECTOR | kind::MARIA_BLOB_COMPRESSED
                if (1..=4).contains(&meta) =>
            {
                Self::Counted(meta)
            }
            other => return Err(DecodeError::UnknownType(other)),
        })
    }

    /// Takes one cell off the front.
    ///
    /// # Errors
    /// When it reaches beyond the row event.
    #[inline]
    pub(crate) fn take<'a>(self, fields: &mut Fields<'a>) -> Result<&'a [u8], DecodeError> {
        let count = match self {
            Self::Fixed(count) => count,
            Self::Counted(1) => usize::from(fields.u8()?),
            Self::Counted(2) => usize::from(fields.u16()?),
            Self::Counted(width) => {
                usize::try_from(fields.uint(width)?).map_err(|_| DecodeError::Truncated)?
            }
        };
        Ok(fields.bytes(count)?)
    }
}

/// What the bytes of a text mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-8 of any width, and ASCII.
    Utf8,
    /// What the server calls latin1: Windows code page 1252
    /// (<https://dev.mysql.com/doc/refman/8.4/en/charset-we-sets.html>).
    Latin1,
}

/// How a wanted cell is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reader {
    /// An integer of so many bytes.
    Signed(usize),
    /// An integer of so many bytes that is never negative.
    Unsigned(usize),
    /// A year.
    Year,
    /// Digits before and after the point.
    Decimal(usize, usize),
    /// A text.
    Text(Encoding),
    /// Bytes, told in hexadecimal; with trailing zero bytes cut off where the server pads with them.
    Bytes {
        /// Whether it does.
        padded: bool,
    },
    /// MariaDB's UUID.
    Uuid,
    /// The names of an enumeration.
    Enum(Vec<Box<str>>),
    /// The names of a set.
    Set(Vec<Box<str>>),
    /// A date.
    Date,
    /// A time of any other kind.
    Temporal(ColumnType),
}

impl Reader {
    /// What the cell holds.
    ///
    /// # Errors
    /// When it has not the bytes that its type needs.
    pub(crate) fn read(&self, cell: &[u8]) -> Result<Value, DecodeError> {
        let mut fields = Fields(cell);
        match self {
            Self::Signed(width) => {
                let shift = 64 - 8 * u32::try_from(*width).unwrap_or(8).clamp(1, 8);
                Ok(Value::Int((fields.uint(*width)? << shift).cast_signed() >> shift))
            }
            Self::Unsigned(width) => {
                let value = fields.uint(*width)?;
                Ok(i64::try_from(value).map_or_else(|_| Value::text(value.to_string()), Value::Int))
            }
            Self::Year => match fields.u8()? {
                0 => Ok(Value::Int(0)),
                since => Ok(Value::Int(1900 + i64::from(since))),
            },
            Self::Decimal(whole, scale) => decimal(cell, *whole, *scale),
            Self::Text(encoding) => Ok(text(cell, *encoding)),
            Self::Bytes { padded } => {
                let kept = if *padded {
                    cell.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
                } else {
                    cell.len()
                };
                Ok(Value::text(hex(cell.get(..kept).unwrap_or(cell))))
            }
            Self::Uuid => uuid(cell),
            Self::Enum(names) => {
                let index = usize::try_from(fields.uint(cell.len())?).map_err(|_| DecodeError::Truncated)?;
                // Number zero stands for what was not a member: the server shows it as an empty text.
                let Some(index) = index.checked_sub(1) else { return Ok(Value::text("")) };
                Ok(match names.get(index) {
                    Some(name) => Value::text(&**name),
                    None => Value::Unusable(format!("member {} of {}", index + 1, names.len()).into()),
                })
            }
            Self::Set(names) => {
                let bits = fields.uint(cell.len())?;
                let chosen: Vec<&str> = names
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| *index < 64 && bits >> index & 1 == 1)
                    .map(|(_, name)| &**name)
                    .collect();
                Ok(Value::text(chosen.join(",")))
            }
            Self::Date => temporal::date(&mut fields),
            Self::Temporal(column) => match column.kind {
                kind::DATETIME2 => temporal::datetime(&mut fields, column.meta),
                kind::DATETIME => temporal::old_datetime(&mut fields),
                kind::TIMESTAMP2 => temporal::timestamp(&mut fields, column.meta),
                kind::TIMESTAMP => temporal::old_timestamp(&mut fields),
                kind::TIME2 => temporal::time(&mut fields, column.meta),
                kind::TIME => temporal::old_time(&mut fields),
                other => Err(DecodeError::UnknownType(other)),
            },
        }
    }
}

/// Bytes that are no text in their encoding are told as such: a bad cell is no reason to stop.
pub(crate) fn text(bytes: &[u8], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Utf8 => match str::from_utf8(bytes) {
            Ok(text) => Value::text(text),
            Err(_) => Value::Unusable(String::from_utf8_lossy(bytes).into()),
        },
        Encoding::Latin1 if bytes.is_ascii() => Value::text(String::from_utf8_lossy(bytes)),
        Encoding::Latin1 => Value::text(bytes.iter().map(|byte| latin1(*byte)).collect::<String>()),
    }
}

/// The server maps the five bytes that the code page leaves out to the control characters of their number.
fn latin1(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    let high = byte.checked_sub(0x80).and_then(|index| HIGH.get(usize::from(index)));
    high.copied().unwrap_or(char::from(byte))
}

/// Digits before and after the point, from precision and scale.
pub(crate) fn digits(meta: u16) -> (usize, usize) {
    let [precision, scale] = meta.to_be_bytes();
    (usize::from(precision.saturating_sub(scale)), usize::from(scale))
}

/// Nine digits take four bytes, fewer take less.
fn digit_bytes(digits: usize) -> usize {
    const LEFT: [usize; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
    digits / 9 * 4 + LEFT.get(digits % 9).copied().unwrap_or(4)
}

/// A decimal as the server prints it
/// (<https://dev.mysql.com/doc/refman/8.4/en/precision-math-decimal-characteristics.html>): big-endian groups of nine
/// digits, inverted when negative, with the first bit inverted so that bytes sort like numbers.
fn decimal(cell: &[u8], whole: usize, scale: usize) -> Result<Value, DecodeError> {
    let negative = cell.first().ok_or(DecodeError::Truncated)? & 0x80 == 0;
    let mask = if negative { 0xff } else { 0 };
    let mut fields = Fields(cell);
    let mut sign = 0x80;
    let mut group = |digits: usize| -> Result<u64, DecodeError> {
        let bytes = fields.bytes(digit_bytes(digits))?;
        let value = bytes.iter().fold(0, |value, byte| {
            let byte = byte ^ mask ^ std::mem::take(&mut sign);
            value << 8 | u64::from(byte)
        });
        Ok(value)
    };
    let mut text = Text::default();
    if negative {
        text.push('-');
    }
    let signed = text.len();
    for digits in groups(whole).rev() {
        let number = group(digits)?;
        // Zeros at the front are not printed.
        if text.len() > signed || number > 0 {
            let width = if text.len() > signed { digits } else { 1 };
            push_digits(&mut text, number, width);
        }
    }
    if text.len() == signed {
        text.push('0');
    }
    if scale > 0 {
        text.push('.');
    }
    for digits in groups(scale) {
        let number = group(digits)?;
        push_digits(&mut text, number, digits);
    }
    Ok(Value::Text(text))
}

/// The sizes of a number's groups of digits, from the point on.
fn groups(digits: usize) -> impl DoubleEndedIterator<Item = usize> {
    (0..digits.div_ceil(9)).map(move |group| (digits - group * 9).min(9))
}

/// A number of at least so many digits.
fn push_digits(text: &mut Text, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut left = number;
    let mut count = 0;
    for slot in digits.iter_mut().rev() {
        if left == 0 && count >= width {
            break;
        }
        *slot += u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        count += 1;
    }
    let written = digits.get(digits.len() - count..).unwrap_or_default();
    text.push_str(str::from_utf8(written).unwrap_or_default());
}

/// MariaDB stores its UUIDs so that those made one after the other lie together: the groups of versions 1 to 5 stand
/// in reverse order (<https://mariadb.com/docs/server/reference/data-types/string-data-types/uuid-data-type>).
fn uuid(cell: &[u8]) -> Result<Value, DecodeError> {
    // Trailing zero bytes are left out.
    let mut bytes = [0; 16];
    let room = bytes.get_mut(..cell.len()).ok_or(DecodeError::Truncated)?;
    room.copy_from_slice(cell);
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    // In reversed order the version stands where the variant stands otherwise.
    let reversed = i & 0x80 == 0 && g & 0x80 != 0;
    let uuid = if reversed { [m, n, o, p, k, l, i, j, g, h, a, b, c, d, e, f] } else { bytes };
    Ok(Value::text(crate::gtid::uuid_text(&uuid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_of_every_width_have_their_sign() {
        for (width, bytes, signed, unsigned) in [
            (1, &[0x80][..], Value::Int(-128), Value::Int(128)),
            (2, &[0xff, 0x7f], Value::Int(32_767), Value::Int(32_767)),
            (3, &[0xff, 0xff, 0xff], Value::Int(-1), Value::Int(16_777_215)),
            (4, &[0, 0, 0, 0x80], Value::Int(-2_147_483_648), Value::Int(2_147_483_648)),
            (8, &[0xff; 8], Value::Int(-1), Value::text("18446744073709551615")),
        ] {
            assert_eq!(Reader::Signed(width).read(bytes), Ok(signed));
            assert_eq!(Reader::Unsigned(width).read(bytes), Ok(unsigned));
        }
    }

    #[test]
    fn decimals_read_as_the_server_prints_them() {
        // The manual's own example: 1234567890.1234 as decimal(14,4).
        let positive = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        let negative = positive.map(|byte| !byte);
        assert_eq!(Reader::Decimal(10, 4).read(&positive), Ok(Value::text("1234567890.1234")));
        assert_eq!(Reader::Decimal(10, 4).read(&negative), Ok(Value::text("-1234567890.1234")));
        assert_eq!(Reader::Decimal(3, 2).read(&[0x80, 0x00, 0x32]), Ok(Value::text("0.50")));
        assert_eq!(Reader::Decimal(0, 2).read(&[0x85]), Ok(Value::text("0.05")));
        assert_eq!(Reader::Decimal(9, 0).read(&[0x80, 0, 0, 7]), Ok(Value::text("7")));
        assert_eq!(Reader::Decimal(2, 0).read(&[0x8a]), Ok(Value::text("10")));
        assert_eq!(Reader::Decimal(2, 0).read(&[]), Err(DecodeError::Truncated));
    }

    #[test]
    fn texts_are_read_in_the_encoding_of_their_column() {
        assert_eq!(text(b"a\xf1o \x80", Encoding::Latin1), Value::text("año €"));
        assert_eq!(text("año €".as_bytes(), Encoding::Utf8), Value::text("año €"));
        assert!(matches!(text(b"a\xf1o", Encoding::Utf8), Value::Unusable(_)));
    }

    #[test]
    fn members_are_told_by_name() {
        let names: Vec<Box<str>> = ["RECIBIDA".into(), "APROBADA".into()].into();
        assert_eq!(Reader::Enum(names.clone()).read(&[2]), Ok(Value::text("APROBADA")));
        assert_eq!(Reader::Enum(names.clone()).read(&[0]), Ok(Value::text("")));
        assert!(matches!(Reader::Enum(names.clone()).read(&[3, 0]), Ok(Value::Unusable(_))));
        assert_eq!(Reader::Set(names.clone()).read(&[3]), Ok(Value::text("RECIBIDA,APROBADA")));
        assert_eq!(Reader::Set(names).read(&[0]), Ok(Value::text("")));
    }

    proptest! {
        #[test]
        fn no_cell_makes_a_reader_panic(cell in prop::collection::vec(any::<u8>(), 0..20), meta in any::<u16>()) {
            let temporal = [kind::DATETIME2, kind::DATETIME, kind::TIMESTAMP2, kind::TIMESTAMP, kind::TIME2, kind::TIME];
            let mut readers: Vec<Reader> =
                temporal.into_iter().map(|kind| Reader::Temporal(ColumnType { kind, meta })).collect();
            readers.extend((0..10).flat_map(|width| [Reader::Signed(width), Reader::Unsigned(width)]));
            let (whole, scale) = digits(meta);
            readers.extend([Reader::Decimal(whole, scale), Reader::Uuid, Reader::Year, Reader::Date]);
            readers.extend([Reader::Enum(vec!["a".into()]), Reader::Set(vec!["a".into(); 70])]);
            for reader in readers {
                drop(reader.read(&cell));
            }
        }
    }
}
