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

/// Writes every metric; what is unknown is left out, as Prometheus expects.
pub(super) fn render(status: &Status) -> String {
    let mut text = String::new();
    head(&mut text, "bitacora_source_state", "gauge", "1 for the state that the capture is in.");
    for (state, name) in STATES {
        let value = u8::from(state == status.source.state);
        line(&mut text, &format!("bitacora_source_state{{state=\"{name}\"}}"), f64::from(value));
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

fn line(text: &mut String, name: &str, value: f64) {
    text.push_str(&format!("{name} {value}\n"));
}

fn seconds(moment: Option<&str>) -> Option<f64> {
    let moment = DateTime::parse_from_rfc3339(moment?).ok()?;
    Some(moment.timestamp_micros() as f64 / 1e6)
}
