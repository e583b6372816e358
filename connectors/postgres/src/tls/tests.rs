use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use trust::TlsMode;

use super::*;

fn config(host: &str, tls: TlsMode) -> PostgresConfig {
    PostgresConfig {
        host: host.to_owned(),
        port: 5432,
        database: "tramites".to_owned(),
        user: "bitacora".to_owned(),
        password: None,
        tls,
        tls_ca: None,
        slot: "bitacora".to_owned(),
        publication: "bitacora".to_owned(),
    }
}

#[test]
fn no_tls_is_set_up_where_none_is_asked_for_or_a_socket_is_used() {
    assert!(client_config(&config("db1", TlsMode::Disable)).unwrap().is_none());
    assert!(client_config(&config("/run/postgresql", TlsMode::VerifyFull)).unwrap().is_none());
    assert!(client_config(&config("db1", TlsMode::Require)).unwrap().is_some());
}

#[test]
fn a_refusal_says_how_this_server_is_taught_tls() {
    let error = refused(&config("db1", TlsMode::VerifyCa));
    assert_eq!(
        (error.to_string().as_str(), error.hint()),
        (
            "db1:5432 does not offer TLS, and tls = \"verify-ca\" asks for it; nothing was sent in the clear",
            Some(
                "turn TLS on (ALTER SYSTEM SET ssl = on, with ssl_cert_file and ssl_key_file), or set tls = \
                 \"disable\" if the network between is trusted"
            )
        )
    );
    let fault = rustls::Error::General("no version in common".to_owned());
    let error = handshake_error(&config("db1", TlsMode::Require), Box::new(fault));
    assert!(error.hint().unwrap().contains("ssl_min_protocol_version"), "{error:?}");
}

#[test]
fn the_binding_follows_the_hash_of_the_certificates_signature() {
    let with = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::new(vec!["db1".to_owned()]).unwrap().self_signed(&key).unwrap().der().clone()
    };
    let p256 = with(&PKCS_ECDSA_P256_SHA256);
    assert_eq!(endpoint_binding(&p256).unwrap().len(), 32);
    assert_eq!(endpoint_binding(&with(&PKCS_ECDSA_P384_SHA384)).unwrap().len(), 48);
    assert_eq!(endpoint_binding(&with(&PKCS_ED25519)), None);
    for cut in 0..p256.len() {
        assert_eq!(endpoint_binding(&p256[..cut]), None, "cut at {cut}");
    }
}
