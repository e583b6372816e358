//! Parents for a rehearsal, which reads the tables and keeps nothing.

use std::sync::Arc;

use change::{Page, Row};
use normalizer::{Rejection, Tables};
use rusqlite::{Connection, TransactionBehavior};

use crate::declared::{self, Declared};
use crate::error::LedgerError;
use crate::join::{Joiner, owes_nothing};
use crate::schema;

/// What is known of parents while pages of all tables come by, parents first. It lies in a file of the system's
/// that goes with it, and not in memory.
#[derive(Debug)]
pub struct Rehearsal {
    connection: Connection,
    declared: Declared,
}

impl Rehearsal {
    /// Begins without knowing any parent.
    ///
    /// # Errors
    /// When the system gives no temporary file.
    pub fn new(tables: Arc<Tables>) -> Result<Self, LedgerError> {
        // An empty name stands for a private file that is deleted when it is closed.
        // https://www.sqlite.org/inmemorydb.html#temp_db
        let mut connection = Connection::open("")?;
        schema::prepare_temporary(&mut connection)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let declared = declared::declare(&transaction, tables)?;
        transaction.commit()?;
        Ok(Self { connection, declared })
    }

    /// Learns of the parents on a page.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn learn(&mut self, page: &Page) -> Result<(), LedgerError> {
        let Some(table) = self.declared.tables().table(page.table) else { return Ok(()) };
        if table.mirrors.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        let mut joiner = Joiner::new(&transaction, &self.declared, 0)?;
        for (row, _) in &page.rows {
            for mirror in &table.mirrors {
                joiner.tell_copied(*mirror, (row, None), (1, 0))?;
            }
        }
        joiner.finish()?;
        transaction.commit()?;
        Ok(())
    }

    /// The rows of a page as their mapping reads them, or why they cannot be joined to their parents.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn join(&self, page: &Page) -> Result<Vec<Result<Row, Rejection>>, LedgerError> {
        let table = self.declared.tables().table(page.table);
        let Some((table, mapped)) = table.and_then(|table| Some((table, table.mapped.as_ref()?))) else {
            return Ok(Vec::new());
        };
        let mut joiner = Joiner::new(&self.connection, &self.declared, 0)?;
        let mut keys = Vec::new();
        page.rows.iter().for_each(|(row, _)| joiner.keys_of(table, row, &mut keys));
        joiner.parents.read_all(keys)?;
        let mut joined = Vec::with_capacity(page.rows.len());
        for (row, _) in &page.rows {
            let found = joiner.find(mapped, Some(row), false)?;
            let whole = mapped.joined(row, &found.rows());
            joined.push(match &found.missing {
                Some((join, _)) if !owes_nothing(mapped, &whole, 0) => Err(normalizer::missing_parent(join)),
                _ => Ok(whole),
            });
        }
        Ok(joined)
    }
}
