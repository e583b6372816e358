//! Rows of `COPY … TO STDOUT` in binary format
//! (<https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4>).
//!
//! It spares the server from writing times as text, which is most of what a copy of a few columns costs it, and us
//! from reading them. Each type has a layout of its own, so only the types that we know are copied this way; a table
//! with any other mapped column is copied as text.

use change::{Row, Value};

use crate::value::{Kind, MICROS_PER_DAY, MICROS_PER_SECOND, days_from_civil};

/// What the first bytes of a copy are.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, and the length of an extension, which no server sends.
const HEADER_BYTES: usize = SIGNATURE.len() + 4 + 4;
/// What stands for the number of cells after the last row.
const TRAILER: i16 = -1;

/// Days from 1970-01-01 to 2000-01-01, from which the server counts.
const SERVER_EPOCH_DAYS: i64 = 10_957;

/// How the bytes of a column are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One byte.
    Bool,
    /// A signed integer of two, four or eight bytes.
    Int,
    /// The text itself, read as the kind says.
    Text(Kind),
    /// Sixteen bytes.
    Uuid,
    /// Microseconds since 2000-01-01.
    Timestamp(Kind),
    /// Days since 2000-01-01.
    Date,
}

/// What a piece of a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The cells of one row, with how many there are.
    Row(i16, &'a [u8]),
    /// No row.
    Nothing,
}

impl Layout {
    /// The layout of a type by its oid, domains and enumerations resolved; `None` for types whose layout we do not
    /// know.
    pub(crate) fn of(type_oid: u32) -> Option<Self> {
        match type_oid {
            16 => Some(Self::Bool),
            20 | 21 | 23 => Some(Self::Int),
            25 | 1042 | 1043 => Some(Self::Text(Kind::of(type_oid))),
            1082 => Some(Self::Date),
            1114 | 1184 => Some(Self::Timestamp(Kind::of(type_oid))),
            2950 => Some(Self::Uuid),
            _ => None,
        }
    }

    /// Reads a cell; `None` for bytes that the type cannot have.
    fn read(self, bytes: &[u8]) -> Option<Value> {
        match self {
            Self::Bool => match bytes {
                [0] => Some(Value::Bool(false)),
                [1] => Some(Value::Bool(true)),
                _ => None,
            },
            Self::Int => integer(bytes).map(Value::Int),
            Self::Text(kind) => Some(kind.read(bytes)),
            Self::Uuid => uuid(bytes).map(Value::text),
            Self::Timestamp(kind) => Some(timestamp(kind, i64::from_be_bytes(bytes.try_into().ok()?))),
            Self::Date => Some(date(i32::from_be_bytes(bytes.try_into().ok()?))),
        }
    }
}

/// Takes a message of the copy apart. The header comes before the first row, in the same message.
pub(crate) fn piece(message: &[u8]) -> Option<Piece<'_>> {
    let message = if message.starts_with(SIGNATURE) { message.get(HEADER_BYTES..)? } else { message };
    if message.is_empty() {
        return Some(Piece::Nothing);
    }
    let (count, cells) = message.split_first_chunk()?;
    Some(match i16::from_be_bytes(*count) {
        TRAILER => Piece::Nothing,
        count => Piece::Row(count, cells),
    })
}

/// Reads the cells of one row; `None` when they are not what the layouts say.
pub(crate) fn row(layouts: &[Layout], count: i16, mut bytes: &[u8]) -> Option<Row> {
    if usize::try_from(count) != Ok(layouts.len()) {
        return None;
    }
    let mut cells = Vec::with_capacity(layouts.len());
    for layout in layouts {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = i32::from_be_bytes(*length);
        if length == -1 {
            cells.push(Value::Null);
            bytes = rest;
            continue;
        }
        let (cell, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        cells.push(layout.read(cell)?);
        bytes = rest;
    }
    bytes.is_empty().then(|| Row::new(cells))
}

fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        2 => Some(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        _ => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
    }
}

/// Eight, four, four, four and twelve digits, as the server writes it.
fn uuid(bytes: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(bytes.try_into().ok()?);
    let digits = format!("{number:032x}");
    let group = |start: usize, end: usize| digits.get(start..end);
    Some([group(0, 8)?, group(8, 12)?, group(12, 16)?, group(16, 20)?, group(20, 32)?].join("-"))
}

fn timestamp(kind: Kind, micros: i64) -> Value {
    match micros {
        i64::MAX => return Value::Unusable("infinity".into()),
        i64::MIN => return Value::Unusable("-infinity".into()),
        _ => {}
    }
    let day = micros.div_euclid(MICROS_PER_DAY) + SERVER_EPOCH_DAYS;
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    if !is_writable(day) {
        return Value::Unusable(written(day, Some((of_day, kind))).into());
    }
    let at = day * MICROS_PER_DAY + of_day;
    if kind == Kind::Instant { Value::Instant(at) } else { Value::Local(at) }
}

fn date(days: i32) -> Value {
    match days {
        i32::MAX => return Value::Unusable("infinity".into()),
        i32::MIN => return Value::Unusable("-infinity".into()),
        _ => {}
    }
    let day = i64::from(days) + SERVER_EPOCH_DAYS;
    match i32::try_from(day) {
        Ok(day) if is_writable(day.into()) => Value::Date(day),
        _ => Value::Unusable(written(day, None).into()),
    }
}

/// Whether a day lies in the years 1 to 9999.
fn is_writable(day: i64) -> bool {
    (days_from_civil(1, 1, 1)..days_from_civil(10_000, 1, 1)).contains(&day)
}

/// The server's text of a day or time that no record can carry.
fn written(day: i64, time: Option<(i64, Kind)>) -> String {
    let (year, month, of_month) = civil_from_days(day);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let mut text = format!("{year:04}-{month:02}-{of_month:02}");
    if let Some((micros, kind)) = time {
        let seconds = micros / MICROS_PER_SECOND;
        text.push_str(&format!(" {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
        let fraction = micros % MICROS_PER_SECOND;
        if fraction > 0 {
            text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
        }
        if kind == Kind::Instant {
            text.push_str("+00");
        }
    }
    text.push_str(era);
    text
}

/// The reverse of [`days_from_civil`]: year, month and day of a day counted from 1970-01-01.
fn civil_from_days(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years are counted from March on, so that the leap day comes last.
    let from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_month)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message as the server frames a row.
    fn framed(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let mut message = i16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
        for cell in cells {
            let length = cell.map_or(-1, |cell| i32::try_from(cell.len()).unwrap());
            message.extend(length.to_be_bytes());
            message.extend(cell.unwrap_or_default());
        }
        message
    }

    fn read(type_oid: u32, bytes: &[u8]) -> Option<Value> {
        let message = framed(&[Some(bytes)]);
        let Some(Piece::Row(count, cells)) = piece(&message) else { return None };
        row(&[Layout::of(type_oid).unwrap()], count, cells)?.get(0).cloned()
    }

    #[test]
    fn each_type_has_its_value() {
        for (type_oid, bytes, expected) in [
            (16, &[1][..], Value::Bool(true)),
            (21, &(-2_i16).to_be_bytes(), Value::Int(-2)),
            (23, &i32::MIN.to_be_bytes(), Value::Int(i32::MIN.into())),
            (20, &i64::MAX.to_be_bytes(), Value::Int(i64::MAX)),
            (25, "añ".as_bytes(), Value::text("añ")),
            (1042, b"LIC  ", Value::text("LIC")),
            (1082, &0_i32.to_be_bytes(), Value::Date(10_957)),
            (1114, &1_i64.to_be_bytes(), Value::Local(946_684_800_000_001)),
            (1184, &(-1_i64).to_be_bytes(), Value::Instant(946_684_799_999_999)),
            (2950, &[0xb2; 16], Value::text("b2b2b2b2-b2b2-b2b2-b2b2-b2b2b2b2b2b2")),
        ] {
            assert_eq!(read(type_oid, bytes), Some(expected), "{type_oid}");
        }
    }

    #[test]
    fn cells_that_do_not_fit_their_type_are_no_values() {
        for (type_oid, bytes) in
            [(16, &[2][..]), (23, &[1, 2, 3]), (1082, &[0; 8]), (1114, &[0; 4]), (2950, &[0; 15])]
        {
            assert_eq!(read(type_oid, bytes), None, "{type_oid}");
        }
    }

    #[test]
    fn header_and_trailer_are_no_rows() {
        let header = [SIGNATURE, &[0; 8]].concat();
        assert_eq!(piece(&header), Some(Piece::Nothing));
        assert_eq!(piece(&(-1_i16).to_be_bytes()), Some(Piece::Nothing));
        let first = [header, framed(&[None])].concat();
        assert_eq!(piece(&first), Some(Piece::Row(1, &[0xff; 4])));
        assert_eq!(row(&[Layout::Bool], 1, &[0xff; 4]), Some(Row::new(vec![Value::Null])));
        assert_eq!(row(&[Layout::Bool], 2, &[0xff; 4]), None);
    }

    proptest! {
        #[test]
        fn days_agree_with_the_calendar(day in -1_000_000_000_i64..1_000_000_000) {
            let (year, month, of_month) = civil_from_days(day);
            prop_assert_eq!(days_from_civil(year, month, of_month), day);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&of_month));
        }

        #[test]
        fn times_agree_with_their_text(micros in any::<i64>()) {
            // What the text says is read by the code that reads the stream.
            for kind in [Kind::Local, Kind::Instant] {
                let value = timestamp(kind, micros);
                let day = micros.div_euclid(MICROS_PER_DAY) + SERVER_EPOCH_DAYS;
                let text = written(day, Some((micros.rem_euclid(MICROS_PER_DAY), kind)));
                if micros > i64::MIN && micros < i64::MAX {
                    prop_assert_eq!(kind.read(text.as_bytes()), value);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(message: Vec<u8>, cells in 0_usize..4) {
            if let Some(Piece::Row(count, bytes)) = piece(&message) {
                let _row = row(&vec![Layout::Int; cells], count, bytes);
            }
        }
    }
}
