//! Names and texts: as the configuration spells them, and as SQL does.

pub(crate) use change::table_name::configured_part;
use change::table_name::name_parts;
use change::{SourceError, SourceErrorKind};

/// Reads a table's name from the configuration: `table`, which is in `public`, or `schema.table`.
///
/// Names are taken literally, case included. A part that contains a dot is written in double quotes, and a
/// double quote inside them twice.
///
/// # Errors
/// A configuration error when there are not one or two parts, or one is empty.
pub(crate) fn parse_table_name(text: &str) -> Result<(String, String), SourceError> {
    let fault = |what: &str| {
        SourceError::new(SourceErrorKind::Configuration, format!("table is '{text}': {what}"))
            .with_hint("write schema.table, with a part that contains a dot in double quotes")
    };
    let parts = name_parts(text).map_err(fault)?;
    match <[String; 2]>::try_from(parts) {
        Ok([schema, name]) => Ok((schema, name)),
        Err(parts) => match <[String; 1]>::try_from(parts) {
            Ok([name]) => Ok(("public".to_owned(), name)),
            Err(parts) => Err(fault(&format!("it has {} parts, expected one or two", parts.len()))),
        },
    }
}

/// `name` as a quoted identifier, safe in any statement.
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a string literal, safe in any statement whatever `standard_conforming_strings` says.
pub(crate) fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        parse_table_name(text).unwrap()
    }

    #[test]
    fn a_table_name_is_taken_literally_with_public_as_its_schema() {
        assert_eq!(parsed("Solicitudes"), ("public".to_owned(), "Solicitudes".to_owned()));
        assert_eq!(parsed("vu.Solicitud Ciudadana"), ("vu".to_owned(), "Solicitud Ciudadana".to_owned()));
    }

    #[test]
    fn a_part_with_a_dot_is_quoted_and_quotes_inside_are_doubled() {
        assert_eq!(parsed("\"a.b\".c"), ("a.b".to_owned(), "c".to_owned()));
        assert_eq!(parsed("a.\"b.\"\"c\""), ("a".to_owned(), "b.\"c".to_owned()));
        assert_eq!(parsed("we\"ird"), ("public".to_owned(), "we\"ird".to_owned()));
    }

    #[test]
    fn a_malformed_table_name_is_refused_with_its_reason() {
        for (text, reason) in [
            ("a.b.c", "3 parts"),
            ("", "empty"),
            ("a.", "empty"),
            (".b", "empty"),
            ("\"a", "not closed"),
            ("\"a\"b", "not closed"),
        ] {
            let error = parse_table_name(text).unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn names_and_texts_are_quoted_for_sql() {
        assert_eq!(quote_ident("we\"ird"), "\"we\"\"ird\"");
        assert_eq!(quote_literal("O'Higgins"), "'O''Higgins'");
        assert_eq!(quote_literal("a\\b'"), " E'a\\\\b'''");
    }
}
