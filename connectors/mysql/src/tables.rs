//! The tables that row events name by number, and how the rows of ours are read.

use std::collections::HashMap;
use std::sync::Arc;

use change::{SourceError, SourceErrorKind};

use crate::binlog::DecodeError;
use crate::binlog::metadata::Metadata;
use crate::binlog::statement::Subjects;
use crate::binlog::table_map::{ColumnType, TableMap};
use crate::catalog::{Collations, Table};
use crate::position::Place;
use crate::relation::Layout;

/// Numbers that are remembered at most; a server numbers tables anew whenever it opens them.
const NUMBERS_MAX: usize = 4096;
/// Stands for no table, at the end of statements that changed none
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Rows__event.html>).
const NO_TABLE: u64 = 0xff_ffff;

/// What the server's catalogue said of a table, and when.
pub(crate) struct Catalog {
    /// The table.
    pub(crate) table: Table,
    /// The server's collations.
    pub(crate) collations: Arc<Collations>,
    /// Where the log ended after all this was read: what follows is younger.
    pub(crate) read_at: Place,
}

/// Reads the catalogue's word on the table with this number again.
pub(crate) type ReadCatalog = Box<dyn FnMut(u16) -> Result<Catalog, SourceError> + Send>;

#[derive(Debug)]
struct Described {
    /// The description as it came: nearly always the same one comes again.
    body: Box<[u8]>,
    /// The number of the table among ours.
    ours: Option<u16>,
    /// Made when the first row needs it.
    layout: Option<Arc<Layout>>,
}

/// A table of ours, and how its rows have been read.
struct Ours {
    catalog: Catalog,
    /// Whether its changes shall carry their keys.
    keys: bool,
    /// Whether its definition has changed since the catalogue was read.
    stale: bool,
    /// Whether rows were read by their columns' places since then.
    by_place: bool,
}

/// The tables of the log's present file.
pub(crate) struct Tables {
    subjects: Subjects,
    /// By their numbers. Each has a catalogue of its own time, so that a change of one leaves the others alone.
    ours: Vec<Ours>,
    read_catalog: ReadCatalog,
    numbers: HashMap<u64, Described>,
}

impl Tables {
    /// Knows the catalogue's word on the tables, with whether their changes shall carry keys, and no numbers yet.
    pub(crate) fn new(
        subjects: Subjects,
        tables: impl IntoIterator<Item = (Catalog, bool)>,
        read_catalog: ReadCatalog,
    ) -> Self {
        let ours = |(catalog, keys)| Ours { catalog, keys, stale: false, by_place: false };
        let ours = tables.into_iter().map(ours).collect();
        Self { subjects, ours, read_catalog, numbers: HashMap::new() }
    }

    /// The tables whose changes matter.
    pub(crate) fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Forgets the numbers: they hold within a file.
    pub(crate) fn forget_numbers(&mut self) {
        self.numbers.clear();
    }

    /// A statement at `place` has changed the definition of the table with this number.
    ///
    /// # Errors
    /// A lost log when rows before it were read by the places of columns that the catalogue listed after it.
    pub(crate) fn redefined(&mut self, number: u16, place: &Place) -> Result<(), SourceError> {
        if let Some(ours) = self.ours.get(usize::from(number))
            && ours.by_place
            && *place < ours.catalog.read_at
        {
            return Err(outlived(&format!(
                "table {} was redefined at {place}, and what was logged before does not name its columns",
                ours.catalog.table.quoted()
            )));
        }
        self.emptied(number);
        Ok(())
    }

    /// A statement has emptied the table with this number, or dropped it: one that makes it anew would follow.
    pub(crate) fn emptied(&mut self, number: u16) {
        if let Some(ours) = self.ours.get_mut(usize::from(number)) {
            ours.stale = true;
        }
        self.numbers.retain(|_, described| described.ours != Some(number));
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
        let ours = self.subjects.find(map.database, map.table);
        self.numbers.insert(map.id, Described { body: body.into(), ours, layout: None });
        Ok(())
    }

    /// The number among ours of the table whose rows come under `id`.
    ///
    /// # Errors
    /// When the id was never described.
    pub(crate) fn ours(&self, id: u64) -> Result<Option<u16>, DecodeError> {
        match self.numbers.get(&id) {
            Some(described) => Ok(described.ours),
            None if id == NO_TABLE => Ok(None),
            None => Err(DecodeError::UnknownTable(id)),
        }
    }

    /// How rows under `id`, which is the table of ours with this number, are read.
    ///
    /// # Errors
    /// A schema error when the catalogue lacks what is mapped; a lost log when only the description does not fit: the
    /// log is older than a change of the table's definition, and nothing tells how the table was.
    pub(crate) fn layout_of(&mut self, id: u64, number: u16) -> Result<Arc<Layout>, SourceError> {
        let (Some(described), Some(ours)) =
            (self.numbers.get_mut(&id), self.ours.get_mut(usize::from(number)))
        else {
            return Err(DecodeError::UnknownTable(id).into());
        };
        if let Some(layout) = &described.layout {
            return Ok(Arc::clone(layout));
        }
        let (columns, metadata) = TableMap::read(&described.body)?.columns()?;
        let layout = Arc::new(ours.layout((&columns, &metadata), || (self.read_catalog)(number))?);
        described.layout = Some(Arc::clone(&layout));
        Ok(layout)
    }
}

impl Ours {
    fn layout(
        &mut self,
        described: (&[ColumnType], &Metadata),
        mut read_catalog: impl FnMut() -> Result<Catalog, SourceError>,
    ) -> Result<Layout, SourceError> {
        let named = described.1.names.is_some();
        // Where the log tells names, what the catalogue said before serves as long as it fits: the log may be far
        // behind it.
        if self.stale && !named {
            self.refresh(read_catalog()?)?;
        }
        let layout = match self.fit(described) {
            Err(error) if error.kind() == SourceErrorKind::Schema => {
                self.refresh(read_catalog()?)?;
                self.fit(described).map_err(|error| match error.kind() {
                    SourceErrorKind::Schema => outlived(&error.to_string()),
                    _ => error,
                })?
            }
            fitted => fitted?,
        };
        self.by_place |= layout.is_by_place();
        Ok(layout)
    }

    fn fit(&self, described: (&[ColumnType], &Metadata)) -> Result<Layout, SourceError> {
        Layout::new(&self.catalog.table, self.keys, described, &self.catalog.collations)
    }

    /// Takes in the catalogue of today. That a mapped column is gone, or of a type that no record can carry, no copy
    /// mends.
    fn refresh(&mut self, catalog: Catalog) -> Result<(), SourceError> {
        self.catalog = catalog;
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
