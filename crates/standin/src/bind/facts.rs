//! What a statement may ask about where it runs.

use std::collections::HashMap;

use rusqlite::Connection;

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
    /// The session wants a snapshot, and the database allows none.
    pub(crate) snapshot_denied: bool,
}

impl Facts<'_> {
    /// Members of sysadmin, and those who were granted `permission` on the server.
    pub(crate) fn may_server(&self, permission: &str) -> bool {
        self.principal.sysadmin || self.server.has_grant(self.login, permission)
    }
}
