//! Which request a row of the source belongs to, so that a deletion that tells only the row's key can be
//! reported.
//!
//! Keys pass from request to request when rows are altered, so a slice's rows are visited by key in log
//! order: each deletion belongs to the last owner before it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::declared;
use crate::error::LedgerError;
use crate::history;
use crate::log_row::LogKind;
use crate::table_id::table_of_key;

/// The request that owns a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) service_id: String,
    pub(crate) request_id: String,
    pub(crate) opening_at: Option<i64>,
    pub(crate) seq: i64,
    /// What was last told of the row: only rows of a history are compared with it.
    pub(crate) status_id: u8,
    pub(crate) modified_at: Option<i64>,
    /// The copy that brought it; 0 for the stream.
    pub(crate) copy_id: i64,
    /// Whether it waits for a copy to bring it.
    pub(crate) is_held: bool,
}

impl Owner {
    /// Whether both mean the same status of the same request.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.status_id == other.status_id
            && self.request_id == other.request_id
            && self.service_id == other.service_id
    }
}

/// Gives each deletion of the slice `(after, upto]` its request, and brings the owners up to date.
///
/// Deletions of rows that nobody knows go to quarantine; departures of such rows mean nothing.
pub(crate) fn resolve(connection: &Connection, after: i64, upto: i64) -> Result<(), LedgerError> {
    if !has_keys(connection, after, upto)? {
        return Ok(());
    }
    let mut events = connection.prepare_cached(
        "SELECT row_key AS key, seq, 0 AS leaves, kind, service_id, request_id, opening_at, status_id, modified_at \
         FROM change WHERE seq > ?1 AND seq <= ?2 AND row_key IS NOT NULL \
         UNION ALL \
         SELECT old_row_key, seq, 1, kind, service_id, request_id, opening_at, status_id, modified_at \
         FROM change WHERE seq > ?1 AND seq <= ?2 AND old_row_key IS NOT NULL \
         ORDER BY key, seq, leaves DESC",
    )?;
    let mut rows = events.query([after, upto])?;
    let under_way = history::copy_is_under_way(connection)?;
    let mut visit = Visit {
        connection,
        under_way,
        history: false,
        holds: false,
        key: String::new(),
        stored: None,
        owner: None,
    };
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        if key != visit.key {
            visit.turn_to(key)?;
        }
        visit.event(row)?;
    }
    visit.store()?;
    drop(rows);
    let departed = "DELETE FROM change WHERE seq > ?1 AND seq <= ?2 AND kind = ?3 AND request_id IS NULL";
    connection.prepare_cached(departed)?.execute(params![after, upto, LogKind::Departure])?;
    put_aside(connection, after, upto, false)
}

fn has_keys(connection: &Connection, after: i64, upto: i64) -> Result<bool, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM change WHERE seq > ?1 AND seq <= ?2 \
         AND (row_key IS NOT NULL OR old_row_key IS NOT NULL OR kind = ?3))",
    )?;
    Ok(statement.query_row(params![after, upto, LogKind::Deletion], |row| row.get(0))?)
}

/// All events of one key, in log order.
struct Visit<'a> {
    connection: &'a Connection,
    /// Whether a copy may still bring rows that nobody knows.
    under_way: bool,
    /// Whether each row is a status change.
    history: bool,
    /// Whether updates of rows that nobody knows wait for a copy.
    holds: bool,
    key: String,
    stored: Option<Owner>,
    owner: Option<Owner>,
}

impl Visit<'_> {
    fn turn_to(&mut self, key: &str) -> Result<(), LedgerError> {
        self.store()?;
        key.clone_into(&mut self.key);
        self.history = declared::is_history(self.connection, table_of_key(key))?;
        self.holds = self.history && self.under_way;
        self.stored = owner_of(self.connection, key)?;
        self.owner.clone_from(&self.stored);
        Ok(())
    }

    fn event(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        let seq: i64 = row.get(1)?;
        let leaves: bool = row.get(2)?;
        if leaves {
            self.owner = None;
            return Ok(());
        }
        let kind: LogKind = row.get(3)?;
        if kind.is_gone() {
            let deleted = self.owner.take();
            return deleted.map_or(Ok(()), |owner| assign(self.connection, seq, &owner));
        }
        let told = Owner {
            service_id: row.get(4)?,
            request_id: row.get(5)?,
            opening_at: row.get(6)?,
            seq,
            status_id: row.get::<_, Option<u8>>(7)?.unwrap_or(0),
            modified_at: row.get(8)?,
            copy_id: 0,
            is_held: false,
        };
        if self.history {
            return self.history_event(kind, told);
        }
        let before = self.owner.take();
        let same =
            before.filter(|owner| owner.service_id == told.service_id && owner.request_id == told.request_id);
        // A rejected row tells no opening; the one told before holds.
        let opening_at = told.opening_at.or(same.and_then(|owner| owner.opening_at));
        self.owner = Some(Owner { opening_at, ..told });
        Ok(())
    }

    /// A row of a history: what repeats what was told of it goes.
    fn history_event(&mut self, kind: LogKind, told: Owner) -> Result<(), LedgerError> {
        let known = self.owner.as_ref();
        let is_held = known.is_some_and(|known| known.is_held);
        let goes = match kind {
            // What was told of the row before holds.
            LogKind::Broken => return Ok(()),
            LogKind::Amended if is_held || (known.is_none() && self.holds) => {
                let seq = told.seq;
                self.owner = Some(Owner { is_held: true, ..told });
                return drop_row(self.connection, seq);
            }
            LogKind::Amended => known.is_some_and(|known| known.says_the_same(&told)),
            // The row has been told of since it was put aside.
            LogKind::MappedAgain => known.is_some(),
            _ => false,
        };
        if goes {
            return drop_row(self.connection, told.seq);
        }
        if kind == LogKind::MappedAgain {
            // Nothing that is known of the request matters to it.
            let sql = "UPDATE change SET kind = ?2 WHERE seq = ?1";
            self.connection.prepare_cached(sql)?.execute(params![told.seq, LogKind::Record])?;
        }
        self.owner = Some(told);
        Ok(())
    }

    fn store(&mut self) -> Result<(), LedgerError> {
        match (&self.stored, &self.owner) {
            (before, after) if before == after => Ok(()),
            (_, Some(owner)) => set_owner(self.connection, &self.key, owner),
            (_, None) => {
                let statement = "DELETE FROM row_owner WHERE row_key = ?1";
                self.connection.prepare_cached(statement)?.execute([&self.key])?;
                Ok(())
            }
        }
    }
}

/// A log row that says nothing new.
fn drop_row(connection: &Connection, seq: i64) -> Result<(), LedgerError> {
    connection.prepare_cached("DELETE FROM change WHERE seq = ?1")?.execute([seq])?;
    Ok(())
}

fn assign(connection: &Connection, seq: i64, owner: &Owner) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "UPDATE change SET service_id = ?2, request_id = ?3, opening_at = ?4 WHERE seq = ?1",
    )?;
    statement.execute(params![seq, owner.service_id, owner.request_id, owner.opening_at])?;
    Ok(())
}

/// Who owns the row with this key.
pub(crate) fn owner_of(connection: &Connection, key: &str) -> Result<Option<Owner>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT service_id, request_id, opening_at, seq, status_id, modified_at, copy_id, is_held FROM row_owner \
         WHERE row_key = ?1",
    )?;
    let found = statement.query_row([key], |row| {
        Ok(Owner {
            service_id: row.get(0)?,
            request_id: row.get(1)?,
            opening_at: row.get(2)?,
            seq: row.get(3)?,
            status_id: row.get(4)?,
            modified_at: row.get(5)?,
            copy_id: row.get(6)?,
            is_held: row.get(7)?,
        })
    });
    Ok(found.optional()?)
}

/// Notes who owns the row with this key from now on.
pub(crate) fn set_owner(connection: &Connection, key: &str, owner: &Owner) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO row_owner(row_key, service_id, request_id, opening_at, seq, status_id, \
         modified_at, copy_id, is_held) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    statement.execute(params![
        key,
        owner.service_id,
        owner.request_id,
        owner.opening_at,
        owner.seq,
        owner.status_id,
        owner.modified_at,
        owner.copy_id,
        owner.is_held,
    ])?;
    Ok(())
}

/// Forgets the rows of histories that only this copy, which was given up, has told of.
pub(crate) fn forget_copy(connection: &Connection, copy: i64) -> Result<(), LedgerError> {
    let sql = "SELECT row_key FROM row_owner WHERE copy_id = ?1";
    let mut keys = connection.prepare(sql)?;
    let mut keys = keys.query([copy])?;
    let mut delete = connection.prepare_cached("DELETE FROM row_owner WHERE row_key = ?1")?;
    while let Some(row) = keys.next()? {
        let key: String = row.get(0)?;
        if declared::is_history(connection, table_of_key(&key))? {
            delete.execute([key])?;
        }
    }
    Ok(())
}

/// Puts deletions in `(after, upto]` into quarantine: all of them, or those without a request.
fn put_aside(connection: &Connection, after: i64, upto: i64, all: bool) -> Result<(), LedgerError> {
    const WHICH: &str = "seq > ?1 AND seq <= ?2 AND kind IN (?3, ?5) AND (?4 OR request_id IS NULL)";
    let which = params![after, upto, LogKind::Deletion, all, LogKind::Departure];
    connection
        .prepare_cached(&format!(
            "INSERT INTO quarantine(kind, state, origin, service_id, request_id, code, reason, row, position, at, table_id) \
             SELECT 0, 0, 0, service_id, request_id, 'unknown_deleted_row', \
             'a row was deleted of which the log tells only the key (' || \
             coalesce(replace(substr(row_key, 1 + instr(row_key, char(30))), char(31), ', '), 'none') || \
             '), and no request with this row is known', '{{}}', position, committed_at, table_id \
             FROM change WHERE {WHICH} ORDER BY seq"
        ))?
        .execute(which)?;
    connection.prepare_cached(&format!("DELETE FROM change WHERE {WHICH}"))?.execute(which)?;
    Ok(())
}

/// Completes a deletion whose owner is known and whose opening is not, with what the request's earlier rows
/// told. Without that it cannot become a record and goes to quarantine; returns whether it stayed.
pub(crate) fn complete(
    connection: &Connection,
    seq: i64,
    opening_at: Option<i64>,
) -> Result<bool, LedgerError> {
    if opening_at.is_none() {
        put_aside(connection, seq - 1, seq, true)?;
        return Ok(false);
    }
    let sql = "UPDATE change SET opening_at = ?2 WHERE seq = ?1";
    connection.prepare_cached(sql)?.execute(params![seq, opening_at])?;
    Ok(true)
}
