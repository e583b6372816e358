//! The server's own numbers for its collations. The log names a text's collation by number, and every release brings
//! new ones: only the server that wrote the log knows them all.

use std::collections::HashMap;

use change::SourceError;

use crate::wire::Connection;

/// MariaDB lists its newer collations, which serve several character sets, apart from the others from here on
/// (<https://mariadb.com/docs/server/reference/system-tables/information-schema/information-schema-tables/information-schema-collation_character_set_applicability-table>).
const APPLICABLE_FROM: (u16, u16) = (10, 10);

/// The character set of each collation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Collations(HashMap<u16, Box<str>>);

impl Collations {
    /// Asks the server; no right is needed for it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn ask(connection: &mut Connection) -> Result<Self, SourceError> {
        let mut sql = "SELECT id, character_set_name FROM information_schema.collations".to_owned();
        let flavour = connection.flavour();
        if flavour.is_mariadb() && (flavour.version.0, flavour.version.1) >= APPLICABLE_FROM {
            sql += " UNION SELECT id, character_set_name \
                     FROM information_schema.collation_character_set_applicability";
        }
        let rows = connection.query("ask the server for its collations", &sql)?;
        // Those that serve several character sets have no number of their own.
        let known = rows.into_iter().filter_map(|row| {
            let mut cells = row.into_iter().flatten();
            let number = cells.next()?.parse().ok()?;
            Some((number, cells.next()?.to_lowercase().into()))
        });
        Ok(Self(known.collect()))
    }

    /// The character set of a collation; `None` for a number that the server does not list.
    pub(crate) fn charset(&self, number: u16) -> Option<&str> {
        self.0.get(&number).map(|charset| &**charset)
    }

    /// Collations by number.
    #[cfg(test)]
    pub(crate) fn of(known: &[(u16, &str)]) -> Self {
        Self(known.iter().map(|(number, charset)| (*number, (*charset).into())).collect())
    }
}
