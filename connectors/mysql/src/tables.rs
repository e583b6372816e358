//! The tables that row events name by number, and how the rows of ours are read.

use std::collections::HashMap;
use std::sync::Arc;

use change::{SourceError, SourceErrorKind};

use crate::binlog::DecodeError;
use crate::binlog::metadata::Metadata;
use crate::binlog::statement::Subject;
use crate::binlog::table_map::{ColumnType, TableMap};
use crate::catalog::{Collations, Table};
use crate::position::Place;
use crate::relation::Layout;

/// Numbers that are remembered at most; a server numbers tables anew whenever it opens them.
const NUMBERS_MAX: usize = 4096;
/// Stands for no table, at the end of statements that changed none
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Rows__event.html>).
const NO_TABLE: u64 = 0xff_ffff;

/// What the server's catalogue said, and when.
pub(crate) struct Catalog {
    /// The table.
    pub(crate) table: Table,
    /// The server's collations.
    pub(crate) collations: Collations,
    /// Where the log ended after all this was read: what follows is younger.
    pub(crate) read_at: Place,
}

/// Reads the catalogue again.
pub(crate) type ReadCatalog = Box<dyn FnMut() -> Result<Catalog, SourceError> + Send>;

#[derive(Debug)]
struct Described {
    /// The description as it came: nearly always the same one comes again.
    body: Box<[u8]>,
    ours: bool,
    /// Made when the first row needs it.
    layout: Option<Arc<Layout>>,
}

/// The tables of the log's present file.
pub(crate) struct Tables {
    subject: Subject,
    catalog: Catalog,
    keys: bool,
    read_catalog: ReadCatalog,
    /// Whether a definition has changed since the catalogue was read.
    stale: bool,
    /// Whether rows were read by their columns' places since then.
    by_place: bool,
    numbers: HashMap<u64, Described>,
}

impl Tables {
    /// Knows the catalogue's word on the table, and no numbers yet.
    pub(crate) fn new(subject: Subject, catalog: Catalog, keys: bool, read_catalog: ReadCatalog) -> Self {
        let numbers = HashMap::new();
        Self { subject, catalog, keys, read_catalog, stale: false, by_place: false, numbers }
    }

    /// The table whose changes matter.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Forgets the numbers: they hold within a file.
    pub(crate) fn forget_numbers(&mut self) {
        self.numbers.clear();
    }

    /// A statement at `place` has changed the table's definition.
    ///
    /// # Errors
    /// A lost log when rows before it were read by the places of columns that the catalogue listed after it.
    pub(crate) fn redefined(&mut self, place: &Place) -> Result<(), SourceError> {
        if self.by_place && *place < self.catalog.read_at {
            return Err(outlived(&format!(
                "table {} was redefined at {place}, and what was logged before does not name its columns",
                self.catalog.table.quoted()
            )));
        }
        self.emptied();
        Ok(())
    }

    /// A statement has emptied the table, or dropped it: one that makes it anew would follow.
    pub(crate) fn emptied(&mut self) {
        self.stale = true;
        self.numbers.clear();
    }

    /// Takes in a description.
    ///
    /// # Errors
    /// When the bytes are too few.
    pub(crate) fn describe(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        let map = TableMap::read(body)?;
        if self.numbers.get(&map.id).is_some_and(|known| *known.body == *body) {
            return Ok(());
        }
        if self.numbers.len() >= NUMBERS_MAX {
            self.numbers.clear();
        }
        let ours = self.subject.is(map.database, map.table);
        self.numbers.insert(map.id, Described { body: body.into(), ours, layout: None });
        Ok(())
    }

    /// Whether rows under this number are our table's.
    ///
    /// # Errors
    /// When the number was never described.
    pub(crate) fn is_ours(&self, id: u64) -> Result<bool, DecodeError> {
        match self.numbers.get(&id) {
            Some(described) => Ok(described.ours),
            None if id == NO_TABLE => Ok(false),
            None => Err(DecodeError::UnknownTable(id)),
        }
    }

    /// How rows under this number, which is ours, are read.
    ///
    /// # Errors
    /// A schema error when the catalogue lacks what is mapped; a lost log when only the description does not fit: the
    /// log is older than a change of the table's definition, and nothing tells how the table was.
    pub(crate) fn layout_of(&mut self, id: u64) -> Result<Arc<Layout>, SourceError> {
        let Some(described) = self.numbers.get(&id) else {
            return Err(DecodeError::UnknownTable(id).into());
        };
        if let Some(layout) = &described.layout {
            return Ok(Arc::clone(layout));
        }
        let (columns, metadata) = TableMap::read(&described.body)?.columns()?;
        let layout = Arc::new(self.layout(&columns, &metadata)?);
        if let Some(described) = self.numbers.get_mut(&id) {
            described.layout = Some(Arc::clone(&layout));
        }
        Ok(layout)
    }

    fn layout(&mut self, columns: &[ColumnType], metadata: &Metadata) -> Result<Layout, SourceError> {
        let named = metadata.names.is_some();
        // Where the log tells names, what the catalogue said before serves as long as it fits: the log may be far
        // behind it.
        if self.stale && !named {
            self.refresh()?;
        }
        let layout = match self.fit(columns, metadata) {
            Err(error) if error.kind() == SourceErrorKind::Schema => {
                self.refresh()?;
                self.fit(columns, metadata).map_err(|error| match error.kind() {
                    SourceErrorKind::Schema => outlived(&error.to_string()),
                    _ => error,
                })?
            }
            fitted => fitted?,
        };
        self.by_place |= layout.is_by_place();
        Ok(layout)
    }

    fn fit(&self, columns: &[ColumnType], metadata: &Metadata) -> Result<Layout, SourceError> {
        Layout::new(&self.catalog.table, self.keys, (columns, metadata), &self.catalog.collations)
    }

    /// Reads the catalogue again. That a mapped column is gone, or of a type that no record can carry, no copy mends.
    fn refresh(&mut self) -> Result<(), SourceError> {
        self.catalog = (self.read_catalog)()?;
        self.catalog.table.mapped_kinds()?;
        self.stale = false;
        self.by_place = false;
        Ok(())
    }
}

fn outlived(what: &str) -> SourceError {
    SourceError::new(SourceErrorKind::LostLog, format!("the log is older than the table's definition: {what}"))
        .with_hint(
            "SET GLOBAL binlog_row_metadata = FULL: then the log names columns, and a change of other columns does \
             not matter; the table is read anew and compared",
        )
}
