//! The configured tables as the ledger knows them: it has numbers of its own, which stay when the configuration's order
//! changes, or a table comes or goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use change::{Row, Value};
use normalizer::{Mirror, Table, Tables};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{LedgerError, LedgerErrorKind};
use crate::ledger::Ledger;
use crate::meta;
use crate::queries::Queries;
use crate::table_id::TableId;

mod noting;

pub(crate) use noting::declare;

/// Which columns rows were captured with.
pub type ShapeId = u32;

/// The configured tables, with the ledger's numbers.
#[derive(Debug, Clone)]
pub struct Declared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tables: Arc<Tables>,
    ids: Vec<TableId>,
    shapes: Vec<ShapeId>,
    stored_shapes: BTreeMap<ShapeId, StoredShape>,
    mirrors: Vec<StoredMirror>,
}

/// Columns with which rows were captured at some time.
#[derive(Debug)]
struct StoredShape {
    table_id: TableId,
    /// The present number of the table; `None` where it is not configured any more.
    table: Option<u16>,
    /// Where the rows hold the columns that are captured now.
    places: Vec<Option<usize>>,
}

/// What is kept of a parent.
#[derive(Debug)]
struct StoredMirror {
    id: i64,
    /// Where stored rows hold the columns that are joined now.
    places: Vec<usize>,
    /// How many columns stored rows have, and where those that are joined now stand among them.
    stored: Vec<Option<usize>>,
}

impl Declared {
    /// The tables as they are configured.
    #[must_use]
    pub fn tables(&self) -> &Arc<Tables> {
        &self.0.tables
    }

    /// The ledger's numbers of all tables, in the order of the configuration.
    #[must_use]
    pub fn ids(&self) -> Vec<TableId> {
        self.0.ids.clone()
    }

    /// The ledger's number of the table with this number in the configuration.
    #[must_use]
    pub fn id(&self, table: u16) -> TableId {
        self.0.ids.get(usize::from(table)).copied().unwrap_or_default()
    }

    /// The number in the configuration of the ledger's table; `None` for one that is not configured any more.
    #[must_use]
    pub fn number(&self, table: TableId) -> Option<u16> {
        (0..).zip(&self.0.ids).find(|(_, id)| **id == table).map(|(number, _)| number)
    }

    /// The columns with which rows of this table are captured now.
    #[must_use]
    pub fn shape(&self, table: u16) -> ShapeId {
        self.0.shapes.get(usize::from(table)).copied().unwrap_or_default()
    }

    pub(crate) fn table(&self, id: TableId) -> Option<&Table> {
        self.0.tables.table(self.number(id)?)
    }

    /// The ledger's number of the table of a captured row, and where it is configured, the row's present shape.
    pub(crate) fn table_of(&self, shape: ShapeId) -> Result<(TableId, Option<&Table>), LedgerError> {
        let stored = self.0.stored_shapes.get(&shape).ok_or_else(|| {
            LedgerError::new(
                LedgerErrorKind::Damaged,
                format!("captured rows have the unknown shape {shape}"),
            )
        })?;
        Ok((stored.table_id, stored.table.and_then(|table| self.0.tables.table(table))))
    }

    /// A captured row with the columns that are captured now. What it was captured without counts as left out.
    pub(crate) fn reshaped(&self, shape: ShapeId, row: Row) -> Row {
        let Some(stored) = self.0.stored_shapes.get(&shape) else { return row };
        let is_same = (0..).zip(&stored.places).all(|(place, found)| *found == Some(place));
        if is_same && stored.places.len() == row.cells().len() {
            return row;
        }
        let cell = |place: &Option<usize>| place.and_then(|place| row.get(place)).cloned();
        Row::new(stored.places.iter().map(|place| cell(place).unwrap_or(Value::Unchanged)).collect())
    }

    pub(crate) fn mirror(&self, mirror: usize) -> Option<&Mirror> {
        self.0.tables.mirrors().get(mirror)
    }

    pub(crate) fn mirror_id(&self, mirror: usize) -> i64 {
        self.0.mirrors.get(mirror).map_or(0, |stored| stored.id)
    }

    /// The place of the mirror with this number in the ledger.
    pub(crate) fn mirror_place(&self, id: i64) -> Option<usize> {
        self.0.mirrors.iter().position(|stored| stored.id == id)
    }

    /// A parent's cells in the order of the mirror's columns.
    pub(crate) fn cells_now(&self, mirror: usize, cells: &Row) -> Row {
        let places = self.0.mirrors.get(mirror).map_or(&[][..], |stored| &stored.places);
        Row::new(places.iter().map(|place| cells.get(*place).cloned().unwrap_or(Value::Unchanged)).collect())
    }

    /// A parent's cells as they are stored.
    pub(crate) fn to_stored(&self, mirror: usize, cells: &Row) -> Row {
        let stored = self.0.mirrors.get(mirror).map_or(&[][..], |stored| &stored.stored);
        let cell = |place: &Option<usize>| place.and_then(|place| cells.get(place)).cloned();
        Row::new(stored.iter().map(|place| cell(place).unwrap_or(Value::Unchanged)).collect())
    }
}

impl Ledger {
    /// Says which tables are configured. Everything that is captured from now on, and everything that waits to be settled,
    /// is understood by it.
    ///
    /// # Errors
    /// [`LedgerErrorKind::OtherRows`] when the ledger was filled with rows of another kind from one of the tables.
    pub fn declare_tables(&mut self, tables: Arc<Tables>) -> Result<Declared, LedgerError> {
        let declared = self.write("note which tables are configured", |transaction| {
            declare(transaction, Arc::clone(&tables))
        })?;
        self.declared = Some(declared.clone());
        Ok(declared)
    }
}

/// Whether each row of the table is a status change.
pub(crate) fn is_history(connection: &Connection, table: TableId) -> Result<bool, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT is_history FROM source_table WHERE id = ?1")?;
    Ok(statement.query_row([table], |row| row.get(0)).optional()?.unwrap_or(false))
}

/// Whether any table is such.
pub(crate) fn any_history(connection: &Connection) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS(SELECT 1 FROM source_table WHERE is_history)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Tables of a copy as they are stored.
pub(crate) fn tables_json(tables: &[TableId]) -> String {
    serde_json::Value::from(tables.iter().map(|table| table.number()).collect::<Vec<_>>()).to_string()
}

/// Reads what [`tables_json`] wrote; a copy without it read the first table.
pub(crate) fn tables_from_json(text: Option<&str>) -> Vec<TableId> {
    let numbers: Option<Vec<i64>> = text.and_then(|text| serde_json::from_str(text).ok());
    numbers.map_or_else(
        || vec![TableId::default()],
        |numbers| numbers.into_iter().map(TableId::from_number).collect(),
    )
}

/// Notes whether a copy of these tables is complete, or under way.
pub(crate) fn set_copied(
    connection: &Connection,
    tables: &[TableId],
    is_copied: bool,
) -> Result<(), LedgerError> {
    let mut update =
        connection.prepare_cached("UPDATE source_table SET is_copied = ?2, scanned = 0 WHERE id = ?1")?;
    for table in tables {
        update.execute(params![table, is_copied])?;
    }
    Ok(())
}

impl Queries {
    /// The name of each table that was ever configured.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn table_names(&self) -> Result<BTreeMap<TableId, String>, LedgerError> {
        let sql = "SELECT id, coalesce(name, '') FROM source_table";
        let mut statement = self.connection.prepare_cached(sql)?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Those of `declared` that were never copied, though the ledger has a position: they came into the configuration
    /// later.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn tables_to_copy(&self, declared: &Declared) -> Result<Vec<TableId>, LedgerError> {
        if meta::get::<String>(&self.connection, meta::POSITION)?.is_none() {
            return Ok(Vec::new());
        }
        let mut statement =
            self.connection.prepare_cached("SELECT is_copied FROM source_table WHERE id = ?1")?;
        let mut missing = Vec::new();
        for id in &declared.0.ids {
            if !statement.query_row([id], |row| row.get::<_, bool>(0))? {
                missing.push(*id);
            }
        }
        Ok(missing)
    }
}
