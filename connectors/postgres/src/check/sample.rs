//! Some rows of the table, for the mapping to be tried on.

use change::{Finding, Row, SourceError, Value};
use tokio_postgres::SimpleQueryMessage;

use super::Subject;
use crate::catalog::{Column, Table, quote_ident};
use crate::session::sql_error;
use crate::value;

/// Longer values may be stored apart from their row: the server begins to move them out when a row
/// exceeds 2 kB
/// (<https://www.postgresql.org/docs/current/storage-toast.html>).
const WIDE_BYTES: usize = 500;

/// Reads up to `limit` rows, spread over the table where it is large.
pub(super) async fn read(
    subject: &Subject<'_>,
    table: &Table,
    limit: u32,
) -> Result<(Vec<Finding>, Vec<Row>), SourceError> {
    let context = format!("read rows of {} to try the mapping on", table.quoted());
    let mut texts = Vec::new();
    for sampling in [spread(table, limit), Some(String::new())].into_iter().flatten() {
        let sql = select(table, &sampling, limit);
        // The simple protocol answers in the same text form as the log.
        let messages =
            subject.session.simple_query(&sql).await.map_err(|error| sql_error(&context, error))?;
        texts = messages;
        if texts.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))) {
            break;
        }
    }
    let mut rows = Vec::new();
    let mut widest = vec![0; table.columns.len()];
    for message in &texts {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let mut cells = Vec::with_capacity(table.columns.len());
        for (index, (column, width)) in table.columns.iter().zip(&mut widest).enumerate() {
            let text = row.try_get(index).map_err(|error| sql_error(&context, error))?;
            *width = text.map_or(0, str::len).max(*width);
            cells.push(text.map_or(Value::Null, |text| read_cell(column, text)));
        }
        rows.push(Row::new(cells));
    }
    let findings =
        table.columns.iter().zip(widest).filter_map(|(column, width)| wide(table, column, width)).collect();
    Ok((findings, rows))
}

fn read_cell(column: &Column, text: &str) -> Value {
    value::Kind::of(column.base_type_oid).read(text.as_bytes())
}

/// A fixed seed, so that a second look sees the same rows; `None` for a table that is small or of unknown
/// size.
fn spread(table: &Table, limit: u32) -> Option<String> {
    let rows = table.rows_estimate?;
    let wanted = u64::from(limit).saturating_mul(2);
    if rows < wanted.saturating_mul(20) {
        return None;
    }
    // In millionths of the table, as a percentage.
    let millionths = wanted.saturating_mul(1_000_000).checked_div(rows)?.max(1);
    Some(format!(" TABLESAMPLE SYSTEM ({}.{:04}) REPEATABLE (0)", millionths / 10_000, millionths % 10_000))
}

fn select(table: &Table, sampling: &str, limit: u32) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| quote_ident(&column.name)).collect();
    format!("SELECT {} FROM {}{sampling} LIMIT {limit}", columns.join(", "), table.quoted())
}

fn wide(table: &Table, column: &Column, width: usize) -> Option<Finding> {
    (column.toastable && width >= WIDE_BYTES).then(|| {
        Finding::warning(
            "wide_column",
            format!(
                "column {} of {} holds values of {width} bytes",
                quote_ident(&column.name),
                table.quoted()
            ),
            "values that are stored apart from their row are left out of the log by updates that do not \
             change them; such rows may go into quarantine",
        )
        .mended_by(format!(
            "ALTER TABLE {} ALTER COLUMN {} SET STORAGE MAIN",
            table.quoted(),
            quote_ident(&column.name)
        ))
    })
}
