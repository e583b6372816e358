//! Where a page of a copy ends: its table, and the key of its last row, spelt so that the server compares it exactly.
//!
//! The server does all the comparing: texts by the column's own collation, and `uniqueidentifier` by an order of its own
//! (<https://learn.microsoft.com/en-us/sql/t-sql/data-types/uniqueidentifier-transact-sql>). What is kept is text that it
//! made itself of each part, and turns back into the very value.

use change::{PageCursor, SourceError, SourceErrorKind};

use crate::catalog::{Column, Table};
use crate::name::quote_ident;

/// One column of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPart {
    name: String,
    sql_type: String,
    form: Form,
}

/// How the server turns a part into text and back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// `CONVERT` with a style that keeps every digit
    /// (<https://learn.microsoft.com/en-us/sql/t-sql/functions/cast-and-convert-transact-sql>).
    Style(u8),
    /// Texts of one byte a character or more are in their collation's code page: only with it do they come back.
    Text { collation: Option<String> },
}

impl KeyPart {
    /// How a key column is kept; `database` is the collation of texts that name none.
    ///
    /// # Errors
    /// Why it cannot be, as a phrase.
    pub(crate) fn of(column: &Column, database: &str) -> Result<Self, String> {
        let form = match column.type_name.as_str() {
            "bit" | "tinyint" | "smallint" | "int" | "bigint" | "decimal" | "numeric"
            | "uniqueidentifier" => Form::Style(0),
            "money" | "smallmoney" => Form::Style(2),
            "float" | "real" => Form::Style(3),
            "binary" | "varbinary" | "timestamp" | "rowversion" => Form::Style(1),
            // `yyyy-mm-dd hh:mm:ss.fffffff +hh:mm`, which reads back exactly under our DATEFORMAT.
            "datetimeoffset" | "time" => Form::Style(121),
            "datetime" | "datetime2" | "smalldatetime" => Form::Style(126),
            "date" => Form::Style(23),
            "nchar" | "nvarchar" | "sysname" => Form::Text { collation: None },
            "char" | "varchar" => {
                Form::Text { collation: column.collation.clone().filter(|own| own != database) }
            }
            other => return Err(format!("type {other} has no text that it comes back from")),
        };
        Ok(Self { name: quote_ident(&column.name), sql_type: column.sql_type(), form })
    }

    /// The expression that the server makes its text by.
    pub(crate) fn expression(&self) -> String {
        match &self.form {
            Form::Style(style) => format!("CONVERT(nvarchar(4000), {}, {style})", self.name),
            Form::Text { .. } => format!("CONVERT(nvarchar(4000), {})", self.name),
        }
    }

    /// The value that a kept text stands for, where `param` is the parameter that holds it.
    fn value(&self, param: &str) -> String {
        match &self.form {
            Form::Style(style) => format!("CONVERT({}, {param}, {style})", self.sql_type),
            Form::Text { collation: Some(collation) } => {
                format!("CONVERT({}, {param} COLLATE {collation})", self.sql_type)
            }
            Form::Text { collation: None } => format!("CONVERT({}, {param})", self.sql_type),
        }
    }
}

/// The parts of the table's key.
///
/// # Errors
/// A schema error when it has none, or one that cannot be kept.
pub(crate) fn parts(table: &Table, database: &str) -> Result<Vec<KeyPart>, SourceError> {
    let fault = |what: String| {
        SourceError::new(SourceErrorKind::Schema, format!("table {} {what}", table.quoted()))
            .with_hint(format!("ALTER TABLE {} ADD PRIMARY KEY (…)", table.quoted()))
    };
    if table.key.is_empty() {
        return Err(fault(
            "has neither a primary key nor a unique index without NULL to read it in pages by".to_owned(),
        ));
    }
    table
        .key_columns()
        .map(|column| {
            KeyPart::of(column, database).map_err(|what| {
                fault(format!("cannot be read in pages by {}: {what}", quote_ident(&column.name)))
            })
        })
        .collect()
}

/// The order of the pages.
pub(crate) fn order(parts: &[KeyPart]) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    names.join(", ")
}

/// What is true of the rows after a key, whose parts are in the parameters from `first` on. The server compares no rows
/// with rows, so it is written out; the comparison of the first part alone is what it can look up.
pub(crate) fn after(parts: &[KeyPart], first: usize) -> String {
    let mut condition = String::new();
    for (at, part) in parts.iter().enumerate().rev() {
        let value = part.value(&format!("@P{}", first + at));
        let name = &part.name;
        condition = if condition.is_empty() {
            format!("{name} > {value}")
        } else {
            format!("{name} >= {value} AND ({name} > {value} OR ({condition}))")
        };
    }
    condition
}

/// The texts as one, each after its length in characters.
pub(crate) fn write(kept: &[String]) -> PageCursor {
    let text: String = kept.iter().map(|part| format!("{}:{part}", part.chars().count())).collect();
    PageCursor::new(text)
}

/// The texts that [`write`] made one of.
///
/// # Errors
/// A schema error when they are not those of this key: it was altered since.
pub(crate) fn read(cursor: &PageCursor, parts: &[KeyPart]) -> Result<Vec<String>, SourceError> {
    let mut rest = cursor.as_str();
    let mut kept = Vec::with_capacity(parts.len());
    while let Some((length, after)) = rest.split_once(':') {
        let Ok(length) = length.parse::<usize>() else { break };
        let end = after.char_indices().nth(length).map_or(after.len(), |(at, _)| at);
        let Some((part, next)) = after.split_at_checked(end) else { break };
        if part.chars().count() != length {
            break;
        }
        kept.push(part.to_owned());
        rest = next;
    }
    if rest.is_empty() && kept.len() == parts.len() {
        return Ok(kept);
    }
    Err(unfit(format!(
        "a copy of the table stopped after a key of {} columns, and it has {} now",
        kept.len(),
        parts.len()
    )))
}

/// The error for a copy that cannot go on where it stopped.
pub(crate) fn unfit(what: String) -> SourceError {
    SourceError::new(SourceErrorKind::Schema, what).with_hint(
        "run `bitacora backfill --restart`: the tables or a table's key were altered while they were being copied",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::tests::table;

    fn key(columns: &[(&str, &str)]) -> Vec<KeyPart> {
        let mut table = table(columns);
        table.key = (0..columns.len()).collect();
        parts(&table, "SQL_Latin1_General_CP1_CI_AS").unwrap()
    }

    #[test]
    fn a_key_of_several_columns_is_compared_part_by_part() {
        let key = key(&[("a", "int"), ("b", "nvarchar")]);
        assert_eq!(order(&key), "[a], [b]");
        assert_eq!(
            after(&key, 2),
            "[a] >= CONVERT(int, @P2, 0) AND ([a] > CONVERT(int, @P2, 0) OR ([b] > CONVERT(nvarchar(20), @P3)))"
        );
    }

    #[test]
    fn a_text_comes_back_by_the_code_page_of_its_own_collation() {
        let mut table = table(&[("a", "varchar")]);
        table.columns[0].collation = Some("Latin1_General_BIN2".to_owned());
        let key = parts(&table, "SQL_Latin1_General_CP1_CI_AS").unwrap();
        assert_eq!(after(&key, 1), "[a] > CONVERT(varchar(40), @P1 COLLATE Latin1_General_BIN2)");
        let key = parts(&table, "Latin1_General_BIN2").unwrap();
        assert_eq!(after(&key, 1), "[a] > CONVERT(varchar(40), @P1)");
    }

    #[test]
    fn a_table_without_a_key_is_refused() {
        let mut table = table(&[("a", "int")]);
        table.key.clear();
        assert_eq!(parts(&table, "").unwrap_err().kind(), SourceErrorKind::Schema);
        table.key = vec![0];
        table.columns[0].type_name = "sql_variant".to_owned();
        assert_eq!(parts(&table, "").unwrap_err().kind(), SourceErrorKind::Schema);
    }

    #[test]
    fn a_cursor_of_another_key_is_refused() {
        let key = key(&[("a", "int"), ("b", "int")]);
        for text in ["", "1:7", "x", "9:7", "1:71:81:9", "1:7,1:8"] {
            assert!(read(&PageCursor::new(text), &key).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_as_it_was_written(a in any::<String>(), b in any::<String>()) {
            let key = key(&[("a", "nvarchar"), ("b", "nvarchar")]);
            let kept = vec![a, b];
            prop_assert_eq!(read(&write(&kept), &key).unwrap(), kept);
        }
    }
}
