//! What a cell of a mapped column can hold.

use std::fmt;

use compact_str::CompactString;

/// A text that lies in place when it is short, as ids and the names of statuses are.
pub type Text = CompactString;

/// One cell, as far as the product needs to know it.
///
/// Times are microseconds since 1970-01-01T00:00:00, which covers every year that the dashboard's date
/// format can write. A connector converts its engine's own representation and never guesses a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// The engine did not log the cell because the change left it as it was (PostgreSQL's unchanged
    /// TOAST, a partial row image). It is *not* NULL.
    Unchanged,
    /// A truth value.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// Text, and every type whose text form is its identity: enumerations, UUIDs, decimals.
    Text(Text),
    /// A wall-clock time without zone, in microseconds.
    Local(i64),
    /// A moment, in microseconds since the epoch, UTC.
    Instant(i64),
    /// A day without zone, in days since 1970-01-01.
    Date(i32),
    /// A value the engine holds and no record can carry, in the engine's words: `infinity`,
    /// `0000-00-00`, `0044-03-15 BC`.
    Unusable(Box<str>),
}

impl Value {
    /// Makes a text value.
    #[must_use]
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// Whether the cell holds SQL NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// The mapped columns of one row, in the order in which the connector was asked for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row(Box<[Value]>);

impl Row {
    /// Makes a row from its cells.
    #[must_use]
    pub fn new(cells: Vec<Value>) -> Self {
        Self(cells.into_boxed_slice())
    }

    /// The cell of the column at `index`, or `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.0.get(index)
    }

    /// The cells in column order.
    #[must_use]
    pub fn cells(&self) -> &[Value] {
        &self.0
    }
}

/// The text of a row's primary key or replica identity, one column after the other separated by U+001F.
///
/// It names a deleted row of which the log tells nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey(Box<str>);

impl RowKey {
    /// Makes a key from its columns' text.
    pub fn from_columns<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut key = String::new();
        for (index, column) in columns.into_iter().enumerate() {
            if index > 0 {
                key.push('\u{1f}');
            }
            key.push_str(column);
        }
        Self(key.into())
    }

    /// The key as stored text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RowKey {
    fn from(stored: String) -> Self {
        Self(stored.into())
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.replace('\u{1f}', ", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_several_columns_reads_as_a_list() {
        let key = RowKey::from_columns(["LIC", "42"]);
        assert_eq!(key.as_str(), "LIC\u{1f}42");
        assert_eq!(key.to_string(), "LIC, 42");
    }
}
