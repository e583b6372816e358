//! Names and texts: as the configuration spells them, and as SQL does.

pub(crate) use change::table_name::configured_part;
use change::table_name::name_parts;
use change::{SourceError, SourceErrorKind};

/// The schema of a table that is named without one.
const SCHEMA: &str = "dbo";

/// Reads a table's name from the configuration: `table`, which is in the schema `dbo`, or `schema.table`.
///
/// Names are taken literally, case included. A part that contains a dot is written in double quotes, and a
/// double quote inside them twice.
///
/// # Errors
/// A configuration error when there are not one or two parts, or one is empty.
pub(crate) fn parse_table_name(text: &str) -> Result<(String, String), SourceError> {
    let fault = |what: &str| {
        SourceError::new(SourceErrorKind::Configuration, format!("table is '{text}': {what}"))
            .with_hint("write schema.table, with double quotes around a part that contains a dot")
    };
    let parts = name_parts(text).map_err(fault)?;
    if parts.iter().any(|part| part.contains('\0')) {
        return Err(fault("the name contains a NUL character"));
    }
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => Ok((SCHEMA.to_owned(), name)),
        (Some(schema), Some(name), None) => Ok((schema, name)),
        _ => Err(fault("it has more than two parts, expected one or two")),
    }
}

/// A name as SQL takes it, whatever it contains
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/databases/database-identifiers>).
pub(crate) fn quote_ident(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A text as SQL takes it, as `nvarchar`.
pub(crate) fn quote_literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        parse_table_name(text).unwrap()
    }

    fn pair(schema: &str, name: &str) -> (String, String) {
        (schema.to_owned(), name.to_owned())
    }

    #[test]
    fn a_name_without_a_schema_is_in_dbo() {
        assert_eq!(parsed("solicitudes"), pair("dbo", "solicitudes"));
        assert_eq!(parsed("otra.Solicitudes"), pair("otra", "Solicitudes"));
    }

    #[test]
    fn a_part_with_a_dot_is_read_inside_double_quotes() {
        assert_eq!(parsed("\"v.u\".\"a\"\"b\""), pair("v.u", "a\"b"));
        assert_eq!(parsed("\"solicitudes.2024\""), pair("dbo", "solicitudes.2024"));
        for name in ["plain", "with.dot", "\"quoted\"", "a\"b.c"] {
            assert_eq!(parsed(&configured_part(name)).1, name);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "a\0b"] {
            let error = parse_table_name(text).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Configuration, "{text}");
        }
    }

    #[test]
    fn quotes_inside_names_and_texts_cannot_end_them() {
        assert_eq!(quote_ident("a]; DROP"), "[a]]; DROP]");
        assert_eq!(quote_literal("d'hoy"), "N'd''hoy'");
    }
}
