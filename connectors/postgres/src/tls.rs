//! TLS as PostgreSQL has it. Whose certificate is believed is the same for every engine, and lies in `trust`.

use std::error::Error;
use std::sync::Arc;

use change::SourceError;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_1_WITH_RSA_ENCRYPTION,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};

use crate::config::PostgresConfig;

/// What a TLS connection needs; `None` when the configuration asks for none, and over a socket, which the
/// server never encrypts (<https://www.postgresql.org/docs/current/libpq-ssl.html>).
///
/// # Errors
/// When the authorities' file cannot be read or holds no certificate, or the system has none.
pub(crate) fn client_config(config: &PostgresConfig) -> Result<Option<Arc<ClientConfig>>, SourceError> {
    config.endpoint(&config.address()).client_config()
}

/// The name that the server's certificate must bear: the configured host.
///
/// # Errors
/// When the host is neither a host name nor an IP address.
pub(crate) fn server_name(config: &PostgresConfig) -> Result<ServerName<'static>, SourceError> {
    config.endpoint(&config.address()).server_name()
}

/// The error for a server that answers that it does not speak TLS.
pub(crate) fn refused(config: &PostgresConfig) -> SourceError {
    let mend = "turn TLS on (ALTER SYSTEM SET ssl = on, with ssl_cert_file and ssl_key_file)";
    config.endpoint(&config.address()).refused(mend)
}

/// What a failed handshake means, from the library's error or one that wraps it.
pub(crate) fn handshake_error(config: &PostgresConfig, cause: Box<dyn Error + Send + Sync>) -> SourceError {
    config.endpoint(&config.address()).handshake_error(cause)
}

/// The hash of the server's certificate that SCRAM-SHA-256-PLUS binds the log-in to: by the certificate's own
/// signature hash, with SHA-256 in place of MD5 and SHA-1
/// (<https://www.rfc-editor.org/rfc/rfc5929#section-4.1>).
///
/// `None` where the certificate cannot be read or its signature has no hash of its own, as Ed25519 has none:
/// such a log-in cannot be bound.
pub(crate) fn endpoint_binding(certificate: &[u8]) -> Option<Vec<u8>> {
    const MD5_WITH_RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4");
    const ECDSA_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");
    let parsed = Certificate::from_der(certificate).ok()?;
    Some(match parsed.signature_algorithm.oid {
        MD5_WITH_RSA_ENCRYPTION
        | SHA_1_WITH_RSA_ENCRYPTION
        | ECDSA_WITH_SHA_1
        | SHA_256_WITH_RSA_ENCRYPTION
        | ECDSA_WITH_SHA_256 => Sha256::digest(certificate).to_vec(),
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 => Sha384::digest(certificate).to_vec(),
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
