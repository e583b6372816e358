//! The tables that row events name by number, and how the rows of ours are read.

use std::collections::HashMap;
use std::sync::Arc;

use change::{SourceError, SourceErrorKind};

use crate::binlog::DecodeError;
use crate::binlog::statement::Subject;
use crate::binlog::table_map::TableMap;
use crate::catalog::Table;
use crate::relation::Layout;

/// Numbers that are remembered at most; a server numbers tables anew whenever it opens them.
const NUMBERS_MAX: usize = 4096;
/// Stands for no table, at the end of statements that changed none
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Rows__event.html>).
const NO_TABLE: u64 = 0xff_ffff;

/// Reads the catalogue again.
pub(crate) type ReadCatalog = Box<dyn FnMut() -> Result<Table, SourceError> + Send>;

#[derive(Debug)]
struct Described {
    /// The description as it came: nearly always the same one comes again.
    body: Box<[u8]>,
    layout: Option<Arc<Layout>>,
}

/// The tables of the log's present file.
pub(crate) struct Tables {
    subject: Subject,
    table: Table,
    keys: bool,
    read_catalog: ReadCatalog,
    /// Whether a definition has changed since the catalogue was read.
    stale: bool,
    numbers: HashMap<u64, Described>,
}

impl Tables {
    /// Knows the catalogue's word on the table, and no numbers yet.
    pub(crate) fn new(subject: Subject, table: Table, keys: bool, read_catalog: ReadCatalog) -> Self {
        Self { subject, table, keys, read_catalog, stale: false, numbers: HashMap::new() }
    }

    /// The table whose changes matter.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Forgets the numbers: they hold within a file.
    pub(crate) fn forget_numbers(&mut self) {
        self.numbers.clear();
    }

    /// A statement has changed the table's definition.
    pub(crate) fn redefined(&mut self) {
        self.stale = true;
        self.numbers.clear();
    }

    /// Takes in a description.
    ///
    /// # Errors
    /// A schema error when it is ours and does not fit the catalogue.
    pub(crate) fn describe(&mut self, body: &[u8]) -> Result<(), SourceError> {
        let map = TableMap::read(body)?;
        if self.numbers.get(&map.id).is_some_and(|known| *known.body == *body) {
            return Ok(());
        }
        let ours = self.subject.is(map.database, map.table);
        let layout = if ours { Some(Arc::new(self.layout(&map)?)) } else { None };
        if self.numbers.len() >= NUMBERS_MAX {
            self.numbers.clear();
        }
        self.numbers.insert(map.id, Described { body: body.into(), layout });
        Ok(())
    }

    /// How rows under this number are read; `None` for those of other tables.
    ///
    /// # Errors
    /// When the number was never described.
    pub(crate) fn layout_of(&self, id: u64) -> Result<Option<&Arc<Layout>>, DecodeError> {
        match self.numbers.get(&id) {
            Some(described) => Ok(described.layout.as_ref()),
            None if id == NO_TABLE => Ok(None),
            None => Err(DecodeError::UnknownTable(id)),
        }
    }

    fn layout(&mut self, map: &TableMap<'_>) -> Result<Layout, SourceError> {
        let (columns, metadata) = map.columns()?;
        let named = metadata.names.is_some();
        // Where the log tells names, what the catalogue said before serves as long as it fits: the log may be far
        // behind it.
        if self.stale && !named {
            self.refresh()?;
        }
        match Layout::new(&self.table, self.keys, &columns, &metadata) {
            Err(error) if error.kind() == SourceErrorKind::Schema => {
                self.refresh()?;
                Layout::new(&self.table, self.keys, &columns, &metadata)
            }
            fitted => fitted,
        }
    }

    fn refresh(&mut self) -> Result<(), SourceError> {
        self.table = (self.read_catalog)()?;
        self.stale = false;
        Ok(())
    }
}
