//! Whether every mapped column holds what a record can carry.

use change::Finding;

use super::Subject;
use crate::catalog::Table;
use crate::name::quote_ident;

pub(super) fn findings(subject: &Subject<'_>, table: &Table) -> Vec<Finding> {
    let mut findings: Vec<Finding> = table
        .mapped_columns()
        .filter_map(|column| {
            let unfit = column.kind().err()?;
            let what = format!("column {} of {}: {}", quote_ident(&column.name), table.quoted(), unfit.what);
            let mend = column.mend(&unfit, &table.quoted(), subject.server.flavour.product);
            let why = "neither a copy nor the log could tell its content, so capture does not start";
            Some(Finding::error("column_type", what, why).mended_by(mend))
        })
        .collect();
    if findings.is_empty() {
        let types: Vec<String> =
            table.mapped_columns().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        findings.push(Finding::pass("column_type", format!("{}: {}", table.quoted(), types.join(", "))));
    }
    findings
}
