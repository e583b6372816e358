//! Columns, and how their cells are to be read.

use crate::flavour::Product;
use crate::name::quote_ident;
use crate::value_text::Kind;

/// Character sets whose bytes the log's reader turns into text.
const CHARSETS: [&str; 5] = ["utf8mb4", "utf8mb3", "utf8", "ascii", "latin1"];

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name, as the catalogue spells it.
    pub(crate) name: String,
    /// Its place in the table, from 1 on.
    pub(crate) ordinal: u32,
    /// The name of its type alone, in lower case, such as `bigint`.
    pub(crate) data_type: String,
    /// Its type as SQL spells it, such as `bigint(20) unsigned` or `enum('a','b')`.
    pub(crate) column_type: String,
    /// The character set of a text.
    pub(crate) charset: Option<String>,
    /// Whether it holds no negative numbers.
    pub(crate) unsigned: bool,
    /// Whether it may hold NULL.
    pub(crate) nullable: bool,
}

/// Why a column cannot be mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// What it is, and why that will not do.
    pub(crate) what: String,
    /// What to do instead, with `{table}` for the table's name.
    pub(crate) mend: Mend,
}

/// What makes an unfit column's content fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Map another column: no text says what this one holds.
    MapAnother,
    /// A stored column that holds the bytes in hexadecimal.
    Hexadecimal,
    /// Another type for the column itself.
    Type(&'static str),
    /// Text in a character set that the log's reader knows.
    Charset,
}

impl Column {
    /// How its cells are to be read.
    ///
    /// # Errors
    /// Why no record can carry them.
    pub(crate) fn kind(&self) -> Result<Kind, Unfit> {
        let unfit = |what: String, mend: Mend| Err(Unfit { what, mend });
        match self.data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Ok(Kind::Int),
            "decimal" => Ok(Kind::Decimal),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => {
                match self.charset.as_deref() {
                    Some(charset) if !CHARSETS.contains(&charset) => unfit(
                        format!("its character set {charset} is not known, expected {}", CHARSETS.join(", ")),
                        Mend::Charset,
                    ),
                    _ => Ok(Kind::Text),
                }
            }
            "uuid" | "time" => Ok(Kind::Text),
            "datetime" => Ok(Kind::Local),
            "timestamp" => Ok(Kind::Instant),
            "date" => Ok(Kind::Date),
            "float" | "double" => unfit(
                format!("{} is approximate: the log and a query do not show the same digits", self.data_type),
                Mend::Type("decimal(20,6)"),
            ),
            "bit" => unfit("bit is not text, a number or a time".to_owned(), Mend::Type("bigint unsigned")),
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                unfit(format!("{} holds bytes, which no record can carry", self.data_type), Mend::Hexadecimal)
            }
            other => unfit(format!("type {other} is neither text, number nor time"), Mend::MapAnother),
        }
    }

    /// How its cells are to be read as part of a row's key, which may hold bytes; `None` for a type that does not
    /// read the same everywhere.
    pub(crate) fn key_kind(&self) -> Option<Kind> {
        match self.data_type.as_str() {
            "binary" => Some(Kind::PaddedBytes),
            "varbinary" => Some(Kind::Bytes),
            _ => self.kind().ok(),
        }
    }

    /// The members of an enumeration or a set, in order; `None` for other types.
    pub(crate) fn members(&self) -> Option<Vec<String>> {
        let list =
            self.column_type.strip_prefix("enum(").or_else(|| self.column_type.strip_prefix("set("))?;
        let mut rest = list.strip_suffix(')')?;
        let mut members = Vec::new();
        loop {
            let (member, after) = first_member(rest)?;
            members.push(member);
            if after.is_empty() {
                return Some(members);
            }
            rest = after.strip_prefix(',')?;
        }
    }

    /// The statement that makes the column's content fit.
    pub(crate) fn mend(&self, unfit: &Unfit, table: &str, product: Product) -> String {
        let name = quote_ident(&self.name);
        match unfit.mend {
            Mend::MapAnother => {
                format!("set another column in the [mapping] part: {name} of {table} cannot be reported")
            }
            Mend::Hexadecimal => {
                let shadow = quote_ident(&format!("{}_hex", self.name));
                let null = if product == Product::MariaDb { "" } else { " NULL" };
                format!(
                    "ALTER TABLE {table} ADD COLUMN {shadow} varchar(255) CHARACTER SET ascii GENERATED ALWAYS AS \
                     (lower(hex({name}))) STORED{null}; then map {shadow}"
                )
            }
            Mend::Type(to) => format!("ALTER TABLE {table} MODIFY {name} {to}{}", self.null_clause()),
            Mend::Charset => format!(
                "ALTER TABLE {table} MODIFY {name} {} CHARACTER SET utf8mb4{}",
                self.column_type,
                self.null_clause()
            ),
        }
    }

    fn null_clause(&self) -> &'static str {
        if self.nullable { " NULL" } else { " NOT NULL" }
    }
}

/// The first quoted member of a list, and what follows it. The catalogue doubles quotes, and escapes backslashes
/// and control characters.
fn first_member(list: &str) -> Option<(String, &str)> {
    let mut rest = list.strip_prefix('\'')?.chars();
    let mut member = String::new();
    while let Some(character) = rest.next() {
        match character {
            '\\' => member.push(match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'Z' => '\u{1a}',
                other => other,
            }),
            '\'' => match rest.as_str().strip_prefix('\'') {
                Some(after) => {
                    member.push('\'');
                    rest = after.chars();
                }
                None => return Some((member, rest.as_str())),
            },
            other => member.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(column_type: &str, charset: Option<&str>) -> Column {
        let word = |text: &str| text.split(['(', ' ']).next().unwrap_or_default().to_owned();
        Column {
            name: "c".to_owned(),
            ordinal: 1,
            data_type: word(column_type),
            column_type: column_type.to_owned(),
            charset: charset.map(str::to_owned),
            unsigned: column_type.contains("unsigned"),
            nullable: true,
        }
    }

    #[test]
    fn types_are_read_as_what_they_hold() {
        for (column_type, kind) in [
            ("bigint(20) unsigned", Kind::Int),
            ("year(4)", Kind::Int),
            ("decimal(10,2)", Kind::Decimal),
            ("uuid", Kind::Text),
            ("time(3)", Kind::Text),
            ("datetime(6)", Kind::Local),
            ("timestamp", Kind::Instant),
            ("date", Kind::Date),
        ] {
            assert_eq!(column(column_type, None).kind(), Ok(kind), "{column_type}");
        }
        assert_eq!(column("varchar(20)", Some("latin1")).kind(), Ok(Kind::Text));
    }

    #[test]
    fn what_no_record_can_carry_is_refused_with_what_to_do() {
        for (column_type, charset, mend) in [
            ("bit(3)", None, "MODIFY `c` bigint unsigned NULL"),
            ("blob", None, "lower(hex(`c`))"),
            ("json", None, "another column"),
            ("point", None, "another column"),
            ("double", None, "MODIFY `c` decimal(20,6) NULL"),
            ("varchar(20)", Some("sjis"), "MODIFY `c` varchar(20) CHARACTER SET utf8mb4 NULL"),
        ] {
            let column = column(column_type, charset);
            let unfit = column.kind().unwrap_err();
            let text = column.mend(&unfit, "`d`.`t`", Product::MySql);
            assert!(text.contains(mend), "{column_type}: {text}");
        }
    }

    #[test]
    fn bytes_may_tell_rows_apart_and_approximate_numbers_may_not() {
        assert_eq!(column("binary(16)", None).key_kind(), Some(Kind::PaddedBytes));
        assert_eq!(column("varbinary(16)", None).key_kind(), Some(Kind::Bytes));
        assert_eq!(column("double", None).key_kind(), None);
    }

    #[test]
    fn the_members_of_an_enumeration_are_read_from_its_type() {
        let members = |text: &str| column(text, None).members();
        let listed = |members: &[&str]| Some(members.iter().map(|member| (*member).to_owned()).collect());
        assert_eq!(
            members(r#"enum('a\\b','c''d','e"f','g,h','i\nj','ñ','')"#),
            listed(&["a\\b", "c'd", "e\"f", "g,h", "i\nj", "ñ", ""])
        );
        assert_eq!(members("set('p')"), listed(&["p"]));
        for broken in ["int(11)", "enum('a'", "enum('a)", "enum(a)", "enum('a''b)"] {
            assert_eq!(members(broken), None, "{broken}");
        }
    }
}
