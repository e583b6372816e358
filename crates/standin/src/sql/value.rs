//! Values, whatever their type.

/// A value of one of the types of [`SqlType`](super::datatype::SqlType).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    /// Every type of whole numbers, and bit.
    Int(i64),
    /// An exact number without its decimal point; the type has the scale. Money has four digits.
    Decimal(i128),
    Float(f64),
    /// Days since 0001-01-01.
    Date(i64),
    /// Units of 100 ns since midnight.
    Time(i64),
    /// Units of 1/300 s since 1900-01-01.
    DateTime(i64),
    /// Minutes since 1900-01-01.
    SmallDateTime(i64),
    /// Units of 100 ns since 0001-01-01.
    DateTime2(i64),
    /// Units of 100 ns since 0001-01-01 in UTC, and how many minutes the local time is ahead.
    Offset {
        utc: i64,
        minutes: i16,
    },
    /// As it travels: the first three groups little-endian.
    Guid([u8; 16]),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Int(i64::from(truth))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}
