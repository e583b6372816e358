//! Whether the server's own capture runs. *No changes* is not the same as *nobody reads the log*: each cause of silence
//! has a finding of its own.

use change::{Finding, SourceError};

use super::Subject;
use crate::client::Client;
use crate::jobs::{self, Agent, CapturedEnd, Jobs, Known};
use crate::server::Kind;
use crate::{name::quote_ident, rights};

/// The capture gives a sign every five minutes, even when nothing changes; two of them must be missing.
const SIGN_SECONDS_MAX: i64 = 11 * 60;
/// Errors older than this have been lived with.
const ERROR_MINUTES_MAX: i64 = 24 * 60;

pub(super) async fn findings(
    subject: &Subject<'_>,
    client: &mut Client,
) -> Result<Vec<Finding>, SourceError> {
    let mut findings = Vec::new();
    // Azure SQL Database captures by a scheduler of its own.
    if subject.server.kind != Kind::AzureDatabase {
        findings.push(agent(subject, &jobs::agent(client).await?));
        findings.push(job(subject, &jobs::jobs(client).await?));
    }
    findings.push(error(subject, &jobs::last_error(client).await?));
    findings.push(end(&jobs::captured_end(client).await?));
    Ok(findings)
}

fn agent(subject: &Subject<'_>, agent: &Known<Option<Agent>>) -> Finding {
    let code = "agent";
    let why = "SQL Server Agent drives the capture: while it is stopped nothing is captured, and the database's log \
               grows, because it must keep what was not captured";
    match agent {
        Known::Told(Some(agent)) if agent.runs => Finding::pass(code, "SQL Server Agent is running"),
        Known::Told(Some(agent)) => {
            let what = format!("SQL Server Agent is {}, expected running", agent.state);
            Finding::error(code, what, why).mended_by(
                "start the service SQLSERVERAGENT and let it start by itself; on Linux: /opt/mssql/bin/mssql-conf set \
                 sqlagent.enabled true, then restart mssql-server",
            )
        }
        Known::Told(None) => Finding::warning(code, "the server lists no SQL Server Agent", why)
            .mended_by("look whether the capture runs: EXEC sys.sp_cdc_help_jobs"),
        Known::Hidden(reason) => Finding::warning(
            code,
            format!("whether SQL Server Agent runs cannot be seen: {reason}"),
            "when it stops, only the missing signs of the capture tell, after some minutes",
        )
        .mended_by(rights::grant_server_insight(&subject.config.user, &subject.server.database).sql),
    }
}

fn job(subject: &Subject<'_>, found: &Known<Jobs>) -> Finding {
    let code = "capture_job";
    match found {
        Known::Told(Jobs { capture: Some(job), .. }) => {
            let pace = match job.per_second() {
                Some(pace) => format!(", up to {pace} transactions a second"),
                None => String::new(),
            };
            let what = format!(
                "the capture job reads {} transactions a scan, {} scans every {} s{pace}",
                job.transactions, job.scans, job.interval
            );
            if job.continuous {
                return Finding::pass(code, what);
            }
            Finding::warning(
                code,
                format!("{what}, and then ends (continuous = 0)"),
                "changes are captured only when the job is started again, by its schedule or by hand",
            )
            .mended_by("EXEC sys.sp_cdc_change_job @job_type = N'capture', @continuous = 1; then sp_cdc_stop_job and \
                        sp_cdc_start_job")
        }
        Known::Told(_) => Finding::error(
            code,
            "the database has no capture job",
            "nothing reads the log: after a fail-over or a restore, the jobs stay behind on the other server",
        )
        .mended_by(
            "EXEC sys.sp_cdc_add_job @job_type = N'capture'; EXEC sys.sp_cdc_add_job @job_type = N'cleanup'",
        ),
        Known::Hidden(reason) => Finding::warning(
            code,
            format!("the capture's jobs cannot be seen: {reason}"),
            "when the job is missing, only the missing signs of the capture tell, after some minutes",
        )
        .mended_by(rights::grant_jobs(&subject.config.user, &subject.server.place()).sql),
    }
}

fn error(subject: &Subject<'_>, last: &Known<Option<(String, i64)>>) -> Finding {
    let code = "capture_errors";
    match last {
        Known::Told(Some((message, minutes))) if *minutes <= ERROR_MINUTES_MAX => Finding::warning(
            code,
            format!("the capture job failed {minutes} minutes ago: {message}"),
            "as long as it fails, nothing is captured and the database's log grows",
        )
        .mended_by("SELECT * FROM sys.dm_cdc_errors ORDER BY entry_time DESC tells more; mend what it says"),
        Known::Told(_) => Finding::pass(code, "the capture job has told no error of late"),
        Known::Hidden(reason) => Finding::warning(
            code,
            format!("the capture's errors cannot be seen: {reason}"),
            "a capture that fails again and again looks like a quiet day for some minutes",
        )
        .mended_by(rights::grant_database_insight(&subject.config.user).sql),
    }
}

/// `sys.fn_cdc_get_max_lsn` is NULL until the capture has run for the first time, and moves every five minutes even
/// when nothing changes.
fn end(end: &CapturedEnd) -> Finding {
    let code = "captured_end";
    let mend = "look at the agent and the capture job: EXEC sys.sp_cdc_help_jobs; SELECT * FROM sys.dm_cdc_errors; \
                SELECT * FROM sys.dm_cdc_log_scan_sessions";
    let Some(lsn) = end.lsn else {
        return Finding::error(
            code,
            "nothing was captured yet: sys.fn_cdc_get_max_lsn is NULL",
            "the capture job has not run since capture was enabled: there is no place to begin at",
        )
        .mended_by(mend);
    };
    match end.seconds_ago {
        Some(seconds) if seconds > SIGN_SECONDS_MAX => Finding::error(
            code,
            format!("the captured log ends at {lsn}, {} minutes ago, and does not move", seconds / 60),
            "it moves every five minutes even when nothing changes: nothing reads the log",
        )
        .mended_by(mend),
        _ => Finding::pass(code, format!("the captured log ends at {lsn}, and moves")),
    }
}

/// Names of a role that guards an instance, as a phrase.
pub(super) fn guarded_by(role: &str) -> String {
    format!("guarded by role {}", quote_ident(role))
}

#[cfg(test)]
mod tests {
    use change::{Severity, TableScope};

    use super::*;
    use crate::config::tests::config;
    use crate::jobs::CaptureJob;
    use crate::server::tests::server;

    fn with_subject(judge: impl Fn(&Subject<'_>) -> Finding) -> Finding {
        let scope = change::Scope::from(TableScope {
            table: "t".to_owned(),
            columns: Vec::new(),
            keys: false,
            since: None,
            condition: None,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        });
        judge(&Subject { config: &config(), scope: &scope, server: &server() })
    }

    #[test]
    fn each_cause_of_silence_has_its_own_finding() {
        let state = Agent { runs: false, state: "stopped".to_owned() };
        let stopped = with_subject(|subject| agent(subject, &Known::Told(Some(state.clone()))));
        assert!(stopped.severity == Severity::Error && stopped.what.contains("stopped"), "{stopped:?}");
        let none = with_subject(|subject| job(subject, &Known::Told(Jobs::default())));
        assert!(none.mend.unwrap().contains("sp_cdc_add_job"));
        let never = end(&CapturedEnd { lsn: None, seconds_ago: None });
        assert!(never.severity == Severity::Error && never.what.contains("NULL"), "{never:?}");
        let frozen = end(&CapturedEnd { lsn: Some(crate::lsn::Lsn::default()), seconds_ago: Some(3600) });
        assert!(frozen.severity == Severity::Error && frozen.what.contains("60 minutes"), "{frozen:?}");
        let failing =
            with_subject(|subject| error(subject, &Known::Told(Some(("the log is full".to_owned(), 3)))));
        assert!(failing.severity == Severity::Warning && failing.what.contains("the log is full"));
        let old = with_subject(|subject| error(subject, &Known::Told(Some(("x".to_owned(), 9000)))));
        assert_eq!(old.severity, Severity::Pass);
    }

    #[test]
    fn what_cannot_be_seen_is_no_error_and_names_the_right() {
        let hidden = || Known::Hidden("denied".to_owned());
        let agent = with_subject(|subject| agent(subject, &hidden()));
        assert!(agent.severity == Severity::Warning && agent.mend.unwrap().contains("VIEW SERVER STATE"));
        let error = with_subject(|subject| error(subject, &Known::Hidden("denied".to_owned())));
        assert!(error.severity == Severity::Warning && error.mend.unwrap().contains("VIEW DATABASE STATE"));
    }

    #[test]
    fn a_job_that_ends_after_each_scan_is_told() {
        let job_of = |continuous: bool| {
            let capture = Some(CaptureJob { transactions: 500, scans: 10, continuous, interval: 5 });
            let found = Known::Told(Jobs { capture, keeps_minutes: None });
            with_subject(|subject| job(subject, &found))
        };
        assert!(job_of(true).what.contains("1000 transactions a second"));
        assert_eq!(job_of(false).severity, Severity::Warning);
    }
}
