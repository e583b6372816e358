//! The publication that our slot reads: which table, which columns, which operations.
//!
//! A publication must exist before the slot's position: the server looks it up as of the moment that it
//! decodes (<https://www.postgresql.org/docs/current/logical-replication-publication.html>).

use change::{Scope, SourceError, SourceErrorKind, TableScope};

use crate::catalog::{Generated, ReplicaIdentity, Table, quote_ident};
use crate::config::PostgresConfig;
use crate::session::{Session, sql_error};

/// The first version whose publications can list columns.
const COLUMN_LISTS: u32 = 150_000;

/// The first version whose publications can carry generated columns.
const GENERATED_COLUMNS: u32 = 180_000;

/// How a publication came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// It was there, and fits.
    Found,
    /// It was made just now: a slot that is older than it cannot be read with it from where it stands.
    Made,
}

/// What a publication that exists publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    name: String,
    /// The operations that are missing from `insert`, `update`, `delete`, `truncate`.
    missing: Vec<&'static str>,
    via_root: bool,
    /// How many tables it publishes that are not configured.
    pub(crate) other_tables: u64,
    /// Whether it publishes any table but this one.
    is_shared: bool,
    /// All that it publishes, and how many of these are this table or its partitions.
    counts: (i64, i64),
    entry: Option<Entry>,
    /// Whether it publishes partitions of the table under their own names.
    publishes_leaves: bool,
}

/// What a publication says about the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    columns: Vec<String>,
    row_filter: Option<String>,
}

/// Something about a publication that capture cannot live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) what: String,
    /// What it does to the data.
    pub(crate) why: &'static str,
    /// The statements that mend it.
    pub(crate) mend: String,
}

/// Sees to it that the publication exists and covers the tables.
///
/// A table that came into the configuration later is added to a publication that holds the others.
///
/// # Errors
/// When it does not fit, or it is missing and may not be made; the hint holds the statement that mends it.
pub(crate) async fn ensure(
    session: &Session,
    config: &PostgresConfig,
    tables: &[Table],
    scope: &Scope,
) -> Result<Ensured, SourceError> {
    let Some(found) = examine_all(session, config, tables).await? else {
        return make(session, config, tables).await;
    };
    let holds_others = found.iter().any(|publication| publication.entry.is_some());
    for ((publication, table), scope) in found.iter().zip(tables).zip(&scope.tables) {
        let Some(fault) = publication.faults(session.version(), table, scope).into_iter().next() else {
            continue;
        };
        if publication.entry.is_none() && holds_others && !publication.publishes_leaves {
            expect_identity(table)?;
            let context = format!("add {} to publication {}", table.quoted(), publication.quoted());
            run(session, &context, &fault.mend).await?;
            tracing::info!(publication = %config.publication, table = %table.quoted(), "table published");
            continue;
        }
        return Err(SourceError::new(SourceErrorKind::Configuration, fault.what).with_hint(fault.mend));
    }
    Ok(Ensured::Found)
}

async fn make(session: &Session, config: &PostgresConfig, tables: &[Table]) -> Result<Ensured, SourceError> {
    tables.iter().try_for_each(expect_identity)?;
    let statement = statement(session.version(), &config.publication, tables);
    run(session, &format!("make publication {}", quote_ident(&config.publication)), &statement).await?;
    let names: Vec<String> = tables.iter().map(Table::quoted).collect();
    tracing::info!(publication = %config.publication, tables = names.join(", "), "publication made");
    Ok(Ensured::Made)
}

/// A publication of updates makes the application's own updates fail on a table without identity.
fn expect_identity(table: &Table) -> Result<(), SourceError> {
    let Some(leaf) = table.leaves_without_identity().next() else { return Ok(()) };
    let what = format!("table {} has no primary key and no other replica identity", leaf.quoted);
    Err(SourceError::new(SourceErrorKind::Schema, what).with_hint(identity_mend(&leaf.quoted)))
}

async fn run(session: &Session, context: &str, statement: &str) -> Result<(), SourceError> {
    session.execute(context, statement).await.map_err(|error| match error.kind() {
        SourceErrorKind::Permission => {
            error.with_hint(format!("have the database's administrator run: {statement}"))
        }
        _ => error,
    })
}

/// What the configured publication publishes of each table; `None` where there is no such publication.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) async fn examine_all(
    session: &Session,
    config: &PostgresConfig,
    tables: &[Table],
) -> Result<Option<Vec<Publication>>, SourceError> {
    let mut found = Vec::with_capacity(tables.len());
    for table in tables {
        match examine(session, config, table).await? {
            Some(publication) => found.push(publication),
            None => return Ok(None),
        }
    }
    let ours: i64 = found.iter().map(|publication| publication.counts.1).sum();
    for publication in &mut found {
        publication.other_tables = u64::try_from(publication.counts.0 - ours).unwrap_or_default();
    }
    Ok(Some(found))
}

/// How a table without identity gets one.
pub(crate) fn identity_mend(quoted: &str) -> String {
    format!(
        "ALTER TABLE {quoted} ADD PRIMARY KEY (…); or, over a unique index of NOT NULL columns, ALTER \
         TABLE {quoted} REPLICA IDENTITY USING INDEX …"
    )
}

/// What the configured publication publishes of the table; `None` where there is no such publication.
///
/// # Errors
/// When the catalogue cannot be read.
async fn examine(
    session: &Session,
    config: &PostgresConfig,
    table: &Table,
) -> Result<Option<Publication>, SourceError> {
    let context = "read the publication in the catalogue";
    let (columns, filter) = if session.version() >= COLUMN_LISTS {
        ("t.attnames::text[]", "t.rowfilter")
    } else {
        let all = "(SELECT array_agg(a.attname::text) FROM pg_attribute a
                     WHERE a.attrelid = $4 AND a.attnum > 0 AND NOT a.attisdropped)";
        (all, "NULL::text")
    };
    let sql = format!(
        "SELECT p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
                (SELECT count(*) FROM pg_publication_tables t WHERE t.pubname = p.pubname),
                (SELECT count(*) FROM pg_publication_tables t
                   JOIN pg_namespace n ON n.nspname = t.schemaname
                   JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
                  WHERE t.pubname = p.pubname AND c.oid <> $4
                    AND c.oid IN (SELECT relid FROM pg_partition_tree($4::oid::regclass))),
                t.columns, t.filter
           FROM pg_publication p
           LEFT JOIN LATERAL (SELECT {columns} AS columns, {filter} AS filter FROM pg_publication_tables t
                               WHERE t.pubname = p.pubname AND t.schemaname = $2 AND t.tablename = $3
                               LIMIT 1) t ON true
          WHERE p.pubname = $1"
    );
    let rows =
        session.query(context, &sql, &[&config.publication, &table.schema, &table.name, &table.oid]).await?;
    rows.first()
        .map(|row| read(&config.publication, row))
        .transpose()
        .map_err(|error| sql_error(context, error))
}

fn read(name: &str, row: &tokio_postgres::Row) -> Result<Publication, tokio_postgres::Error> {
    let mut missing = Vec::new();
    for (index, operation) in ["insert", "update", "delete", "truncate"].into_iter().enumerate() {
        if !row.try_get::<_, bool>(index)? {
            missing.push(operation);
        }
    }
    let columns: Option<Vec<String>> = row.try_get(7)?;
    let row_filter = row.try_get(8)?;
    let entry = columns.map(|columns| Entry { columns, row_filter });
    let (all, leaves): (i64, i64) = (row.try_get(5)?, row.try_get(6)?);
    let ours = leaves + i64::from(entry.is_some());
    Ok(Publication {
        name: name.to_owned(),
        missing,
        via_root: row.try_get(4)?,
        other_tables: u64::try_from(all - ours).unwrap_or_default(),
        is_shared: all > ours,
        counts: (all, ours),
        publishes_leaves: leaves > 0,
        entry,
    })
}

impl Publication {
    /// Everything about it that capture cannot live with.
    pub(crate) fn faults(&self, version: u32, table: &Table, scope: &TableScope) -> Vec<Fault> {
        let mut faults = Vec::new();
        faults.extend(self.missing_operations(scope));
        let root_needed = !self.via_root && table.kind == crate::catalog::Kind::Partitioned;
        if root_needed {
            faults.push(Fault {
                what: format!("publication {} publishes partitions under their own names", self.quoted()),
                why: "changes would come under names that the configuration does not know, and be missed",
                mend: format!("ALTER PUBLICATION {} SET (publish_via_partition_root = true)", self.quoted()),
            });
        }
        match &self.entry {
            Some(entry) => faults.extend(self.entry_faults(entry, version, table)),
            None if root_needed && self.publishes_leaves => {}
            None => faults.push(Fault {
                what: format!("publication {} does not publish {}", self.quoted(), table.quoted()),
                why: "the server would send no change of the table",
                mend: format!("ALTER PUBLICATION {} ADD TABLE {}", self.quoted(), target(version, table)),
            }),
        }
        faults
    }

    /// Whether truncations go unnoticed: capture works, but nobody is told.
    pub(crate) fn hides_truncates(&self) -> bool {
        self.missing.contains(&"truncate")
    }

    /// How to add the operations that are missing.
    pub(crate) fn operations_mend(&self) -> String {
        format!("ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate')", self.quoted())
    }

    fn missing_operations(&self, scope: &TableScope) -> Option<Fault> {
        let matters = |operation: &&&str| match **operation {
            "truncate" => false,
            "delete" => scope.keys,
            _ => true,
        };
        let missing: Vec<&str> = self.missing.iter().filter(matters).copied().collect();
        (!missing.is_empty()).then(|| Fault {
            what: format!("publication {} does not publish {}", self.quoted(), missing.join(", ")),
            why: "status changes made that way would be missed",
            mend: self.operations_mend(),
        })
    }

    fn entry_faults(&self, entry: &Entry, version: u32, table: &Table) -> Vec<Fault> {
        let mut faults = Vec::new();
        let again = if !self.is_shared {
            format!("ALTER PUBLICATION {} SET TABLE {}", self.quoted(), target(version, table))
        } else {
            let (name, of) = (self.quoted(), table.quoted());
            format!(
                "ALTER PUBLICATION {name} DROP TABLE {of}; ALTER PUBLICATION {name} ADD TABLE {}",
                target(version, table)
            )
        };
        if let Some(filter) = &entry.row_filter {
            faults.push(Fault {
                what: format!("publication {} filters rows by {filter}", self.quoted()),
                why: "a row that crosses the filter would come as an insert or a delete, which it is not",
                mend: again.clone(),
            });
        }
        let lacks = |name: &str| !entry.columns.iter().any(|column| column == name);
        let unpublished: Vec<&str> =
            table.columns.iter().map(|column| column.name.as_str()).filter(|name| lacks(name)).collect();
        if !unpublished.is_empty() {
            let generated = table.columns.iter().any(|column| {
                column.generated == Generated::Stored && unpublished.contains(&column.name.as_str())
            });
            faults.push(Fault {
                what: format!(
                    "publication {} does not publish the mapped column {} of {}",
                    self.quoted(),
                    unpublished.join(", "),
                    table.quoted()
                ),
                why: "the server would never send that column",
                mend: if generated && version >= GENERATED_COLUMNS && column_list(version, table).is_none() {
                    format!("ALTER PUBLICATION {} SET (publish_generated_columns = stored)", self.quoted())
                } else {
                    again.clone()
                },
            });
        }
        let uncovered = identity_columns(version, table).into_iter().find(|name| lacks(name));
        if let Some(column) = uncovered {
            faults.push(Fault {
                what: format!(
                    "publication {} lists columns of {} but not {}, which its replica identity needs",
                    self.quoted(),
                    table.quoted(),
                    quote_ident(column)
                ),
                why: "the server refuses the application's own updates and deletes of the table",
                mend: again,
            });
        }
        faults
    }

    fn quoted(&self) -> String {
        quote_ident(&self.name)
    }
}

/// The columns that updates must carry for the server to allow them, as far as it can publish them.
fn identity_columns(version: u32, table: &Table) -> Vec<&str> {
    let full = table.leaves.iter().any(|leaf| leaf.identity == ReplicaIdentity::Full);
    let needed = |name: &str| {
        full || table.leaves.iter().any(|leaf| leaf.identity_columns.iter().any(|column| column == name))
    };
    let columns = table.all_columns.iter();
    columns
        .filter(|column| column.generated.is_logged(version) && needed(&column.name))
        .map(|column| column.name.as_str())
        .collect()
}

/// The columns that the publication shall list: those of the replica identity, without which the
/// application's own updates would fail, the key, and the mapped ones. `None` where all must be
/// published: under `REPLICA IDENTITY FULL`, and before version 15.
fn column_list(version: u32, table: &Table) -> Option<Vec<String>> {
    let full = table.leaves.iter().any(|leaf| leaf.identity == ReplicaIdentity::Full);
    if version < COLUMN_LISTS || full || table.identity == ReplicaIdentity::Full {
        return None;
    }
    let wanted = |name: &str| {
        table.columns.iter().chain(&table.key).any(|column| column.name == name)
            || table.leaves.iter().any(|leaf| leaf.identity_columns.iter().any(|column| column == name))
    };
    let chosen: Vec<_> = table.all_columns.iter().filter(|column| wanted(&column.name)).collect();
    // The server refuses a list that names a column which it cannot publish.
    let listable = chosen.iter().all(|column| column.generated.is_logged(version));
    listable.then(|| chosen.into_iter().map(|column| quote_ident(&column.name)).collect())
}

/// The table and its columns as publication statements take them.
fn target(version: u32, table: &Table) -> String {
    match column_list(version, table) {
        Some(columns) => format!("{} ({})", table.quoted(), columns.join(", ")),
        None => table.quoted(),
    }
}

/// The statement that makes the publication on a server of this version.
pub(crate) fn statement(version: u32, name: &str, tables: &[Table]) -> String {
    let generated = |table: &Table| {
        version >= GENERATED_COLUMNS
            && column_list(version, table).is_none()
            && table.columns.iter().any(|column| column.generated == Generated::Stored)
    };
    let extra = if tables.iter().any(generated) { ", publish_generated_columns = stored" } else { "" };
    let targets: Vec<String> = tables.iter().map(|table| target(version, table)).collect();
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = 'insert, update, delete, truncate', \
         publish_via_partition_root = true{extra})",
        quote_ident(name),
        targets.join(", ")
    )
}
