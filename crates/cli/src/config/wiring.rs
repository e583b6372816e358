//! The same settings in the words of the crates that need them.

use ::delivery::{ClientIdentity, DeliveryConfig};
use mysql_connector::MysqlConfig;
use normalizer::MappingConfig;
use normalizer::TimeField;
use postgres_connector::PostgresConfig;
use sqlserver_connector::{Mode, SqlServerConfig};

use super::{Config, SqlserverMode, Tls};

impl Config {
    /// How a row becomes a record.
    #[must_use]
    pub fn to_mapping(&self) -> MappingConfig {
        self.mapping.clone()
    }

    /// Where the records go.
    #[must_use]
    pub fn to_delivery(&self) -> DeliveryConfig {
        let delivery = &self.delivery;
        let header = |(name, value): &(reqwest::header::HeaderName, super::Secret)| {
            (name.as_str().to_owned(), ::delivery::Secret::new(value.expose()))
        };
        DeliveryConfig {
            url: delivery.url.to_string(),
            headers: delivery.headers.iter().map(header).collect(),
            x_road_client: delivery.x_road_client.clone(),
            timeout: delivery.timeout,
            tls_ca_pem: delivery.tls_ca.as_ref().map(|file| file.pem.clone()),
            tls_client: delivery.tls_client.as_ref().map(|(certificate, key)| ClientIdentity {
                certificate_pem: certificate.pem.clone(),
                key_pem: ::delivery::Secret::new(key.expose()),
            }),
            tls_insecure: delivery.tls_insecure,
            timestamps: delivery.timestamps,
        }
    }

    /// The PostgreSQL server and what is ours on it.
    #[must_use]
    pub fn to_postgres(&self) -> PostgresConfig {
        use postgres_connector::TlsMode;

        let source = &self.source;
        PostgresConfig {
            host: source.host.clone(),
            port: source.port,
            database: source.database.clone(),
            user: source.user.clone(),
            password: source.password.as_ref().map(|password| password.expose().to_owned()),
            tls: self.tls_mode([TlsMode::Disable, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull]),
            tls_ca: source.tls_ca.as_ref().map(|file| file.path.clone()),
            slot: source.postgres.slot.clone(),
            publication: source.postgres.publication.clone(),
        }
    }

    /// The MySQL or MariaDB server, and as which replica we read its log.
    #[must_use]
    pub fn to_mysql(&self) -> MysqlConfig {
        use mysql_connector::TlsMode;

        let source = &self.source;
        MysqlConfig {
            host: source.host.clone(),
            port: source.port,
            database: source.database.clone(),
            user: source.user.clone(),
            password: source.password.as_ref().map(|password| password.expose().to_owned()),
            tls: self.tls_mode([TlsMode::Disable, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull]),
            tls_ca: source.tls_ca.as_ref().map(|file| file.path.clone()),
            server_id: source.mysql.server_id,
        }
    }

    /// The SQL Server, and how its changes are learnt of.
    #[must_use]
    pub fn to_sqlserver(&self) -> SqlServerConfig {
        use sqlserver_connector::TlsMode;

        let source = &self.source;
        let own = &source.sqlserver;
        SqlServerConfig {
            host: source.host.clone(),
            port: source.port,
            database: source.database.clone(),
            user: source.user.clone(),
            password: source.password.as_ref().map_or_else(String::new, |it| it.expose().to_owned()),
            tls: self.tls_mode([TlsMode::Disable, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull]),
            tls_ca: source.tls_ca.as_ref().map(|file| file.path.clone()),
            capture_instance: own.capture_instance.clone(),
            poll_interval: own.poll_interval,
            read_only: own.read_only,
            server_time_zone: own.time_zone,
            call_timeout: SqlServerConfig::CALL_TIMEOUT,
            silent_after: SqlServerConfig::SILENT_AFTER,
            mode: match own.mode {
                SqlserverMode::Capture => Mode::Capture,
                SqlserverMode::Poll => Mode::Poll {
                    modified_column: self.modified_column().unwrap_or_default(),
                    overlap: own.overlap,
                },
            },
        }
    }

    /// The column that every change sets to the present time.
    fn modified_column(&self) -> Option<String> {
        let given = self.source.sqlserver.modified_column.clone();
        given.or_else(|| match &self.mapping.last_modified_date {
            TimeField::Column { column, .. } => Some(column.clone()),
            _ => None,
        })
    }

    /// The one of four modes, from the weakest to the strongest, that the configuration asks for.
    fn tls_mode<T>(&self, [disable, require, verify_ca, verify_full]: [T; 4]) -> T {
        match self.source.tls {
            Tls::Disable => disable,
            Tls::Require => require,
            Tls::VerifyCa => verify_ca,
            Tls::VerifyFull => verify_full,
        }
    }
}
