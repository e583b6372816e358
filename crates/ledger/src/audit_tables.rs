//! Which tables an audit is about: those that are mapped. A table that is only a parent is read, and not compared.

use std::collections::BTreeMap;

use normalizer::{Mapped, Rows, Tables};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::LedgerError;
use crate::table_id::{TableId, table_of_key};

/// What matters of a table when its rows are compared.
#[derive(Debug, Clone)]
pub(crate) struct AuditedTable {
    name: String,
    /// Whether each row is a status change.
    history: bool,
    /// The status that the requests of deleted rows pass to, where that is reported.
    pub(crate) deletion_status: Option<u8>,
    /// Whether service or request come from a parent, whose change alone is told to nobody.
    pub(crate) request_is_joined: bool,
    /// Whether the status does.
    pub(crate) status_is_joined: bool,
}

impl AuditedTable {
    fn new(name: &str, mapped: &Mapped) -> Self {
        Self {
            name: name.to_owned(),
            history: mapped.mapping.rows() == Rows::History,
            deletion_status: mapped.mapping.deletion_status(),
            request_is_joined: mapped.request_is_joined(),
            status_is_joined: mapped.status_is_joined(),
        }
    }
}

/// A table whose first copy is under way; NULL where that copy is of all.
const UNDER_WAY: &str = "SELECT (SELECT s.name FROM json_each(c.tables) t JOIN source_table s ON s.id = t.value LIMIT 1) \
                         FROM copy c WHERE c.kind = 0 AND c.state < 2 LIMIT 1";

/// The tables, by the ledger's numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditedTables {
    by_id: BTreeMap<TableId, AuditedTable>,
    /// By the configuration's numbers; `None` for those that are only parents.
    ids: Vec<Option<TableId>>,
}

impl AuditedTables {
    /// Finds the mapped ones of `tables` in the ledger.
    ///
    /// # Errors
    /// [`crate::LedgerErrorKind::Misuse`] when one of them was never copied whole: then there is nothing to compare with.
    pub(crate) fn find(connection: &Connection, tables: &Tables) -> Result<Self, LedgerError> {
        let mut found = Self { by_id: BTreeMap::new(), ids: vec![None; tables.tables().len()] };
        let incomplete = |name: &str| {
            LedgerError::misuse(format!("the first copy of table \"{name}\" is not complete yet"))
        };
        let under_way = connection
            .query_row(UNDER_WAY, [], |row| row.get::<_, Option<String>>(0))
            .optional()?
            .map(|name| name.or_else(|| tables.mapped().next().map(|(_, table, _)| table.name.clone())));
        if let Some(name) = under_way {
            return Err(incomplete(&name.unwrap_or_default()));
        }
        for (place, (number, table, mapped)) in tables.mapped().enumerate() {
            // A ledger that has not been told its only table's name holds the first.
            let sql = "SELECT id FROM source_table WHERE is_copied AND (name = ?1 OR (?2 AND name IS NULL)) \
                       ORDER BY name IS NULL LIMIT 1";
            let id =
                connection.query_row(sql, params![table.name, place == 0], |row| row.get(0)).optional()?;
            let Some(id) = id else { return Err(incomplete(&table.name)) };
            found.by_id.insert(id, AuditedTable::new(&table.name, mapped));
            if let Some(known) = found.ids.get_mut(usize::from(number)) {
                *known = Some(id);
            }
        }
        Ok(found)
    }

    pub(crate) fn get(&self, id: TableId) -> Option<&AuditedTable> {
        self.by_id.get(&id)
    }

    /// The ledger's number of the configuration's table, if it is compared.
    pub(crate) fn id(&self, number: u16) -> Option<TableId> {
        self.ids.get(usize::from(number)).copied().flatten()
    }

    pub(crate) fn name(&self, id: TableId) -> &str {
        self.get(id).map_or("", |table| &table.name)
    }

    /// Whether the table's requests are compared.
    pub(crate) fn has_requests(&self, id: TableId) -> bool {
        self.get(id).is_some_and(|table| !table.history)
    }

    /// Whether the table's rows are compared, each of which is a status change.
    pub(crate) fn has_history(&self, id: TableId) -> bool {
        self.get(id).is_some_and(|table| table.history)
    }

    /// Whether the row with this key is compared.
    pub(crate) fn has_history_row(&self, key: &str) -> bool {
        self.has_history(table_of_key(key))
    }

    /// Whether requests of any table are compared.
    pub(crate) fn any_requests(&self) -> bool {
        self.by_id.values().any(|table| !table.history)
    }

    /// Whether rows of any history are compared.
    pub(crate) fn any_history(&self) -> bool {
        self.by_id.values().any(|table| table.history)
    }
}
