//! The turns of copied rows in the log.

use change::Checkpoint;
use rusqlite::{Connection, params};

use crate::copy::CopyKind;
use crate::copy_state::CopyRow;
use crate::error::LedgerError;
use crate::ledger::LogEnd;
use crate::table_id::TableId;
use crate::{declared, history, meta};

/// Staged rows whose turn has come, and what was told of the moment they were read.
pub(crate) struct Turn {
    pub(crate) table: TableId,
    pub(crate) first_id: i64,
    pub(crate) last_id: i64,
    pub(crate) position: Option<String>,
    pub(crate) at: i64,
}

/// The turns of an exact copy: one for each table, in the order in which they were read, and one in which what was held is
/// told, where rows of a history may be.
pub(crate) fn turns_of_exact(
    connection: &Connection,
    copy: &CopyRow,
    checkpoint: &Checkpoint,
) -> Result<Vec<Turn>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT table_id, min(first_id), max(last_id) FROM page WHERE copy_id = ?1 AND last_id >= first_id \
         GROUP BY table_id ORDER BY 2",
    )?;
    let position = || Some(checkpoint.position.to_string());
    let at = copy.began_at;
    let turns = statement.query_map([copy.id], |row| {
        let (table, first_id, last_id) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Turn { table, first_id, last_id, position: position(), at })
    })?;
    let mut turns = turns.collect::<Result<Vec<_>, _>>()?;
    if turns.is_empty() || declared::any_history(connection)? {
        let (first_id, last_id) = (copy.last_id + 1, copy.last_id);
        turns.push(Turn { table: TableId::default(), first_id, last_id, position: position(), at });
    }
    Ok(turns)
}

/// Gives rows their turn at the log's end. The rows of a repair bring at most one log row each, for which
/// the seqs right behind the marker are kept.
pub(crate) fn put_marker(
    connection: &Connection,
    log: &mut LogEnd,
    copy: &CopyRow,
    turn: &Turn,
) -> Result<(), LedgerError> {
    let rows = turn.last_id - turn.first_id + 1;
    let reserved = match copy.kind {
        // What is held is told in the last turn, and nobody knows beforehand how much that is.
        _ if rows == 0 && declared::any_history(connection)? => history::SEQS_KEPT,
        CopyKind::Repair { .. } => rows,
        CopyKind::Baseline | CopyKind::Again => 0,
    };
    connection
        .prepare_cached(
            "INSERT INTO marker(seq, copy_id, merged_id, last_id, reserved, emitted, position, at, table_id) \
             VALUES(?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8)",
        )?
        .execute(params![
            log.next_seq,
            copy.id,
            turn.first_id - 1,
            turn.last_id,
            reserved,
            turn.position,
            turn.at,
            turn.table,
        ])?;
    log.committed_seq = log.next_seq + reserved;
    log.next_seq = log.committed_seq + 1;
    meta::set(connection, meta::COMMITTED_SEQ, log.committed_seq)
}
