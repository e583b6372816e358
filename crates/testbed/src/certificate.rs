//! A certificate for one server, signed by an authority that exists for this server only.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::TestbedError;
use crate::account::Account;

/// The files of one server's certificate, in PEM.
pub(crate) struct Certificate {
    /// The certificate of the authority.
    pub(crate) authority: PathBuf,
    /// The server's own certificate, for `localhost` and `127.0.0.1`.
    pub(crate) certificate: PathBuf,
    /// The server's key, readable for the account that runs the server only, which
    /// [PostgreSQL demands](https://www.postgresql.org/docs/current/ssl-tcp.html).
    pub(crate) key: PathBuf,
}

/// Makes a certificate in the folder `dir` for a server that `account` runs.
///
/// # Errors
/// [`TestbedError::Certificate`] and [`TestbedError::Io`].
pub(crate) fn issue(dir: &Path, account: Account) -> Result<Certificate, TestbedError> {
    let (authority, certificate, key) = make().map_err(TestbedError::Certificate)?;
    let file = |name: &str, content: &str| -> Result<PathBuf, TestbedError> {
        let path = dir.join(name);
        write_private(&path, content)?;
        account.hand_over(&path)?;
        Ok(path)
    };
    Ok(Certificate {
        authority: file("authority.pem", &authority)?,
        certificate: file("server.pem", &certificate)?,
        key: file("server.key", &key)?,
    })
}

/// The authority's certificate, the server's certificate, and the server's key, in PEM.
fn make() -> Result<(String, String, String), rcgen::Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "bitacora testbed authority");
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    let server_pem = server.signed_by(&key, &issuer)?.pem();
    Ok((authority_pem, server_pem, key.serialize_pem()))
}

/// Writes `content` for its owner only.
fn write_private(path: &Path, content: &str) -> Result<(), TestbedError> {
    fs::write(path, content).map_err(TestbedError::io("write", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(TestbedError::io("protect", path))
}
