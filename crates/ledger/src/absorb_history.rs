//! Merging copied rows of a history, each of which is a status change of its own.

use rusqlite::{CachedStatement, Connection, params};

use crate::backfill;
use crate::copy_state::CopyRow;
use crate::error::LedgerError;
use crate::history::{self, Use};
use crate::known::{Known, KnownTable};
use crate::row_owner::{self, Owner};
use crate::staged::Staged;
use crate::table_id::TableId;

/// The rows of one request after the other.
pub(crate) struct HistoryMerge<'a> {
    connection: &'a Connection,
    copy: &'a CopyRow,
    table: TableId,
    known: KnownTable<'a>,
    store: CachedStatement<'a>,
    service_id: String,
    request_id: String,
    before: Option<Known>,
    now: Known,
    pub(crate) waiting: i64,
}

impl<'a> HistoryMerge<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        copy: &'a CopyRow,
        table: TableId,
    ) -> Result<Self, LedgerError> {
        let store = connection.prepare_cached(
            "INSERT OR REPLACE INTO backfill_row(copy_id, month, service_id, request_id, place, status_id, \
             opening_at, modified_at, state, table_id) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        Ok(Self {
            connection,
            copy,
            table,
            known: KnownTable::new(connection)?,
            store,
            service_id: String::new(),
            request_id: String::new(),
            before: None,
            now: Known::default(),
            waiting: 0,
        })
    }

    pub(crate) fn visit(&mut self, row: &Staged<'_>) -> Result<(), LedgerError> {
        // Copies are refused before where rows have no key.
        let Some(key) = row.row_key else { return Ok(()) };
        let key = &*self.table.scoped(key);
        let owner = row_owner::owner_of(self.connection, key)?;
        let copied = Owner {
            service_id: row.service_id.to_owned(),
            request_id: row.request_id.to_owned(),
            opening_at: Some(row.opening_at),
            seq: self.copy.began_seq,
            status_id: row.status_id,
            modified_at: Some(row.modified_at),
            copy_id: self.copy.id,
            is_held: false,
        };
        let used = history::use_of(self.connection, (self.copy, self.table), owner.as_ref(), &copied)?;
        // What an update told since then is newer than what the page shows.
        let held = owner.filter(|owner| owner.is_held);
        let told = held.map_or(copied, |held| Owner {
            seq: self.copy.began_seq,
            copy_id: self.copy.id,
            is_held: false,
            ..held
        });
        match used {
            Use::Nothing => Ok(()),
            Use::Waits => self.wait(key, row.month, &told),
            Use::Owed => row_owner::set_owner(self.connection, key, &Owner { is_held: true, ..told }),
        }
    }

    /// Makes a row wait for the backfill, with all others of its request under one month: they leave together.
    fn wait(&mut self, key: &str, month: u32, row: &Owner) -> Result<(), LedgerError> {
        self.turn_to(&row.service_id, &row.request_id)?;
        if self.now.copy_id != self.copy.id {
            self.now.copy_id = self.copy.id;
            self.now.month = month;
        }
        self.now.status_id = row.status_id;
        self.now.opening_at = row.opening_at;
        self.now.modified_at = row.modified_at;
        self.now.table = self.table;
        let modified_at = row.modified_at.unwrap_or_default();
        self.store.execute(params![
            self.copy.id,
            self.now.month,
            row.service_id,
            row.request_id,
            history::place_of(modified_at, key),
            row.status_id,
            row.opening_at.unwrap_or_default(),
            modified_at,
            backfill::WAITING,
            self.table,
        ])?;
        self.waiting += 1;
        row_owner::set_owner(self.connection, key, row)
    }

    fn turn_to(&mut self, service_id: &str, request_id: &str) -> Result<(), LedgerError> {
        if service_id == self.service_id && request_id == self.request_id {
            return Ok(());
        }
        self.finish()?;
        service_id.clone_into(&mut self.service_id);
        request_id.clone_into(&mut self.request_id);
        self.before = self.known.find(service_id, request_id)?;
        self.now = self.before.unwrap_or_default();
        Ok(())
    }

    /// Notes what is known of the last request.
    pub(crate) fn finish(&mut self) -> Result<(), LedgerError> {
        if self.before.unwrap_or_default() == self.now {
            return Ok(());
        }
        self.before = Some(self.now);
        self.known.store(&self.service_id, &self.request_id, &self.now)
    }
}
