//! Rows whose parent has not come yet.
//!
//! They are tried again when it comes, and go to quarantine when a second flush begins without it.

use normalizer::{Mapped, Table};
use rusqlite::{Connection, Transaction, params};

use change::{Position, RowKey};

use crate::captured_block::{PackedRow, Packer, Rows};
use crate::declared::Declared;
use crate::error::LedgerError;
use crate::history;
use crate::ingest::RejectedRow;
use crate::quarantine::PutAside;
use crate::queries::Queries;
use crate::table_id::unscoped;
use crate::unjoined::Unjoined;

/// Flushes that may begin before a row that waits goes to quarantine.
const FLUSHES_MAX: u32 = 2;

/// The rows that wait.
pub(crate) struct Waiting<'a> {
    connection: &'a Connection,
    declared: &'a Declared,
    /// Whether there are any: most parents that come are not waited for.
    any: bool,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(connection: &'a Connection, declared: &'a Declared) -> Result<Self, LedgerError> {
        let sql = "SELECT EXISTS(SELECT 1 FROM waiting_child)";
        let any = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(Self { connection, declared, any })
    }

    /// Lets a row wait for the parent with this key.
    pub(crate) fn add(
        &mut self,
        (mirror, key): (usize, &str),
        row: &PackedRow<'_>,
        unjoined: &Unjoined,
    ) -> Result<(), LedgerError> {
        let mut packer = Packer::default();
        packer.push_unjoined(row, unjoined);
        let sql = "INSERT OR REPLACE INTO waiting_child(seq, mirror_id, key, row, table_id) VALUES(?1, ?2, ?3, ?4, ?5)";
        let mirror = self.declared.mirror_id(mirror);
        let stored = params![row.seq, mirror, key, packer.into_bytes(), row.table];
        self.connection.prepare_cached(sql)?.execute(stored)?;
        self.any = true;
        Ok(())
    }

    /// Takes the rows that wait for this parent, in the order in which they came, each with its seq.
    pub(crate) fn take(&self, mirror: usize, key: &str) -> Result<Vec<(i64, Vec<u8>)>, LedgerError> {
        if !self.any {
            return Ok(Vec::new());
        }
        let which = params![self.declared.mirror_id(mirror), key];
        let sql = "SELECT seq, row FROM waiting_child WHERE mirror_id = ?1 AND key = ?2 ORDER BY seq";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(which, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        if !rows.is_empty() {
            let sql = "DELETE FROM waiting_child WHERE mirror_id = ?1 AND key = ?2";
            self.connection.prepare_cached(sql)?.execute(which)?;
        }
        Ok(rows)
    }
}

/// A flush begins: rows that have waited since before the last one go to quarantine.
///
/// While a copy is read in pages, the parents may be in pages to come.
pub(crate) fn flush_begins(
    transaction: &Transaction<'_>,
    declared: Option<&Declared>,
) -> Result<(), LedgerError> {
    let Some(declared) = declared else { return Ok(()) };
    if history::copy_is_under_way(transaction)? {
        return Ok(());
    }
    transaction.execute("UPDATE waiting_child SET flushes = flushes + 1", [])?;
    let mut aside = PutAside::new(transaction)?;
    let mut statement = transaction
        .prepare_cached("SELECT seq, mirror_id, row FROM waiting_child WHERE flushes >= ?1 ORDER BY seq")?;
    let mut rows = statement.query([FLUSHES_MAX])?;
    while let Some(stored) = rows.next()? {
        let (seq, mirror_id): (i64, i64) = (stored.get(0)?, stored.get(1)?);
        for row in Rows::new(stored.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?, seq) {
            let row = row?;
            if let Some(unjoined) = &row.unjoined {
                aside.put(&rejected(declared, mirror_id, &row, unjoined)?, None, false)?;
            }
        }
    }
    drop(rows);
    transaction.execute("DELETE FROM waiting_child WHERE flushes >= ?1", [FLUSHES_MAX])?;
    Ok(())
}

fn rejected(
    declared: &Declared,
    mirror_id: i64,
    row: &PackedRow<'_>,
    unjoined: &Unjoined,
) -> Result<RejectedRow, LedgerError> {
    let (id, table) = declared.table_of(unjoined.shape)?;
    let present = |table: &Table, mapped: &Mapped| {
        let mirror = declared.mirror_place(mirror_id)?;
        let join = mapped.joins.iter().find(|join| join.mirror == mirror)?;
        let own = declared.reshaped(unjoined.shape, unjoined.row.clone().unwrap_or_default());
        let unknown = vec![None; mapped.joins.len()];
        Some((normalizer::missing_parent(join), normalizer::store_joined(table, &own, &unknown, None)))
    };
    let mapped = table.and_then(|table| table.mapped.as_ref());
    let history = mapped.is_some_and(|mapped| mapped.mapping.rows() == normalizer::Rows::History);
    let found = table.and_then(|table| present(table, table.mapped.as_ref()?));
    let (rejection, stored) =
        found.unwrap_or_else(|| (normalizer::missing_table("of the row's parent"), "{}".into()));
    Ok(RejectedRow {
        table: id,
        code: rejection.code,
        reason: rejection.reason,
        request: None,
        row_key: row.row_key.filter(|_| history).map(|key| RowKey::from(unscoped(key).to_owned())),
        row: stored,
        position: Some(Position::new(row.position)),
        at: row.committed_at,
    })
}

impl Queries {
    /// How many captured rows wait for their parents.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn waiting_rows(&self) -> Result<u64, LedgerError> {
        let sql = "SELECT count(*) FROM waiting_child";
        Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }
}
