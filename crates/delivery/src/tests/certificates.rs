//! Which certificates of an endpoint are taken.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ACKNOWLEDGED, config, listen, post, summary};
use crate::{ClientIdentity, Delivery, DeliveryConfig, Secret, Verdict};

/// A certificate with its key.
pub(super) struct Identity {
    pub(super) certificate: rcgen::Certificate,
    pub(super) key: KeyPair,
}

pub(super) fn params(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

/// A certificate as a security server makes it: signed by itself, and marked as an authority.
fn self_made(name: &str) -> Identity {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    Identity { certificate: params.self_signed(&key).unwrap(), key }
}

/// A private authority, in PEM, and a certificate that it has issued.
pub(super) fn issued(params: &CertificateParams) -> (String, Identity) {
    let mut authority = self::params("authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    (pem, Identity { certificate, key })
}

/// A TLS server that takes one connection and acknowledges one request, if the handshake gets that far.
fn serving(identity: &Identity) -> (String, JoinHandle<bool>) {
    serving_known(identity, None)
}

/// The same; with `clients` it wants to see a certificate that this authority vouches for, as a security server does
/// whose client subsystem is set to HTTPS.
fn serving_known(identity: &Identity, clients: Option<&str>) -> (String, JoinHandle<bool>) {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
    let chain: Vec<CertificateDer<'static>> = vec![identity.certificate.der().clone()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let tls = builder.with_single_cert(chain, key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}/api/load", listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(Arc::new(tls)).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        let has_request = stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0);
        let is_answered = has_request && stream.write_all(ACKNOWLEDGED.as_bytes()).is_ok();
        if !is_answered {
            // What is unread when a socket closes makes it a reset, which may overtake the alert.
            socket.shutdown(Shutdown::Write).unwrap();
            drop(std::io::copy(&mut socket, &mut std::io::sink()));
        }
        is_answered
    });
    (url, server)
}

/// Posts to a server with `identity`, and tells what came of it: the verdict, the hint, whether a request arrived.
async fn meet(identity: &Identity, tls_ca: Option<&str>) -> (String, String, bool) {
    let (url, server) = serving(identity);
    let answer =
        post(DeliveryConfig { tls_ca_pem: tls_ca.map(|pem| pem.as_bytes().to_vec()), ..config(url) }).await;
    let hint = answer.verdict.fault().and_then(|fault| fault.hint.clone()).unwrap_or_default();
    (summary(&answer), hint, server.join().unwrap())
}

#[tokio::test]
async fn a_certificate_of_nobody_known_stops_deliveries_before_a_record_leaves() {
    let (verdict, hint, has_request) = meet(&self_made("127.0.0.1"), None).await;
    assert_eq!((verdict.as_str(), has_request), ("halt tls_certificate", false));
    assert!(hint.contains("tls_ca = \"security-server.pem\"") && hint.contains("tls_insecure"), "{hint}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_shown_with_the_line_that_would_trust_it() {
    let (_, server) = issued(&params("ss1.institucion.internal"));
    let (url, serving) = serving(&server);
    let port = url.split(['/', ':']).nth(4).unwrap().to_owned();
    let delivery = Delivery::new(config(url)).unwrap();
    let Verdict::Halt { fault } = delivery.post(bytes::Bytes::new()).await.verdict else { panic!() };
    let (said, shown) = fault.message.split_once("; it showed ").unwrap();
    assert!(said.starts_with("the certificate of https://127.0.0.1"), "{said}");
    assert!(shown.contains("signed by ") && shown.contains("SHA-256 "), "{shown}");
    let hint = fault.hint.unwrap();
    let command = format!("openssl s_client -connect 127.0.0.1:{port} </dev/null");
    assert!(hint.contains(&command) && hint.ends_with("into [delivery]."), "{hint}");
    serving.join().unwrap();
}

#[tokio::test]
async fn a_server_that_wants_to_know_who_calls_is_shown_the_connector_s_certificate() {
    let server = self_made("127.0.0.1");
    let (authority, client) = issued(&params("conector"));
    let stranger = self_made("otro");
    let meet = async |shown: Option<&Identity>| {
        let (url, serving) = serving_known(&server, Some(&authority));
        let tls_client = shown.map(|identity| ClientIdentity {
            certificate_pem: identity.certificate.pem().into_bytes(),
            key_pem: Secret::new(identity.key.serialize_pem()),
        });
        let tls_ca_pem = Some(server.certificate.pem().into_bytes());
        let answer = post(DeliveryConfig { tls_client, tls_ca_pem, ..config(url) }).await;
        assert_eq!(serving.join().unwrap(), answer.verdict == Verdict::Acknowledged);
        summary(&answer)
    };
    assert_eq!(meet(Some(&client)).await, "acknowledged");
    assert_eq!(meet(None).await, "halt tls_client_certificate");
    assert_eq!(meet(Some(&stranger)).await, "halt tls_client_certificate");
}

#[tokio::test]
async fn the_security_server_s_own_certificate_is_taken_whatever_name_it_bears() {
    let server = self_made("ss1.institucion.internal");
    let pem = server.certificate.pem();
    assert_eq!(meet(&server, Some(&pem)).await.0, "acknowledged");
    // Another certificate with the same name and marks is another server.
    let other = self_made("ss1.institucion.internal");
    let (verdict, _, has_request) = meet(&other, Some(&pem)).await;
    assert_eq!((verdict.as_str(), has_request), ("halt tls_certificate", false));
}

#[tokio::test]
async fn a_private_authority_vouches_for_the_names_it_has_issued() {
    let (authority, server) = issued(&params("127.0.0.1"));
    assert_eq!(meet(&server, Some(&authority)).await.0, "acknowledged");
    let (authority, server) = issued(&params("another.host"));
    let (verdict, hint, _) = meet(&server, Some(&authority)).await;
    assert_eq!(verdict, "halt tls_certificate");
    assert!(hint.starts_with("Write the host in [delivery] url"), "{hint}");
}

#[tokio::test]
async fn dates_count_for_what_an_authority_has_issued() {
    let mut past = params("127.0.0.1");
    (past.not_before, past.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    let mut future = params("127.0.0.1");
    (future.not_before, future.not_after) = (date_time_ymd(4000, 1, 1), date_time_ymd(4001, 1, 1));
    for (params, expected) in
        [(past, "Have the certificate renewed"), (future, "Check this machine's clock.")]
    {
        let (authority, server) = issued(&params);
        let (verdict, hint, _) = meet(&server, Some(&authority)).await;
        assert_eq!(verdict, "halt tls_certificate");
        assert!(hint.starts_with(expected), "{hint}");
    }
}

#[tokio::test]
async fn the_explicit_opt_out_takes_anyone() {
    let (url, server) = serving(&self_made("another.host"));
    let answer = post(DeliveryConfig { tls_insecure: true, ..config(url) }).await;
    assert_eq!(summary(&answer), "acknowledged");
    assert!(server.join().unwrap());
}

#[tokio::test]
async fn a_server_without_tls_is_named_as_such() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // A web server that meets a TLS greeting on its plain port answers at once.
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let answer = post(config(url.replace("http:", "https:"))).await;
    assert_eq!(summary(&answer), "retry tls_handshake");
    assert!(
        matches!(&answer.verdict, Verdict::Retry { fault, .. } if fault.message.contains("does not speak TLS"))
    );
    server.await.unwrap();
}
