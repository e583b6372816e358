//! What `check` found, for people and for programs.

use change::{Finding, Severity};
use serde::Serialize;

use crate::terminal::{counted, printable};

/// Findings, grouped by what they are about.
#[derive(Debug, Default)]
pub(super) struct Report {
    groups: Vec<(&'static str, Vec<Finding>)>,
}

impl Report {
    /// A report about a configuration that cannot be read, so that nothing else was looked at.
    pub(super) fn of_bad_configuration(findings: Vec<Finding>) -> Self {
        Self { groups: vec![("Configuration", findings)] }
    }

    pub(super) fn add(&mut self, group: &'static str, findings: Vec<Finding>) {
        self.groups.push((group, findings));
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings().filter(|(_, finding)| finding.severity == severity).count()
    }

    fn findings(&self) -> impl Iterator<Item = (&'static str, &Finding)> {
        self.groups.iter().flat_map(|(group, findings)| findings.iter().map(move |finding| (*group, finding)))
    }

    /// Whether nothing stands in the way; warnings do not.
    pub(super) fn is_ok(&self) -> bool {
        self.count(Severity::Error) == 0
    }

    /// One line per finding under its group, with reasons and remedies, and the sum at the end.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (group, findings) in &self.groups {
            if findings.is_empty() {
                continue;
            }
            text.push_str(&format!("{group}\n"));
            for finding in findings {
                text.push_str(&line(finding));
            }
            text.push('\n');
        }
        let errors = counted(self.count(Severity::Error) as u64, "error");
        let warnings = counted(self.count(Severity::Warning) as u64, "warning");
        let verdict = if self.is_ok() { "ready" } else { "not ready: mend the errors, then check again" };
        text.push_str(&format!("{errors}, {warnings}: {verdict}"));
        text
    }

    /// `{"version":1,"ok":…,"findings":[{"group","code","severity","what","why","mend"}]}` on one line.
    pub(super) fn json(&self) -> String {
        let findings = self.findings().map(|(group, finding)| FindingShape {
            group: group.to_lowercase(),
            code: finding.code,
            severity: finding.severity.to_string(),
            what: &finding.what,
            why: &finding.why,
            mend: finding.mend.as_deref(),
        });
        let shape = ReportShape { version: 1, ok: self.is_ok(), findings: findings.collect() };
        // Texts and truth values always have a JSON form.
        serde_json::to_string(&shape).unwrap_or_default()
    }
}

/// The report as programs read it: keys are only ever added.
#[derive(Serialize)]
struct ReportShape<'a> {
    version: u32,
    ok: bool,
    findings: Vec<FindingShape<'a>>,
}

#[derive(Serialize)]
struct FindingShape<'a> {
    group: String,
    code: &'static str,
    severity: String,
    what: &'a str,
    why: &'a str,
    mend: Option<&'a str>,
}

fn line(finding: &Finding) -> String {
    let mark = match finding.severity {
        Severity::Pass => "✔ ok     ",
        Severity::Warning => "! warning",
        Severity::Error => "✘ error  ",
    };
    let mut text = format!("  {mark}  {}\n", printable(&finding.what));
    if !finding.why.is_empty() {
        text.push_str(&format!("             why:  {}\n", printable(&finding.why)));
    }
    if let Some(mend) = &finding.mend {
        let indented = mend.trim_end().replace('\n', "\n                   ");
        text.push_str(&format!("             mend: {indented}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.add("Configuration", Vec::new());
        report.add(
            "Database",
            vec![
                Finding::pass("server_version", "server is PostgreSQL 18"),
                Finding::error(
                    "wal_level",
                    "wal_level is \"replica\", expected \"logical\"",
                    "the log lacks the rows",
                )
                .mended_by("ALTER SYSTEM SET wal_level = 'logical';\nthen restart the server"),
            ],
        );
        report.add("Endpoint", vec![Finding::warning("endpoint", "answered 404", "it may still take POSTs")]);
        report
    }

    #[test]
    fn findings_are_grouped_for_people() {
        insta::assert_snapshot!(report().text(), @r#"
        Database
          ✔ ok       server is PostgreSQL 18
          ✘ error    wal_level is "replica", expected "logical"
                     why:  the log lacks the rows
                     mend: ALTER SYSTEM SET wal_level = 'logical';
                           then restart the server

        Endpoint
          ! warning  answered 404
                     why:  it may still take POSTs

        1 error, 1 warning: not ready: mend the errors, then check again
        "#);
    }

    #[test]
    fn findings_are_listed_for_programs() {
        let json: Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["ok"], false);
        assert_eq!(json["findings"].as_array().unwrap().len(), 3);
        assert_eq!(json["findings"][0]["mend"], Value::Null);
        assert_eq!(json["findings"][1]["severity"], "error");
        assert_eq!(json["findings"][2]["group"], "endpoint");
    }
}
