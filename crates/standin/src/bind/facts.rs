//! What a statement may ask about where it runs.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::Value as Cell;

use crate::engine::catalog::Table;
use crate::engine::database::Database;
use crate::engine::principals::Principal;
use crate::engine::versions::Reading;
use crate::server::state::ServerState;
use crate::sql::datatype::SqlType;
use crate::sql::value::Value;

/// The session, its database and its server, as they are when the statement begins.
pub(crate) struct Facts<'a> {
    pub(crate) server: &'a ServerState,
    pub(crate) database: &'a Database,
    pub(crate) connection: &'a Connection,
    pub(crate) principal: &'a Principal,
    pub(crate) login: &'a str,
    pub(crate) variables: &'a HashMap<String, (SqlType, Value)>,
    pub(crate) reading: Reading,
    pub(crate) spid: i64,
    pub(crate) tran_count: i64,
    pub(crate) row_count: i64,
    pub(crate) last_error: i64,
    /// The last value of an identity column.
    pub(crate) identity: Option<i64>,
    /// Milliseconds; -1 waits for ever.
    pub(crate) lock_timeout: i64,
    /// Ticks in UTC.
    pub(crate) now: i64,
    /// What `SET CONTEXT_INFO` left.
    pub(crate) context: Option<&'a [u8]>,
    /// The statement is one of a trigger.
    pub(crate) fired: Option<Arc<Fired>>,
    /// The session wants a snapshot, and the database allows none.
    pub(crate) snapshot_denied: bool,
}

/// What a trigger sees of the statement that it fires for.
#[derive(Debug)]
pub(crate) struct Fired {
    pub(crate) table: Table,
    /// Rows as they became, their cells in the order of the table's columns.
    pub(crate) inserted: Vec<Vec<Cell>>,
    /// Rows as they were.
    pub(crate) deleted: Vec<Vec<Cell>>,
}

impl Facts<'_> {
    /// Members of sysadmin, and those who were granted `permission` on the server.
    pub(crate) fn may_server(&self, permission: &str) -> bool {
        self.principal.sysadmin || self.server.has_grant(self.login, permission)
    }
}
