//! How long the server keeps what it captured: as long as the connector may stand still.

use change::{Finding, SourceError};

use super::Subject;
use crate::client::Client;
use crate::jobs::{self, Jobs, Known};

const MINUTES_PER_DAY: i64 = 1440;
/// A long weekend must fit: it is the server's own default.
const KEPT_MIN: i64 = 3 * MINUTES_PER_DAY;
/// A week's holiday should fit.
pub(crate) const KEPT_GOOD: i64 = 7 * MINUTES_PER_DAY;
const CODE: &str = "log_retention";

pub(super) async fn findings(
    _subject: &Subject<'_>,
    client: &mut Client,
) -> Result<Vec<Finding>, SourceError> {
    Ok(vec![judge(&jobs::jobs(client).await?)])
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-change-job-transact-sql>
fn judge(found: &Known<Jobs>) -> Finding {
    let why = "whoever stands still for longer finds the changes cleaned up: the table is read anew then, and what \
               happened in between is known only by its outcome";
    let mend = format!("EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = {KEPT_GOOD}");
    let minutes = match found {
        Known::Told(Jobs { keeps_minutes: Some(minutes), .. }) => *minutes,
        Known::Told(_) => {
            return Finding::warning(
                CODE,
                "the database has no clean-up job",
                "the change tables grow without limit until they fill the disk",
            )
            .mended_by(format!("EXEC sys.sp_cdc_add_job @job_type = N'cleanup', @retention = {KEPT_GOOD}"));
        }
        Known::Hidden(reason) => {
            let what = format!("for how long the server keeps changes cannot be seen: {reason}");
            return Finding::warning(CODE, what, why).mended_by(mend);
        }
    };
    let what = format!("the server keeps changes for {}", in_words(minutes));
    if minutes >= KEPT_GOOD {
        return Finding::pass(CODE, what);
    }
    let what = format!("{what}, expected {} or more", in_words(KEPT_GOOD));
    if minutes < KEPT_MIN {
        return Finding::error(CODE, what, why).mended_by(mend);
    }
    Finding::warning(CODE, what, why).mended_by(mend)
}

fn in_words(minutes: i64) -> String {
    if minutes >= 2 * MINUTES_PER_DAY {
        return format!("{} days", minutes / MINUTES_PER_DAY);
    }
    if minutes >= 120 { format!("{} h", minutes / 60) } else { format!("{minutes} minutes") }
}

#[cfg(test)]
mod tests {
    use change::Severity;

    use super::*;

    #[test]
    fn changes_that_are_kept_too_short_are_told() {
        let judged = |minutes| judge(&Known::Told(Jobs { capture: None, keeps_minutes: minutes })).severity;
        assert_eq!(judged(Some(60)), Severity::Error);
        assert_eq!(judged(Some(4320)), Severity::Warning);
        assert_eq!(judged(Some(10_080)), Severity::Pass);
        assert_eq!(judged(None), Severity::Warning);
        assert_eq!(judge(&Known::Hidden("denied".to_owned())).severity, Severity::Warning);
    }
}
