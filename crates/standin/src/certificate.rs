//! The server's certificate, made anew at every start.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::StandinError;

/// The TLS configuration, and the certificate that signs itself in PEM.
///
/// # Errors
/// [`StandinError::Certificate`] and [`StandinError::Tls`].
pub(crate) fn make() -> Result<(Arc<ServerConfig>, String), StandinError> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Under TDS 7.4 the handshake is that of TLS 1.2.
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    Ok((Arc::new(config), cert.pem()))
}
