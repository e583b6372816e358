//! The data types that are modelled, with their lengths, precisions and scales.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/data-types/data-types-transact-sql>

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::SqlError;

/// How long a text or a binary value can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Length {
    /// In characters or bytes.
    Limited(u16),
    /// `(max)`
    Max,
}

/// A data type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SqlType {
    /// The literal NULL, before anything tells its type.
    Null,
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Decimal {
        precision: u8,
        scale: u8,
    },
    SmallMoney,
    Money,
    Real,
    Float,
    Date,
    Time(u8),
    SmallDateTime,
    DateTime,
    DateTime2(u8),
    DateTimeOffset(u8),
    UniqueIdentifier,
    Text {
        unicode: bool,
        fixed: bool,
        length: Length,
    },
    Bytes {
        fixed: bool,
        length: Length,
    },
    /// `sql_variant`: only what `SERVERPROPERTY` and its kin answer.
    Variant,
}

impl SqlType {
    /// `sysname`
    pub(crate) const NAME: SqlType = SqlType::nvarchar(128);
    /// A log sequence number.
    pub(crate) const LSN: SqlType = SqlType::Bytes { fixed: true, length: Length::Limited(10) };

    pub(crate) const fn nvarchar(length: u16) -> SqlType {
        SqlType::Text { unicode: true, fixed: false, length: Length::Limited(length) }
    }

    pub(crate) const fn varchar(length: u16) -> SqlType {
        SqlType::Text { unicode: false, fixed: false, length: Length::Limited(length) }
    }

    pub(crate) const fn varbinary(length: u16) -> SqlType {
        SqlType::Bytes { fixed: false, length: Length::Limited(length) }
    }

    /// The type that `name` and its arguments in parentheses say.
    ///
    /// # Errors
    /// 2715 for a name that is no type, and 1001 or 2716 for lengths that cannot be.
    pub(crate) fn parse(name: &str, arguments: &[String]) -> Result<SqlType, SqlError> {
        let name = name.to_ascii_lowercase();
        let number = |at: usize, default: u8| -> Result<u8, SqlError> {
            match arguments.get(at) {
                None => Ok(default),
                Some(text) => text.parse().map_err(|_| SqlError::syntax(text)),
            }
        };
        let scale = || -> Result<u8, SqlError> {
            let scale = number(0, 7)?;
            if scale <= 7 {
                return Ok(scale);
            }
            Err(SqlError::new(1002, 15, 1, format!("Line 1: Specified scale {scale} is invalid.")))
        };
        Ok(match name.as_str() {
            "bit" => SqlType::Bit,
            "tinyint" => SqlType::TinyInt,
            "smallint" => SqlType::SmallInt,
            "int" | "integer" => SqlType::Int,
            "bigint" => SqlType::BigInt,
            "decimal" | "numeric" | "dec" => {
                let (precision, scale) = (number(0, 18)?, number(1, 0)?);
                if precision == 0 || precision > 38 || scale > precision {
                    return Err(SqlError::new(
                        1007,
                        15,
                        1,
                        format!(
                            "The number '{precision},{scale}' is out of the range for numeric representation."
                        ),
                    ));
                }
                SqlType::Decimal { precision, scale }
            }
            "money" => SqlType::Money,
            "smallmoney" => SqlType::SmallMoney,
            "real" => SqlType::Real,
            "float" | "double precision" | "double" => match number(0, 53)? {
                1..=24 => SqlType::Real,
                _ => SqlType::Float,
            },
            "date" => SqlType::Date,
            "time" => SqlType::Time(scale()?),
            "smalldatetime" => SqlType::SmallDateTime,
            "datetime" => SqlType::DateTime,
            "datetime2" => SqlType::DateTime2(scale()?),
            "datetimeoffset" => SqlType::DateTimeOffset(scale()?),
            "uniqueidentifier" => SqlType::UniqueIdentifier,
            "sysname" => SqlType::NAME,
            "char" | "character" => text(false, true, arguments)?,
            "varchar" | "character varying" => text(false, false, arguments)?,
            "nchar" => text(true, true, arguments)?,
            "nvarchar" => text(true, false, arguments)?,
            "binary" => SqlType::Bytes { fixed: true, length: length(arguments, 8000, true)? },
            "varbinary" => SqlType::Bytes { fixed: false, length: length(arguments, 8000, false)? },
            _ => {
                let message = format!(
                    "Column, parameter, or variable #1: Cannot find data type {name} (in this server)."
                );
                return Err(SqlError::new(2715, 16, 3, message));
            }
        })
    }

    /// Which of two types a value takes when both meet: the higher one's.
    ///
    /// <https://learn.microsoft.com/en-us/sql/t-sql/data-types/data-type-precedence-transact-sql>
    pub(crate) fn rank(self) -> u8 {
        match self {
            SqlType::Variant => 40,
            SqlType::DateTimeOffset(_) => 30,
            SqlType::DateTime2(_) => 29,
            SqlType::DateTime => 28,
            SqlType::SmallDateTime => 27,
            SqlType::Date => 26,
            SqlType::Time(_) => 25,
            SqlType::Float => 24,
            SqlType::Real => 23,
            SqlType::Decimal { .. } => 22,
            SqlType::Money => 21,
            SqlType::SmallMoney => 20,
            SqlType::BigInt => 19,
            SqlType::Int => 18,
            SqlType::SmallInt => 17,
            SqlType::TinyInt => 16,
            SqlType::Bit => 15,
            SqlType::UniqueIdentifier => 10,
            SqlType::Text { unicode: true, fixed: false, .. } => 9,
            SqlType::Text { unicode: true, fixed: true, .. } => 8,
            SqlType::Text { unicode: false, fixed: false, .. } => 7,
            SqlType::Text { unicode: false, fixed: true, .. } => 6,
            SqlType::Bytes { fixed: false, .. } => 5,
            SqlType::Bytes { fixed: true, .. } => 4,
            SqlType::Null => 0,
        }
    }

    /// The type in which `self` and `other` can be compared, or stand in one column.
    pub(crate) fn unified(self, other: SqlType) -> SqlType {
        let (high, low) = if self.rank() >= other.rank() { (self, other) } else { (other, self) };
        match (high, low) {
            (SqlType::Decimal { precision, scale }, low) if low.exact().is_some() => {
                let (low_precision, low_scale) = low.exact().unwrap_or((precision, scale));
                let scale = scale.max(low_scale);
                let whole = (precision - scale.min(precision)).max(low_precision - low_scale);
                let whole = whole.max(precision.saturating_sub(high.exact().map_or(0, |(_, own)| own)));
                let precision = (whole + scale).min(38);
                SqlType::Decimal { precision, scale: scale.min(precision) }
            }
            (SqlType::Text { unicode, fixed, length }, SqlType::Text { fixed: other, length: low, .. }) => {
                SqlType::Text { unicode, fixed: fixed && other, length: longer(length, low) }
            }
            (SqlType::Bytes { fixed, length }, SqlType::Bytes { length: low, .. }) => {
                SqlType::Bytes { fixed, length: longer(length, low) }
            }
            (SqlType::DateTime2(a), SqlType::DateTime2(b) | SqlType::Time(b)) => SqlType::DateTime2(a.max(b)),
            (SqlType::DateTimeOffset(a), SqlType::DateTimeOffset(b) | SqlType::DateTime2(b)) => {
                SqlType::DateTimeOffset(a.max(b))
            }
            // A datetime's thirds of milliseconds need all digits to stay what they are.
            (SqlType::DateTime2(_), SqlType::DateTime) => SqlType::DateTime2(7),
            (SqlType::DateTimeOffset(_), SqlType::DateTime) => SqlType::DateTimeOffset(7),
            (SqlType::Time(a), SqlType::Time(b)) => SqlType::Time(a.max(b)),
            (high, _) => high,
        }
    }

    /// Precision and scale of a type whose values are exact numbers.
    pub(crate) fn exact(self) -> Option<(u8, u8)> {
        Some(match self {
            SqlType::Bit => (1, 0),
            SqlType::TinyInt => (3, 0),
            SqlType::SmallInt => (5, 0),
            SqlType::Int => (10, 0),
            SqlType::BigInt => (19, 0),
            SqlType::Decimal { precision, scale } => (precision, scale),
            SqlType::SmallMoney => (10, 4),
            SqlType::Money => (19, 4),
            _ => return None,
        })
    }

    /// The smallest and largest value, for a type of whole numbers.
    pub(crate) fn whole_range(self) -> Option<(i64, i64)> {
        Some(match self {
            SqlType::Bit => (0, 1),
            SqlType::TinyInt => (0, 255),
            SqlType::SmallInt => (i64::from(i16::MIN), i64::from(i16::MAX)),
            SqlType::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
            SqlType::BigInt => (i64::MIN, i64::MAX),
            _ => return None,
        })
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(self, SqlType::Text { .. })
    }

    pub(crate) fn is_temporal(self) -> bool {
        (25..=30).contains(&self.rank())
    }

    /// The type's name without its length, as `sys.types` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            SqlType::Null | SqlType::Int => "int",
            SqlType::Bit => "bit",
            SqlType::TinyInt => "tinyint",
            SqlType::SmallInt => "smallint",
            SqlType::BigInt => "bigint",
            SqlType::Decimal { .. } => "decimal",
            SqlType::SmallMoney => "smallmoney",
            SqlType::Money => "money",
            SqlType::Real => "real",
            SqlType::Float => "float",
            SqlType::Date => "date",
            SqlType::Time(_) => "time",
            SqlType::SmallDateTime => "smalldatetime",
            SqlType::DateTime => "datetime",
            SqlType::DateTime2(_) => "datetime2",
            SqlType::DateTimeOffset(_) => "datetimeoffset",
            SqlType::UniqueIdentifier => "uniqueidentifier",
            SqlType::Text { unicode: true, fixed: true, .. } => "nchar",
            SqlType::Text { unicode: true, fixed: false, .. } => "nvarchar",
            SqlType::Text { unicode: false, fixed: true, .. } => "char",
            SqlType::Text { unicode: false, fixed: false, .. } => "varchar",
            SqlType::Bytes { fixed: true, .. } => "binary",
            SqlType::Bytes { fixed: false, .. } => "varbinary",
            SqlType::Variant => "sql_variant",
        }
    }

    /// The type as one number, so that a function of SQLite can be told it.
    pub(crate) fn code(self) -> i64 {
        let with_length = |length: Length| match length {
            Length::Limited(length) => i64::from(length),
            Length::Max => 0xFFFF,
        };
        match self {
            SqlType::Decimal { precision, scale } => {
                100 + (i64::from(precision) << 16) + (i64::from(scale) << 32)
            }
            SqlType::Time(scale) => 101 + (i64::from(scale) << 16),
            SqlType::DateTime2(scale) => 102 + (i64::from(scale) << 16),
            SqlType::DateTimeOffset(scale) => 103 + (i64::from(scale) << 16),
            SqlType::Text { unicode, fixed, length } => {
                104 + (with_length(length) << 16) + (i64::from(unicode) << 32) + (i64::from(fixed) << 33)
            }
            SqlType::Bytes { fixed, length } => 105 + (with_length(length) << 16) + (i64::from(fixed) << 33),
            other => i64::from(other.rank()),
        }
    }

    /// The type that [`SqlType::code`] made `code` of.
    pub(crate) fn from_code(code: i64) -> SqlType {
        let low = u16::try_from((code >> 16) & 0xFFFF).unwrap_or(0);
        let small = u8::try_from(low & 0xFF).unwrap_or(0);
        let length = if low == 0xFFFF { Length::Max } else { Length::Limited(low) };
        let (unicode, fixed) = ((code >> 32) & 1 == 1, (code >> 33) & 1 == 1);
        match code & 0xFFFF {
            100 => {
                SqlType::Decimal { precision: small, scale: u8::try_from((code >> 32) & 0xFF).unwrap_or(0) }
            }
            101 => SqlType::Time(small),
            102 => SqlType::DateTime2(small),
            103 => SqlType::DateTimeOffset(small),
            104 => SqlType::Text { unicode, fixed, length },
            105 => SqlType::Bytes { fixed, length },
            40 => SqlType::Variant,
            28 => SqlType::DateTime,
            27 => SqlType::SmallDateTime,
            26 => SqlType::Date,
            24 => SqlType::Float,
            23 => SqlType::Real,
            21 => SqlType::Money,
            20 => SqlType::SmallMoney,
            19 => SqlType::BigInt,
            18 => SqlType::Int,
            17 => SqlType::SmallInt,
            16 => SqlType::TinyInt,
            15 => SqlType::Bit,
            10 => SqlType::UniqueIdentifier,
            _ => SqlType::Null,
        }
    }
}

fn longer(one: Length, other: Length) -> Length {
    match (one, other) {
        (Length::Limited(a), Length::Limited(b)) => Length::Limited(a.max(b)),
        _ => Length::Max,
    }
}

fn text(unicode: bool, fixed: bool, arguments: &[String]) -> Result<SqlType, SqlError> {
    let limit = if unicode { 4000 } else { 8000 };
    Ok(SqlType::Text { unicode, fixed, length: length(arguments, limit, fixed)? })
}

fn length(arguments: &[String], limit: u16, fixed: bool) -> Result<Length, SqlError> {
    let Some(argument) = arguments.first() else {
        return Ok(Length::Limited(1));
    };
    if argument.eq_ignore_ascii_case("max") && !fixed {
        return Ok(Length::Max);
    }
    let number: u32 = argument.parse().map_err(|_| SqlError::syntax(argument))?;
    match u16::try_from(number) {
        Ok(length) if length >= 1 && length <= limit => Ok(Length::Limited(length)),
        _ => {
            let message = format!(
                "The size ({number}) given to the type exceeds the maximum allowed for any data type ({limit})."
            );
            Err(SqlError::new(131, 15, 2, message))
        }
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())?;
        match self {
            SqlType::Decimal { precision, scale } => write!(out, "({precision},{scale})"),
            SqlType::Time(scale) | SqlType::DateTime2(scale) | SqlType::DateTimeOffset(scale) => {
                write!(out, "({scale})")
            }
            SqlType::Text { length, .. } | SqlType::Bytes { length, .. } => match length {
                Length::Limited(length) => write!(out, "({length})"),
                Length::Max => out.write_str("(max)"),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_way_through_its_code() {
        for (name, arguments) in [
            ("bit", vec![]),
            ("decimal", vec!["38", "9"]),
            ("datetime2", vec!["3"]),
            ("datetimeoffset", vec!["0"]),
            ("time", vec!["5"]),
            ("nvarchar", vec!["max"]),
            ("char", vec!["17"]),
            ("binary", vec!["10"]),
            ("uniqueidentifier", vec![]),
            ("money", vec![]),
            ("smalldatetime", vec![]),
        ] {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            let parsed = SqlType::parse(name, &arguments).unwrap();
            assert_eq!(SqlType::from_code(parsed.code()), parsed, "{name}");
        }
    }

    #[test]
    fn the_type_of_two_is_wide_enough_for_both() {
        let decimal = |precision, scale| SqlType::Decimal { precision, scale };
        assert_eq!(decimal(5, 2).unified(SqlType::Int), decimal(12, 2));
        assert_eq!(decimal(5, 2).unified(decimal(4, 3)), decimal(6, 3));
        assert_eq!(SqlType::DateTime.unified(SqlType::DateTime2(3)), SqlType::DateTime2(7));
        assert_eq!(SqlType::varchar(3).unified(SqlType::nvarchar(2)), SqlType::nvarchar(3));
    }
}
