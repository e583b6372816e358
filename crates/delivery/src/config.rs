//! What a delivery needs to know.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

use crate::timestamp::Precision;

/// A text that never shows itself: a header's value, say.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// What the connector shows an endpoint that asks who calls.
#[derive(Clone)]
pub struct ClientIdentity {
    /// Its certificate in PEM, those of its authorities behind it where there are any.
    pub certificate_pem: Vec<u8>,
    /// The private key in PEM.
    pub key_pem: Secret,
}

/// Where the records go, and how.
#[derive(Clone)]
pub struct DeliveryConfig {
    /// The whole address that takes the POST, `http` or `https`.
    pub url: String,
    /// Headers that every exchange carries.
    pub headers: Vec<(String, Secret)>,
    /// The value of `X-Road-Client`, `instance/class/member/subsystem`; `None` where X-Road is not used.
    pub x_road_client: Option<String>,
    /// How long one whole exchange may take, from the connection to the last byte of the answer.
    pub timeout: Duration,
    /// Certificates (PEM, one or more) that are trusted beside the system's own: a private authority, or the
    /// very certificate that a security server shows.
    pub tls_ca_pem: Option<Vec<u8>>,
    /// Who this connector is, where the endpoint wants to know.
    pub tls_client: Option<ClientIdentity>,
    /// Takes any certificate. The caller warns about it; nothing here does.
    pub tls_insecure: bool,
    /// How much of a fraction of a second the records carry.
    pub timestamps: Precision,
}

impl fmt::Debug for DeliveryConfig {
    /// The address may hold a password or a token, so only its harmless part is shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.parsed_url().map(|url| shown(&url)).unwrap_or_else(|_| "[unusable]".to_owned());
        formatter
            .debug_struct("DeliveryConfig")
            .field("url", &url)
            .field("headers", &self.headers)
            .field("x_road_client", &self.x_road_client)
            .field("timeout", &self.timeout)
            .field("tls_ca_pem", &self.tls_ca_pem.as_ref().map(Vec::len))
            .field("tls_client", &self.tls_client.as_ref().map(|client| client.certificate_pem.len()))
            .field("tls_insecure", &self.tls_insecure)
            .field("timestamps", &self.timestamps)
            .finish()
    }
}

impl DeliveryConfig {
    /// The address, as far as it can be one.
    pub(crate) fn parsed_url(&self) -> Result<Url, DeliveryError> {
        let refusal = |reason: String| DeliveryError::Url { reason };
        let url = Url::parse(&self.url).map_err(|error| refusal(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refusal(format!("the scheme is {}", url.scheme())));
        }
        Ok(url)
    }
}

/// The address without user, password and query, for messages.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Why a configuration cannot be used for deliveries.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The address is not an absolute `http` or `https` URL.
    #[error("delivery url is not an absolute http or https address: {reason}")]
    Url {
        /// What is amiss with it, without the address itself, which may hold a password.
        reason: String,
    },
    /// A header has a name or a value that HTTP does not allow.
    #[error("delivery header {name:?} {reason}")]
    Header {
        /// The header's name.
        name: String,
        /// What is amiss with it.
        reason: &'static str,
    },
    /// The client's identifier is not one that X-Road takes.
    #[error("x_road_client is {actual:?}, expected instance/class/member/subsystem")]
    XRoadClient {
        /// The identifier as configured.
        actual: String,
    },
    /// The time-out leaves no time for an exchange.
    #[error("delivery timeout is zero, expected a duration such as 90s")]
    Timeout,
    /// The private authority's file holds nothing usable.
    #[error("tls_ca {reason}")]
    Authority {
        /// What is amiss with it.
        reason: String,
    },
    /// The connector's own certificate cannot be used.
    #[error("tls_client_cert {reason}")]
    ClientCertificate {
        /// What is amiss with it.
        reason: String,
    },
    /// The key of the connector's own certificate cannot be used.
    #[error("tls_client_key {reason}")]
    ClientKey {
        /// What is amiss with it.
        reason: String,
    },
    /// The HTTP client could not be made.
    #[error("http client cannot be made")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let shown = format!("{:?}", ("api-key", Secret::new("k-123")));
        assert_eq!(shown, r#"("api-key", [redacted])"#);
    }
}
