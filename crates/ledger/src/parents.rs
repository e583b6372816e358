//! What is known of parents, as of one place in the log.
//!
//! A slice of the log asks for the same parents many times, and by keys in no order: they are read once, in the order of
//! their keys, and written back the same way.

use std::collections::HashMap;

use change::{Row, Value};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::cells::{pack_row, unpack_row};
use crate::declared::Declared;
use crate::error::{LedgerError, LedgerErrorKind};
use crate::table_id::TableId;

/// A parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    /// Its joined cells, in the order of the mirror's columns; none where it was deleted before anything was known of it.
    pub(crate) cells: Row,
    /// The last log row that altered it.
    pub(crate) seq: i64,
    /// The last copy that brought it; 0 for the log.
    pub(crate) copy_id: i64,
    /// Whether it was deleted.
    pub(crate) is_gone: bool,
}

/// A mirror, by its place, and a parent's key.
type Key = (usize, String);

/// The parents that a slice asks for.
pub(crate) struct Parents<'a> {
    connection: &'a Connection,
    declared: &'a Declared,
    select: CachedStatement<'a>,
    /// Of each mirror, the log row with which all of its parents went at once; 0 where they never did.
    emptied: Vec<i64>,
    read: HashMap<usize, HashMap<String, Option<Parent>>>,
    altered: Vec<Key>,
}

impl<'a> Parents<'a> {
    pub(crate) fn new(connection: &'a Connection, declared: &'a Declared) -> Result<Self, LedgerError> {
        let select = connection.prepare_cached(
            "SELECT cells, seq, copy_id, is_gone FROM parent WHERE mirror_id = ?1 AND key = ?2",
        )?;
        let mut emptied_seq = connection.prepare_cached("SELECT emptied_seq FROM mirror WHERE id = ?1")?;
        let mirrors = 0..declared.tables().mirrors().len();
        let emptied = mirrors
            .map(|mirror| emptied_seq.query_row([declared.mirror_id(mirror)], |row| row.get(0)))
            .collect::<Result<_, _>>()?;
        Ok(Self { connection, declared, select, emptied, read: HashMap::new(), altered: Vec::new() })
    }

    /// Reads the parents with these keys, which then need not be looked up one by one.
    pub(crate) fn read_all(&mut self, mut keys: Vec<Key>) -> Result<(), LedgerError> {
        keys.sort_unstable();
        keys.dedup();
        for (mirror, key) in keys {
            self.find(mirror, &key)?;
        }
        Ok(())
    }

    /// The parent with this key, deleted or not.
    pub(crate) fn find(&mut self, mirror: usize, key: &str) -> Result<Option<&Parent>, LedgerError> {
        if !self.read.get(&mirror).is_some_and(|read| read.contains_key(key)) {
            let found = self.select(mirror, key)?;
            self.read.entry(mirror).or_default().insert(key.to_owned(), found);
        }
        Ok(self.read.get(&mirror).and_then(|read| read.get(key)).and_then(Option::as_ref))
    }

    fn select(&mut self, mirror: usize, key: &str) -> Result<Option<Parent>, LedgerError> {
        let found = self.select.query_row(params![self.declared.mirror_id(mirror), key], |row| {
            let stored = unpack_row(row.get_ref(0)?.as_blob()?).map(|(stored, _)| stored);
            Ok((stored, row.get(1)?, row.get(2)?, row.get(3)?))
        });
        let Some((stored, seq, copy_id, is_gone)) = found.optional()? else { return Ok(None) };
        let damaged = || LedgerError::new(LedgerErrorKind::Damaged, "a stored parent cannot be read");
        let cells = self.declared.cells_now(mirror, &stored.ok_or_else(damaged)?);
        let is_gone = is_gone || self.emptied_since(mirror, seq);
        Ok(Some(Parent { cells, seq, copy_id, is_gone }))
    }

    /// Whether all parents went at once after `seq`.
    pub(crate) fn emptied_since(&self, mirror: usize, seq: i64) -> bool {
        self.emptied.get(mirror).is_some_and(|emptied| *emptied > seq)
    }

    /// Notes that all parents went at once. Rows that are deleted with them are still joined to them.
    pub(crate) fn empty(&mut self, mirror: usize, seq: i64) -> Result<(), LedgerError> {
        let sql = "UPDATE mirror SET emptied_seq = ?2 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute(params![self.declared.mirror_id(mirror), seq])?;
        if let Some(emptied) = self.emptied.get_mut(mirror) {
            *emptied = seq;
        }
        let read = self.read.get_mut(&mirror).into_iter().flat_map(HashMap::values_mut).flatten();
        read.for_each(|parent| parent.is_gone = true);
        Ok(())
    }

    /// Notes what is known of a parent from now on.
    pub(crate) fn set(&mut self, mirror: usize, key: &str, parent: Parent) {
        self.altered.push((mirror, key.to_owned()));
        self.read.entry(mirror).or_default().insert(key.to_owned(), Some(parent));
    }

    /// The key of the parent whose row has this key, as far as it was told that they differ.
    pub(crate) fn key_by_row(&self, mirror: usize, row_key: &str) -> Result<String, LedgerError> {
        let sql = "SELECT key FROM parent_key WHERE mirror_id = ?1 AND row_key = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row(params![self.declared.mirror_id(mirror), row_key], |row| row.get(0));
        Ok(found.optional()?.unwrap_or_else(|| row_key.to_owned()))
    }

    /// Notes the key of a parent beside that of its row, where they differ.
    pub(crate) fn set_row_key(&self, mirror: usize, row_key: &str, key: &str) -> Result<(), LedgerError> {
        if row_key == key {
            return Ok(());
        }
        let sql = "INSERT OR REPLACE INTO parent_key(mirror_id, row_key, key) VALUES(?1, ?2, ?3)";
        let mirror = self.declared.mirror_id(mirror);
        self.connection.prepare_cached(sql)?.execute(params![mirror, row_key, key])?;
        Ok(())
    }

    /// Writes what was altered.
    pub(crate) fn store(mut self) -> Result<(), LedgerError> {
        self.altered.sort_unstable();
        self.altered.dedup();
        let mut upsert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO parent(mirror_id, key, cells, seq, copy_id, is_gone) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut packed = Vec::new();
        for (mirror, key) in &self.altered {
            let Some(Some(parent)) = self.read.get(mirror).and_then(|read| read.get(key)) else { continue };
            packed.clear();
            pack_row(&mut packed, &self.declared.to_stored(*mirror, &parent.cells));
            let mirror = self.declared.mirror_id(*mirror);
            upsert.execute(params![mirror, key, packed, parent.seq, parent.copy_id, parent.is_gone])?;
        }
        Ok(())
    }
}

/// The cells with those that the log left out taken from what was known before.
pub(crate) fn completed(cells: Row, before: Option<&Parent>) -> Row {
    if !cells.cells().contains(&Value::Unchanged) {
        return cells;
    }
    let known = |place: usize| before.and_then(|parent| parent.cells.get(place)).cloned();
    let whole = cells.cells().iter().enumerate().map(|(place, cell)| match cell {
        Value::Unchanged => known(place).unwrap_or(Value::Unchanged),
        cell => cell.clone(),
    });
    Row::new(whole.collect())
}

/// Forgets parents of these tables that were known before `began_seq`, and that a whole copy has not brought.
pub(crate) fn forget_vanished(
    connection: &Connection,
    tables: &[TableId],
    copy_id: i64,
    began_seq: i64,
) -> Result<(), LedgerError> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM parent WHERE mirror_id IN (SELECT id FROM mirror WHERE table_id = ?1) \
         AND copy_id <> ?2 AND seq <= ?3",
    )?;
    for table in tables {
        delete.execute(params![table, copy_id, began_seq])?;
    }
    Ok(())
}
