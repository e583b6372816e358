//! Whether the table is one whose changes the log carries whole.

use change::{Finding, SourceError, TableScope};

use super::Subject;
use crate::catalog::{self, Kind, MissingColumn, Table};
use crate::name::quote_ident;
use crate::setup;
use crate::wire::Connection;
use change::nearest::suggestion;

pub(super) fn absent(
    subject: &Subject<'_>,
    scope: &TableScope,
    (database, name): (&str, &str),
    similar: &[String],
) -> Result<Vec<Finding>, SourceError> {
    let quoted = format!("{}.{}", quote_ident(database), quote_ident(name));
    let mend = match suggestion(similar) {
        Some(offer) => format!("set table in the [source] part: {offer}"),
        None => setup::grant_script(subject.config, scope, subject.account)?,
    };
    let what = format!("table {quoted} does not exist, or user {} may not see it", subject.account);
    Ok(vec![Finding::error("table", what, "nothing can be captured").mended_by(mend)])
}

/// The tables that are configured more than once, by whatever spelling.
pub(super) fn twice(tables: &[&Table]) -> Vec<Finding> {
    let seen =
        |at: usize, table: &Table| tables.iter().take(at).any(|known| known.quoted() == table.quoted());
    let again = tables.iter().enumerate().filter(|(at, table)| seen(*at, table));
    again
        .map(|(_, table)| {
            let what = format!("{} is configured twice, expected once", table.quoted());
            Finding::error("table", what, "its changes can be told under one mapping only")
                .mended_by("take one of the two out of the [source] part")
        })
        .collect()
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
    if !matches!(table.kind, Kind::Unfit(_)) {
        findings.push(engine(table));
        findings.push(key(scope, table));
    }
    findings
}

fn kind(table: &Table) -> Finding {
    match table.kind {
        Kind::Ordinary => Finding::pass("table", format!("{} is a table", table.quoted())),
        Kind::Versioned => Finding::warning(
            "table",
            format!("{} is a system-versioned table", table.quoted()),
            "a delete is logged as the row's last update, so that deleted requests are not told from changed ones",
        )
        .mended_by("set on_delete = \"ignore\" in the [mapping] part"),
        Kind::Unfit(what) => Finding::error(
            "table",
            format!("{} is {what}, expected a table", table.quoted()),
            "the log does not carry its changes",
        )
        .mended_by("set table in the [source] part to the table that holds the rows"),
    }
}

fn missing_column(subject: &Subject<'_>, table: &Table, column: &MissingColumn) -> Finding {
    let all: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let offer = suggestion(&column.similar).unwrap_or_else(|| format!("it may see {}", all.join(", ")));
    let what = format!(
        "{} has no column {}, or user {} may not see it",
        table.quoted(),
        quote_ident(&column.name),
        subject.account
    );
    Finding::error("columns", what, "the mapping needs it")
        .mended_by(format!("set the column in the [mapping] part: {offer}"))
}

/// Rows that are not stored by transactions are changed even where the statement fails halfway.
fn engine(table: &Table) -> Finding {
    if table.transactional {
        return Finding::pass("engine", format!("{} is stored by {}", table.quoted(), table.engine));
    }
    Finding::warning(
        "engine",
        format!("{} is stored by {}, which knows no transactions", table.quoted(), table.engine),
        "after a crash of the server the table and its log can differ, and no copy is exactly as of a position",
    )
    .mended_by(format!("ALTER TABLE {} ENGINE = InnoDB", table.quoted()))
}

fn key(scope: &TableScope, table: &Table) -> Finding {
    if !table.key.is_empty() {
        let columns: Vec<&str> = table.key_columns().map(|column| column.name.as_str()).collect();
        let what = format!("{} has key {} ({})", table.quoted(), table.key_name, columns.join(", "));
        return Finding::pass("key", what);
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
pub(super) fn uniqueness(
    connection: &mut Connection,
    (scope, table): (&TableScope, &Table),
) -> Result<Vec<Finding>, SourceError> {
    if scope.apart_by.is_empty() {
        return Ok(Vec::new());
    }
    let columns = scope.apart_by.iter().map(String::as_str);
    let index = catalog::unique_index(connection, table, columns)?.map(|name| quote_ident(&name));
    let columns = scope.apart_by.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    let mend = format!("ALTER TABLE {} ADD UNIQUE ({columns})", table.quoted());
    Ok(vec![Finding::of_uniqueness((&table.quoted(), &columns), index.as_deref(), &mend)])
}
