//! The configuration: one TOML file per database, read strictly.
//!
//! [`Config::load`] reports every mistake at once, each with file, line and key; what it returns needs no
//! further checks that a machine could do without the database.
//!
//! # Layout
//! - `reader`, `item`: the walk over the document that notes every mistake
//! - `substitution`: `${NAME}` and `${file:PATH}`
//! - `source`, `tables`, `mapping`, `schedule`, `delivery` (and `x_road`), `backfill`, `ledger`, `alerts`, `status`: one
//!   section each
//! - `duration`, `size`, `nearest`, `secret`, `certificate`: what the sections are made of
//! - `wiring`: the same settings in the words of the other crates

mod alerts;
mod backfill;
mod certificate;
mod delivery;
pub(crate) mod duration;
mod item;
mod ledger;
mod mapping;
pub(crate) mod nearest;
mod problem;
mod reader;
mod schedule;
mod secret;
pub(crate) mod size;
mod source;
mod sqlserver;
mod status;
mod substitution;
mod tables;
#[cfg(test)]
mod tests;
mod wiring;
mod x_road;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use normalizer::TableConfig;
use toml::de::DeTable;

pub use alerts::{AlertsConfig, EmailConfig};
pub use backfill::{BackfillConfig, earliest};
pub use certificate::CertificateFile;
pub use delivery::DeliverySection;
pub use ledger::LedgerConfig;
pub use problem::{ConfigError, Problem};
pub use reader::Secrets;
pub use schedule::ScheduleConfig;
pub use secret::Secret;
pub use source::{Engine, MysqlSection, PostgresSection, SNAPSHOT_MAX, SourceConfig, Tls};
pub use sqlserver::{SqlserverMode, SqlserverSection};
pub use status::StatusConfig;

use reader::{Reader, Section};
use substitution::Surroundings;

/// A configuration without mistakes.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// The database.
    pub source: SourceConfig,
    /// The tables, and how their rows become records; the normalizer has nothing against them.
    pub tables: Vec<TableConfig>,
    /// When the delta is flushed.
    pub schedule: ScheduleConfig,
    /// Where the records go.
    pub delivery: DeliverySection,
    /// How far back history is sent.
    pub backfill: BackfillConfig,
    /// Where the ledger is.
    pub ledger: LedgerConfig,
    /// When somebody must be told.
    pub alerts: AlertsConfig,
    /// Where the status page is served.
    pub status: StatusConfig,
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or [`ConfigError::Invalid`] with every mistake in the file.
    pub fn load(path: &Path, secrets: Secrets) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(valid).filter(|&&byte| byte == b'\n').count() + 1;
            ConfigError::Invalid {
                path: path.to_owned(),
                problems: vec![Problem {
                    line,
                    key: String::new(),
                    message: "the text is not UTF-8".into(),
                    hint: Some("save the file in UTF-8".into()),
                }],
            }
        })?;
        Self::parse(&text, path, &|name| std::env::var_os(name), secrets)
    }

    /// Which connector this is, for people: the database and its tables.
    #[must_use]
    pub fn label(&self) -> String {
        let tables: Vec<_> = self.tables.iter().map(|table| table.table.as_str()).collect();
        format!("{} {}", self.source.database, tables.join(", "))
    }

    /// Reads `text` as if it stood in the file at `path`, with `variable` as the environment.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every mistake in the text.
    pub fn parse(
        text: &str,
        path: &Path,
        variable: &dyn Fn(&str) -> Option<OsString>,
        secrets: Secrets,
    ) -> Result<Self, ConfigError> {
        let invalid = |problems| ConfigError::Invalid { path: path.to_owned(), problems };
        let folder = path.parent().unwrap_or(Path::new(""));
        let reader = Reader::new(text, Surroundings { folder, variable }, secrets);
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // What stands after the first place that is not TOML can only be guessed: nothing else is reported.
            return Err(invalid(errors.iter().take(1).map(|error| syntax(&reader, error)).collect()));
        }
        let config = read(&reader, document.get_ref(), path);
        let problems = reader.finish();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(invalid(problems)),
        }
    }
}

fn syntax(reader: &Reader<'_>, error: &toml::de::Error) -> Problem {
    Problem {
        line: error.span().map_or(1, |span| reader.line(span.start)),
        key: String::new(),
        message: format!("not TOML: {}", error.message().replace('\n', ", ")),
        hint: None,
    }
}

fn read<'t>(reader: &Reader<'_>, document: &'t DeTable<'t>, path: &Path) -> Option<Config> {
    let root = Section::new(reader, String::new(), 1, document);
    let source_section = root.required_section("source");
    let source = source::read(&source_section);
    let schedule = schedule::read(&root.required_section("schedule"));
    let zone = schedule.as_ref().map(|schedule| schedule.zone).unwrap_or_default();
    let delivery = delivery::read(&root.required_section("delivery"), zone);
    let backfill = backfill::read(&root.section("backfill"), zone);
    let floor = backfill.as_ref().map_or_else(earliest, |backfill| backfill.from);
    let tables = tables::read(&root, &source_section, floor, zone);
    let ledger = ledger::read(&root.required_section("ledger"));
    let alerts = alerts::read(&root.section("alerts"), zone);
    let status = status::read(&root.section("status"));
    Some(Config {
        path: path.to_owned(),
        source: source?,
        tables: tables?,
        schedule: schedule?,
        delivery: delivery?,
        backfill: backfill?,
        ledger: ledger?,
        alerts: alerts?,
        status: status?,
    })
}
