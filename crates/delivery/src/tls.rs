//! Whom the connector believes to be the endpoint.
//!
//! An X-Road security server shows a certificate that it has signed itself, usually marked as an authority and often
//! naming a host that nobody uses. No verification of chains and names accepts such a certificate. So what the
//! institution puts into `tls_ca` serves twice: as an authority beside the system's own, and as the very certificate
//! of the endpoint. A server that shows exactly that certificate, and proves that it holds its key, is the one that
//! was meant, whatever names and dates stand in it.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::config::DeliveryError;

/// Whom to trust.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust<'a> {
    /// The endpoint is addressed without TLS.
    Nobody,
    /// The system's authorities, and these certificates.
    Verified {
        /// Certificates in PEM.
        also: Option<&'a [u8]>,
    },
    /// Whoever answers.
    Anyone,
}

/// The TLS of all connections to the endpoint.
///
/// The provider is named here, so that nothing depends on what the process has installed.
pub(crate) fn client_config(trust: Trust<'_>) -> Result<ClientConfig, DeliveryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier::new(trust, &provider)?);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DeliveryError::Client(Box::new(error)))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Verifier {
    accepts_anyone: bool,
    /// Certificates that are trusted as they are.
    known: Vec<CertificateDer<'static>>,
    /// `None` where there is no authority at all.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(trust: Trust<'_>, provider: &Arc<CryptoProvider>) -> Result<Self, DeliveryError> {
        let mut verifier = Self {
            accepts_anyone: matches!(trust, Trust::Anyone),
            known: Vec::new(),
            authorities: None,
            provider: Arc::clone(provider),
        };
        if let Trust::Verified { also } = trust {
            let mut roots = system_authorities();
            verifier.known = also.map(certificates).transpose()?.unwrap_or_default();
            for certificate in &verifier.known {
                add_authority(&mut roots, certificate)?;
            }
            if !roots.is_empty() {
                let built =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
                let built = built.build().map_err(|error| DeliveryError::Client(Box::new(error)))?;
                verifier.authorities = Some(built);
            }
        }
        Ok(verifier)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.accepts_anyone || self.known.iter().any(|known| known == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.authorities {
            Some(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.accepts_anyone {
            // The certificate may be one that cannot even be read; whoever takes anyone takes that too.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.accepts_anyone {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What the system trusts. A system without authorities is no error: `tls_ca` may be all that is needed.
fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::debug!(error = %error, "system certificates not read");
    }
    let (added, ignored) = roots.add_parsable_certificates(loaded.certs);
    tracing::debug!(added, ignored, "system certificates read");
    roots
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, DeliveryError> {
    let unusable = |reason: String| DeliveryError::Authority { reason };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| unusable(format!("is not PEM: {error}")))?;
    if read.is_empty() {
        return Err(unusable("holds no certificate, expected PEM with BEGIN CERTIFICATE".to_owned()));
    }
    Ok(read)
}

/// Adds a certificate to the authorities. One that is sound but cannot be an authority stays trusted as itself.
fn add_authority(
    roots: &mut RootCertStore,
    certificate: &CertificateDer<'static>,
) -> Result<(), DeliveryError> {
    match roots.add(certificate.clone()) {
        Err(Error::InvalidCertificate(CertificateError::BadEncoding)) => {
            Err(DeliveryError::Authority { reason: "holds a certificate that cannot be read".to_owned() })
        }
        Err(error) => {
            tracing::debug!(error = %error, "certificate of tls_ca is no authority");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(pem: &str) -> String {
        client_config(Trust::Verified { also: Some(pem.as_bytes()) }).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        let none = "tls_ca holds no certificate, expected PEM with BEGIN CERTIFICATE";
        assert_eq!(reason(""), none);
        assert_eq!(reason("not PEM at all"), none);
        assert_eq!(reason("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), none);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(reason(broken), "tls_ca holds a certificate that cannot be read");
        assert!(reason("-----BEGIN CERTIFICATE-----\nAAAA\n").starts_with("tls_ca is not PEM: "));
    }

    #[test]
    fn nobody_and_anyone_need_no_certificates() {
        assert!(client_config(Trust::Nobody).is_ok());
        assert!(client_config(Trust::Anyone).is_ok());
        assert!(client_config(Trust::Verified { also: None }).is_ok());
    }
}
