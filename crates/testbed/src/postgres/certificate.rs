//! A certificate for one server, signed by an authority that exists for this server only.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::cluster::Cluster;
use crate::TestbedError;
use crate::account::Account;

/// Lets the server of `cluster` offer TLS and returns the file of its authority's certificate.
///
/// # Errors
/// [`TestbedError::Certificate`] and [`TestbedError::Io`].
pub(crate) fn install(cluster: &Cluster, account: Account) -> Result<PathBuf, TestbedError> {
    let (authority, certificate, key) = make().map_err(TestbedError::Certificate)?;
    let file = |name: &str, content: &str| -> Result<PathBuf, TestbedError> {
        let path = cluster.dir.join(name);
        write_private(&path, content)?;
        account.hand_over(&path)?;
        Ok(path)
    };
    let authority = file("authority.pem", &authority)?;
    let certificate = file("server.pem", &certificate)?;
    let key = file("server.key", &key)?;
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    cluster.append_settings([
        ("ssl", "on"),
        ("ssl_cert_file", certificate.as_ref()),
        ("ssl_key_file", key.as_ref()),
    ])?;
    Ok(authority)
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

/// Writes `content` for its owner only, which
/// [the server demands of its key](https://www.postgresql.org/docs/current/ssl-tcp.html).
fn write_private(path: &Path, content: &str) -> Result<(), TestbedError> {
    fs::write(path, content).map_err(TestbedError::io("write", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(TestbedError::io("protect", path))
}
