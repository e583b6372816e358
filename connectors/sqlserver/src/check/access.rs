//! Whether copies, repairs and audits can read what they need.

use change::{Finding, SourceError};

use super::Subject;
use crate::catalog::Table;
use crate::client::Client;
use crate::name::quote_ident;
use crate::rights;

pub(super) async fn table(
    subject: &Subject<'_>,
    client: &mut Client,
    table: &Table,
) -> Result<Vec<Finding>, SourceError> {
    let user = &subject.server.user;
    let unreadable = rights::unreadable(client, table).await?;
    if unreadable.is_empty() {
        let what = format!(
            "user {} may read the mapped columns and the key of {}",
            quote_ident(user),
            table.quoted()
        );
        return Ok(vec![Finding::pass("select", what)]);
    }
    let what =
        format!("user {} may not read {} of {}", quote_ident(user), unreadable.join(", "), table.quoted());
    let why = "the first copy of the table, repairs and audits cannot read it";
    let columns: Vec<&str> =
        rights::needed_columns(table).iter().map(|column| column.name.as_str()).collect();
    let mend = rights::grant_select(user, table, &columns).sql;
    Ok(vec![Finding::error("select", what, why).mended_by(mend)])
}
