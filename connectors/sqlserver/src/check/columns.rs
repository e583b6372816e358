//! Whether every mapped column holds what a record can carry.

use change::Finding;

use crate::catalog::Table;
use crate::name::quote_ident;

pub(super) fn findings(table: &Table) -> Vec<Finding> {
    let mut findings: Vec<Finding> = table
        .mapped_columns()
        .filter_map(|column| {
            let unfit = column.kind().err()?;
            let what = format!("column {} of {}: {unfit}", quote_ident(&column.name), table.quoted());
            let why = "neither a copy nor a change table could tell its content, so capture does not start";
            let mend = if column.computed {
                "map the columns that it is computed from, or let the application store the value in a column"
            } else {
                "map another column, or let the application keep the value in one of a supported type as well"
            };
            Some(Finding::error("column_type", what, why).mended_by(mend))
        })
        .collect();
    if findings.is_empty() {
        let types: Vec<String> =
            table.mapped_columns().map(|column| format!("{} {}", column.name, column.sql_type())).collect();
        findings.push(Finding::pass("column_type", format!("{}: {}", table.quoted(), types.join(", "))));
    }
    let large: Vec<&str> = table
        .mapped_columns()
        .filter(|column| column.is_large())
        .map(|column| column.name.as_str())
        .collect();
    if !large.is_empty() {
        findings.push(
            Finding::warning(
                "large_column",
                format!("{} without a greatest length: {}", table.quoted(), large.join(", ")),
                "the server leaves such a value out of updates that do not touch it: an update that cannot be understood \
                 without it goes to quarantine",
            )
            .mended_by(
                "ALTER TABLE … ALTER COLUMN … nvarchar(400): a type with a length will do where the values are ids \
                 or statuses; else map another column",
            ),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use change::Severity;

    use super::*;
    use crate::catalog::tests::table;

    #[test]
    fn unfit_columns_are_each_named_and_large_ones_told() {
        let mut unfit = table(&[("id", "int"), ("foto", "image"), ("forma", "xml")]);
        let found = findings(&unfit);
        assert_eq!(found.iter().filter(|finding| finding.severity == Severity::Error).count(), 2);
        unfit.columns.truncate(1);
        unfit.mapped = vec![0];
        assert_eq!(findings(&unfit).first().unwrap().severity, Severity::Pass);
        let mut large = table(&[("nota", "nvarchar")]);
        large.columns.first_mut().unwrap().max_length = -1;
        assert_eq!(findings(&large).last().unwrap().code, "large_column");
    }
}
