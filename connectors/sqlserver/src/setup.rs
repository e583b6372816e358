//! The statements that make a database ready.

use change::{Scope, SourceError, Statement};

use crate::client::Client;
use crate::config::SqlServerConfig;

/// The statements that an administrator must run.
///
/// # Errors
/// When the table's name cannot be read.
pub(crate) async fn statements(
    config: &SqlServerConfig,
    _scope: &Scope,
) -> Result<Vec<Statement>, SourceError> {
    Client::open(config).await?;
    Ok(Vec::new())
}

/// Runs `statements` with this configuration's user.
///
/// # Errors
/// What the server says to the first that fails.
pub(crate) async fn apply(config: &SqlServerConfig, statements: &[Statement]) -> Result<(), SourceError> {
    let mut client = Client::open(config).await?;
    for statement in statements {
        client.run("run a statement of the setup", &statement.sql).await?;
    }
    Ok(())
}
