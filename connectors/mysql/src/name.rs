//! Names and texts: as the configuration spells them, and as SQL does.

pub(crate) use change::table_name::configured_part;
use change::table_name::name_parts;
use change::{SourceError, SourceErrorKind};

/// Reads a table's name from the configuration: `table`, which is in `database`, or `database.table`.
///
/// Names are taken literally, case included. A part that contains a dot is written in double quotes, and a
/// double quote inside them twice.
///
/// # Errors
/// A configuration error when there are not one or two parts, or one is empty.
pub(crate) fn parse_table_name(text: &str, database: &str) -> Result<(String, String), SourceError> {
    let fault = |what: &str| {
        SourceError::new(SourceErrorKind::Configuration, format!("table is '{text}': {what}"))
            .with_hint("write the table's name alone, with double quotes around it where it contains a dot")
    };
    let parts = name_parts(text).map_err(fault)?;
    if parts.iter().any(|part| part.contains('\0')) {
        return Err(fault("the name contains a NUL character"));
    }
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => Ok((database.to_owned(), name)),
        (Some(database), Some(name), None) => Ok((database, name)),
        _ => Err(fault("it has more than two parts, expected one or two")),
    }
}

/// A name as SQL takes it, whatever it contains
/// (<https://dev.mysql.com/doc/refman/8.4/en/identifiers.html>).
pub(crate) fn quote_ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL takes it, in our own sessions, which have no backslash escapes, and in an administrator's, which
/// may have them: so that a text with a backslash is written in hexadecimal.
pub(crate) fn quote_literal(text: &str) -> String {
    if text.contains('\\') {
        format!("_utf8mb4 {}", hex_literal(text.as_bytes()))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Bytes as SQL takes them (<https://dev.mysql.com/doc/refman/8.4/en/hexadecimal-literals.html>).
pub(crate) fn hex_literal(bytes: &[u8]) -> String {
    format!("x'{}'", hex(bytes))
}

/// Bytes in lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        parse_table_name(text, "tramites").unwrap()
    }

    fn pair(database: &str, name: &str) -> (String, String) {
        (database.to_owned(), name.to_owned())
    }

    #[test]
    fn a_name_without_a_database_is_in_the_configured_one() {
        assert_eq!(parsed("solicitudes"), pair("tramites", "solicitudes"));
        assert_eq!(parsed("otra.Solicitudes"), pair("otra", "Solicitudes"));
    }

    #[test]
    fn a_part_with_a_dot_is_read_inside_double_quotes() {
        assert_eq!(parsed("\"v.u\".\"a\"\"b\""), pair("v.u", "a\"b"));
        assert_eq!(parsed("\"solicitudes.2024\""), pair("tramites", "solicitudes.2024"));
        for name in ["plain", "with.dot", "\"quoted\"", "a\"b.c"] {
            assert_eq!(parsed(&configured_part(name)).1, name);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "a\0b"] {
            let error = parse_table_name(text, "d").unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Configuration, "{text}");
        }
    }

    #[test]
    fn quotes_inside_names_and_texts_cannot_end_them() {
        assert_eq!(quote_ident("a`; DROP"), "`a``; DROP`");
        assert_eq!(quote_literal("d'hoy"), "'d''hoy'");
        assert_eq!(quote_literal("\\'"), "_utf8mb4 x'5c27'");
    }
}
