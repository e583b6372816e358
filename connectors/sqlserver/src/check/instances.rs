//! Whether the table's changes are captured, with the columns that the mapping needs, and whether we may read them.

use change::nearest::{nearest, suggestion};
use change::{Finding, SourceError};

use super::Subject;
use super::capture::guarded_by;
use crate::catalog::Table;
use crate::client::Client;
use crate::instance::{self, Instance, Layout, by_preference};
use crate::name::{quote_ident, quote_literal};
use crate::rights;
use crate::setup::{enable_table, free_name};

/// A table has no more
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/about-change-data-capture-sql-server#capture-instance>).
const INSTANCES_MAX: usize = 2;
const CODE: &str = "capture_instance";

pub(super) async fn findings(
    subject: &Subject<'_>,
    client: &mut Client,
    table: &Table,
) -> Result<Vec<Finding>, SourceError> {
    let hidden = rights::unreadable_captures(client, &[]).await?;
    if !hidden.is_empty() {
        return Ok(vec![unreadable(subject, &hidden, &[])]);
    }
    let instances = instance::list(client, table).await?;
    if instances.is_empty() {
        return Ok(vec![none(table)]);
    }
    let mut findings = Vec::new();
    findings.extend(configured(subject, &instances));
    let change_tables: Vec<String> = instances.iter().map(|one| one.change_table.clone()).collect();
    let hidden = rights::unreadable_captures(client, &change_tables).await?;
    if !hidden.is_empty() {
        findings.push(unreadable(subject, &hidden, &change_tables));
        return Ok(findings);
    }
    findings.push(Finding::pass("cdc_select", "our user may read what was captured"));
    let taken: Vec<&str> = instances.iter().map(|one| one.name.as_str()).collect();
    let again = enable_table(table, Some(&free_name(table, &taken)));
    let mut fit = false;
    for instance in by_preference(&instances, subject.config) {
        let layout = Layout::look_up(client, table, subject.scope.keys, instance).await?;
        let guard = instance::guard(client, instance).await?;
        let (finding, serves) = judge(subject, instance, &again, (&layout, guard.as_deref()));
        fit |= serves;
        findings.push(finding);
    }
    if !fit {
        findings.push(unfit(table, &instances, &again));
    }
    Ok(findings)
}

fn none(table: &Table) -> Finding {
    Finding::error(
        CODE,
        format!("{} has no capture instance", table.quoted()),
        "the server keeps no changes of this table",
    )
    .mended_by(enable_table(table, None))
}

/// Whether the instance that the configuration names is there.
fn configured(subject: &Subject<'_>, instances: &[Instance]) -> Option<Finding> {
    let wanted = subject.config.capture_instance.as_deref()?;
    if instances.iter().any(|instance| instance.name == wanted) {
        return None;
    }
    let names = instances.iter().map(|instance| instance.name.as_str());
    let offer = suggestion(&nearest(wanted, names.clone()))
        .unwrap_or_else(|| format!("the table has {}", names.collect::<Vec<_>>().join(", ")));
    let finding = Finding::warning(
        CODE,
        format!("the table has no capture instance \"{wanted}\""),
        "another one is read in its place",
    );
    Some(finding.mended_by(format!("set capture_instance in [source.sqlserver], or leave it out: {offer}")))
}

fn unreadable(subject: &Subject<'_>, hidden: &[String], change_tables: &[String]) -> Finding {
    let user = &subject.server.user;
    Finding::error(
        "cdc_select",
        format!("user {} may not read {}", quote_ident(user), hidden.join(", ")),
        "what was captured cannot be read",
    )
    .mended_by(rights::grant_captures(user, change_tables).sql)
}

/// What there is to say of an instance, and whether it serves.
fn judge(
    subject: &Subject<'_>,
    instance: &Instance,
    again: &str,
    (layout, guard): (&Result<Layout, instance::Lacking>, Option<&str>),
) -> (Finding, bool) {
    let name = &instance.name;
    let layout = match layout {
        Ok(layout) => layout,
        Err(lacking) => {
            let what = format!("capture instance \"{name}\" has no {}", lacking.columns.join(", "));
            let why = "the mapping needs them: a column that was added or altered later is not captured";
            return (Finding::warning(CODE, what, why).mended_by(again), false);
        }
    };
    let Some(low) = instance.low else {
        let what = format!("the capture job has not seen capture instance \"{name}\" yet");
        let why = "it does within seconds where the agent and the capture job run";
        let finding = Finding::warning(CODE, what, why);
        return (finding.mended_by("run this check again in a minute: EXEC sys.sp_cdc_help_jobs"), true);
    };
    if subject.scope.keys && layout.key_kinds.is_empty() {
        let what = format!("capture instance \"{name}\" has not all columns of the table's key");
        let why =
            "on_delete asks for deleted rows to be reported, and they could not be told from each other";
        return (Finding::error(CODE, what, why).mended_by(again), true);
    }
    let guard = guard.map_or_else(|| "open to whoever may read the table".to_owned(), guarded_by);
    let what = format!("capture instance \"{name}\" has all mapped columns, from {low} on, {guard}");
    (Finding::pass(CODE, what), true)
}

/// No instance serves: the mend depends on how many there are.
fn unfit(table: &Table, instances: &[Instance], again: &str) -> Finding {
    let mend = match instances {
        [oldest, ..] if instances.len() >= INSTANCES_MAX => format!(
            "EXEC sys.sp_cdc_disable_table {}, {}, {}; {again}",
            quote_literal(&table.schema),
            quote_literal(&table.name),
            quote_literal(&oldest.name)
        ),
        _ => again.to_owned(),
    };
    let what = format!("no capture instance of {} has all mapped columns", table.quoted());
    Finding::error(CODE, what, "changes of what is missing would not be seen").mended_by(mend)
}
