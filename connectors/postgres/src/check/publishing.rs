//! Whether the publication covers the tables, or can be made.

use change::{Finding, SourceError, TableScope};

use super::Subject;
use crate::catalog::{Table, quote_ident};
use crate::{publication, rights};

pub(super) async fn findings(
    subject: &Subject<'_>,
    tables: &[(Table, &TableScope)],
) -> Result<Vec<Finding>, SourceError> {
    let (session, config) = (subject.session, subject.config);
    let name = quote_ident(&config.publication);
    let all: Vec<Table> = tables.iter().map(|(table, _)| table.clone()).collect();
    let Some(found) = publication::examine_all(session, config, &all).await? else {
        return Ok(vec![absent(subject, &all, &name).await?]);
    };
    let mut findings = Vec::new();
    for (publication, (table, scope)) in found.iter().zip(tables) {
        let faults = publication.faults(session.version(), table, scope);
        if faults.is_empty() {
            let what = format!("publication {name} covers {}", table.quoted());
            findings.push(Finding::pass("publication", what));
        }
        let error = |fault: publication::Fault| {
            Finding::error("publication", fault.what, fault.why).mended_by(fault.mend)
        };
        findings.extend(faults.into_iter().map(error));
    }
    let Some(found) = found.first() else { return Ok(findings) };
    if found.hides_truncates() {
        findings.push(
            Finding::warning(
                "publication_truncate",
                format!("publication {name} does not publish truncate"),
                "when the table is emptied at once nobody is told, and its requests stay as they last were",
            )
            .mended_by(found.operations_mend()),
        );
    }
    if found.other_tables > 0 {
        findings.push(
            Finding::warning(
                "publication_tables",
                format!("publication {name} publishes {} other tables as well", found.other_tables),
                "the server sends their changes too, which are thrown away here",
            )
            .mended_by("set another publication in the [source.postgres] part; it is made when missing"),
        );
    }
    Ok(findings)
}

/// Making one takes the CREATE right in the database and the table's ownership
/// (<https://www.postgresql.org/docs/current/sql-createpublication.html>).
async fn absent(subject: &Subject<'_>, tables: &[Table], name: &str) -> Result<Finding, SourceError> {
    let role = &subject.server.role;
    let statement = || publication::statement(subject.session.version(), &subject.config.publication, tables);
    let mut foreign = None;
    for table in tables {
        if foreign.is_none() && !rights::ask(subject.session, table).await?.owns_table {
            foreign = Some(table);
        }
    }
    if tables.iter().any(|table| table.leaves_without_identity().next().is_some()) {
        return Ok(Finding::warning(
            "publication",
            format!("publication {name} does not exist and cannot be made yet"),
            "the table has no replica identity: publishing it would make the application's own updates fail",
        ));
    }
    if subject.server.in_recovery {
        return Ok(Finding::error(
            "publication",
            format!("publication {name} does not exist, and a standby cannot make it"),
            "without it the server sends nothing",
        )
        .mended_by(format!("on the primary: {}", statement())));
    }
    if role.is_superuser || (role.may_create && foreign.is_none()) {
        return Ok(Finding::pass(
            "publication",
            format!("publication {name} does not exist yet and will be made"),
        ));
    }
    let lacking = match foreign {
        None => format!("role \"{}\" may not CREATE in database \"{}\"", role.name, subject.config.database),
        Some(table) => format!("role \"{}\" does not own {}", role.name, table.quoted()),
    };
    Ok(Finding::error(
        "publication",
        format!("publication {name} does not exist, and {lacking}"),
        "without it the server sends nothing",
    )
    .mended_by(statement()))
}
