//! What an audit found, in words and as JSON.

use std::collections::BTreeMap;

use ledger::{Audit, Difference, DifferenceKind, MonthAudit};
use serde_json::json;

use crate::commands::backfill::month_name;
use crate::commands::explain::moment;
use crate::commands::flush::status_name;
use crate::exit::{Exit, Failure};
use crate::terminal::{Table, count, counted, printable, say};

/// Differences that people are shown; scripts are given all.
const LISTED_MAX: u32 = 50;

/// What an audit found.
pub(super) struct Report<'a> {
    pub(super) months: &'a BTreeMap<u32, MonthAudit>,
    /// How many tables are mapped.
    pub(super) tables: usize,
    /// The position of the log that it is as of.
    pub(super) position: Option<&'a str>,
    /// Whether the log after that position is gone.
    pub(super) log_lost: bool,
    /// Rows of the tables that cannot be mapped.
    pub(super) rejected_rows: u64,
    /// How many were put into the delta, if that was asked for.
    pub(super) repaired: Option<u64>,
}

impl Report<'_> {
    fn total(&self) -> MonthAudit {
        self.months.values().fold(MonthAudit::default(), |sum, month| MonthAudit {
            equal: sum.equal + month.equal,
            on_their_way: sum.on_their_way + month.on_their_way,
            missing: sum.missing + month.missing,
            different: sum.different + month.different,
            unknown: sum.unknown + month.unknown,
            unreported: sum.unreported + month.unreported,
            set_aside: sum.set_aside + month.set_aside,
        })
    }

    /// What the dashboard should know and does not, after the repair if there was one.
    fn wrong(&self) -> u64 {
        let total = self.total();
        let unsent = match self.repaired {
            // What went on while it was being repaired comes by the stream.
            Some(_) => 0,
            None => total.missing + total.different,
        };
        unsent + total.unreported
    }

    pub(super) fn exit(&self) -> Exit {
        match (self.wrong(), self.total().set_aside + self.rejected_rows) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::Quarantine,
            _ => Exit::Failed,
        }
    }

    /// Prints the result for people.
    pub(super) fn say_text(&self, desk: &Audit) -> Result<(), Failure> {
        let headings =
            ["month", "equal>", "on their way>", "missing>", "different>", "unknown>", "set aside>"];
        let mut table = Table::new(&headings);
        let mut row = |name: String, month: &MonthAudit| {
            let counts = [month.equal, month.on_their_way, month.missing, month.different, month.unknown];
            table.row([name].into_iter().chain(counts.map(count)).chain([count(month.set_aside)]));
        };
        for (month, counts) in self.months {
            row(month_name(*month), counts);
        }
        row("total".into(), &self.total());
        say(&table.render())?;
        self.say_verdict(desk)?;
        let total = self.total();
        let listed = total.missing + total.different + total.unknown;
        if listed > 0 {
            self.say_differences(desk, listed)?;
        }
        Ok(())
    }

    fn say_verdict(&self, desk: &Audit) -> Result<(), Failure> {
        let total = self.total();
        let noun = noun(desk);
        let at = self.position.map(|position| format!(", as of {position} in the log")).unwrap_or_default();
        if total.missing + total.different == 0 {
            say(&format!("the dashboard was told, or will be, what the database says{at}"))?;
        } else {
            say(&format!(
                "{} missing and {} different on the dashboard{at}",
                counted(total.missing, noun),
                counted(total.different, noun)
            ))?;
        }
        if self.log_lost {
            say("the log after that position is lost: the next `bitacora run` mends that by itself")?;
        }
        match self.repaired {
            Some(0) if total.missing + total.different == 0 => say("there is nothing to repair")?,
            Some(repaired) => say(&format!(
                "{} put into the delta; the next flush sends them{}",
                counted(repaired, noun),
                went_on(total.missing + total.different - repaired.min(total.missing + total.different))
            ))?,
            None if total.missing + total.different > 0 => {
                say("`bitacora audit --repair` puts what is missing or different into the delta")?;
            }
            None => {}
        }
        for (gone, why) in [
            (total.unreported, "its deletion was not seen, and cannot be repaired"),
            (total.unknown - total.unreported, "`on_delete` ignores that"),
        ] {
            if gone > 0 {
                say(&format!(
                    "{} told to the dashboard and not in the database any more, or outside `[source] where`: {why}",
                    counted(gone, noun)
                ))?;
            }
        }
        if self.rejected_rows > 0 {
            let rows = counted(self.rejected_rows, "row");
            say(&format!(
                "{rows} cannot be mapped or joined: `bitacora quarantine list` and `bitacora status` tell more"
            ))?;
        }
        Ok(())
    }

    fn say_differences(&self, desk: &Audit, listed: u64) -> Result<(), Failure> {
        let several = self.tables > 1;
        let mut headings = vec!["difference", "month", "service", noun(desk), "dashboard", "database"];
        headings.extend(several.then_some("table"));
        let mut table = Table::new(&headings);
        desk.differences(Some(LISTED_MAX), |difference| {
            let status = |status: Option<u8>| status.map_or_else(|| "-".to_owned(), status_name);
            let row_key = difference.row_key.as_deref().map(key_name);
            let what = row_key.map(|key| format!("{} of {}", key, difference.request_id));
            let cells = [
                difference.kind.as_str().to_owned(),
                month_name(difference.month),
                difference.service_id.clone(),
                what.unwrap_or_else(|| difference.request_id.clone()),
                status(difference.known_status),
                status(difference.database_status),
            ];
            let name = several.then(|| desk.table_name(difference.table).to_owned());
            table.row(cells.into_iter().chain(name));
            Ok::<_, Failure>(())
        })?;
        say(&table.render())?;
        let more = listed.saturating_sub(u64::from(LISTED_MAX));
        if more > 0 {
            say(&format!("and {} more: --json tells all", count(more)))?;
        }
        Ok(())
    }

    /// Prints the result for scripts, difference by difference: there may be more of them than memory holds.
    pub(super) fn say_json(&self, desk: &Audit) -> Result<(), Failure> {
        let month = |month: &MonthAudit| {
            json!({
                "equal": month.equal,
                "on_their_way": month.on_their_way,
                "missing": month.missing,
                "different": month.different,
                "unknown": month.unknown,
                "set_aside": month.set_aside,
            })
        };
        let months: BTreeMap<String, _> =
            self.months.iter().map(|(name, counts)| (month_name(*name), month(counts))).collect();
        let head = json!({
            "version": 1,
            "compared": compared(desk),
            "position": self.position,
            "log_lost": self.log_lost,
            "months": months,
            "total": month(&self.total()),
            "rejected_rows": self.rejected_rows,
            "repaired": self.repaired,
        });
        let head = head.to_string();
        say(&format!("{},\n\"differences\":[", head.strip_suffix('}').unwrap_or(&head)))?;
        let mut before = None;
        desk.differences(None, |difference| {
            let line = as_json(desk, difference).to_string();
            match before.replace(line) {
                Some(before) => say(&format!("{before},")),
                None => Ok(()),
            }
        })?;
        say(&format!("{}]}}", before.unwrap_or_default()))
    }
}

/// What is counted, one of them.
fn noun(desk: &Audit) -> &'static str {
    match (desk.compares_requests(), desk.compares_rows()) {
        (true, true) => "record",
        (false, true) => "row",
        _ => "request",
    }
}

/// What is counted, in results for scripts.
fn compared(desk: &Audit) -> &'static str {
    match (desk.compares_requests(), desk.compares_rows()) {
        (true, true) => "requests and rows",
        (false, true) => "rows",
        _ => "requests",
    }
}

fn went_on(left: u64) -> String {
    match left {
        0 => String::new(),
        left => format!("; {} went on meanwhile and will come by the stream", count(left)),
    }
}

/// A row's key as people read it.
fn key_name(key: &str) -> String {
    printable(&key.replace('\u{1f}', ", "))
}

fn as_json(desk: &Audit, difference: &Difference) -> serde_json::Value {
    let kind = difference.kind;
    json!({
        "difference": kind.as_str(),
        "table": desk.table_name(difference.table),
        "month": month_name(difference.month),
        "service_id": difference.service_id,
        "request_id": difference.request_id,
        "row": difference.row_key.as_deref().map(key_name),
        "known_status": difference.known_status,
        "database_status": difference.database_status,
        "opening_date": difference.opening_at.map(moment),
        "last_modified_date": difference.modified_at.filter(|_| kind != DifferenceKind::Unknown).map(moment),
    })
}
