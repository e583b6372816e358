//! What the server says of itself, of its settings, and of the role that we are on it.

use std::collections::BTreeMap;

use change::SourceError;

use crate::session::{Session, sql_error};

/// The settings that decide whether and how long capture works
/// (<https://www.postgresql.org/docs/current/runtime-config-replication.html>).
const SETTINGS: [&str; 13] = [
    "wal_level",
    "max_replication_slots",
    "max_wal_senders",
    "wal_sender_timeout",
    "max_slot_wal_keep_size",
    "idle_replication_slot_timeout",
    "logical_decoding_work_mem",
    "synchronous_standby_names",
    "hot_standby_feedback",
    "server_encoding",
    "rds.logical_replication",
    "cloudsql.logical_decoding",
    "azure.extensions",
];

/// Who runs the server, where that decides how a setting is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// Somebody who can change its settings by SQL.
    Own,
    /// Amazon RDS or Aurora.
    Rds,
    /// Google Cloud SQL.
    CloudSql,
    /// Azure Database for PostgreSQL.
    Azure,
}

/// One setting of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    value: String,
    pending_restart: bool,
}

/// Our role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    /// Its name as the server has it.
    pub(crate) name: String,
    /// Whether it may do everything.
    pub(crate) is_superuser: bool,
    /// Whether it may open replication connections, by attribute or by the managed service's own role.
    pub(crate) may_replicate: bool,
    /// Whether it may make publications in this database, for tables that it owns.
    pub(crate) may_create: bool,
}

/// What the server says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// As `server_version_num` has it.
    pub(crate) version: u32,
    /// Whether it is a standby.
    pub(crate) in_recovery: bool,
    /// Who runs it.
    pub(crate) host: Host,
    /// Our role.
    pub(crate) role: Role,
    /// How many replication slots there are.
    pub(crate) slots_used: i64,
    /// How many replication connections there are.
    pub(crate) senders_used: i64,
    /// Its clock, in microseconds since the epoch, UTC.
    pub(crate) clock_at: i64,
    settings: BTreeMap<String, Setting>,
}

impl Server {
    /// A setting in the unit in which the server keeps it; `None` where this version does not have it.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|setting| setting.value.as_str())
    }

    /// A setting that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.setting(name).and_then(|value| value.parse().ok())
    }

    /// Whether the setting was changed and waits for a restart.
    pub(crate) fn awaits_restart(&self, name: &str) -> bool {
        self.settings.get(name).is_some_and(|setting| setting.pending_restart)
    }

    /// The major version: 15 for 15.14.
    pub(crate) fn major(&self) -> u32 {
        self.version / 10_000
    }

    /// Its version as people write it.
    pub(crate) fn version_text(&self) -> String {
        format!("{}.{}", self.version / 10_000, self.version % 10_000)
    }
}

/// Asks the server.
///
/// # Errors
/// When the connection breaks or the catalogue may not be read.
pub(crate) async fn ask(session: &Session) -> Result<Server, SourceError> {
    let settings = settings(session).await?;
    let host = match () {
        () if settings.contains_key("rds.logical_replication") => Host::Rds,
        () if settings.contains_key("cloudsql.logical_decoding") => Host::CloudSql,
        () if settings.contains_key("azure.extensions") => Host::Azure,
        () => Host::Own,
    };
    let context = "ask the server about itself and our role";
    // Managed services keep REPLICATION to themselves and lend it through roles of their own.
    let sql = "SELECT pg_is_in_recovery(),
                      (SELECT count(*) FROM pg_replication_slots),
                      (SELECT count(*) FROM pg_stat_replication),
                      (extract(epoch FROM clock_timestamp()) * 1000000)::int8,
                      r.rolname::text, r.rolsuper,
                      r.rolsuper OR r.rolreplication OR EXISTS (
                        SELECT FROM pg_roles lent WHERE lent.rolname IN ('rds_replication', 'rds_superuser')
                           AND pg_has_role(r.oid, lent.oid, 'MEMBER')),
                      has_database_privilege(current_database(), 'CREATE')
                 FROM pg_roles r WHERE r.rolname = current_user";
    let row = session.query_one(context, sql, &[]).await?;
    let read = || -> Result<Server, tokio_postgres::Error> {
        Ok(Server {
            version: session.version(),
            in_recovery: row.try_get(0)?,
            host,
            role: Role {
                name: row.try_get(4)?,
                is_superuser: row.try_get(5)?,
                may_replicate: row.try_get(6)?,
                may_create: row.try_get(7)?,
            },
            slots_used: row.try_get(1)?,
            senders_used: row.try_get(2)?,
            clock_at: row.try_get(3)?,
            settings,
        })
    };
    read().map_err(|error| sql_error(context, error))
}

async fn settings(session: &Session) -> Result<BTreeMap<String, Setting>, SourceError> {
    let context = "read the server's settings";
    let sql = "SELECT name, coalesce(setting, ''), pending_restart FROM pg_settings WHERE name = ANY ($1)";
    let rows = session.query(context, sql, &[&SETTINGS.as_slice()]).await?;
    let read = |row: &tokio_postgres::Row| -> Result<(String, Setting), tokio_postgres::Error> {
        Ok((row.try_get(0)?, Setting { value: row.try_get(1)?, pending_restart: row.try_get(2)? }))
    };
    rows.iter().map(|row| read(row).map_err(|error| sql_error(context, error))).collect()
}
