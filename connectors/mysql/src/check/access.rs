//! What our user may do: read the log, lock the table for a moment, and read it.

use change::{Finding, SourceError, TableScope};

use super::Subject;
use crate::catalog::Table;
use crate::rights;
use crate::setup;
use crate::wire::Connection;

/// Whether the log may be read.
pub(super) fn log(subject: &Subject<'_>) -> Vec<Finding> {
    let rights = subject.rights;
    let account = subject.account;
    let grant = rights::grant_log(account, &subject.server.flavour).sql;
    let mut findings = Vec::new();
    for (held, what) in [
        (rights.reads_log, "no REPLICATION SLAVE right, by which the log is read"),
        (rights.sees_log, "no right to ask where the log ends"),
    ] {
        if !held {
            let what = format!("user {account} has {what}");
            let why = "without it no change can be captured";
            findings.push(Finding::error("replication_right", what, why).mended_by(grant.clone()));
        }
    }
    if rights.is_superuser {
        findings.push(
            Finding::warning(
                "replication_right",
                format!("user {account} may do everything, expected one that may read the log and no more"),
                "whoever learns its password owns the server; the connector needs to read a few columns",
            )
            .mended_by("set another user in the [source] part and run `bitacora setup` for its statements"),
        );
    } else if findings.is_empty() {
        findings.push(Finding::pass("replication_right", format!("user {account} may read the log")));
    }
    findings
}

const LOCK: &str = "lock_right";

/// Whether an exact copy of the tables can be begun.
pub(super) fn locks(subject: &Subject<'_>, tables: &[&Table]) -> Vec<Finding> {
    if subject.server.flavour.is_mariadb() {
        return vec![Finding::pass(LOCK, "this server tells a snapshot's place in the log without a lock")];
    }
    tables.iter().map(|table| lock(subject, table)).collect()
}

fn lock(subject: &Subject<'_>, table: &Table) -> Finding {
    let code = LOCK;
    if subject.rights.locks(&table.database) {
        return Finding::pass(
            code,
            format!("user {} may lock {} for a moment", subject.account, table.quoted()),
        );
    }
    Finding::warning(
        code,
        format!("user {} may not lock {} for a moment", subject.account, table.quoted()),
        "a copy exactly as of a position in the log begins under such a lock; without it all tables are copied in \
         pages, which takes longer",
    )
    .mended_by(rights::grant_lock(subject.account, &table.database).sql)
}

/// Whether the first copy, repairs and audits can read what they need.
pub(super) fn table(
    subject: &Subject<'_>,
    connection: &mut Connection,
    (scope, table): (&TableScope, &Table),
) -> Result<Vec<Finding>, SourceError> {
    let held = rights::ask_table(connection, table)?;
    let account = subject.account;
    let grant = if held.sees_all {
        let needed = rights::needed_columns(table);
        let columns: Vec<&str> = needed.iter().map(|column| column.name.as_str()).collect();
        rights::grant_select(account, &table.quoted(), &columns).sql
    } else {
        // The key may be among what is hidden: the statements find it.
        setup::grant_script(subject.config, scope, account)?
    };
    let mut findings = Vec::new();
    if held.unreadable.is_empty() {
        let what = format!("user {account} may read the mapped columns and the key of {}", table.quoted());
        findings.push(Finding::pass("select", what));
    } else {
        let what =
            format!("user {account} may not read {} of {}", held.unreadable.join(", "), table.quoted());
        let why = "the first copy of the table, repairs and audits cannot read it";
        findings.push(Finding::error("select", what, why).mended_by(grant.clone()));
    }
    if held.sees_all {
        let what = format!("the catalogue shows user {account} all columns of {}", table.quoted());
        findings.push(Finding::pass("definition", what));
    } else {
        let what = format!("the catalogue shows user {account} only some columns of {}", table.quoted());
        let why = "the log's rows hold all columns: they are checked against the catalogue, and where the log does not \
                   tell names, they are read by it; the table's key may be hidden too";
        findings.push(Finding::error("definition", what, why).mended_by(grant));
    }
    Ok(findings)
}
