//! What exists in the database for this configuration alone, and the statements that take it away.

use change::{Removal, Scope, SourceError, Statement};

use crate::catalog::{self, Lookup, Table};
use crate::client::Client;
use crate::config::SqlServerConfig;
use crate::instance;
use crate::name::{quote_ident, quote_literal};
use crate::rights::GATING_ROLE;
use crate::server;

/// The table's capture instances that `setup` made, which are told by the role that guards them.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn removal(config: &SqlServerConfig, scope: &Scope) -> Result<Removal, SourceError> {
    config.validate()?;
    let mut client = Client::open(config).await?;
    let server = server::ask(&mut client).await?;
    let mut removal = Removal::default();
    if server.captures {
        // With a table that was dropped its capture instances have gone.
        if let Lookup::Found { table, .. } = catalog::look_up(&mut client, scope).await? {
            find_instances(&mut client, &table, &mut removal).await?;
        }
        removal.remains.push(Statement {
            why:
                "the database goes on capturing other tables, if there are such; this ends it for all of them"
                    .to_owned(),
            sql: "EXEC sys.sp_cdc_disable_db".to_owned(),
        });
    }
    let user = quote_ident(&config.user);
    removal.remains.push(Statement {
        why: format!("the login {user}, its rights and the role {GATING_ROLE} stay; where nothing else logs in with it, \
                      this locks it"),
        sql: format!("ALTER LOGIN {user} DISABLE"),
    });
    Ok(removal)
}

async fn find_instances(
    client: &mut Client,
    table: &Table,
    removal: &mut Removal,
) -> Result<(), SourceError> {
    for instance in instance::list(client, table).await? {
        let sql = disable(table, &instance.name);
        let name = &instance.name;
        if instance::guard(client, &instance).await?.as_deref() == Some(GATING_ROLE) {
            let why =
                format!("capture instance \"{name}\" keeps the changes of {} for bitacora", table.quoted());
            removal.statements.push(Statement { why, sql });
        } else {
            let why = format!("capture instance \"{name}\" was not made by `bitacora setup`: it stays");
            removal.remains.push(Statement { why, sql });
        }
    }
    Ok(())
}

/// The statement that ends an instance
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-stored-procedures/sys-sp-cdc-disable-table-transact-sql>).
fn disable(table: &Table, instance: &str) -> String {
    format!(
        "EXEC sys.sp_cdc_disable_table @source_schema = {}, @source_name = {}, @capture_instance = {}",
        quote_literal(&table.schema),
        quote_literal(&table.name),
        quote_literal(instance)
    )
}
