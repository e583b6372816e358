//! What must hold where changes are learnt of by scans of the table, and what that cannot give.

use change::{Finding, SourceError};

use crate::catalog::Table;
use crate::client::{Client, Param};
use crate::name::quote_ident;
use crate::value::Kind;

/// A scan sees what is there, and not what was.
pub(super) fn guarantee() -> Finding {
    Finding::warning(
        "mode",
        "mode is \"poll\": the table is scanned for rows that were modified since the last scan",
        "a status that a request passes through between two scans is not seen, nor is a deletion, nor a change that \
         does not set the column of modification",
    )
    .mended_by("set mode = \"capture\" where the server can capture changes")
}

/// Whether there is a column that tells what was modified, and an index that finds it.
pub(super) async fn column(
    client: &mut Client,
    table: &Table,
    name: &str,
) -> Result<Vec<Finding>, SourceError> {
    const CODE: &str = "modified_column";
    let Some(column) = table.columns.iter().find(|column| column.name == name) else {
        let what = format!("{} has no column {}", table.quoted(), quote_ident(name));
        let finding = Finding::error(CODE, what, "without it no scan can tell what was modified");
        return Ok(vec![finding.mended_by("set modified_column in [source.sqlserver]")]);
    };
    if !matches!(column.kind(), Ok(Kind::Local | Kind::Instant)) {
        let what = format!("column {} is {}, expected a time", quote_ident(name), column.sql_type());
        let finding = Finding::error(CODE, what, "without a time no scan can tell what was modified");
        return Ok(vec![finding.mended_by("set modified_column in [source.sqlserver] to a datetime2")]);
    }
    let sql = "SELECT COUNT(*) FROM sys.index_columns WHERE object_id = @P1 AND column_id = @P2 AND key_ordinal = 1";
    let params = [Param::from(table.object_id), Param::from(column.column_id)];
    let rows = client.rows("look for an index of the column of modification", sql, &params).await?;
    if rows.first().map_or(Ok(false), |row| row.flag(0))? {
        let what = format!("column {} tells what was modified, and has an index", quote_ident(name));
        return Ok(vec![Finding::pass(CODE, what)]);
    }
    let finding = Finding::warning(
        CODE,
        format!("no index begins with column {}", quote_ident(name)),
        "every scan reads the whole table",
    );
    Ok(vec![finding.mended_by(format!(
        "CREATE INDEX {} ON {} ({})",
        quote_ident(&format!("por_{name}")),
        table.quoted(),
        quote_ident(name)
    ))])
}
