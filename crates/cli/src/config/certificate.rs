//! A file of certificate authorities, read when the configuration is.

use std::path::PathBuf;

use super::item::Item;

/// Certificates of a private authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFile {
    /// Where they were read, for messages.
    pub path: PathBuf,
    /// The file's content, in PEM.
    pub pem: Vec<u8>,
}

pub(super) fn read(item: &Item<'_, '_>) -> Option<CertificateFile> {
    let path = item.path()?;
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(error) => {
            return item.problem(
                format!("the file {} cannot be read: {error}", path.display()),
                Some("the path is relative to the configuration file's folder".into()),
            );
        }
    };
    if !pem.windows(MARK.len()).any(|bytes| bytes == MARK) {
        return item.problem(
            format!("the file {} holds no certificate in PEM", path.display()),
            Some(
                "a PEM file has lines `-----BEGIN CERTIFICATE-----`; convert with `openssl x509 -inform der`"
                    .into(),
            ),
        );
    }
    Some(CertificateFile { path, pem })
}

const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
