//! Changes without a log: scans of the table by a column that every change sets to the present time.
//!
//! For databases that capture nothing: the Express edition, hosting without SQL Server Agent. What can be promised is
//! less, and `check` says so: of a request that passes through several statuses between two scans only the last is seen,
//! deletes are not seen, and a change is seen only if it sets the column. A transaction may commit long after it took
//! the time; so every scan reaches back a while behind the last one.
//!
//! There is no order between the changes of two tables either, so that one table is read and no more.
//!
//! A row that is scanned is told as an update of which the former row is not known: the product compares it with the last
//! known status, so that a row that is scanned twice is told once.

use change::{Beginning, Begun, Checkpoint, Position, Scope, SourceError, SourceErrorKind, TableScope};

mod scan;

pub(crate) use scan::open;

use crate::catalog::{self, Column, Table};
use crate::client::Client;
use crate::config::{Mode, SqlServerConfig};
use crate::identity::Identity;
use crate::name::quote_ident;
use crate::snapshot::SqlServerSnapshot;
use crate::value::Kind;

/// In front of a time that is a position.
const PREFIX: &str = "poll:";
/// Before everything: the column's type may begin here, and no request does.
const ORIGIN: &str = "1900-01-01 00:00:00.0000000";

/// How far scans have come: a time as the server writes it with seven digits, so that texts compare as times do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScanTime(String);

impl ScanTime {
    /// Whether a position is one of scans, not of a log.
    pub(crate) fn is(position: &Position) -> bool {
        position.as_str().starts_with(PREFIX)
    }

    /// Reads what [`ScanTime::to_position`] wrote, or an operator.
    ///
    /// # Errors
    /// A configuration error when it is no such time.
    pub(crate) fn of(position: &Position) -> Result<Self, SourceError> {
        let read = || {
            let text = position.as_str().strip_prefix(PREFIX)?.trim().replace('T', " ");
            let at = chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").ok()?;
            let hundreds = at.and_utc().timestamp_subsec_nanos() / 100;
            Some(Self(format!("{}.{hundreds:07}", at.format("%Y-%m-%d %H:%M:%S"))))
        };
        read().ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::Configuration,
                format!(
                    "position is \"{position}\", expected {PREFIX}YYYY-MM-DDTHH:MM:SS in mode = \"poll\""
                ),
            )
            .with_hint(
                "a position of the other mode means nothing in this one: begin with a ledger of its own",
            )
        })
    }

    /// Takes the server's text.
    fn from_server(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn origin() -> Self {
        Self(ORIGIN.to_owned())
    }

    /// As the product stores it.
    pub(crate) fn to_position(&self) -> Position {
        Position::new(format!("{PREFIX}{}", self.0.replace(' ', "T")))
    }
}

/// The column by which the table is scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Modified {
    column: Column,
    /// Its name as SQL takes it.
    name: String,
    zoned: bool,
}

impl Modified {
    /// Finds the configured column; `None` where the log is read instead.
    ///
    /// # Errors
    /// A schema error when the table does not have it, or it is no time.
    pub(crate) fn of(config: &SqlServerConfig, table: &Table) -> Result<Option<Self>, SourceError> {
        let Mode::Poll { modified_column, .. } = &config.mode else { return Ok(None) };
        let found = table.columns.iter().find(|column| column.name == *modified_column);
        let fault = |what: &str| {
            let context = format!(
                "modified_column {} of table {} {what}",
                quote_ident(modified_column),
                table.quoted()
            );
            SourceError::new(SourceErrorKind::Schema, context)
                .with_hint("name a datetime, datetime2 or datetimeoffset column that every change sets to the present time")
        };
        let column: &Column = found.ok_or_else(|| fault("does not exist, or our user may not see it"))?;
        let zoned = match column.kind() {
            Ok(Kind::Local) => false,
            Ok(Kind::Instant) => true,
            _ => return Err(fault("is not a time")),
        };
        Ok(Some(Self { name: quote_ident(&column.name), column: column.clone(), zoned }))
    }

    /// The expression of the column's time, as text that compares as times do.
    fn text(&self, value: &str) -> String {
        let plain = if self.zoned { format!("SWITCHOFFSET({value}, '+00:00')") } else { value.to_owned() };
        format!("CONVERT(nvarchar(40), CAST({plain} AS datetime2(7)), 121)")
    }

    /// The value of the column's type that such a text in `param` stands for, `seconds` earlier.
    fn value(&self, param: &str, seconds: &str) -> String {
        let moment = format!("DATEADD(second, -{seconds}, CONVERT(datetime2(7), {param}, 121))");
        if self.zoned {
            format!("TODATETIMEOFFSET({moment}, '+00:00')")
        } else {
            format!("CAST({moment} AS {})", self.column.sql_type())
        }
    }
}

/// The newest time in the table; rows that are read later have this one, a later one, or committed late.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn newest(
    client: &mut Client,
    table: &Table,
    modified: &Modified,
) -> Result<ScanTime, SourceError> {
    let newest = modified.text(&format!("MAX({})", modified.name));
    let sql = format!("SELECT {newest} FROM {}", table.quoted());
    let rows = client.rows("ask for the newest change", &sql, &[]).await?;
    let newest =
        rows.first().map(|row| row.optional_text(0)).transpose()?.flatten().map(ScanTime::from_server);
    Ok(newest.unwrap_or_else(ScanTime::origin))
}

/// The table that is scanned.
///
/// # Errors
/// A configuration error when there is more than one: scans do not tell what came first.
pub(crate) fn only_table(scope: &Scope) -> Result<&TableScope, SourceError> {
    match scope.tables.as_slice() {
        [table] => Ok(table),
        tables => {
            let context = format!("{} tables are configured, expected one in mode = \"poll\"", tables.len());
            Err(SourceError::new(SourceErrorKind::Configuration, context).with_hint(
                "set mode = \"capture\" where the server can capture changes, or give each table a configuration and a \
                 ledger of its own: scans do not tell in which order the tables were changed",
            ))
        }
    }
}

/// Begins at the newest change there is.
///
/// # Errors
/// When the server cannot be asked, or the table is not fit for scans.
pub(crate) async fn begin(
    config: &SqlServerConfig,
    scope: &Scope,
    beginning: &Beginning,
) -> Result<Begun<SqlServerSnapshot>, SourceError> {
    let scope = only_table(scope)?;
    let mut client = Client::open(config).await?;
    let table = catalog::table(&mut client, scope).await?;
    table.mapped_kinds()?;
    let identity = Identity::ask(&mut client).await?;
    let Some(modified) = Modified::of(config, &table)? else {
        return Err(SourceError::new(SourceErrorKind::Configuration, "mode is not \"poll\""));
    };
    let at = match beginning {
        Beginning::At(position) => ScanTime::of(position)?,
        Beginning::Present | Beginning::Anew => newest(&mut client, &table, &modified).await?,
    };
    let checkpoint = Checkpoint { position: at.to_position(), server: identity.server() };
    let rows_estimate = catalog::rows_estimate(&mut client, std::slice::from_ref(&table)).await?;
    Ok(Begun { checkpoint, snapshot: None, adopted: None, rows_estimate })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::table;
    use crate::config::tests::config;

    #[test]
    fn times_read_as_they_are_written_and_compare_as_times() {
        let of = |text: &str| ScanTime::of(&Position::new(text)).unwrap();
        assert_eq!(of("poll:2026-11-22T08:00:00").to_position().as_str(), "poll:2026-11-22T08:00:00.0000000");
        assert_eq!(
            of("poll:2026-11-22 08:00:00.1234567").to_position().as_str(),
            "poll:2026-11-22T08:00:00.1234567"
        );
        assert!(of("poll:2026-11-22T08:00:00.1") > of("poll:2026-11-22T08:00:00.0999999"));
        for text in ["2026-11-22T08:00:00", "poll:", "poll:now", "0x00000027000007580005"] {
            assert!(ScanTime::of(&Position::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_time_can_be_scanned_by() {
        let table = table(&[("id", "int"), ("cambiada", "datetime"), ("zona", "datetimeoffset")]);
        let by = |column: &str| {
            let mode = Mode::Poll { modified_column: column.to_owned(), overlap: std::time::Duration::ZERO };
            Modified::of(&SqlServerConfig { mode, ..config() }, &table)
        };
        let modified = by("cambiada").unwrap().unwrap();
        assert_eq!(
            modified.value("@P1", "@P2"),
            "CAST(DATEADD(second, -@P2, CONVERT(datetime2(7), @P1, 121)) AS datetime)"
        );
        assert!(by("zona").unwrap().unwrap().text("[zona]").contains("SWITCHOFFSET"));
        for column in ["id", "nada"] {
            assert_eq!(by(column).unwrap_err().kind(), SourceErrorKind::Schema);
        }
        assert_eq!(Modified::of(&config(), &table).unwrap(), None);
    }
}
