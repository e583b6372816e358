//! TLS as a security server has it: a certificate of its own, and a wish to know who calls.

use std::io;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The certificate that the simulator shows, and whom it lets in.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The certificate in PEM, those of its authorities behind it.
    pub certificate_pem: Vec<u8>,
    /// Its private key in PEM.
    pub key_pem: Vec<u8>,
    /// Authorities in PEM: only callers are let in that show a certificate which one of them has issued.
    pub clients_pem: Option<Vec<u8>>,
}

impl std::fmt::Debug for TlsIdentity {
    /// The key does not show itself.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wants_clients = self.clients_pem.is_some();
        formatter.debug_struct("TlsIdentity").field("wants_clients", &wants_clients).finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// What accepts connections with this identity.
    pub(crate) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match &self.clients_pem {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(pem)? {
                    roots.add(certificate).map_err(io::Error::other)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(io::Error::other)?)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key_pem).map_err(io::Error::other)?;
        let config =
            builder.with_single_cert(certificates(&self.certificate_pem)?, key).map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(io::Error::other)
}
