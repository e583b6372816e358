//! What the server says about itself, our login and its database.

use change::{SourceError, SourceErrorKind};
use tiberius::ColumnData;

use crate::client::Client;
use crate::rights::Place;
use crate::value;

/// `SERVERPROPERTY('EngineEdition')`
/// (<https://learn.microsoft.com/en-us/sql/t-sql/functions/serverproperty-transact-sql>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An edition that can have an agent, and capture.
    Full,
    /// Express has no agent, and captures nothing.
    Express,
    /// Azure SQL Database captures without an agent.
    AzureDatabase,
    /// Azure SQL Managed Instance has an agent.
    ManagedInstance,
    /// A service that has neither change tables nor rows as we know them.
    Other,
}

impl Kind {
    fn of(number: i64) -> Self {
        match number {
            1..=3 => Self::Full,
            4 => Self::Express,
            5 => Self::AzureDatabase,
            8 => Self::ManagedInstance,
            _ => Self::Other,
        }
    }
}

/// The server and the database that answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Such as `16.0.4170.1`.
    pub(crate) version: String,
    /// Such as `Standard Edition (64-bit)`.
    pub(crate) edition: String,
    /// What it can do.
    pub(crate) kind: Kind,
    /// The database, as the server spells it.
    pub(crate) database: String,
    /// Our user in the database.
    pub(crate) user: String,
    /// Whether our login may do everything on the server.
    pub(crate) is_sysadmin: bool,
    /// Whether our user may do everything in the database.
    pub(crate) is_owner: bool,
    /// The server's clock, in microseconds since the epoch.
    pub(crate) clock_at: i64,
    /// Whether the database takes no changes here, as on a readable replica.
    pub(crate) is_read_only: bool,
    /// Whether capture is enabled in the database.
    pub(crate) captures: bool,
    /// Whether transactions may read under SNAPSHOT.
    pub(crate) allows_snapshot: bool,
    /// Whether READ COMMITTED reads versions instead of waiting.
    pub(crate) reads_versions: bool,
    /// Whether commits may be told, and shown, before the log has them on disk.
    pub(crate) delays_durability: bool,
}

impl Server {
    /// Where the database is, for statements that go elsewhere.
    pub(crate) fn place(&self) -> Place<'_> {
        if self.kind == Kind::AzureDatabase { Place::Azure } else { Place::Server(&self.database) }
    }

    /// Major version and build: 13 and 4001 are 2016 with its first service pack.
    pub(crate) fn version_parts(&self) -> (u32, u32) {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        let major = parts.next().unwrap_or(0);
        (major, parts.nth(1).unwrap_or(0))
    }
}

/// Asks the server who it is, and who we are there.
///
/// # Errors
/// When it cannot be asked.
pub(crate) async fn ask(client: &mut Client) -> Result<Server, SourceError> {
    let context = "ask which server answers";
    let sql = "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)), \
               CAST(SERVERPROPERTY('Edition') AS nvarchar(128)), CAST(SERVERPROPERTY('EngineEdition') AS int), \
               d.name, USER_NAME(), IS_SRVROLEMEMBER(N'sysadmin'), IS_ROLEMEMBER(N'db_owner'), SYSDATETIMEOFFSET(), \
               CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(60)), d.is_cdc_enabled, \
               d.snapshot_isolation_state, d.is_read_committed_snapshot_on, d.delayed_durability \
               FROM sys.databases AS d WHERE d.name = DB_NAME()";
    let rows = client.rows(context, sql, &[]).await?;
    let Some(row) = rows.first() else {
        let what = format!("{context}: sys.databases has no row for the present database");
        return Err(SourceError::new(SourceErrorKind::Protocol, what));
    };
    let Some(ColumnData::DateTimeOffset(Some(clock))) = row.cell(7) else {
        return Err(row.unexpected(7, "a moment"));
    };
    Ok(Server {
        version: row.text(0)?,
        edition: row.text(1)?,
        kind: Kind::of(row.number(2)?),
        database: row.text(3)?,
        user: row.optional_text(4)?.unwrap_or_default().to_owned(),
        is_sysadmin: row.flag(5)?,
        is_owner: row.flag(6)?,
        clock_at: value::datetime2(clock.datetime2()),
        is_read_only: row.optional_text(8)? == Some("READ_ONLY"),
        captures: row.flag(9)?,
        allows_snapshot: row.number(10)? == 1,
        reads_versions: row.flag(11)?,
        delays_durability: row.flag(12)?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server on which everything is as it should be.
    pub(crate) fn server() -> Server {
        Server {
            version: "16.0.4170.1".to_owned(),
            edition: "Standard Edition (64-bit)".to_owned(),
            kind: Kind::Full,
            database: "tramites".to_owned(),
            user: "bitacora".to_owned(),
            is_sysadmin: false,
            is_owner: false,
            clock_at: 0,
            is_read_only: false,
            captures: true,
            allows_snapshot: true,
            reads_versions: false,
            delays_durability: false,
        }
    }

    #[test]
    fn a_version_is_its_major_number_and_its_build() {
        assert_eq!(server().version_parts(), (16, 4170));
        let odd = Server { version: "twelve".to_owned(), ..server() };
        assert_eq!(odd.version_parts(), (0, 0));
    }
}
