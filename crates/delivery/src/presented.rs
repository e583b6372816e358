//! The certificates that an endpoint has shown, in words: who cannot see them cannot decide whether to trust them.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Certificates that are described; a chain has three at most, as a rule.
const CERTIFICATES_MAX: usize = 4;

/// Characters of a name that are shown: the endpoint chose them.
const NAME_CHARACTERS_MAX: usize = 80;

/// The chain of the last certificate that was not trusted.
#[derive(Debug, Default)]
pub(crate) struct Presented(Mutex<Vec<CertificateDer<'static>>>);

impl Presented {
    /// Keeps a chain that was not trusted.
    pub(crate) fn keep(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) {
        let chain = std::iter::once(end_entity).chain(intermediates).take(CERTIFICATES_MAX);
        *self.lock() = chain.map(|certificate| certificate.clone().into_owned()).collect();
    }

    /// The chain, one certificate after the other, the endpoint's own first; `None` when none was kept.
    pub(crate) fn describe(&self) -> Option<String> {
        let chain = self.lock();
        let told: Vec<String> = chain.iter().map(describe).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<CertificateDer<'static>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(certificate: &CertificateDer<'_>) -> String {
    let fingerprint = fingerprint(certificate);
    let Ok(parsed) = Certificate::from_der(certificate) else {
        return format!("a certificate that cannot be read, SHA-256 {fingerprint}");
    };
    let fields = parsed.tbs_certificate;
    let signer =
        if fields.subject == fields.issuer { "itself".to_owned() } else { short(&fields.issuer.to_string()) };
    format!(
        "\"{}\" signed by {signer}, valid from {} to {}, SHA-256 {fingerprint}",
        short(&fields.subject.to_string()),
        fields.validity.not_before,
        fields.validity.not_after,
    )
}

/// The SHA-256 of the certificate, as browsers and `openssl x509 -fingerprint` show it.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = Sha256::digest(certificate);
    hash.iter().enumerate().fold(String::new(), |mut text, (index, byte)| {
        let separator = if index == 0 { "" } else { ":" };
        // Writing to a String cannot fail.
        if write!(text, "{separator}{byte:02X}").is_err() {
            text.clear();
        }
        text
    })
}

fn short(name: &str) -> String {
    let mut kept: String = name.chars().take(NAME_CHARACTERS_MAX).collect();
    if kept.len() < name.len() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_told_with_names_dates_and_fingerprints() {
        let presented = Presented::default();
        assert_eq!(presented.describe(), None);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["ss1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "s".repeat(200));
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2019, 1, 1), rcgen::date_time_ymd(2039, 1, 1));
        let certificate = params.self_signed(&key).unwrap();
        presented.keep(certificate.der(), &[CertificateDer::from(vec![0x30, 0x00])]);
        let told = presented.describe().unwrap();
        let (own, unreadable) = told.split_once("; ").unwrap();
        assert!(own.contains(&format!("{}…\" signed by itself", "s".repeat(70))), "{own}");
        assert!(own.contains("valid from 2019-01-01T00:00:00Z to 2039-01-01T00:00:00Z, SHA-256 "), "{own}");
        assert_eq!(own.rsplit(' ').next().unwrap().len(), 32 * 3 - 1);
        assert!(unreadable.starts_with("a certificate that cannot be read, SHA-256 "), "{unreadable}");
    }
}
