use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::*;

/// An authority and a server certificate that it signed.
struct Made {
    authority: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

fn key_of(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).unwrap()
}

fn issue(server: &CertificateParams) -> Made {
    let mut authority = params(&[]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Autoridad de pruebas");
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    Made { authority: issuer.pem(), certificate: certificate.der().clone(), key: key_of(&key) }
}

fn endpoint<'a>(host: &'a str, mode: TlsMode, authorities: Option<&'a Path>) -> Endpoint<'a> {
    Endpoint { mode, authorities, host, address: "db1:1", version_setting: "tls_version" }
}

/// A file that lives as long as the directory beside it.
fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

/// Shakes hands in memory and returns what the client says.
fn handshake(endpoint: &Endpoint<'_>, made: &Made) -> Result<(), SourceError> {
    let provider = Arc::new(ring::default_provider());
    // Without the check that key and certificate belong together: a thief's do not.
    let signer = provider.key_provider.load_private_key(made.key.clone_key()).unwrap();
    let key = CertifiedKey::new(vec![made.certificate.clone()], signer);
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let client = endpoint.client_config()?.unwrap();
    let mut client = ClientConnection::new(client, endpoint.server_name()?).unwrap();
    while client.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client
            .process_new_packets()
            .map_err(|error| endpoint.handshake_error(Box::new(std::io::Error::other(error))))?;
    }
    Ok(())
}

fn refusal(endpoint: &Endpoint<'_>, made: &Made) -> (String, String) {
    let error = handshake(endpoint, made).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Tls, "{error}");
    (error.to_string(), error.hint().unwrap().to_owned())
}

#[test]
fn verify_full_takes_a_host_name_or_an_address_that_the_certificate_bears() {
    let made = issue(&params(&["db1.gob.do", "127.0.0.1", "::1"]));
    let (_dir, ca) = file(&made.authority);
    for host in ["db1.gob.do", "127.0.0.1", "::1"] {
        handshake(&endpoint(host, TlsMode::VerifyFull, Some(&ca)), &made).unwrap();
    }
    let (what, hint) = refusal(&endpoint("db2.gob.do", TlsMode::VerifyFull, Some(&ca)), &made);
    assert!(what.contains("db1.gob.do") && what.contains("not for the host \"db2.gob.do\""), "{what}");
    assert!(hint.contains("verify-ca"), "{hint}");
}

#[test]
fn verify_ca_takes_any_server_of_the_authority_and_of_no_other() {
    let made = issue(&params(&["db1.gob.do"]));
    let (_dir, ca) = file(&made.authority);
    handshake(&endpoint("10.0.0.7", TlsMode::VerifyCa, Some(&ca)), &made).unwrap();
    let (_dir, other) = file(&issue(&params(&["db1.gob.do"])).authority);
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let (what, hint) = refusal(&endpoint("db1.gob.do", mode, Some(&other)), &made);
        assert!(what.contains("signed by no authority that is trusted here"), "{what}");
        assert!(hint.contains(&*other.to_string_lossy()), "{hint}");
    }
}

#[test]
fn require_takes_any_certificate_but_only_from_whoever_holds_its_key() {
    let made = issue(&params(&["elsewhere"]));
    handshake(&endpoint("10.0.0.7", TlsMode::Require, None), &made).unwrap();
    let thief = Made { key: key_of(&KeyPair::generate().unwrap()), ..made };
    let (what, _) = refusal(&endpoint("10.0.0.7", TlsMode::Require, None), &thief);
    assert!(what.contains("was refused"), "{what}");
}

#[test]
fn a_self_signed_certificate_in_the_file_is_believed_even_as_an_authority_of_its_own() {
    let mut own = params(&["db1.gob.do"]);
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = own.self_signed(&key).unwrap();
    let made =
        Made { authority: certificate.pem(), certificate: certificate.der().clone(), key: key_of(&key) };
    let (_dir, ca) = file(&made.authority);
    handshake(&endpoint("db1.gob.do", TlsMode::VerifyFull, Some(&ca)), &made).unwrap();
    refusal(&endpoint("db2.gob.do", TlsMode::VerifyFull, Some(&ca)), &made);
}

#[test]
fn an_expired_certificate_is_refused_whoever_signed_it() {
    let mut old = params(&["db1"]);
    old.not_before = date_time_ymd(2020, 1, 1);
    old.not_after = date_time_ymd(2021, 1, 1);
    let made = issue(&old);
    let (_dir, ca) = file(&made.authority);
    assert!(refusal(&endpoint("db1", TlsMode::VerifyCa, Some(&ca)), &made).0.contains("has expired"));
    let key = KeyPair::generate().unwrap();
    let certificate = old.self_signed(&key).unwrap();
    let made =
        Made { authority: certificate.pem(), certificate: certificate.der().clone(), key: key_of(&key) };
    let (_dir, ca) = file(&made.authority);
    assert!(refusal(&endpoint("db1", TlsMode::VerifyFull, Some(&ca)), &made).0.contains("has expired"));
}

#[test]
fn a_certificate_without_alternative_names_is_known_by_its_common_name() {
    let named = |name: &str| {
        let mut server = params(&[]);
        server.distinguished_name.push(DnType::CommonName, name);
        issue(&server)
    };
    for (name, host, matches) in [
        ("db1.gob.do", "DB1.gob.do", true),
        ("*.gob.do", "db1.gob.do", true),
        ("*.gob.do", "a.db1.gob.do", false),
        ("*.do", "gob.do", false),
        ("10.0.0.7", "10.0.0.7", true),
        ("db1.gob.do", "db2.gob.do", false),
    ] {
        let made = named(name);
        let (_dir, ca) = file(&made.authority);
        let shaken = handshake(&endpoint(host, TlsMode::VerifyFull, Some(&ca)), &made);
        assert_eq!(shaken.is_ok(), matches, "{name} for {host}: {shaken:?}");
    }
}

#[test]
fn a_file_without_authorities_is_a_configuration_error_that_names_it() {
    let (dir, empty) = file("no certificate here\n");
    for path in [empty, dir.path().join("absent.pem")] {
        let error = endpoint("db1", TlsMode::VerifyFull, Some(&path)).client_config().unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Configuration);
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
}

#[test]
fn no_tls_is_set_up_where_none_is_asked_for() {
    assert!(endpoint("db1", TlsMode::Disable, None).client_config().unwrap().is_none());
}

#[test]
fn a_broken_connection_is_not_taken_for_a_wrong_certificate() {
    let cause = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let error = endpoint("db1", TlsMode::Require, None).handshake_error(Box::new(cause));
    assert_eq!(error.kind(), SourceErrorKind::Unreachable);
}
