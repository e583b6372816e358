//! What our role may do: open replication connections, and read the table.

use change::{Finding, SourceError, SourceErrorKind};
use tokio::task::spawn_blocking;

use super::Subject;
use crate::catalog::Table;
use crate::rights;
use crate::wire::{Connection, Purpose};

/// Whether the log may be read: by right, and by trying.
pub(super) async fn replication(subject: &Subject<'_>) -> Vec<Finding> {
    let role = &subject.server.role;
    let mut findings = Vec::new();
    if !role.may_replicate {
        let grant = rights::grant_replication(subject.config, subject.server);
        findings.push(
            Finding::error(
                "replication_right",
                format!("role \"{}\" has no REPLICATION right", role.name),
                "the server lets only such roles read the log",
            )
            .mended_by(grant.sql),
        );
        return findings;
    }
    if role.is_superuser {
        findings.push(
            Finding::warning(
                "replication_right",
                format!("role \"{}\" is a superuser, expected one with REPLICATION and no more", role.name),
                "whoever learns its password owns the server; the connector needs to read a few columns",
            )
            .mended_by("set another user in the [source] part and run `bitacora setup` for its statements"),
        );
    } else {
        findings.push(Finding::pass("replication_right", format!("role \"{}\" may read the log", role.name)));
    }
    findings.push(try_replication(subject).await);
    findings
}

/// Poolers and proxies pass ordinary connections on and refuse these: only trying tells.
async fn try_replication(subject: &Subject<'_>) -> Finding {
    let config = subject.config.clone();
    let tried = spawn_blocking(move || {
        let mut connection = Connection::open(&config, Purpose::Replication)?;
        connection.query("identify the server over a replication connection", "IDENTIFY_SYSTEM")?;
        connection.terminate();
        Ok(())
    })
    .await
    .unwrap_or_else(|_| {
        Err(SourceError::new(
            SourceErrorKind::Protocol,
            "the attempt at a replication connection was cut short",
        ))
    });
    match tried {
        Ok(()) => Finding::pass("replication_connection", "a replication connection can be opened"),
        Err(error) => {
            let why = "an ordinary connection works, but the log comes over a replication connection";
            Finding::refused("replication_connection", why, &error)
        }
    }
}

/// Whether the first copy, repairs and audits can read what they need.
pub(super) async fn table(subject: &Subject<'_>, table: &Table) -> Result<Vec<Finding>, SourceError> {
    let held = rights::ask(subject.session, table).await?;
    let user = &subject.server.role.name;
    let why = "the first copy of the table, repairs and audits cannot read it";
    let mut findings = Vec::new();
    if !held.uses_schema {
        let what = format!("role \"{user}\" has no USAGE on schema \"{}\"", table.schema);
        let grant = rights::grant_usage(subject.config, &table.schema);
        findings.push(Finding::error("schema_usage", what, why).mended_by(grant.sql));
    }
    if held.unreadable.is_empty() {
        let what = format!("role \"{user}\" may read the mapped columns and the key of {}", table.quoted());
        findings.push(Finding::pass("select", what));
    } else {
        let what =
            format!("role \"{user}\" may not read {} of {}", held.unreadable.join(", "), table.quoted());
        let grant = rights::grant_select(subject.config, table);
        findings.push(Finding::error("select", what, why).mended_by(grant.sql));
    }
    if table.hides_rows {
        findings.push(
            Finding::error(
                "row_security",
                format!("row level security of {} hides rows from role \"{user}\"", table.quoted()),
                "the log carries all rows and a copy would not: requests would be missing without a word, \
                 so the copy is refused",
            )
            .mended_by(format!("ALTER ROLE {} BYPASSRLS", crate::name::quote_ident(user))),
        );
    }
    Ok(findings)
}
