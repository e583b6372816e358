//! From packed rows to rows of the log, slice by slice; on the way, rows that need their parents are joined to them.

use rusqlite::{CachedStatement, Connection};

use crate::captured_block::{self, PackedRow};
use crate::declared::Declared;
use crate::error::LedgerError;
use crate::join::{Joiner, joined_rows};
use crate::log_row::Origin;

/// Writes rows of the log that say something.
pub(crate) struct LogWriter<'a>(CachedStatement<'a>);

impl<'a> LogWriter<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Result<Self, LedgerError> {
        Ok(Self(connection.prepare_cached(
            "INSERT INTO change(seq, kind, service_id, request_id, status_id, opening_at, modified_at, row_key, \
             old_row_key, position, committed_at, captured_at, origin, table_id) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?))
    }

    pub(crate) fn insert(&mut self, row: &PackedRow<'_>, origin: Origin) -> Result<(), LedgerError> {
        let insert = &mut self.0;
        insert.raw_bind_parameter(1, row.seq)?;
        insert.raw_bind_parameter(2, row.kind)?;
        insert.raw_bind_parameter(3, row.service_id)?;
        insert.raw_bind_parameter(4, row.request_id)?;
        insert.raw_bind_parameter(5, row.status_id)?;
        insert.raw_bind_parameter(6, row.opening_at)?;
        insert.raw_bind_parameter(7, row.modified_at)?;
        insert.raw_bind_parameter(8, row.row_key)?;
        insert.raw_bind_parameter(9, row.old_row_key)?;
        insert.raw_bind_parameter(10, row.position)?;
        insert.raw_bind_parameter(11, row.committed_at)?;
        insert.raw_bind_parameter(12, row.captured_at)?;
        insert.raw_bind_parameter(13, origin)?;
        insert.raw_bind_parameter(14, row.table)?;
        insert.raw_execute()?;
        Ok(())
    }
}

/// Makes packed rows with seqs after `settled` and up to `limit` rows of the log, at least `min_rows` of them where
/// there are so many, or fewer where some may be joined, unless some wait there already. Returns up to where no packed row is left, at most `limit`.
pub(crate) fn unpack(
    connection: &Connection,
    declared: Option<&Declared>,
    (settled, limit): (i64, i64),
    min_rows: u64,
) -> Result<i64, LedgerError> {
    let joins = declared.is_some_and(|declared| !declared.tables().mirrors().is_empty());
    let min_rows = if joins { joined_rows(min_rows) } else { min_rows };
    let Some((last, mut whole_to)) = next_blocks(connection, settled, limit, min_rows)? else {
        return Ok(limit);
    };
    if let Some(last) = last {
        let mut log = LogWriter::new(connection)?;
        let mut joiner = None;
        if let Some(declared) = declared {
            let mut parents = Joiner::new(connection, declared, settled)?;
            parents.read_ahead(settled, last)?;
            joiner = Some(parents);
        }
        captured_block::visit(connection, settled, last, |row| match (&row.unjoined, &mut joiner) {
            (None, _) => log.insert(row, Origin::Stream),
            (Some(unjoined), Some(joiner)) => joiner.visit(row, unjoined),
            (Some(_), None) => {
                Err(LedgerError::misuse("rows wait to be joined, and nobody has said to which tables"))
            }
        })?;
        if let Some(joiner) = joiner {
            joiner.finish()?;
        }
        connection
            .prepare_cached("DELETE FROM captured_block WHERE last_seq > ?1 AND last_seq <= ?2")?
            .execute([settled, last])?;
        whole_to = whole_to.max(last);
    }
    Ok(whole_to)
}

/// Which blocks to unpack: those up to the first place, if any; and up to where the log is whole then. `None` when
/// there are none.
fn next_blocks(
    connection: &Connection,
    settled: i64,
    limit: i64,
    min_rows: u64,
) -> Result<Option<(Option<i64>, i64)>, LedgerError> {
    let min_rows = i64::try_from(min_rows).unwrap_or(i64::MAX);
    let mut blocks = connection.prepare_cached(
        "SELECT first_seq, last_seq FROM captured_block WHERE last_seq > ?1 AND last_seq <= ?2 ORDER BY last_seq",
    )?;
    let mut blocks = blocks.query([settled, limit])?;
    let (mut last, mut rows) = (None, 0_i64);
    while let Some(block) = blocks.next()? {
        let (first_seq, last_seq): (i64, i64) = (block.get(0)?, block.get(1)?);
        let rows_wait = || -> Result<bool, LedgerError> {
            let sql = "SELECT EXISTS(SELECT 1 FROM change WHERE seq > ?1 AND seq < ?2)";
            Ok(connection.prepare_cached(sql)?.query_row([settled, first_seq], |row| row.get(0))?)
        };
        if rows >= min_rows || (last.is_none() && rows_wait()?) {
            return Ok(Some((last, first_seq - 1)));
        }
        rows += last_seq - first_seq + 1;
        last = Some(last_seq);
    }
    Ok(last.map(|last| (Some(last), limit)))
}
