//! Rows of `COPY … TO STDOUT` in text format
//! (<https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2>).

use std::borrow::Cow;

/// A cell of a copied row: `None` stands for NULL.
pub(crate) type CopiedCell<'a> = Option<Cow<'a, [u8]>>;

/// The cells of one row, without copying those that hold nothing special.
pub(crate) fn cells(line: &[u8]) -> impl Iterator<Item = CopiedCell<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.split(|byte| *byte == b'\t').map(|cell| {
        if cell == b"\\N" {
            None
        } else if cell.contains(&b'\\') {
            Some(Cow::Owned(unescaped(cell)))
        } else {
            Some(Cow::Borrowed(cell))
        }
    })
}

fn unescaped(cell: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(cell.len());
    let mut bytes = cell.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            text.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'b') => text.push(8),
            Some(b'f') => text.push(12),
            Some(b'n') => text.push(b'\n'),
            Some(b'r') => text.push(b'\r'),
            Some(b't') => text.push(b'\t'),
            Some(b'v') => text.push(11),
            Some(other) => text.push(*other),
            None => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &[u8]) -> Vec<Option<Vec<u8>>> {
        cells(line).map(|cell| cell.map(Cow::into_owned)).collect()
    }

    /// What the server does when it writes a cell.
    fn escaped(text: &[u8]) -> Vec<u8> {
        let mut cell = Vec::new();
        for byte in text {
            match byte {
                8 => cell.extend(b"\\b"),
                12 => cell.extend(b"\\f"),
                b'\n' => cell.extend(b"\\n"),
                b'\r' => cell.extend(b"\\r"),
                b'\t' => cell.extend(b"\\t"),
                11 => cell.extend(b"\\v"),
                b'\\' => cell.extend(b"\\\\"),
                other => cell.push(*other),
            }
        }
        cell
    }

    #[test]
    fn null_is_told_from_the_empty_text_and_from_its_own_spelling() {
        assert_eq!(read(b"\\N\t\t\\\\N\n"), [None, Some(vec![]), Some(b"\\N".to_vec())]);
    }

    proptest! {
        #[test]
        fn every_row_survives_the_servers_escaping(row in prop::collection::vec(
            prop::option::of(prop::collection::vec(1_u8..=127, 0..20)), 1..8)) {
            let cells: Vec<Vec<u8>> = row.iter().map(|cell| match cell {
                Some(text) => escaped(text),
                None => b"\\N".to_vec(),
            }).collect();
            let mut line = cells.join(&b'\t');
            line.push(b'\n');
            prop_assert_eq!(read(&line), row);
        }

        #[test]
        fn arbitrary_bytes_never_panic(line: Vec<u8>) {
            let _cells = read(&line);
        }
    }
}
