//! What a connector that is given up leaves in the server.

use change::{Removal, SourceError, Statement};

use crate::config::MysqlConfig;
use crate::wire::Connection;
use crate::{rights, server};

/// Nothing in the server is made for the connector alone: it reads the log as a replica does and reserves nothing.
/// Blocks.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) fn removal(config: &MysqlConfig) -> Result<Removal, SourceError> {
    config.validate()?;
    let mut connection = Connection::open(config)?;
    let server = server::ask(&mut connection)?;
    connection.terminate();
    let account = rights::account(config, Some(&server));
    let remains = vec![
        Statement {
            why: format!(
                "the user {account} and its rights stay; where nothing else logs in with it, this locks it"
            ),
            // https://dev.mysql.com/doc/refman/8.4/en/account-locking.html, https://mariadb.com/kb/en/account-locking/
            sql: format!("ALTER USER {account} ACCOUNT LOCK"),
        },
        Statement {
            why: "binlog_format and the other settings of the log stay: replicas and backups may need them"
                .to_owned(),
            sql: String::new(),
        },
    ];
    Ok(Removal { statements: Vec::new(), remains })
}
