//! Settings that are allowed and will hurt, and what the schedule means.

use std::net::IpAddr;
use std::time::Duration;

use change::Finding;
use chrono::{DateTime, SecondsFormat, Utc};
use pipeline::Times;

use crate::config::{Config, Tls, duration};
use crate::terminal::span;

/// X-Road itself may take this long to answer.
const X_ROAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The dashboard wants to hear at least this often.
const DAY: Duration = Duration::from_secs(86_400);

/// Warnings about the configuration, or one pass.
pub(super) fn look_at(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(database_in_the_clear(config));
    findings.extend(delivery_in_the_clear(config));
    if config.delivery.timeout < X_ROAD_TIMEOUT {
        let what = format!(
            "[delivery] timeout is {}, and X-Road itself may take {}",
            duration::display(config.delivery.timeout),
            duration::display(X_ROAD_TIMEOUT)
        );
        let why = "a batch whose answer comes too late is sent again, so the dashboard may see it twice";
        findings.push(Finding::warning("delivery_timeout", what, why).mended_by("timeout = \"90s\""));
    }
    findings.extend(webhook_in_the_clear(config));
    if let Some(listen) = config.status.listen.filter(|listen| !listen.ip().is_loopback()) {
        let what = format!("[status] listen is {listen}, which other machines can reach");
        let why =
            "the page has no encryption of its own: its token and what it shows can be read on the network";
        findings.push(Finding::warning("status_listen", what, why).mended_by("listen = \"127.0.0.1:9187\""));
    }
    if findings.is_empty() {
        findings.push(Finding::pass("configuration", format!("{} has no mistakes", config.path.display())));
    }
    findings
}

fn database_in_the_clear(config: &Config) -> Option<Finding> {
    let host = &config.source.host;
    if config.source.tls != Tls::Disable || is_local(host) || host.starts_with('/') {
        return None;
    }
    let what = format!("[source] tls is \"disable\", and the database is on {host}");
    let why = "rows of the table can be read and altered on the network";
    Some(Finding::warning("source_tls", what, why).mended_by("tls = \"verify-full\""))
}

fn delivery_in_the_clear(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let host = config.delivery.url.host_str().unwrap_or_default();
    if config.delivery.url.scheme() == "http" && !is_local(host) {
        let what = format!("[delivery] url is an http address on {host}");
        let why = "records and headers such as an api-key can be read and altered on the network";
        findings.push(Finding::warning("delivery_http", what, why).mended_by("write an https address"));
    }
    if config.delivery.tls_insecure {
        let why = "whoever sits between here and the dashboard can read and alter the records";
        let mend = "export the security server's certificate, name it in tls_ca, and remove tls_insecure";
        let what = "[delivery] tls_insecure is true: the endpoint's certificate is not verified";
        findings.push(Finding::warning("tls_insecure", what, why).mended_by(mend));
    }
    findings
}

fn webhook_in_the_clear(config: &Config) -> Option<Finding> {
    let url = reqwest::Url::parse(config.alerts.webhook.as_ref()?.expose()).ok()?;
    if url.scheme() != "http" || url.host_str().is_none_or(is_local) {
        return None;
    }
    // The rest of the address may hold a key.
    let what = format!("[alerts] webhook is an http address on {}", url.host_str().unwrap_or_default());
    let why = "alerts, and a key in the address, can be read and altered on the network";
    Some(Finding::warning("alerts_http", what, why).mended_by("write an https address"))
}

/// Whether nothing that is sent to `host` leaves this machine.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// When the next flush is due, and whether the clock can be believed.
pub(super) fn times(config: &Config, now: DateTime<Utc>) -> Vec<Finding> {
    vec![clock(now), next_flush(config, now)]
}

fn clock(now: DateTime<Utc>) -> Finding {
    /// 2025-01-01: this version is younger than that.
    const PLAUSIBLE: i64 = 1_735_689_600;
    let shown = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    if now.timestamp() >= PLAUSIBLE {
        return Finding::pass("clock", format!("the clock says {shown}"));
    }
    let why = "flushes would run at wrong times, and certificates would not be believed";
    Finding::error("clock", format!("the clock says {shown}, which is in the past"), why)
        .mended_by("timedatectl set-ntp true")
}

fn next_flush(config: &Config, now: DateTime<Utc>) -> Finding {
    const CODE: &str = "schedule";
    let zone = config.schedule.zone;
    let Some(next) = config.schedule.flushes.next_after(now) else {
        let why = "nothing would ever be sent by the daemon itself";
        return Finding::error(CODE, "[schedule] never comes due", why).mended_by("flush_at = [\"02:00\"]");
    };
    let waiting = (next - now).to_std().unwrap_or_default();
    let what = format!(
        "the next flush is due in {}, at {} ({zone})",
        span(waiting),
        next.with_timezone(&zone).format("%Y-%m-%d %H:%M")
    );
    if let Some(window) = config.delivery.window.filter(|window| !window.contains(next)) {
        let opens = window.opens_after(next).with_timezone(&zone).format("%Y-%m-%d %H:%M");
        let what = format!("{what}, while [delivery] window is closed");
        let why = format!("nothing is sent before it opens, at {opens}");
        return Finding::warning(CODE, what, why).mended_by("let the window hold the times of [schedule]");
    }
    let too_rare = match config.schedule.flushes.times() {
        Times::Every(every) => *every > DAY,
        Times::Cron(_) => waiting > DAY,
        Times::At(_) => false,
    };
    if too_rare {
        let why = "the dashboard wants every day's status changes within 24 hours";
        return Finding::warning(CODE, what, why).mended_by("flush_at = [\"02:00\"]");
    }
    Finding::pass(CODE, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for (host, local) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.0.0.42", true),
            ("::1", true),
            ("[::1]", true),
            ("10.0.0.1", false),
            ("localhost.example", false),
            ("127.example", false),
        ] {
            assert_eq!(is_local(host), local, "{host}");
        }
    }

    #[test]
    fn a_clock_before_this_version_is_not_believed() {
        assert_eq!(clock(DateTime::UNIX_EPOCH).severity, change::Severity::Error);
        assert_eq!(clock(Utc::now()).severity, change::Severity::Pass);
    }
}
