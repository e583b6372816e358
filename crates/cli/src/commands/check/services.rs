//! The mapping's service ids, compared with those that the dashboard lists.

use std::collections::BTreeSet;

use change::{Finding, Row};
use chrono::{DateTime, Utc};
use normalizer::{Field, Mapping, NormalizedRow, normalize_row};

use crate::config::Config;
use crate::terminal::counted;

/// Ids that a finding names; a dashboard may list hundreds.
const NAMED_MAX: usize = 10;

const CODE: &str = "services";

/// A warning for each id that the dashboard does not list, or a pass.
pub(super) fn look_at(used: &BTreeSet<String>, listed: Option<&BTreeSet<String>>) -> Finding {
    let Some(listed) = listed.filter(|listed| !listed.is_empty()) else {
        let what = "the dashboard does not list its services, so the mapping's service ids were not compared";
        return Finding::pass(CODE, what);
    };
    let unknown: Vec<&str> = used.difference(listed).map(String::as_str).collect();
    if unknown.is_empty() {
        let what = format!("the dashboard lists {} of the mapping", counted(used.len() as u64, "service id"));
        return Finding::pass(CODE, what);
    }
    let what = format!("the dashboard does not list the service ids {}", named(&unknown));
    let why = "it may refuse their records, which would wait in quarantine";
    let known: Vec<&str> = listed.iter().map(String::as_str).collect();
    let mend = format!("correct service_id in [mapping]; the dashboard lists {}", named(&known));
    Finding::warning(CODE, what, why).mended_by(mend)
}

/// The service ids that records may bear: those that the mapping names, or, where it takes them from the table, those
/// of the sample rows.
pub(super) fn used(config: &Config, mapping: &Mapping, rows: &[Row], now: DateTime<Utc>) -> BTreeSet<String> {
    match &config.mapping.service_id {
        Field::Value(id) => BTreeSet::from([id.clone()]),
        Field::Column { map: Some(map), .. } => map.values().cloned().collect(),
        Field::Mapped { map, other, .. } => map.values().chain(other).cloned().collect(),
        Field::Column { map: None, .. } | Field::Template(_) => {
            let service = |row: &Row| match normalize_row(mapping, row, now.timestamp_micros()) {
                NormalizedRow::Record(change) => Some(change.service_id.to_string()),
                _ => None,
            };
            rows.iter().filter_map(service).collect()
        }
    }
}

fn named(ids: &[&str]) -> String {
    let shown: Vec<String> = ids.iter().take(NAMED_MAX).map(|id| format!("\"{id}\"")).collect();
    let more = ids.len().saturating_sub(NAMED_MAX);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use change::Severity;

    use super::*;

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn an_id_that_the_dashboard_does_not_list_is_named_with_those_that_it_lists() {
        let finding = look_at(&ids(&["101", "103"]), Some(&ids(&["101", "102"])));
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.what, "the dashboard does not list the service ids \"103\"");
        assert!(finding.mend.unwrap().ends_with("lists \"101\", \"102\""));
        let many: Vec<String> = (0..12).map(|id| id.to_string()).collect();
        assert!(named(&many.iter().map(String::as_str).collect::<Vec<_>>()).ends_with("\"9\" and 2 more"));
    }

    #[test]
    fn a_dashboard_without_a_list_is_no_fault() {
        for listed in [None, Some(ids(&[])), Some(ids(&["101", "102"]))] {
            assert_eq!(look_at(&ids(&["101"]), listed.as_ref()).severity, Severity::Pass);
        }
    }
}
