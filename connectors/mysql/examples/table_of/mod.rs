//! The table that an example reads, from its arguments.

use std::num::ParseIntError;

use change::TableScope;
use mysql_connector::{MysqlConfig, MysqlSource, TlsMode};

/// What the arguments are, in words.
pub(crate) const ARGUMENTS: &str = "HOST PORT USER PASSWORD DATABASE TABLE COLUMNS";

/// How many there are.
pub(crate) const COUNT: usize = 7;

/// The source of the table, read without TLS; its columns are separated by commas.
pub(crate) fn table_of(arguments: &[String; COUNT]) -> Result<MysqlSource, ParseIntError> {
    let [host, port, user, password, database, table, columns] = arguments.clone();
    let config = MysqlConfig {
        host,
        port: port.parse()?,
        database,
        user,
        password: Some(password),
        tls: TlsMode::Disable,
        tls_ca: None,
        server_id: None,
    };
    let scope = TableScope {
        table,
        columns: columns.split(',').map(str::to_owned).collect(),
        keys: false,
        since: None,
        condition: None,
        parent_keys: Vec::new(),
        apart_by: Vec::new(),
    };
    Ok(MysqlSource::new(config, scope))
}
