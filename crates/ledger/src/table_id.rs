//! Which table a row is of.

use std::borrow::Cow;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// A table's number in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(i64);

impl Default for TableId {
    /// The first table, whose rows ledgers with a single one hold.
    fn default() -> Self {
        Self(1)
    }
}

impl TableId {
    /// The table with this number.
    #[must_use]
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// The key of one of the table's rows as it tells rows of all tables apart.
    pub(crate) fn scoped(self, key: &str) -> Cow<'_, str> {
        if self == Self::default() {
            // Ledgers that knew one table only hold it so.
            return Cow::Borrowed(key);
        }
        Cow::Owned(format!("{}{SCOPE}{key}", self.0))
    }
}

/// Stands between a table's number and the key of one of its rows.
const SCOPE: char = '\u{1e}';

/// The key without the number of its table.
pub(crate) fn unscoped(key: &str) -> &str {
    key.split_once(SCOPE).map_or(key, |(_, key)| key)
}

impl ToSql for TableId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for TableId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

/// The table of a row with this key.
pub(crate) fn table_of_key(key: &str) -> TableId {
    let number = key.split_once(SCOPE).and_then(|(table, _)| table.parse().ok());
    number.map(TableId).unwrap_or_default()
}
