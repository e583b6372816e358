//! The mapping, tried on rows of the table.

use std::collections::BTreeMap;

use change::{Finding, Row};
use chrono::{DateTime, Utc};
use normalizer::{Mapping, NormalizedRow, Tables, normalize_row, rejection_hint};

use crate::terminal::{count, counted};

/// Reasons that are shown one by one; the rest is counted.
const REASONS_MAX: usize = 10;

/// The sample rows of the table with this number, as its mapping reads them.
///
/// Both tables' samples are small parts of them: where a row's parent is not in the sample, another stands in for it, so
/// that its columns are tried all the same.
pub(super) fn rows(tables: &Tables, samples: &[Vec<Row>], number: u16) -> Vec<Row> {
    let of = |table: u16| samples.get(usize::from(table)).map_or(&[][..], Vec::as_slice);
    let Some(mapped) = tables.table(number).and_then(|table| table.mapped.as_ref()) else {
        return Vec::new();
    };
    let parent = |place: usize, row: &Row, join: &normalizer::Join| {
        let mirror = tables.mirrors().get(join.mirror)?;
        let (candidates, key) = (of(mirror.table), join.key_of(row));
        let own = candidates.iter().find(|parent| key.is_some() && mirror.key_of(parent) == key);
        let stand_in = || candidates.get(place % candidates.len().max(1));
        own.or_else(stand_in).map(|parent| mirror.cells_of(parent))
    };
    let joined = |(place, row): (usize, &Row)| {
        let parents: Vec<_> = mapped.joins.iter().map(|join| parent(place, row, join)).collect();
        // Without any row of the parent nothing can be said of those that belong to it.
        parents
            .iter()
            .all(Option::is_some)
            .then(|| mapped.joined(row, &parents.iter().map(Option::as_ref).collect::<Vec<_>>()))
    };
    of(number).iter().enumerate().filter_map(joined).collect()
}

/// One finding per reason for which sample rows are rejected, or a pass.
pub(super) fn look_at(mapping: &Mapping, rows: &[Row], unreadable: bool, now: DateTime<Utc>) -> Vec<Finding> {
    if rows.is_empty() {
        let why = "whether the mapping fits the table's values shows only when there are rows";
        let what = "the mapping could not be tried: no row of the table was read";
        // When the table cannot be read, the database's own findings say so.
        return if unreadable { Vec::new() } else { vec![Finding::warning("mapping_sample", what, why)] };
    }
    let mut mapped = 0_u64;
    let mut old = 0_u64;
    let mut left_out = 0_u64;
    let mut rejected: BTreeMap<(&'static str, String), u64> = BTreeMap::new();
    for row in rows {
        match normalize_row(mapping, row, now.timestamp_micros()) {
            NormalizedRow::Record(_) => mapped += 1,
            NormalizedRow::BeforeFloor => old += 1,
            NormalizedRow::LeftOut => left_out += 1,
            NormalizedRow::Rejected(rejection) => {
                *rejected.entry((rejection.code, rejection.reason)).or_default() += 1;
            }
        }
    }
    let floor =
        if old > 0 { format!(", {} opened before `[backfill] from`", count(old)) } else { String::new() };
    let outside = if left_out > 0 {
        format!(", {} left out by `[source] where`", count(left_out))
    } else {
        String::new()
    };
    let total = rows.len() as u64;
    if left_out == total {
        let why = "if no other row meets it either, nothing is ever sent";
        let what = format!("`[source] where` leaves out each of {}", counted(total, "sample row"));
        let mend = "compare the condition with the table's values: case, accents and blanks count";
        return vec![Finding::warning("mapping_sample", what, why).mended_by(mend)];
    }
    if rejected.is_empty() {
        let what =
            format!("the mapping fits: {} map to a record{floor}{outside}", counted(mapped, "sample row"));
        return vec![Finding::pass("mapping_sample", what)];
    }
    rejections(rejected, mapped + old == 0, total)
}

fn rejections(rejected: BTreeMap<(&'static str, String), u64>, all: bool, total: u64) -> Vec<Finding> {
    let mut reasons: Vec<_> = rejected.into_iter().collect();
    reasons.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let hidden = reasons.len().saturating_sub(REASONS_MAX);
    let finding = |((code, reason), rows): ((&'static str, String), u64)| {
        let what = format!("{} of {} sample rows: {reason}", count(rows), count(total));
        let finding = if all {
            Finding::error(
                "mapping_sample",
                what,
                "no row of the sample could be sent: all would go to quarantine",
            )
        } else {
            Finding::warning("mapping_sample", what, "such rows are not sent: they wait in quarantine")
        };
        match rejection_hint(code) {
            Some(hint) => finding.mended_by(hint),
            None => finding,
        }
    };
    let mut findings: Vec<Finding> = reasons.into_iter().take(REASONS_MAX).map(finding).collect();
    if hidden > 0 {
        let what = format!("{} for which sample rows are rejected", counted(hidden as u64, "further reason"));
        findings.push(Finding::warning("mapping_sample", what, "such rows wait in quarantine"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use change::{Severity, Value};
    use chrono::NaiveDate;
    use normalizer::{Field, MappingConfig, OnDelete, TimeField};

    use super::*;

    fn mapping() -> Mapping {
        let column = |name: &str| Field::Column { column: name.into(), map: None };
        let map = Some(BTreeMap::from([("NUEVA".to_owned(), "1".to_owned())]));
        Mapping::new(MappingConfig {
            service_id: Field::Value("101".into()),
            request_id: column("numero"),
            opening_date: TimeField::Column { column: "apertura".into(), time_zone: None },
            status_id: Field::Column { column: "estado".into(), map },
            last_modified_date: TimeField::CommitTime,
            on_delete: OnDelete::Ignore,
            condition: None,
            rows: normalizer::Rows::Requests,
            floor: NaiveDate::from_ymd_opt(2020, 1, 1).unwrap(),
            zone: chrono_tz::UTC,
        })
        .unwrap()
    }

    fn row(mapping: &Mapping, opened: Value, status: &str) -> Row {
        let cell = |column: &String| match column.as_str() {
            "numero" => Value::text("1"),
            "apertura" => opened.clone(),
            _ => Value::text(status),
        };
        Row::new(mapping.columns().iter().map(cell).collect())
    }

    fn found(rows: &[(Value, &str)]) -> Vec<(Severity, String)> {
        let mapping = mapping();
        let rows: Vec<_> =
            rows.iter().map(|(opened, status)| row(&mapping, opened.clone(), status)).collect();
        look_at(&mapping, &rows, false, Utc::now())
            .into_iter()
            .map(|finding| (finding.severity, finding.what))
            .collect()
    }

    #[test]
    fn a_sample_is_summed_up_by_reason() {
        const IN_2021: i64 = 1_620_000_000_000_000;
        let good = || (Value::Instant(IN_2021), "NUEVA");
        let old = || (Value::Instant(0), "NUEVA");
        let unmapped = || (Value::Instant(IN_2021), "VIEJA");
        let zoneless = || (Value::Local(IN_2021), "NUEVA");
        assert_eq!(found(&[]).first().unwrap().0, Severity::Warning);
        let fits = found(&[good(), good(), old()]);
        assert_eq!(fits.first().unwrap().0, Severity::Pass);
        assert_eq!(
            fits.first().unwrap().1,
            "the mapping fits: 2 sample rows map to a record, 1 opened before `[backfill] from`"
        );
        let some = found(&[good(), unmapped(), unmapped(), zoneless()]);
        assert_eq!(some.len(), 2);
        assert_eq!(some.first().unwrap().0, Severity::Warning);
        assert!(some.first().unwrap().1.starts_with("2 of 4 sample rows: column \"estado\""), "{some:?}");
        let none = found(&[zoneless(), zoneless()]);
        assert_eq!(none.first().unwrap().0, Severity::Error);
    }
}
