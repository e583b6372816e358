//! Columns, and how their cells are asked for and read.

use crate::name::quote_ident;
use crate::value::{Kind, TEXT_CHARACTERS_MAX};

/// What `sys.columns` has for the length of a `varchar(max)`.
const MAX: i64 = -1;

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name, as the catalogue spells it.
    pub(crate) name: String,
    /// Its number in the table, from 1 on, with gaps where columns were dropped.
    pub(crate) column_id: i64,
    /// The name of its type, such as `bigint`, aliases resolved; empty for types that users brought along.
    pub(crate) type_name: String,
    /// The bytes that a cell may have; -1 for as many as there are.
    pub(crate) max_length: i64,
    /// The digits of a decimal, or of a time's fraction.
    pub(crate) precision: i64,
    /// The digits behind the point.
    pub(crate) scale: i64,
    /// The collation of a text.
    pub(crate) collation: Option<String>,
    /// Whether it may hold NULL.
    pub(crate) nullable: bool,
    /// Whether it is computed from others: capture leaves such a column empty.
    pub(crate) computed: bool,
}

impl Column {
    /// How its cells are to be read.
    ///
    /// # Errors
    /// Why no record can carry them, as a phrase.
    pub(crate) fn kind(&self) -> Result<Kind, String> {
        if self.computed {
            return Err("it is computed, and capture leaves computed columns empty".to_owned());
        }
        match self.type_name.as_str() {
            "bit" | "tinyint" | "smallint" | "int" | "bigint" => Ok(Kind::Int),
            "decimal" | "numeric" | "money" | "smallmoney" => Ok(Kind::Decimal),
            "varchar" | "nvarchar" | "sysname" => Ok(Kind::Text),
            "char" | "nchar" => Ok(Kind::PaddedText),
            "uniqueidentifier" => Ok(Kind::Guid),
            "datetime" | "datetime2" | "smalldatetime" => Ok(Kind::Local),
            "datetimeoffset" => Ok(Kind::Instant),
            "date" => Ok(Kind::Date),
            "float" | "real" => {
                Err(format!("{} is approximate, which no id, status or time is", self.type_name))
            }
            "text" | "ntext" => Err(format!(
                "capture leaves {} out of what a row was before: use n?varchar(max)",
                self.type_name
            )
            .replace("n?", if self.type_name == "ntext" { "n" } else { "" })),
            "" => {
                Err("its type was brought along by a user, and is neither text, number nor time".to_owned())
            }
            other => Err(format!("type {other} is neither text, number nor time")),
        }
    }

    /// Whether it is of a type without a greatest length, which capture leaves out of what a row was before unless the
    /// change touched it.
    pub(crate) fn is_large(&self) -> bool {
        self.max_length == MAX && matches!(self.type_name.as_str(), "varchar" | "nvarchar")
    }

    /// The expression to select. Money is asked for as the decimal that it is, which the wire carries exactly; and of a
    /// text without a greatest length no more than shows that it is too long.
    pub(crate) fn expression(&self) -> String {
        let name = quote_ident(&self.name);
        match self.type_name.as_str() {
            "money" => format!("CAST({name} AS decimal(19, 4))"),
            "smallmoney" => format!("CAST({name} AS decimal(10, 4))"),
            _ if self.is_large() => format!("LEFT({name}, {})", TEXT_CHARACTERS_MAX + 1),
            _ => name,
        }
    }

    /// Its type as SQL spells it.
    pub(crate) fn sql_type(&self) -> String {
        let length = |bytes_each: i64| match self.max_length {
            MAX => "max".to_owned(),
            bytes => (bytes / bytes_each).to_string(),
        };
        match self.type_name.as_str() {
            "char" | "varchar" | "binary" | "varbinary" => format!("{}({})", self.type_name, length(1)),
            "nchar" | "nvarchar" => format!("{}({})", self.type_name, length(2)),
            "decimal" | "numeric" => format!("{}({}, {})", self.type_name, self.precision, self.scale),
            // Nothing is converted to a `timestamp`, which is a number that the server gives.
            "timestamp" => "binary(8)".to_owned(),
            "datetime2" | "datetimeoffset" | "time" => format!("{}({})", self.type_name, self.scale),
            other => other.to_owned(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn column(name: &str, type_name: &str, max_length: i64) -> Column {
        Column {
            name: name.to_owned(),
            column_id: 1,
            type_name: type_name.to_owned(),
            max_length,
            precision: 10,
            scale: 2,
            collation: None,
            nullable: false,
            computed: false,
        }
    }

    #[test]
    fn types_are_spelt_as_the_server_takes_them() {
        for (type_name, length, spelt) in [
            ("nvarchar", 80, "nvarchar(40)"),
            ("varchar", -1, "varchar(max)"),
            ("char", 3, "char(3)"),
            ("decimal", 9, "decimal(10, 2)"),
            ("datetime2", 8, "datetime2(2)"),
            ("uniqueidentifier", 16, "uniqueidentifier"),
        ] {
            assert_eq!(column("c", type_name, length).sql_type(), spelt);
        }
    }

    #[test]
    fn what_capture_does_not_carry_is_refused() {
        for type_name in ["text", "ntext", "image", "xml", "float", "varbinary", "sql_variant", "time", ""] {
            assert!(column("c", type_name, 16).kind().is_err(), "{type_name}");
        }
        assert!(Column { computed: true, ..column("c", "int", 4) }.kind().is_err());
        assert!(column("c", "ntext", 16).kind().unwrap_err().ends_with("nvarchar(max)"));
    }

    #[test]
    fn money_is_asked_for_as_a_decimal_and_long_texts_in_part() {
        assert_eq!(column("a]b", "money", 8).expression(), "CAST([a]]b] AS decimal(19, 4))");
        assert_eq!(column("t", "nvarchar", -1).expression(), "LEFT([t], 4001)");
        assert_eq!(column("t", "nvarchar", 8).expression(), "[t]");
    }
}
