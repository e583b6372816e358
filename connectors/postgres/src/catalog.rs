//! What the server's catalogue says about the configured table.

use change::{Scope, SourceError, SourceErrorKind, TableScope};

mod look_up;
mod unique;

pub(crate) use crate::name::{parse_table_name, quote_ident, quote_literal};
use crate::session::Session;
use change::nearest::suggestion;

pub(crate) use look_up::look_up;
pub(crate) use unique::{expect_parents, unique_index};

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name, as the catalogue spells it.
    pub(crate) name: String,
    /// Its number in the table, from 1 on; dropped columns leave holes.
    pub(crate) attnum: i16,
    /// Its declared type: what the log's relation messages carry.
    pub(crate) type_oid: u32,
    /// The type that decides how its text reads: domains resolved, and `text` for enumerations.
    pub(crate) base_type_oid: u32,
    /// Its declared type as SQL spells it.
    pub(crate) type_name: String,
    /// Whether it is declared NOT NULL.
    pub(crate) not_null: bool,
    /// Whether a wide value may be stored apart from the row: then the log leaves it out of updates
    /// that do not change it
    /// (<https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>).
    pub(crate) toastable: bool,
    /// Whether the server computes it.
    pub(crate) generated: Generated,
}

/// Whether the server computes a column's value
/// (<https://www.postgresql.org/docs/current/logical-replication-gencols.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generated {
    /// It is an ordinary column.
    No,
    /// When a row is written. The log carries it from PostgreSQL 18 on.
    Stored,
    /// When a row is read. The log never carries it.
    Virtual,
}

impl Generated {
    /// Whether the log of a server of this version can carry the column's values.
    pub(crate) fn is_logged(self, version: u32) -> bool {
        match self {
            Self::No => true,
            Self::Stored => version >= 180_000,
            Self::Virtual => false,
        }
    }
}

/// What the log tells of a row's old state when it is updated or deleted
/// (<https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-REPLICA-IDENTITY>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplicaIdentity {
    /// The primary key, where there is one.
    Default,
    /// Nothing.
    Nothing,
    /// All columns.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

impl ReplicaIdentity {
    fn from_catalog(code: &str) -> Self {
        match code {
            "n" => Self::Nothing,
            "f" => Self::Full,
            "i" => Self::Index,
            _ => Self::Default,
        }
    }

    /// As SQL spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::Nothing => "NOTHING",
            Self::Full => "FULL",
            Self::Index => "USING INDEX",
        }
    }
}

/// What kind of relation bears the table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ordinary table, whose changes are logged.
    Ordinary,
    /// A table made of partitions.
    Partitioned,
    /// Something whose changes the log does not carry, in words.
    Unfit(&'static str),
}

impl Kind {
    fn from_catalog(relkind: &str, persistence: &str, system: bool) -> Self {
        match (relkind, persistence) {
            _ if system => Self::Unfit("a system table"),
            ("r" | "p", "u") => Self::Unfit("an unlogged table"),
            ("r" | "p", "t") => Self::Unfit("a temporary table"),
            ("r", _) => Self::Ordinary,
            ("p", _) => Self::Partitioned,
            ("v", _) => Self::Unfit("a view"),
            ("m", _) => Self::Unfit("a materialized view"),
            ("f", _) => Self::Unfit("a foreign table"),
            _ => Self::Unfit("not a table"),
        }
    }
}

/// A table that itself holds rows: the table, or a partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Its oid.
    pub(crate) oid: u32,
    /// Its name, quoted and with its schema.
    pub(crate) quoted: String,
    /// What the log tells of its rows' old state.
    pub(crate) identity: ReplicaIdentity,
    /// The columns that its identity consists of, in index order; none where it has no usable identity,
    /// and none for [`ReplicaIdentity::Full`].
    pub(crate) identity_columns: Vec<String>,
}

impl Leaf {
    /// Whether the server lets its rows be updated once a publication publishes updates.
    pub(crate) fn has_identity(&self) -> bool {
        self.identity == ReplicaIdentity::Full || !self.identity_columns.is_empty()
    }
}

/// The configured table.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Its oid.
    pub(crate) oid: u32,
    /// Its schema.
    pub(crate) schema: String,
    /// Its name without the schema.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// The mapped columns, in [`TableScope`] order.
    pub(crate) columns: Vec<Column>,
    /// The columns that tell its rows apart: its replica identity index where one was chosen, else its
    /// primary key; none where there is neither.
    pub(crate) key: Vec<Column>,
    /// What the log tells of its rows' old state. Of a partitioned table only the leaves' own count for
    /// the server's checks.
    pub(crate) identity: ReplicaIdentity,
    /// All its columns, in table order.
    pub(crate) all_columns: Vec<Column>,
    /// The tables that hold its rows: itself, or its leaf partitions.
    pub(crate) leaves: Vec<Leaf>,
    /// Whether row level security hides rows from the role that asked.
    pub(crate) hides_rows: bool,
    /// Rows by the server's own statistics; `None` where it has none yet.
    pub(crate) rows_estimate: Option<u64>,
}

impl Table {
    /// Its name as SQL takes it.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }

    /// The leaves on which the application's own updates would fail under a publication.
    pub(crate) fn leaves_without_identity(&self) -> impl Iterator<Item = &Leaf> {
        self.leaves.iter().filter(|leaf| !leaf.has_identity())
    }
}

/// A mapped column that the table does not have, and existing ones with a similar name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingColumn {
    /// The name as the configuration has it.
    pub(crate) name: String,
    /// What may have been meant.
    pub(crate) similar: Vec<String>,
}

/// What a look into the catalogue found.
#[derive(Debug, Clone)]
pub(crate) enum Lookup {
    /// The table, of any kind, with the mapped columns that it has.
    Found {
        /// The table.
        table: Box<Table>,
        /// The mapped columns that it lacks.
        missing: Vec<MissingColumn>,
    },
    /// No such table.
    Absent {
        /// The schema looked into.
        schema: String,
        /// The name looked for.
        name: String,
        /// Existing names that may have been meant, quoted for the configuration.
        similar: Vec<String>,
    },
}

/// The configured table, fit for capture as far as the catalogue tells.
///
/// # Errors
/// A schema error when there is no such table, it is not a table, or it lacks mapped columns.
pub(crate) async fn table(session: &Session, scope: &TableScope) -> Result<Table, SourceError> {
    match look_up(session, scope).await? {
        Lookup::Absent { schema, name, similar } => Err(absent(&schema, &name, &similar)),
        Lookup::Found { table, missing } => {
            if let Kind::Unfit(what) = table.kind {
                let context = format!("{} is {what}, expected an ordinary table", table.quoted());
                return Err(SourceError::new(SourceErrorKind::Schema, context)
                    .with_hint("name the table that holds the rows under [source] table"));
            }
            if missing.is_empty() {
                return Ok(*table);
            }
            Err(lacking(&table, &missing))
        }
    }
}

/// All configured tables, in the scope's order.
///
/// # Errors
/// As for [`table`], when two names mean one table, and when a row of one could have two parents in another.
pub(crate) async fn tables(session: &Session, scope: &Scope) -> Result<Vec<Table>, SourceError> {
    let mut tables: Vec<Table> = Vec::with_capacity(scope.tables.len());
    for wanted in &scope.tables {
        let found = table(session, wanted).await?;
        if let Some(place) = tables.iter().position(|known| known.oid == found.oid) {
            let other = scope.tables.get(place).map_or("", |other| &other.table);
            let context = format!("\"{other}\" and \"{}\" are one table, {}", wanted.table, found.quoted());
            return Err(SourceError::new(SourceErrorKind::Configuration, context)
                .with_hint("spell the table the same way everywhere"));
        }
        expect_parents(session, (wanted, &found)).await?;
        tables.push(found);
    }
    Ok(tables)
}

fn absent(schema: &str, name: &str, similar: &[String]) -> SourceError {
    let error = SourceError::new(
        SourceErrorKind::Schema,
        format!("table {}.{} does not exist", quote_ident(schema), quote_ident(name)),
    );
    error.with_hint(suggestion(similar).unwrap_or_else(|| {
        "names are taken literally, case included: compare [source] table with the server's own spelling"
            .into()
    }))
}

fn lacking(table: &Table, missing: &[MissingColumn]) -> SourceError {
    let names: Vec<String> = missing.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let context = format!("table {} has no column {}", table.quoted(), names.join(", "));
    let offers: Vec<String> = missing.iter().filter_map(|column| suggestion(&column.similar)).collect();
    let hint = if offers.is_empty() {
        let all: Vec<&str> = table.all_columns.iter().map(|column| column.name.as_str()).collect();
        format!("its columns are {}", all.join(", "))
    } else {
        offers.join(" ")
    };
    SourceError::new(SourceErrorKind::Schema, context).with_hint(hint)
}
