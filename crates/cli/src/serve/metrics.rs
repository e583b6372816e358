//! The status in Prometheus' text format.

use chrono::DateTime;
use pipeline::{SourceState, Status};

const STATES: [(SourceState, &str); 5] = [
    (SourceState::Connecting, "connecting"),
    (SourceState::Streaming, "streaming"),
    (SourceState::Repairing, "repairing"),
    (SourceState::Silent, "silent"),
    (SourceState::Stopped, "stopped"),
];

const RESULTS: [&str; 4] = ["acknowledged", "partial", "failed", "halted"];

/// Writes every metric; what is unknown is left out, as Prometheus expects.
pub(super) fn render(status: &Status) -> String {
    let mut text = String::new();
    head(&mut text, "bitacora_source_state", "gauge", "1 for the state that the capture is in.");
    for (state, name) in STATES {
        let value = u8::from(state == status.source.state);
        line(&mut text, &format!("bitacora_source_state{{state=\"{name}\"}}"), f64::from(value));
    }
    if !status.alerts.is_empty() {
        head(&mut text, "bitacora_alert", "gauge", "1 for each alert that stands, by its code.");
        for alert in &status.alerts {
            line(&mut text, &format!("bitacora_alert{{code=\"{}\"}}", label(&alert.code)), 1.0);
        }
    }
    head(&mut text, "bitacora_build_info", "gauge", "1, with the version and the engine.");
    let (version, engine) = (env!("CARGO_PKG_VERSION"), label(&status.source.engine));
    line(&mut text, &format!("bitacora_build_info{{version=\"{version}\",engine=\"{engine}\"}}"), 1.0);
    if let Some(result) = status.flush.last.as_ref().and_then(|flush| flush.result.as_deref()) {
        head(&mut text, "bitacora_flush_last_result", "gauge", "1 for how the latest flush ended.");
        for name in RESULTS {
            let value = f64::from(u8::from(name == result));
            line(&mut text, &format!("bitacora_flush_last_result{{result=\"{name}\"}}"), value);
        }
    }
    for (name, kind, help, value) in capture(status).into_iter().chain(delivery(status)) {
        if let Some(value) = value {
            head(&mut text, name, kind, help);
            line(&mut text, name, value);
        }
    }
    text
}

/// Name, type, meaning and value of a metric.
type Metric = (&'static str, &'static str, &'static str, Option<f64>);

fn capture(status: &Status) -> Vec<Metric> {
    let source = &status.source;
    vec![
        (
            "bitacora_lag_seconds",
            "gauge",
            "Seconds by which the ledger is behind the database.",
            source.lag_seconds,
        ),
        (
            "bitacora_retention_seconds",
            "gauge",
            "Seconds until the server may clean its log up.",
            source.retention_hours.map(|hours| hours * 3600.0),
        ),
        (
            "bitacora_source_log_kept_bytes",
            "gauge",
            "Bytes of log that the server keeps for the connector.",
            source.kept_bytes.map(|bytes| bytes as f64),
        ),
        (
            "bitacora_captured_changes_total",
            "counter",
            "Row changes captured since the ledger was made.",
            Some(status.captured_changes as f64),
        ),
        ("bitacora_gaps_total", "counter", "Losses of the database's log.", Some(status.gaps.len() as f64)),
        ("bitacora_alerts", "gauge", "Alerts that stand.", Some(status.alerts.len() as f64)),
    ]
}

fn delivery(status: &Status) -> Vec<Metric> {
    let last = status.flush.last.as_ref();
    vec![
        (
            "bitacora_delta_records",
            "gauge",
            "Status changes that the dashboard has not acknowledged.",
            Some(status.delta.records as f64),
        ),
        (
            "bitacora_delta_oldest_timestamp_seconds",
            "gauge",
            "When the oldest of them was captured.",
            seconds(status.delta.oldest_at.as_deref()),
        ),
        (
            "bitacora_flush_last_finished_timestamp_seconds",
            "gauge",
            "When the latest flush ended.",
            seconds(last.and_then(|flush| flush.finished_at.as_deref())),
        ),
        (
            "bitacora_flush_last_records",
            "gauge",
            "Records that the latest flush delivered.",
            last.map(|flush| flush.records as f64),
        ),
        (
            "bitacora_flush_next_timestamp_seconds",
            "gauge",
            "When the next flush is due.",
            seconds(status.flush.next_at.as_deref()),
        ),
        (
            "bitacora_delivery_failed_attempts",
            "gauge",
            "Failed delivery attempts since the last acknowledgement.",
            Some(f64::from(status.flush.failed_attempts)),
        ),
        (
            "bitacora_backfill_waiting_records",
            "gauge",
            "Records of the backfill that wait to be sent.",
            Some(status.backfill.waiting as f64),
        ),
        (
            "bitacora_backfill_records_total",
            "counter",
            "Records of the backfill that were acknowledged.",
            Some(status.backfill.records as f64),
        ),
        (
            "bitacora_quarantine_rows",
            "gauge",
            "Rows that could not be mapped.",
            Some(status.quarantine.rows as f64),
        ),
        (
            "bitacora_quarantine_records",
            "gauge",
            "Records that the dashboard refuses.",
            Some(status.quarantine.records as f64),
        ),
    ]
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

/// Escapes a label's value.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn line(text: &mut String, name: &str, value: f64) {
    text.push_str(&format!("{name} {value}\n"));
}

fn seconds(moment: Option<&str>) -> Option<f64> {
    let moment = DateTime::parse_from_rfc3339(moment?).ok()?;
    Some(moment.timestamp_micros() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pipeline::{Alert, Health};

    use super::*;

    /// A state in which every metric has a value.
    fn full() -> Status {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger::Ledger::open(folder.path(), "test").unwrap();
        let now = chrono::Utc::now();
        let mut status = pipeline::status(&ledger, "postgres", &Health::default().view(), now).unwrap();
        let at = Some(now.to_rfc3339());
        status.source.lag_seconds = Some(0.5);
        status.source.retention_hours = Some(12.0);
        status.source.kept_bytes = Some(1);
        status.delta.oldest_at.clone_from(&at);
        status.flush.next_at.clone_from(&at);
        status.flush.last = Some(pipeline::LastFlush {
            started_at: now.to_rfc3339(),
            finished_at: at,
            result: Some("halted".into()),
            records: 1,
            batches: 1,
            error: None,
        });
        let code = "a \"quoted\"\ncode".to_owned();
        status.alerts.push(Alert { code, since: now, what: String::new(), hint: None });
        status
    }

    fn names(text: &str) -> BTreeSet<&str> {
        let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
        text.split(|character: char| !is_part(character))
            .filter(|word| word.starts_with("bitacora_"))
            .collect()
    }

    #[test]
    fn every_line_is_a_comment_or_a_number_by_name() {
        let text = render(&full());
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && name.starts_with("bitacora_"), "{line}");
        }
        assert!(text.contains("bitacora_flush_last_result{result=\"halted\"} 1\n"), "{text}");
        assert!(text.contains("bitacora_alert{code=\"a \\\"quoted\\\"\\ncode\"} 1\n"), "{text}");
    }

    #[test]
    fn the_dashboard_and_the_rules_ask_only_for_metrics_that_exist() {
        let text = render(&full());
        let known = names(&text);
        let dashboard = include_str!("../../../../docs/monitoring/grafana-dashboard.json");
        assert!(serde_json::from_str::<serde_json::Value>(dashboard).is_ok());
        for document in [dashboard, include_str!("../../../../docs/monitoring/alert-rules.yml")] {
            let unknown: Vec<_> = names(document).difference(&known).copied().collect();
            assert!(unknown.is_empty(), "{unknown:?} are no metrics");
        }
    }
}
