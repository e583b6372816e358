//! Whether the table is one whose changes the log carries whole.

use change::{Finding, SourceError, TableScope};

use super::Subject;
use crate::catalog::{self, Generated, Kind, MissingColumn, ReplicaIdentity, Table, quote_ident};
use crate::publication::identity_mend;
use change::nearest::suggestion;

pub(super) fn absent(schema: &str, name: &str, similar: &[String]) -> Finding {
    let what = format!("table {}.{} does not exist", quote_ident(schema), quote_ident(name));
    let mend = match suggestion(similar) {
        Some(offer) => format!("set table in the [source] part: {offer}"),
        None => "set table in the [source] part to the server's own spelling, case included".to_owned(),
    };
    Finding::error("table", what, "nothing can be captured").mended_by(mend)
}

/// What the catalogue tells by itself.
pub(super) fn shape(
    subject: &Subject<'_>,
    scope: &TableScope,
    table: &Table,
    missing: &[MissingColumn],
) -> Vec<Finding> {
    let mut findings = vec![kind(table)];
    findings.extend(missing.iter().map(|column| missing_column(table, column)));
    findings.extend(table.columns.iter().filter_map(|column| {
        let logged = column.generated.is_logged(subject.server.version);
        (!logged).then(|| generated(table, &column.name, column.generated))
    }));
    if missing.is_empty() {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        findings.push(Finding::pass("columns", format!("{} has {}", table.quoted(), names.join(", "))));
    }
    if !matches!(table.kind, Kind::Unfit(_)) {
        findings.extend(identity(table));
        findings.extend(strange_leaf(scope, table));
    }
    findings
}

fn kind(table: &Table) -> Finding {
    match table.kind {
        Kind::Ordinary => Finding::pass("table", format!("{} is a table", table.quoted())),
        Kind::Partitioned if table.leaves.is_empty() => Finding::warning(
            "table",
            format!("{} is partitioned and has no partition yet", table.quoted()),
            "there is nothing to capture before a partition is attached",
        ),
        Kind::Partitioned => {
            let what = format!("{} is a table of {} partitions", table.quoted(), table.leaves.len());
            Finding::pass("table", what)
        }
        Kind::Unfit(what) => Finding::error(
            "table",
            format!("{} is {what}, expected an ordinary or partitioned table", table.quoted()),
            "the log does not carry its changes",
        )
        .mended_by("set table in the [source] part to the table that holds the rows"),
    }
}

fn missing_column(table: &Table, column: &MissingColumn) -> Finding {
    let all: Vec<&str> = table.all_columns.iter().map(|column| column.name.as_str()).collect();
    let offer = suggestion(&column.similar).unwrap_or_else(|| format!("its columns are {}", all.join(", ")));
    Finding::error(
        "columns",
        format!("{} has no column {}", table.quoted(), quote_ident(&column.name)),
        "the mapping needs it",
    )
    .mended_by(format!("set the column in the [mapping] part: {offer}"))
}

/// Snapshots would show such a column and the log would not
/// (<https://www.postgresql.org/docs/current/logical-replication-gencols.html>).
fn generated(table: &Table, column: &str, how: Generated) -> Finding {
    let (what, since) = match how {
        Generated::Virtual => ("is computed when it is read", "never"),
        Generated::Stored | Generated::No => ("is computed by the server", "before version 18 never"),
    };
    Finding::error(
        "generated_column",
        format!("column {} of {} {what}", quote_ident(column), table.quoted()),
        format!("the log {since} carries such columns: every change would lack it"),
    )
    .mended_by("map the columns that it is computed from, or have it replaced by an ordinary one")
}

/// On a table without identity the server refuses the application's own updates and deletes once a
/// publication publishes them
/// (<https://www.postgresql.org/docs/current/logical-replication-publication.html>).
fn identity(table: &Table) -> Vec<Finding> {
    let mut findings: Vec<Finding> = table
        .leaves_without_identity()
        .map(|leaf| {
            let what = format!(
                "{} has replica identity {} and no column that it consists of",
                leaf.quoted,
                leaf.identity.as_str()
            );
            Finding::error(
                "replica_identity",
                what,
                "once the publication exists, the server refuses the application's own UPDATE and DELETE \
                 of the table",
            )
            .mended_by(identity_mend(&leaf.quoted))
        })
        .collect();
    if findings.is_empty() {
        let columns: Vec<&str> = table.key.iter().map(|column| column.name.as_str()).collect();
        findings.push(if table.key.is_empty() {
            Finding::warning(
                "replica_identity",
                format!("{} has replica identity FULL and no primary key", table.quoted()),
                "a copy of the table cannot be read in pages and not be resumed",
            )
            .mended_by(format!("ALTER TABLE {} ADD PRIMARY KEY (…)", table.quoted()))
        } else {
            let identity = match table.identity {
                ReplicaIdentity::Default => "primary key".to_owned(),
                other => format!("replica identity {}, key", other.as_str()),
            };
            Finding::pass(
                "replica_identity",
                format!("{} has {identity} ({})", table.quoted(), columns.join(", ")),
            )
        });
    }
    findings
}

/// A leaf may log the old state of its rows by other columns than the table's key, and then a deleted row
/// cannot be told by it.
fn strange_leaf(scope: &TableScope, table: &Table) -> Option<Finding> {
    let key: Vec<&str> = table.key.iter().map(|column| column.name.as_str()).collect();
    let other =
        |columns: &[String]| !columns.is_empty() && !key.iter().all(|name| columns.iter().any(|c| c == name));
    let leaf = table.leaves.iter().find(|leaf| scope.keys && other(&leaf.identity_columns))?;
    Some(
        Finding::error(
            "replica_identity",
            format!(
                "{} logs old rows by ({}), expected the key of {} ({})",
                leaf.quoted,
                leaf.identity_columns.join(", "),
                table.quoted(),
                key.join(", ")
            ),
            "on_delete asks for deleted rows to be reported, and such a row could not be told from the \
             others",
        )
        .mended_by(format!("ALTER TABLE {} REPLICA IDENTITY DEFAULT", leaf.quoted)),
    )
}

/// Whether a unique index keeps rows apart that the product would take for one; nothing where it takes none for one.
pub(super) async fn uniqueness(
    subject: &Subject<'_>,
    (scope, table): (&TableScope, &Table),
) -> Result<Vec<Finding>, SourceError> {
    if scope.apart_by.is_empty() {
        return Ok(Vec::new());
    }
    let columns = scope.apart_by.iter().map(String::as_str);
    let index = catalog::unique_index(subject.session, table, columns).await?.map(|name| quote_ident(&name));
    let columns = scope.apart_by.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    let mend = format!("CREATE UNIQUE INDEX CONCURRENTLY ON {} ({columns})", table.quoted());
    Ok(vec![Finding::of_uniqueness((&table.quoted(), &columns), index.as_deref(), &mend)])
}
