//! A database of its own for each test, on servers that all tests share.

use std::sync::atomic::{AtomicU32, Ordering};

use change::{Finding, Inspection, Severity, Source, TableScope};
use postgres_connector::{PostgresConfig, PostgresSource, TlsMode};
use testbed::postgres::{Server, Version, shared};

/// The versions that every test runs on.
pub(crate) const VERSIONS: [Version; 2] = [Version::Distribution, Version::V18];

/// The table that most tests use.
pub(crate) const SOLICITUDES: &str = "CREATE TABLE public.solicitudes (
    id bigint PRIMARY KEY, servicio text NOT NULL, numero varchar(20) NOT NULL UNIQUE,
    estado text NOT NULL, fecha_apertura date NOT NULL, notas text)";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A fresh database.
pub(crate) struct Database {
    pub(crate) server: &'static Server,
    pub(crate) name: String,
}

impl Database {
    pub(crate) async fn make(version: Version) -> Self {
        let server = shared(version).unwrap_or_else(|error| panic!("{error}"));
        Self::on(server).await
    }

    pub(crate) async fn on(server: &'static Server) -> Self {
        let name = format!("prueba_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name).await.unwrap();
        Self { server, name }
    }

    /// The superuser's configuration; slot and publication are named after the database.
    pub(crate) fn config(&self) -> PostgresConfig {
        self.config_of(self.server.superuser(), self.server.password())
    }

    pub(crate) fn config_of(&self, user: &str, password: &str) -> PostgresConfig {
        PostgresConfig {
            host: self.server.host().to_owned(),
            port: self.server.port(),
            database: self.name.clone(),
            user: user.to_owned(),
            password: Some(password.to_owned()),
            tls: TlsMode::Disable,
            tls_ca: None,
            slot: self.name.clone(),
            publication: self.name.clone(),
        }
    }

    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        self.server.connect(&self.name).await.unwrap()
    }

    /// Runs statements as superuser.
    pub(crate) async fn run(&self, sql: &str) {
        let done = self.client().await.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Makes a role that may log in and nothing else, named after the database.
    pub(crate) async fn role(&self) -> PostgresConfig {
        self.run(&format!("CREATE ROLE {} LOGIN PASSWORD 'clave'", self.name)).await;
        self.config_of(&self.name, "clave")
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
    scope("public.solicitudes", &["servicio", "numero", "estado", "fecha_apertura"])
}

pub(crate) async fn check(config: &PostgresConfig, scope: &TableScope) -> Inspection {
    PostgresSource::new(config.clone(), scope.clone()).check(20).await
}

/// The first finding under a code that is not a pass, or the pass.
pub(crate) fn finding<'a>(inspection: &'a Inspection, code: &str) -> &'a Finding {
    let found = inspection.findings.iter().filter(|finding| finding.code == code);
    found.max_by_key(|finding| finding.severity).unwrap_or_else(|| {
        panic!("no finding \"{code}\" among {:#?}", inspection.findings);
    })
}

pub(crate) fn errors(inspection: &Inspection) -> Vec<&Finding> {
    inspection.findings.iter().filter(|finding| finding.severity == Severity::Error).collect()
}
