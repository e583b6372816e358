//! The same settings in the words of the crates that need them.

use ::delivery::DeliveryConfig;
use normalizer::MappingConfig;
use postgres_connector::{PostgresConfig, TlsMode};

use super::{Config, Tls};

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
            tls_insecure: delivery.tls_insecure,
            timestamps: delivery.timestamps,
        }
    }

    /// The PostgreSQL server and what is ours on it.
    #[must_use]
    pub fn to_postgres(&self) -> PostgresConfig {
        let source = &self.source;
        PostgresConfig {
            host: source.host.clone(),
            port: source.port,
            database: source.database.clone(),
            user: source.user.clone(),
            password: source.password.as_ref().map(|password| password.expose().to_owned()),
            tls: match source.tls {
                Tls::Disable => TlsMode::Disable,
                Tls::Require => TlsMode::Require,
                Tls::VerifyCa => TlsMode::VerifyCa,
                Tls::VerifyFull => TlsMode::VerifyFull,
            },
            tls_ca: source.tls_ca.as_ref().map(|file| file.path.clone()),
            slot: source.postgres.slot.clone(),
            publication: source.postgres.publication.clone(),
        }
    }
}
