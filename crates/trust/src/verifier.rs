//! Whose certificate is believed: as libpq's `sslmode` has it
//! (<https://www.postgresql.org/docs/current/libpq-ssl.html#LIBSSL-SSLMODE-STATEMENTS>).

use std::net::IpAddr;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;

/// Which of an authority's servers will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Any of them.
    Any,
    /// The one that the certificate names.
    Configured,
}

/// Checks the server's certificate as far as the configuration asks, and always that whoever answers
/// holds its key.
#[derive(Debug)]
pub(crate) struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Trust {
    /// Whoever answers.
    Anyone,
    /// Servers that these vouch for.
    Authorities {
        roots: Box<RootCertStore>,
        /// Certificates that are believed as they are: a self-signed server certificate, which the manual
        /// lets institutions make, is its own authority and would be refused as one.
        pinned: Vec<CertificateDer<'static>>,
        names: Names,
    },
}

impl Verifier {
    /// Believes whoever answers.
    pub(crate) fn trusting(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { trust: Trust::Anyone, algorithms }
    }

    /// Believes what `roots` signed, and `pinned` itself.
    pub(crate) fn new(
        roots: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
        names: Names,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { trust: Trust::Authorities { roots: Box::new(roots), pinned, names }, algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Authorities { roots, pinned, names } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        if pinned.iter().any(|certificate| certificate.as_ref() == end_entity.as_ref()) {
            verify_period(&parse(end_entity)?, now)?;
        } else {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)
                .map_err(unknown_issuer)?;
        }
        if *names == Names::Configured {
            verify_name(end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(certificate).is_ok() {
            return verify_tls13_signature(message, certificate, signature, &self.algorithms);
        }
        // The library reads version 3 only, but OpenSSL still makes version 1 certificates: their key does.
        let key = parse(certificate)?.tbs_certificate.subject_public_key_info.to_der();
        let key = SubjectPublicKeyInfoDer::from(key.map_err(|_| CertificateError::BadEncoding)?);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// An authority of the same name but another key is not the one that is trusted: to the operator that is
/// no bad signature but an unknown authority.
fn unknown_issuer(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => CertificateError::UnknownIssuer.into(),
        other => other,
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn verify_period(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    let period = certificate.tbs_certificate.validity;
    let (first, last) = (period.not_before.to_unix_duration(), period.not_after.to_unix_duration());
    if now.as_secs() < first.as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > last.as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Checks the alternative names, or, where a certificate has none at all, its common name: libpq does so too,
/// and the certificates that the manual shows how to make have nothing else.
fn verify_name(end_entity: &CertificateDer<'_>, wanted: &ServerName<'_>) -> Result<(), Error> {
    let certificate = parse(end_entity)?;
    let alternatives = certificate.tbs_certificate.get::<SubjectAltName>();
    if !matches!(alternatives, Ok(None)) {
        return verify_server_name(&ParsedCertificate::try_from(end_entity)?, wanted);
    }
    let common_names = common_names(&certificate);
    if common_names.iter().any(|name| names_host(name, wanted)) {
        return Ok(());
    }
    Err(CertificateError::NotValidForNameContext { expected: wanted.to_owned(), presented: common_names }
        .into())
}

fn common_names(certificate: &Certificate) -> Vec<String> {
    let subject = &certificate.tbs_certificate.subject.0;
    let attributes = subject.iter().flat_map(|relative| relative.0.iter());
    attributes
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .filter_map(|attribute| std::str::from_utf8(attribute.value.value()).ok().map(str::to_owned))
        .collect()
}

/// Whether a common name covers the host; a leading `*` stands for one whole label.
fn names_host(common_name: &str, wanted: &ServerName<'_>) -> bool {
    match wanted {
        ServerName::DnsName(host) => {
            let host = host.as_ref().trim_end_matches('.');
            match common_name.strip_prefix("*.") {
                Some(parent) => host
                    .split_once('.')
                    .is_some_and(|(_, rest)| parent.contains('.') && rest.eq_ignore_ascii_case(parent)),
                None => common_name.eq_ignore_ascii_case(host),
            }
        }
        ServerName::IpAddress(address) => {
            common_name.parse::<IpAddr>().is_ok_and(|named| named == IpAddr::from(*address))
        }
        _ => false,
    }
}
