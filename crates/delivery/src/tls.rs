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
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{ClientIdentity, DeliveryError};
use crate::presented::Presented;

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

/// The TLS of all connections to the endpoint. `identity` is shown to an endpoint that asks for one; chains that are not
/// trusted are kept in `presented`.
///
/// The provider is named here, so that nothing depends on what the process has installed.
pub(crate) fn client_config(
    trust: Trust<'_>,
    identity: Option<&ClientIdentity>,
    presented: &Arc<Presented>,
) -> Result<ClientConfig, DeliveryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier::new(trust, &provider, presented)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DeliveryError::Client(Box::new(error)))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let unusable = |reason: String| DeliveryError::ClientCertificate { reason };
            let chain = certificates(&identity.certificate_pem).map_err(unusable)?;
            let key =
                PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes()).map_err(|error| {
                    DeliveryError::ClientKey { reason: format!("is no private key in PEM: {error}") }
                })?;
            builder.with_client_auth_cert(chain, key).map_err(|error| match error {
                Error::InconsistentKeys(_) => {
                    unusable("does not belong to the key in tls_client_key".to_owned())
                }
                other => unusable(format!("cannot be used: {other}")),
            })?
        }
    };
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
    presented: Arc<Presented>,
}

impl Verifier {
    fn new(
        trust: Trust<'_>,
        provider: &Arc<CryptoProvider>,
        presented: &Arc<Presented>,
    ) -> Result<Self, DeliveryError> {
        let mut verifier = Self {
            accepts_anyone: matches!(trust, Trust::Anyone),
            known: Vec::new(),
            authorities: None,
            provider: Arc::clone(provider),
            presented: Arc::clone(presented),
        };
        if let Trust::Verified { also } = trust {
            let mut roots = system_authorities();
            let unusable = |reason| DeliveryError::Authority { reason };
            verifier.known = also.map(certificates).transpose().map_err(unusable)?.unwrap_or_default();
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
        let verified = match &self.authorities {
            Some(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        verified.inspect_err(|_| self.presented.keep(end_entity, intermediates))
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

/// The certificates in a file, or why there are none.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| format!("is not PEM: {error}"))?;
    if read.is_empty() {
        return Err("holds no certificate, expected PEM with BEGIN CERTIFICATE".to_owned());
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
    use crate::config::Secret;

    fn made(trust: Trust<'_>) -> Result<(), DeliveryError> {
        client_config(trust, None, &Arc::default()).map(|_| ())
    }

    fn reason(pem: &str) -> String {
        made(Trust::Verified { also: Some(pem.as_bytes()) }).unwrap_err().to_string()
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
    fn a_certificate_of_the_client_needs_its_own_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem =
            rcgen::CertificateParams::new(["client".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let made = |certificate: &str, key: &str| {
            let identity = ClientIdentity {
                certificate_pem: certificate.as_bytes().to_vec(),
                key_pem: Secret::new(key),
            };
            client_config(Trust::Anyone, Some(&identity), &Arc::default())
                .map(|_| ())
                .map_err(|it| it.to_string())
        };
        assert_eq!(made(&pem, &key.serialize_pem()), Ok(()));
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let cases = [
            (pem.as_str(), other.as_str(), "tls_client_cert does not belong to the key in tls_client_key"),
            (&pem, &pem, "tls_client_key is no private key in PEM: "),
            ("", &other, "tls_client_cert holds no certificate, expected PEM with BEGIN CERTIFICATE"),
        ];
        for (certificate, key, expected) in cases {
            let told = made(certificate, key).unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        }
    }

    #[test]
    fn nobody_and_anyone_need_no_certificates() {
        assert!(made(Trust::Nobody).is_ok());
        assert!(made(Trust::Anyone).is_ok());
        assert!(made(Trust::Verified { also: None }).is_ok());
    }
}
