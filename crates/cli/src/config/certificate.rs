//! Files of certificates and keys, read when the configuration is.

use std::path::{Path, PathBuf};

use super::item::Item;
use super::reader::Secrets;
use super::secret::Secret;

/// A file of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFile {
    /// Where they were read, for messages.
    pub path: PathBuf,
    /// The file's content, in PEM.
    pub pem: Vec<u8>,
}

pub(super) fn read(item: &Item<'_, '_>) -> Option<CertificateFile> {
    let path = item.path()?;
    let pem = content(item, &path)?;
    if !holds(&pem, MARK) {
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

/// Reads a private key. Like other secrets it is spared for commands that only read the ledger, which may not be allowed
/// to read it.
pub(super) fn read_key(item: &Item<'_, '_>) -> Option<Secret> {
    let path = item.path()?;
    if item.reader.secrets == Secrets::Spared {
        return Some(Secret::new(""));
    }
    let pem = content(item, &path)?;
    match String::from_utf8(pem) {
        Ok(pem) if pem.contains(KEY_MARK) => Some(Secret::new(pem)),
        _ => item.problem(
            format!("the file {} holds no private key in PEM", path.display()),
            Some("a PEM file has lines `-----BEGIN PRIVATE KEY-----`; a key with a password must be stored without".into()),
        ),
    }
}

fn content(item: &Item<'_, '_>, path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).map_or_else(
        |error| {
            item.problem(
                format!("the file {} cannot be read: {error}", path.display()),
                Some("the path is relative to the configuration file's folder".into()),
            )
        },
        Some,
    )
}

fn holds(pem: &[u8], mark: &[u8]) -> bool {
    pem.windows(mark.len()).any(|bytes| bytes == mark)
}

const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The end of the line: there are several kinds of keys, but an encrypted one is not read.
const KEY_MARK: &str = "PRIVATE KEY-----";
