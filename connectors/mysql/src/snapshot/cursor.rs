//! Where a page of a copy ends: its table, and the key of its last row, spelt so that the server compares it exactly.
//!
//! A key's text would not do. Texts are compared under the column's own collation, which the bytes in the column's
//! own character set keep; an enumeration is ordered by its members' numbers; and a number's text must be a number
//! again, lest the server compare it as a float.

use change::{PageCursor, SourceError, SourceErrorKind};

use crate::catalog::Column;
use crate::name::{hex, quote_ident};

/// How a key column's value is written in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Literal {
    /// As it is.
    Number,
    /// In quotes: times and UUIDs, which contain nothing that would end them.
    Quoted,
    /// As bytes in the column's character set, `_binary` for bytes without one.
    Bytes(String),
}

/// A column of the key by which pages follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPart {
    quoted: String,
    literal: Literal,
}

impl KeyPart {
    pub(super) fn of(column: &Column) -> Self {
        let literal = match column.data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "enum" | "set" => {
                Literal::Number
            }
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
                Literal::Bytes(column.charset.clone().unwrap_or_else(|| "binary".to_owned()))
            }
            "binary" | "varbinary" => Literal::Bytes("binary".to_owned()),
            _ => Literal::Quoted,
        };
        let literal = match literal {
            // The character set becomes part of a statement, and the server's catalogue told it.
            Literal::Bytes(charset) if !charset.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Literal::Bytes("binary".to_owned())
            }
            other => other,
        };
        Self { quoted: quote_ident(&column.name), literal }
    }

    /// What to select in order to know where a page ends.
    pub(super) fn expression(&self) -> String {
        match &self.literal {
            // In a sum an enumeration is its member's number.
            Literal::Number => format!("{} + 0", self.quoted),
            Literal::Quoted => self.quoted.clone(),
            Literal::Bytes(_) => format!("CAST({} AS BINARY)", self.quoted),
        }
    }

    /// A selected cell as the cursor keeps it; `None` for what is not such a cell.
    pub(super) fn keep(&self, cell: &[u8]) -> Option<String> {
        let kept = match self.literal {
            Literal::Number | Literal::Quoted => str::from_utf8(cell).ok()?.to_owned(),
            Literal::Bytes(_) => hex(cell),
        };
        self.accepts(&kept).then_some(kept)
    }

    /// A cursor is read back from a file, and becomes part of a statement.
    fn accepts(&self, kept: &str) -> bool {
        let sound: fn(u8) -> bool = match self.literal {
            Literal::Number => |byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.',
            Literal::Quoted => |byte| byte.is_ascii_alphanumeric() || b"-:. ".contains(&byte),
            Literal::Bytes(_) => |byte| byte.is_ascii_hexdigit(),
        };
        let may_be_empty = matches!(self.literal, Literal::Bytes(_));
        (may_be_empty || !kept.is_empty()) && kept.bytes().all(sound)
    }

    /// The value as SQL takes it.
    fn literal(&self, kept: &str) -> String {
        match &self.literal {
            Literal::Number => kept.to_owned(),
            Literal::Quoted => format!("'{kept}'"),
            Literal::Bytes(charset) => format!("_{charset} x'{kept}'"),
        }
    }
}

/// The order of the pages.
pub(super) fn order(parts: &[KeyPart]) -> String {
    let columns: Vec<&str> = parts.iter().map(|part| part.quoted.as_str()).collect();
    columns.join(", ")
}

/// The condition that a row comes after `kept`. It is written out column by column, because the server reads only
/// this form from the index: `(a, b) > (1, 2)` scans the table
/// (<https://dev.mysql.com/doc/refman/8.4/en/row-constructor-optimization.html>).
pub(super) fn after(parts: &[KeyPart], kept: &[String]) -> String {
    let mut condition = String::new();
    for (part, value) in parts.iter().zip(kept).rev() {
        let (column, literal) = (&part.quoted, part.literal(value));
        condition = if condition.is_empty() {
            format!("{column} > {literal}")
        } else {
            format!("({column} > {literal} OR ({column} = {literal} AND {condition}))")
        };
    }
    condition
}

/// The cursor of a page whose last row has this key.
pub(super) fn write(kept: &[String]) -> PageCursor {
    let mut text = String::new();
    for value in kept {
        text.push_str(value);
        text.push(';');
    }
    PageCursor::new(text)
}

/// Reads a cursor of a key of these parts.
///
/// # Errors
/// A schema error when it is a cursor of another key.
pub(super) fn read(parts: &[KeyPart], cursor: &PageCursor) -> Result<Vec<String>, SourceError> {
    let kept: Option<Vec<String>> = cursor
        .as_str()
        .strip_suffix(';')
        .map(|text| text.split(';').map(str::to_owned).collect())
        .filter(|kept: &Vec<String>| kept.len() == parts.len())
        .filter(|kept| parts.iter().zip(kept).all(|(part, value)| part.accepts(value)));
    kept.ok_or_else(|| {
        unfit(format!(
            "the copy stopped at a key that does not fit the table's key of {} columns",
            parts.len()
        ))
    })
}

/// The error for a copy that cannot go on where it stopped.
pub(super) fn unfit(what: String) -> SourceError {
    SourceError::new(SourceErrorKind::Schema, what)
        .with_hint("the tables or a table's key were changed: start the copy anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, data_type: &str, charset: Option<&str>) -> KeyPart {
        KeyPart::of(&Column {
            name: name.to_owned(),
            ordinal: 1,
            data_type: data_type.to_owned(),
            column_type: data_type.to_owned(),
            charset: charset.map(str::to_owned),
            unsigned: false,
            nullable: false,
        })
    }

    #[test]
    fn each_type_is_compared_as_what_it_is() {
        let parts = [
            part("a", "int", None),
            part("b", "varchar", Some("latin1")),
            part("c", "datetime", None),
            part("d", "binary", None),
        ];
        let cells: [&[u8]; 4] = [b"-7", b"\xf1'", b"2024-05-01 08:00:00.5", b"\x00"];
        let kept: Vec<String> =
            parts.iter().zip(cells).map(|(part, cell)| part.keep(cell).unwrap()).collect();
        assert_eq!(
            after(&parts, &kept),
            "(`a` > -7 OR (`a` = -7 AND (`b` > _latin1 x'f127' OR (`b` = _latin1 x'f127' AND \
             (`c` > '2024-05-01 08:00:00.5' OR (`c` = '2024-05-01 08:00:00.5' AND `d` > _binary x'00'))))))"
        );
        assert_eq!(order(&parts), "`a`, `b`, `c`, `d`");
        assert_eq!(read(&parts, &write(&kept)).unwrap(), kept);
    }

    #[test]
    fn an_enumeration_is_ordered_by_its_members_numbers() {
        let part = part("e", "enum", Some("utf8mb4"));
        assert_eq!(part.expression(), "`e` + 0");
        assert_eq!(after(&[part], &["3".to_owned()]), "`e` > 3");
    }

    #[test]
    fn an_empty_text_is_a_key_like_any_other() {
        let parts = [part("a", "varchar", Some("utf8mb4"))];
        let kept = vec![parts[0].keep(b"").unwrap()];
        assert_eq!(read(&parts, &write(&kept)).unwrap(), kept);
        assert_eq!(after(&parts, &kept), "`a` > _utf8mb4 x''");
    }

    #[test]
    fn a_cursor_of_another_key_and_one_that_was_tampered_with_are_refused() {
        let parts = [part("a", "int", None), part("b", "datetime", None)];
        for text in ["", ";", "1;", "1;2;3;", "1 OR 1=1;2;", "1;' OR '1;", "x;2024-01-01;", "1;2024-01-01"] {
            let error = read(&parts, &PageCursor::new(text)).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Schema, "{text}");
        }
    }
}
