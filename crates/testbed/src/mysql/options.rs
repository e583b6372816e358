//! Which server is wanted.

use std::fmt;

/// Which of the two products is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Product {
    /// MySQL, 8.0 to 9.x: the installed one, else the newest that Debian has packed.
    MySql,
    /// MariaDB, 10.6 to 12.x: the installed one, else the one that the distribution offers.
    MariaDb,
}

impl Product {
    /// The program that reads a server's binary log.
    pub fn binlog_program(self) -> &'static str {
        match self {
            Product::MySql => "mysqlbinlog",
            Product::MariaDb => "mariadb-binlog",
        }
    }

    /// The command line client.
    pub fn client_program(self) -> &'static str {
        match self {
            Product::MySql => "mysql",
            Product::MariaDb => "mariadb",
        }
    }

    /// The server's own program.
    pub(crate) fn server_program(self) -> &'static str {
        match self {
            Product::MySql => "mysqld",
            Product::MariaDb => "mariadbd",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Product::MySql => "MySQL",
            Product::MariaDb => "MariaDB",
        })
    }
}

/// A product and what is special about the server.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) product: Product,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) tls: bool,
}

impl Options {
    /// A server as a careful institution runs it: its changes go row by row into a binary log.
    pub fn new(product: Product) -> Options {
        Options { product, settings: Vec::new(), tls: false }
    }

    /// Sets a variable of the server's option file, such as `gtid_mode`; what is set later wins.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Options {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Does without disk flushes: faster, and a crash of the server alone still loses nothing, because the
    /// system keeps what the server wrote.
    #[must_use]
    pub fn without_fsync(self) -> Options {
        self.setting("innodb_flush_log_at_trx_commit", "2")
            .setting("sync_binlog", "0")
            .setting("innodb_doublewrite", "OFF")
    }

    /// Numbers no transactions: positions are file and offset alone. MariaDB always numbers them.
    #[must_use]
    pub fn without_gtid(self) -> Options {
        match self.product {
            Product::MySql => self.setting("gtid_mode", "OFF").setting("enforce_gtid_consistency", "OFF"),
            Product::MariaDb => self,
        }
    }

    /// Lets the server show a certificate for `localhost` and `127.0.0.1` of an authority of its own; see
    /// [`Server::tls_ca`](super::Server::tls_ca). Without this, MySQL makes a certificate itself that names no
    /// host, and MariaDB before 11.4 offers no TLS.
    #[must_use]
    pub fn with_tls(mut self) -> Options {
        self.tls = true;
        self
    }
}
