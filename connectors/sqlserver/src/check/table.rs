//! Whether the table is there, and one whose rows can be told apart.

use change::nearest::suggestion;
use change::{Finding, SourceError, TableScope};

use super::Subject;
use crate::catalog::{self, MissingColumn, Table};
use crate::client::Client;
use crate::name::quote_ident;

pub(super) fn absent(subject: &Subject<'_>, (schema, name): (&str, &str), similar: &[String]) -> Finding {
    let quoted = format!("{}.{}", quote_ident(schema), quote_ident(name));
    let mend = match suggestion(similar) {
        Some(offer) => format!("set table in the [source] part: {offer}"),
        None => format!(
            "GRANT SELECT ON {quoted} TO {}: `bitacora setup` prints it with the columns alone",
            quote_ident(&subject.server.user)
        ),
    };
    let what = format!(
        "table {quoted} does not exist, or user {} may not see it",
        quote_ident(&subject.server.user)
    );
    Finding::error("table", what, "nothing can be captured").mended_by(mend)
}

/// A table that is configured more than once, by whatever spelling.
pub(super) fn twice(table: &Table) -> Finding {
    let what = format!("{} is configured twice, expected once", table.quoted());
    Finding::error("table", what, "its changes can be told under one mapping only")
        .mended_by("take one of the two out of the [source] part")
}

/// What the catalogue tells by itself.
pub(super) fn shape(
    subject: &Subject<'_>,
    (scope, table): (&TableScope, &Table),
    missing: &[MissingColumn],
) -> Vec<Finding> {
    let mut findings = vec![kind(table)];
    findings.extend(missing.iter().map(|column| missing_column(subject, table, column)));
    if missing.is_empty() {
        let names: Vec<&str> = table.mapped_columns().map(|column| column.name.as_str()).collect();
        findings.push(Finding::pass("columns", format!("{} has {}", table.quoted(), names.join(", "))));
    }
    findings.push(key(scope, table));
    findings
}

fn kind(table: &Table) -> Finding {
    if table.history {
        return Finding::warning(
            "table",
            format!("{} is a temporal table", table.quoted()),
            "its present rows are captured; what is moved into its history table is not",
        );
    }
    Finding::pass("table", format!("{} is a table", table.quoted()))
}

fn missing_column(subject: &Subject<'_>, table: &Table, column: &MissingColumn) -> Finding {
    let all: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let offer = suggestion(&column.similar).unwrap_or_else(|| format!("it may see {}", all.join(", ")));
    let what = format!(
        "{} has no column {}, or user {} may not see it",
        table.quoted(),
        quote_ident(&column.name),
        quote_ident(&subject.server.user)
    );
    Finding::error("columns", what, "the mapping needs it")
        .mended_by(format!("set the column in the [mapping] part: {offer}"))
}

fn key(scope: &TableScope, table: &Table) -> Finding {
    if !table.key.is_empty() {
        let columns: Vec<&str> = table.key_columns().map(|column| column.name.as_str()).collect();
        return Finding::pass("key", format!("{} has key ({})", table.quoted(), columns.join(", ")));
    }
    let what = format!("{} has neither a primary key nor a unique index without NULL", table.quoted());
    let mend = format!(
        "ALTER TABLE {} ADD PRIMARY KEY (…) with the columns that tell its rows apart",
        table.quoted()
    );
    if scope.keys {
        let why = "on_delete asks for deleted rows to be reported, and such a row could not be told from the others";
        return Finding::error("key", what, why).mended_by(mend);
    }
    Finding::warning("key", what, "a copy of the table cannot be read in pages and not be resumed")
        .mended_by(mend)
}

/// Whether a unique index keeps rows apart that the product would take for one; nothing where it takes none for one.
pub(super) async fn uniqueness(
    client: &mut Client,
    (scope, table): (&TableScope, &Table),
) -> Result<Vec<Finding>, SourceError> {
    if scope.apart_by.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = catalog::numbers_of(table, &scope.apart_by);
    let index = catalog::unique_index(client, table, &numbers).await?.map(|name| quote_ident(&name));
    let columns = scope.apart_by.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    let mend = format!("ALTER TABLE {} ADD UNIQUE ({columns})", table.quoted());
    Ok(vec![Finding::of_uniqueness((&table.quoted(), &columns), index.as_deref(), &mend)])
}
