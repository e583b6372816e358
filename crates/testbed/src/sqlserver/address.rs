//! Where a server is, and connections to it.

use std::time::Duration;

use tiberius::{AuthMethod, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::TestbedError;

/// A connection.
pub type Client = tiberius::Client<Compat<TcpStream>>;

/// How long a statement may take: some move a million rows.
const COMMAND_MAX: Duration = Duration::from_secs(600);

/// A server and its administrator.
#[derive(Debug, Clone)]
pub struct Address {
    /// A name, or an IP address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The administrator.
    pub user: String,
    /// The administrator's password.
    pub password: String,
}

impl Address {
    /// The real server that `BITACORA_TEST_SQLSERVER_URL` names, such as `sqlserver://sa:secret@127.0.0.1:1433`;
    /// `None` where the variable is not set, or is no such address.
    pub fn from_environment() -> Option<Address> {
        Address::parse(&std::env::var("BITACORA_TEST_SQLSERVER_URL").ok()?)
    }

    fn parse(url: &str) -> Option<Address> {
        let (login, place) = url.strip_prefix("sqlserver://")?.rsplit_once('@')?;
        let (user, password) = login.split_once(':')?;
        let place = place.trim_end_matches('/');
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (place, 1433),
        };
        let owned = str::to_owned;
        Some(Address { host: owned(host), port, user: owned(user), password: owned(password) })
    }

    /// The address as `BITACORA_TEST_SQLSERVER_URL` takes it.
    pub fn url(&self) -> String {
        format!("sqlserver://{}:{}@{}:{}", self.user, self.password, self.host, self.port)
    }

    /// Connects to `database` as administrator.
    ///
    /// # Errors
    /// [`TestbedError::SqlServer`] when the server cannot be reached or refuses.
    pub async fn connect(&self, database: &str) -> Result<Client, TestbedError> {
        let mut config = Config::new();
        config.host(&self.host);
        config.port(self.port);
        config.database(database);
        config.authentication(AuthMethod::sql_server(&self.user, &self.password));
        config.encryption(EncryptionLevel::NotSupported);
        config.command_timeout(Some(COMMAND_MAX));
        let stream = TcpStream::connect(config.get_addr()).await.map_err(tiberius::error::Error::from)?;
        stream.set_nodelay(true).map_err(tiberius::error::Error::from)?;
        Ok(Box::pin(Client::connect(config, stream.compat_write())).await?)
    }

    /// Runs a script as administrator, batch by batch.
    ///
    /// # Errors
    /// [`TestbedError::SqlServer`] with what the server answers.
    pub async fn run(&self, database: &str, script: &str) -> Result<(), TestbedError> {
        let mut client = self.connect(database).await?;
        for batch in batches(script) {
            client.simple_query(batch).await?.into_results().await?;
        }
        Ok(client.close().await?)
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// [`TestbedError::SqlServer`] when the server refuses.
    pub async fn create_database(&self, name: &str) -> Result<(), TestbedError> {
        self.run("master", &format!("CREATE DATABASE [{}]", name.replace(']', "]]"))).await
    }
}

/// The batches of a script. A line that says GO ends one, as in the server's own clients
/// (<https://learn.microsoft.com/en-us/sql/t-sql/language-elements/sql-server-utilities-statements-go>).
pub fn batches(script: &str) -> impl Iterator<Item = &str> {
    script.split("\nGO\n").filter(|batch| !batch.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_cut_where_a_line_says_go() {
        let cut: Vec<&str> = batches("SELECT 1;\nGO\n\nSELECT 'GO';\nGO\n\n").collect();
        assert_eq!(cut, ["SELECT 1;", "\nSELECT 'GO';"]);
        assert_eq!(batches("SELECT 1").collect::<Vec<_>>(), ["SELECT 1"]);
    }

    #[test]
    fn an_address_may_have_signs_in_its_password_and_no_port() {
        let address = Address::parse("sqlserver://sa:a:b@c@db.example:14330/").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("db.example", 14_330));
        assert_eq!((address.user.as_str(), address.password.as_str()), ("sa", "a:b@c"));
        assert_eq!(Address::parse("sqlserver://sa:x@db").unwrap().port, 1433);
        assert!(Address::parse("mysql://sa:x@db").is_none());
        assert!(Address::parse("sqlserver://sa@db:99999").is_none());
    }
}
