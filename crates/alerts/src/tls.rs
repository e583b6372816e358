//! Whom the webhook's connection believes: the system's authorities, by the one cryptography of this product.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// The TLS of connections to the webhook.
///
/// # Errors
/// When the provider offers no version of TLS.
pub(crate) fn client_config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // A system without authorities is told of by the handshake that fails.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
