//! Which of the two products answers, and which version of it.

use std::fmt;

/// The product: they share a protocol and differ in GTIDs, in events and in most statements about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    /// Oracle's MySQL, and what is built from it (Percona Server, the cloud services).
    MySql,
    /// MariaDB.
    MariaDb,
}

impl fmt::Display for Product {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        })
    }
}

/// A server's product and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flavour {
    /// The product.
    pub(crate) product: Product,
    /// The version's three numbers.
    pub(crate) version: (u16, u16, u16),
    /// The version as the server writes it.
    pub(crate) text: String,
}

impl Flavour {
    /// Reads the version that a server greets with. MariaDB greets with `5.5.5-` in front of its own, for old
    /// replicas' sake (<https://mariadb.com/docs/server/reference/clientserver-protocol/1-connecting/connection>).
    pub(crate) fn read(text: &str) -> Self {
        let maria = text.contains("MariaDB");
        let own = if maria { text.strip_prefix("5.5.5-").unwrap_or(text) } else { text };
        let mut numbers = own
            .split(|character: char| !character.is_ascii_digit())
            .map(|number| number.parse().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        let version = (next(), next(), next());
        Self { product: if maria { Product::MariaDb } else { Product::MySql }, version, text: own.to_owned() }
    }

    /// Whether it is MariaDB.
    pub(crate) fn is_mariadb(&self) -> bool {
        self.product == Product::MariaDb
    }

    /// Whether it is MySQL, of this version or a newer one.
    pub(crate) fn is_mysql_from(&self, major: u16, minor: u16) -> bool {
        self.product == Product::MySql && (self.version.0, self.version.1) >= (major, minor)
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.product, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_and_its_version_are_read_from_the_greeting() {
        for (text, product, version) in [
            ("9.7.4", Product::MySql, (9, 7, 4)),
            ("8.0.36-28.1", Product::MySql, (8, 0, 36)),
            ("5.5.5-10.11.14-MariaDB-0+deb12u2-log", Product::MariaDb, (10, 11, 14)),
            ("11.8.2-MariaDB-ubu2404", Product::MariaDb, (11, 8, 2)),
            ("", Product::MySql, (0, 0, 0)),
            ("99999999.x", Product::MySql, (0, 0, 0)),
        ] {
            let flavour = Flavour::read(text);
            assert_eq!((flavour.product, flavour.version), (product, version), "{text}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(Flavour::read("9.7.4").is_mysql_from(8, 4));
        assert!(!Flavour::read("8.0.40").is_mysql_from(8, 4));
        assert!(!Flavour::read("10.11.14-MariaDB").is_mysql_from(8, 4));
    }
}
