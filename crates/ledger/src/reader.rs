//! Reading a ledger that another process may be writing.

use std::ops::Deref;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::error::{LedgerError, LedgerErrorKind};
use crate::ledger::file_of;
use crate::queries::Queries;
use crate::schema;

/// A ledger opened to be read only. It holds no lock: the writer goes on beside it.
#[derive(Debug)]
pub struct LedgerReader {
    queries: Queries,
}

impl LedgerReader {
    /// Opens the ledger in `dir`.
    ///
    /// # Errors
    /// [`LedgerErrorKind::Missing`] when there is none, [`LedgerErrorKind::OlderSchema`], [`LedgerErrorKind::NewerSchema`] and
    /// [`LedgerErrorKind::Damaged`] when it cannot be understood.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let connection = connect(dir)?;
        // The file cannot be written anyway; this makes a mistake of ours an error before it gets there.
        connection.pragma_update(None, "query_only", true).map_err(LedgerError::from)?;
        Ok(Self { queries: Queries::new(connection) })
    }

    /// What can be asked.
    #[must_use]
    pub fn queries(&self) -> &Queries {
        &self.queries
    }
}

/// Connects to the ledger in `dir` so that only temporary tables can be written.
///
/// # Errors
/// As [`LedgerReader::open`].
pub(crate) fn connect(dir: &Path) -> Result<Connection, LedgerError> {
    let file = file_of(dir);
    if !file.is_file() {
        let message = format!("no ledger in {}", dir.display());
        return Err(LedgerError::new(LedgerErrorKind::Missing, message));
    }
    let doing = format!("open the ledger in {}", dir.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&file, flags)
        .map_err(|error| LedgerError::from(error).while_doing(&doing))?;
    schema::prepare_reader(&connection).map_err(|error| error.while_doing(&doing))?;
    Ok(connection)
}

impl Deref for LedgerReader {
    type Target = Queries;

    fn deref(&self) -> &Queries {
        &self.queries
    }
}
