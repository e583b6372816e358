//! A server as TLS sees it: how far it is believed, and what a failed handshake means.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use change::{SourceError, SourceErrorKind};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::mode::TlsMode;
use crate::verifier::{Names, Verifier};

/// A server, and how far the configuration wants it believed.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// How far the connection is protected.
    pub mode: TlsMode,
    /// PEM file of the authorities to trust; they take the place of the system's.
    pub authorities: Option<&'a Path>,
    /// The configured host, which `verify-full` wants the certificate to name.
    pub host: &'a str,
    /// The server's address as messages show it.
    pub address: &'a str,
    /// The server's setting for the versions of TLS that it speaks, for hints.
    pub version_setting: &'a str,
}

impl Endpoint<'_> {
    /// What a TLS connection needs; `None` when the configuration asks for none.
    ///
    /// # Errors
    /// When the authorities' file cannot be read or holds no certificate, or the system has none.
    pub fn client_config(&self) -> Result<Option<Arc<ClientConfig>>, SourceError> {
        if self.mode == TlsMode::Disable {
            return Ok(None);
        }
        // Named outright: without it rustls would take the process's default provider, and panic without one.
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let fault = |error: rustls::Error| {
            SourceError::new(SourceErrorKind::Tls, "set up the TLS library").caused_by(error)
        };
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(fault)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Some(Arc::new(tls)))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Verifier, SourceError> {
        let algorithms = provider.signature_verification_algorithms;
        let names = match self.mode {
            TlsMode::Disable | TlsMode::Require => return Ok(Verifier::trusting(algorithms)),
            TlsMode::VerifyCa => Names::Any,
            TlsMode::VerifyFull => Names::Configured,
        };
        let (roots, pinned) = match self.authorities {
            Some(path) => private_roots(path)?,
            None => (system_roots()?, Vec::new()),
        };
        Ok(Verifier::new(roots, pinned, names, algorithms))
    }

    /// The name that the server's certificate must bear: the configured host.
    ///
    /// # Errors
    /// When the host is neither a host name nor an IP address.
    pub fn server_name(&self) -> Result<ServerName<'static>, SourceError> {
        ServerName::try_from(self.host.to_owned()).map_err(|error| {
            SourceError::new(
                SourceErrorKind::Configuration,
                format!("host is \"{}\", expected a host name or an IP address", self.host),
            )
            .caused_by(error)
        })
    }

    /// The error for a server that answers that it does not speak TLS; `mend` says how it is taught to. There is no
    /// falling back: what was to be protected is not sent in the clear.
    #[must_use]
    pub fn refused(&self, mend: &str) -> SourceError {
        let context = format!(
            "{} does not offer TLS, and tls = \"{}\" asks for it; nothing was sent in the clear",
            self.address, self.mode
        );
        SourceError::new(SourceErrorKind::Tls, context)
            .with_hint(format!("{mend}, or set tls = \"disable\" if the network between is trusted"))
    }

    /// What a failed handshake means, from the library's error or one that wraps it.
    #[must_use]
    pub fn handshake_error(&self, cause: Box<dyn Error + Send + Sync>) -> SourceError {
        let address = self.address;
        match rustls_error(cause.as_ref()) {
            Some(rustls::Error::InvalidCertificate(fault)) => {
                let (what, hint) = self.certificate_fault(fault);
                SourceError::new(SourceErrorKind::Tls, format!("certificate of {address} {what}"))
                    .with_hint(hint)
            }
            Some(_) => SourceError::new(SourceErrorKind::Tls, format!("TLS handshake with {address} failed"))
                .with_hint(format!(
                    "the server must speak TLS 1.2 or 1.3: see {} and its log",
                    self.version_setting
                )),
            None => SourceError::new(
                SourceErrorKind::Unreachable,
                format!("{address} broke the connection off during the TLS handshake"),
            ),
        }
        .caused_by(cause)
    }

    /// What is wrong with the certificate, and what to do about it.
    fn certificate_fault(&self, fault: &CertificateError) -> (String, String) {
        match fault {
            CertificateError::UnknownIssuer => (
                "was signed by no authority that is trusted here".to_owned(),
                match self.authorities {
                    Some(path) => format!(
                        "put the certificate of the server's authority (or the server's own) into {}",
                        path.display()
                    ),
                    None => {
                        "set tls_ca to a PEM file with the certificate of the server's authority".to_owned()
                    }
                },
            ),
            CertificateError::NotValidForNameContext { presented, .. } => (
                format!("is for {}, not for the host \"{}\"", names(presented), self.host),
                "set host to a name that the certificate bears, have it issued for this host, or set tls = \
                 \"verify-ca\" if any server of the authority will do"
                    .to_owned(),
            ),
            CertificateError::ExpiredContext { .. } | CertificateError::Expired => (
                "has expired".to_owned(),
                "have the server's certificate renewed; compare the clocks".to_owned(),
            ),
            CertificateError::NotValidYetContext { .. } | CertificateError::NotValidYet => {
                ("is not valid yet".to_owned(), "compare this machine's clock with the server's".to_owned())
            }
            other => (
                format!("was refused: {other}"),
                "have the server's certificate issued as X.509 version 3 for a server, with its host name as \
                 subject alternative name; a self-signed one is trusted when it is itself in the tls_ca file"
                    .to_owned(),
            ),
        }
    }
}

/// The authorities in `path`, and the same certificates as they are: a server's own certificate may be among
/// them.
fn private_roots(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), SourceError> {
    let fault = |what: &str| {
        SourceError::new(SourceErrorKind::Configuration, format!("tls_ca file {}: {what}", path.display()))
            .with_hint(
                "name a readable PEM file with the certificate of the authority that signed the server's",
            )
    };
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    let certificates = read.map_err(|error| fault("cannot be read").caused_by(error))?;
    if certificates.is_empty() {
        return Err(fault("holds no certificate in PEM form"));
    }
    let mut roots = RootCertStore::empty();
    // One that cannot serve as an authority may still be the server's own.
    roots.add_parsable_certificates(certificates.iter().cloned());
    Ok((roots, certificates))
}

fn system_roots() -> Result<RootCertStore, SourceError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let error = SourceError::new(SourceErrorKind::Tls, "this machine has no trusted certificate authorities")
        .with_hint("install the system's CA certificates, or name the server's authority under tls_ca");
    Err(match found.errors.into_iter().next() {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

/// The TLS library's own error, where it is somewhere in the chain.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An I/O error shows the source of what it wraps, not what it wraps.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") }
}

#[cfg(test)]
mod tests;
