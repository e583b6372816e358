//! TLS for a cluster.

use std::path::PathBuf;

use super::cluster::Cluster;
use crate::TestbedError;
use crate::account::Account;
use crate::certificate;

/// Lets the server of `cluster` offer TLS and returns the file of its authority's certificate.
///
/// # Errors
/// [`TestbedError::Certificate`] and [`TestbedError::Io`].
pub(crate) fn install(cluster: &Cluster, account: Account) -> Result<PathBuf, TestbedError> {
    let issued = certificate::issue(&cluster.dir, account)?;
    let (certificate, key) = (issued.certificate.to_string_lossy(), issued.key.to_string_lossy());
    cluster.append_settings([
        ("ssl", "on"),
        ("ssl_cert_file", certificate.as_ref()),
        ("ssl_key_file", key.as_ref()),
    ])?;
    Ok(issued.authority)
}
