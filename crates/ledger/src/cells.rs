//! How the cells of rows lie in bytes.

use change::{Row, Value};

use crate::packing::{pack_length, text, unpack_length};

const NULL: u8 = 0;
const UNCHANGED: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const INT: u8 = 4;
const TEXT: u8 = 5;
const LOCAL: u8 = 6;
const INSTANT: u8 = 7;
const DATE: u8 = 8;
const UNUSABLE: u8 = 9;

/// Writes a row: how many cells, and each with its kind before it.
pub(crate) fn pack_row(packed: &mut Vec<u8>, row: &Row) {
    pack_length(packed, row.cells().len());
    for cell in row.cells() {
        match cell {
            Value::Null => packed.push(NULL),
            Value::Unchanged => packed.push(UNCHANGED),
            Value::Bool(false) => packed.push(FALSE),
            Value::Bool(true) => packed.push(TRUE),
            Value::Int(number) => pack_number(packed, INT, *number),
            Value::Text(text) => pack_text(packed, TEXT, text),
            Value::Local(micros) => pack_number(packed, LOCAL, *micros),
            Value::Instant(micros) => pack_number(packed, INSTANT, *micros),
            Value::Date(days) => pack_number(packed, DATE, i64::from(*days)),
            Value::Unusable(words) => pack_text(packed, UNUSABLE, words),
        }
    }
}

fn pack_number(packed: &mut Vec<u8>, kind: u8, number: i64) {
    packed.push(kind);
    packed.extend_from_slice(&number.to_le_bytes());
}

fn pack_text(packed: &mut Vec<u8>, kind: u8, text: &str) {
    packed.push(kind);
    pack_length(packed, text.len());
    packed.extend_from_slice(text.as_bytes());
}

/// Reads a row, and what follows it; `None` where the bytes are no row.
pub(crate) fn unpack_row(packed: &[u8]) -> Option<(Row, &[u8])> {
    let (count, mut rest) = unpack_length(packed)?;
    // Each cell has a byte at least: damaged bytes cannot ask for more memory than they take.
    let mut cells = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let (cell, following) = unpack_cell(rest)?;
        cells.push(cell);
        rest = following;
    }
    Some((Row::new(cells), rest))
}

fn unpack_cell(packed: &[u8]) -> Option<(Value, &[u8])> {
    let (kind, rest) = packed.split_first()?;
    let number = || {
        let (bytes, rest) = rest.split_first_chunk()?;
        Some((i64::from_le_bytes(*bytes), rest))
    };
    let words = || {
        let (length, rest) = unpack_length(rest)?;
        text(rest, length)
    };
    Some(match *kind {
        NULL => (Value::Null, rest),
        UNCHANGED => (Value::Unchanged, rest),
        FALSE => (Value::Bool(false), rest),
        TRUE => (Value::Bool(true), rest),
        INT => number().map(|(number, rest)| (Value::Int(number), rest))?,
        TEXT => words().map(|(text, rest)| (Value::text(text), rest))?,
        LOCAL => number().map(|(number, rest)| (Value::Local(number), rest))?,
        INSTANT => number().map(|(number, rest)| (Value::Instant(number), rest))?,
        DATE => number().and_then(|(days, rest)| Some((Value::Date(days.try_into().ok()?), rest)))?,
        UNUSABLE => words().map(|(words, rest)| (Value::Unusable(words.into()), rest))?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_cell() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(Value::Unchanged),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            "[a-cñ\u{1f}]{0,200}".prop_map(Value::text),
            any::<i64>().prop_map(Value::Local),
            any::<i64>().prop_map(Value::Instant),
            any::<i32>().prop_map(Value::Date),
            "[a-z]{0,9}".prop_map(|words| Value::Unusable(words.into())),
        ]
    }

    proptest! {
        #[test]
        fn every_row_is_read_as_it_was_packed(cells in prop::collection::vec(any_cell(), 0..9)) {
            let row = Row::new(cells);
            let mut packed = Vec::new();
            pack_row(&mut packed, &row);
            packed.push(7);
            prop_assert_eq!(unpack_row(&packed), Some((row, &[7_u8][..])));
        }

        #[test]
        fn no_bytes_are_too_odd_to_be_read(bytes: Vec<u8>) {
            let _row_or_not = unpack_row(&bytes);
        }
    }
}
