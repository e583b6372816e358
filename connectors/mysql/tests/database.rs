//! A database of its own for each test, on servers that all tests share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use change::{Finding, Inspection, Page, Row, Severity, Snapshot, Source, Statement, TableScope, Value};
use mysql_connector::{MysqlConfig, MysqlSnapshot, MysqlSource, TlsMode};
use testbed::mysql::{Conn, Product, Server, prelude::*, shared};

/// The products that every test runs on.
pub(crate) const PRODUCTS: [Product; 2] = [Product::MySql, Product::MariaDb];

/// The table that most tests use.
pub(crate) const SOLICITUDES: &str = "CREATE TABLE solicitudes (
    id bigint PRIMARY KEY, servicio varchar(20) NOT NULL, numero varchar(20) NOT NULL UNIQUE,
    estado enum('RECIBIDA', 'APROBADA') NOT NULL, apertura date NOT NULL, notas text) CHARACTER SET utf8mb4";

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A fresh database.
pub(crate) struct Database {
    pub(crate) server: &'static Server,
    pub(crate) name: String,
}

impl Database {
    pub(crate) async fn make(product: Product) -> Self {
        Self::on(shared(product).unwrap_or_else(|error| panic!("{error}"))).await
    }

    pub(crate) async fn on(server: &'static Server) -> Self {
        let name = format!("catalogo_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name).await.unwrap();
        Self { server, name }
    }

    /// The administrator's configuration.
    pub(crate) fn config(&self) -> MysqlConfig {
        self.config_of(self.server.superuser(), self.server.password())
    }

    pub(crate) fn config_of(&self, user: &str, password: &str) -> MysqlConfig {
        MysqlConfig {
            host: self.server.host().to_owned(),
            port: self.server.port(),
            database: self.name.clone(),
            user: user.to_owned(),
            password: Some(password.to_owned()),
            tls: TlsMode::Disable,
            tls_ca: None,
            server_id: None,
        }
    }

    pub(crate) fn source(&self, scope: &TableScope) -> MysqlSource {
        MysqlSource::new(self.config(), scope.clone())
    }

    pub(crate) async fn client(&self) -> Conn {
        self.server.connect(&self.name).await.unwrap()
    }

    /// Runs statements in one session of the administrator's.
    pub(crate) async fn run(&self, statements: &[&str]) {
        let mut client = self.client().await;
        for sql in statements {
            client.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
        client.disconnect().await.unwrap();
    }

    /// Runs what setup printed, with the password where it belongs.
    pub(crate) async fn run_printed(&self, printed: &[Statement], password: &str) {
        let sql: Vec<String> =
            printed.iter().map(|statement| statement.sql.replace("<password>", password)).collect();
        self.run(&sql.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Makes a user that may look into the database and nothing else, named after the database.
    pub(crate) async fn user(&self, grants: &[&str]) -> MysqlConfig {
        let name = &self.name;
        let mut sql = vec![format!("CREATE USER `{name}`@`%` IDENTIFIED BY 'clave'")];
        sql.extend(grants.iter().map(|grant| format!("GRANT {grant} TO `{name}`@`%`")));
        self.run(&sql.iter().map(String::as_str).collect::<Vec<_>>()).await;
        self.config_of(name, "clave")
    }

    /// Where the log ends: file and offset.
    pub(crate) async fn log_end(&self) -> (String, u64) {
        let mut client = self.client().await;
        match self.server.product() {
            Product::MySql => {
                let end: Option<(String, u64, String, String, String)> =
                    client.query_first("SHOW BINARY LOG STATUS").await.unwrap();
                end.map(|end| (end.0, end.1)).unwrap()
            }
            Product::MariaDb => {
                let end: Option<(String, u64, String, String)> =
                    client.query_first("SHOW MASTER STATUS").await.unwrap();
                end.map(|end| (end.0, end.1)).unwrap()
            }
        }
    }

    /// How many row events of `table` the log's file holds after `from` and up to `to`.
    pub(crate) async fn rows_logged(&self, table: &str, file: &str, (from, to): (u64, u64)) -> usize {
        let mut client = self.client().await;
        let events: Vec<(String, u64, String, u64, u64, String)> =
            client.query(format!("SHOW BINLOG EVENTS IN '{file}' FROM {from}")).await.unwrap();
        let ours = format!("({}.{table})", self.name);
        // `table_id: 92 (database.table)`, and later `table_id: 92 flags: STMT_END_F`.
        let mut numbers = BTreeSet::new();
        let mut count = 0;
        for (_, _, kind, _, end, info) in events {
            let number = info.split_whitespace().nth(1).unwrap_or_default().to_owned();
            if kind == "Table_map" {
                if info.contains(&ours) {
                    numbers.insert(number);
                } else {
                    numbers.remove(&number);
                }
            } else if kind.contains("_rows") && numbers.contains(&number) && end <= to {
                count += 1;
            }
        }
        count
    }

    /// The first cell of a statement's first row.
    pub(crate) async fn ask(&self, sql: &str) -> Option<String> {
        let mut client = self.client().await;
        let cell: Option<Option<String>> = client.query_first(sql).await.unwrap();
        client.disconnect().await.unwrap();
        cell.flatten()
    }
}

pub(crate) fn scope(table: &str, columns: &[&str]) -> TableScope {
    TableScope {
        table: table.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        keys: false,
        since: None,
        condition: None,
        parent_keys: Vec::new(),
        apart_by: Vec::new(),
    }
}

pub(crate) fn solicitudes() -> TableScope {
    scope("solicitudes", &["servicio", "numero", "estado", "apertura"])
}

pub(crate) async fn inspect(config: &MysqlConfig, scope: &TableScope) -> Inspection {
    MysqlSource::new(config.clone(), scope.clone()).check(20).await
}

/// The gravest finding under a code.
pub(crate) fn finding<'a>(inspection: &'a Inspection, code: &str) -> &'a Finding {
    let found = inspection.findings.iter().filter(|finding| finding.code == code);
    found.max_by_key(|finding| finding.severity).unwrap_or_else(|| {
        panic!("no finding \"{code}\" among {:#?}", inspection.findings);
    })
}

pub(crate) fn errors(inspection: &Inspection) -> Vec<&Finding> {
    inspection.findings.iter().filter(|finding| finding.severity == Severity::Error).collect()
}

/// Waits for what must come soon.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Asks again and again until it is so.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) async fn read_pages(copy: &mut MysqlSnapshot) -> Vec<Page> {
    let mut pages = Vec::new();
    while let Some(page) = soon("a page", copy.next_page()).await.unwrap() {
        pages.push(page);
    }
    pages
}

pub(crate) async fn read_rows(copy: &mut MysqlSnapshot) -> Vec<String> {
    read_pages(copy).await.iter().flat_map(|page| &page.rows).map(|(row, _)| text(row)).collect()
}

/// A row as a person reads it.
pub(crate) fn text(row: &Row) -> String {
    let cell = |cell: &Value| match cell {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    };
    row.cells().iter().map(cell).collect::<Vec<_>>().join("|")
}
