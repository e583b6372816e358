//! `[source]`: the database, and what only one engine knows.

use std::fmt;
use std::time::Duration;

use super::certificate::{self, CertificateFile};
use super::item::Item;
use super::reader::Section;
use super::secret::Secret;
use super::sqlserver::{self, SqlserverSection};

/// The kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// Microsoft SQL Server.
    Sqlserver,
}

impl Engine {
    /// Every engine with its name in the configuration.
    pub const NAMES: [(&'static str, Self); 3] =
        [("postgres", Self::Postgres), ("mysql", Self::Mysql), ("sqlserver", Self::Sqlserver)];

    /// The port that servers of this engine listen on unless told otherwise.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Mysql => 3306,
            Self::Sqlserver => 1433,
        }
    }

    /// The name in the configuration and in `status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlserver => "sqlserver",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Sqlserver => "SQL Server",
        })
    }
}

/// How the connection to the database is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Disable,
    /// Encrypted; the server may be anyone.
    Require,
    /// Encrypted, with a certificate of a trusted authority, for whatever host.
    VerifyCa,
    /// Encrypted, with a certificate of a trusted authority for this very host.
    VerifyFull,
}

/// `[source]` with its sub-sections.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The kind of database.
    pub engine: Engine,
    /// The server's name or address.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// Who connects.
    pub user: String,
    /// The user's password; `None` where the server asks for none.
    pub password: Option<Secret>,
    /// How the connection is protected.
    pub tls: Tls,
    /// The private authority that signed the server's certificate.
    pub tls_ca: Option<CertificateFile>,
    /// How long a snapshot's transaction may stay open in the database.
    pub snapshot_max: Duration,
    /// What only PostgreSQL knows.
    pub postgres: PostgresSection,
    /// What only MySQL and MariaDB know.
    pub mysql: MysqlSection,
    /// What only SQL Server knows.
    pub sqlserver: SqlserverSection,
}

/// `[source.postgres]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresSection {
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
}

/// `[source.mysql]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlSection {
    /// Unique among the server's replicas.
    pub server_id: Option<u32>,
}

/// No transaction of ours stays open for longer, whatever the configuration says.
pub const SNAPSHOT_MAX: Duration = Duration::from_secs(600);

const TLS_NAMES: [(&str, Tls); 4] = [
    ("disable", Tls::Disable),
    ("require", Tls::Require),
    ("verify-ca", Tls::VerifyCa),
    ("verify-full", Tls::VerifyFull),
];

pub(super) fn read(section: &Section<'_, '_>) -> Option<SourceConfig> {
    let engine = section.required("engine").and_then(|item| engine(&item));
    let host = section.required("host").and_then(|item| host(&item));
    let default_port = engine.unwrap_or(Engine::Postgres).default_port();
    let port = section.or("port", default_port, |item| item.integer((1, 65_535))?.try_into().ok());
    let database = section.required("database").and_then(|item| item.text());
    let user = section.required("user").and_then(|item| item.text());
    let password = section.maybe("password", Item::secret);
    let tls = section.or("tls", Tls::VerifyFull, |item| item.choice(&TLS_NAMES));
    let tls_ca = section.maybe("tls_ca", certificate::read);
    let least = Duration::from_secs(1);
    let snapshot_max = section.or("snapshot_max", SNAPSHOT_MAX, |item| item.duration((least, SNAPSHOT_MAX)));
    let postgres = postgres(&section.section("postgres"));
    let mysql = mysql(&section.section("mysql"));
    let sqlserver = sqlserver::read(&section.section("sqlserver"));
    Some(SourceConfig {
        engine: engine?,
        host: host?,
        port: port?,
        database: database?,
        user: user?,
        password: password?,
        tls: tls?,
        tls_ca: tls_ca?,
        snapshot_max: snapshot_max?,
        postgres: postgres?,
        mysql: mysql?,
        sqlserver: sqlserver?,
    })
}

fn engine(item: &Item<'_, '_>) -> Option<Engine> {
    let text = item.string()?;
    if text.eq_ignore_ascii_case("mariadb") {
        return item.problem("\"mariadb\" is spelt \"mysql\" here", Some("write engine = \"mysql\"".into()));
    }
    item.choice(&Engine::NAMES)
}

fn host(item: &Item<'_, '_>) -> Option<String> {
    let host = item.text()?;
    if host.contains("://") || host.contains(char::is_whitespace) {
        return item.problem(
            "expected the name or address of one server",
            Some("write only the host here; port, database, user and password have keys of their own".into()),
        );
    }
    Some(host)
}

fn postgres(section: &Section<'_, '_>) -> Option<PostgresSection> {
    let slot = section.or("slot", "bitacora".to_owned(), |item| slot(item));
    let publication = section.or("publication", "bitacora".to_owned(), |item| identifier(item));
    Some(PostgresSection { slot: slot?, publication: publication? })
}

/// <https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION>
fn slot(item: &Item<'_, '_>) -> Option<String> {
    let name = identifier(item)?;
    let allowed = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
    if !name.bytes().all(allowed) {
        return item.problem(
            format!("\"{name}\" cannot be the name of a replication slot"),
            Some("use lower-case letters a to z, digits and underscores".into()),
        );
    }
    Some(name)
}

/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
fn identifier(item: &Item<'_, '_>) -> Option<String> {
    const BYTES_MAX: usize = 63;
    let name = item.text()?;
    if name.len() > BYTES_MAX {
        return item.problem(
            format!("\"{name}\" has {} bytes", name.len()),
            Some(format!("PostgreSQL cuts names after {BYTES_MAX} bytes: choose a shorter one")),
        );
    }
    Some(name)
}

fn mysql(section: &Section<'_, '_>) -> Option<MysqlSection> {
    let most = i64::from(u32::MAX);
    let server_id = section.maybe("server_id", |item| item.integer((1, most))?.try_into().ok());
    Some(MysqlSection { server_id: server_id? })
}
