//! A web server and a mail server that write down what they are sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Takes POSTs.
pub(super) struct HttpReceiver {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl HttpReceiver {
    /// Answers with these statuses one after the other, and with the last one from then on.
    pub(super) async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let (taken, mut statuses) = (bodies.clone(), VecDeque::from(statuses.to_vec()));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let status = if statuses.len() > 1 { statuses.pop_front().unwrap() } else { statuses[0] };
                let mut stream = BufReader::new(stream);
                let mut length = 0;
                loop {
                    let line = line(&mut stream).await.unwrap();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                taken.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, bodies }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(super) fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().unwrap().clone()
    }
}

/// How the mail server encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    None,
    StartTls,
    Tls,
}

/// What the mail server was told.
#[derive(Default)]
struct Taken {
    mails: Vec<String>,
    recipients: Vec<String>,
    log_ins: Vec<(String, String)>,
}

/// Takes mail.
pub(super) struct MailReceiver {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    authority: String,
}

impl MailReceiver {
    pub(super) async fn start(security: Security) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let (authority, acceptor) = (made.cert.pem(), acceptor(made.cert.der(), &made.signing_key));
        let taken = Arc::new(Mutex::new(Taken::default()));
        let written = taken.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, taken) = (acceptor.clone(), written.clone());
                tokio::spawn(async move {
                    if security == Security::Tls {
                        // A client that does not believe the certificate goes away.
                        if let Ok(stream) = acceptor.accept(stream).await {
                            talk(stream, false, true, &taken).await;
                        }
                    } else if let Some(stream) =
                        talk(stream, security == Security::StartTls, true, &taken).await
                        && let Ok(stream) = acceptor.accept(stream).await
                    {
                        talk(stream, false, false, &taken).await;
                    }
                });
            }
        });
        Self { address, taken, authority }
    }

    pub(super) fn url(&self, scheme: &str, user: &str) -> String {
        format!("{scheme}://{user}{}", self.address)
    }

    pub(super) fn authority(&self) -> Vec<u8> {
        self.authority.clone().into_bytes()
    }

    pub(super) fn mails(&self) -> Vec<String> {
        self.taken.lock().unwrap().mails.clone()
    }

    pub(super) fn recipients(&self) -> Vec<String> {
        self.taken.lock().unwrap().recipients.clone()
    }

    pub(super) fn log_ins(&self) -> Vec<(String, String)> {
        self.taken.lock().unwrap().log_ins.clone()
    }
}

fn acceptor(certificate: &CertificateDer<'static>, key: &rcgen::KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// As much of <https://www.rfc-editor.org/rfc/rfc5321> as it takes to be sent a mail. Returns the connection when
/// it is to be encrypted.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    offers_tls: bool,
    greets: bool,
    taken: &Mutex<Taken>,
) -> Option<S> {
    let mut stream = BufReader::new(stream);
    if greets {
        say(&mut stream, "220 ready").await?;
    }
    loop {
        let told = line(&mut stream).await?;
        let verb = told.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" if offers_tls => say(&mut stream, "250-here\r\n250 STARTTLS").await?,
            "EHLO" => say(&mut stream, "250-here\r\n250 AUTH PLAIN").await?,
            "STARTTLS" => {
                say(&mut stream, "220 go ahead").await?;
                return Some(stream.into_inner());
            }
            "AUTH" => {
                let log_in = plain_log_in(told.rsplit(' ').next().unwrap());
                taken.lock().unwrap().log_ins.push(log_in);
                say(&mut stream, "235 welcome").await?;
            }
            "RCPT" => {
                let mailbox = told.split(['<', '>']).nth(1).unwrap().to_owned();
                taken.lock().unwrap().recipients.push(mailbox);
                say(&mut stream, "250 fine").await?;
            }
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                let mut mail = String::new();
                loop {
                    match line(&mut stream).await?.as_str() {
                        "." => break,
                        text => mail.push_str(&format!("{text}\n")),
                    }
                }
                taken.lock().unwrap().mails.push(mail);
                say(&mut stream, "250 taken").await?;
            }
            "QUIT" => {
                say(&mut stream, "221 bye").await?;
                return None;
            }
            _ => say(&mut stream, "250 fine").await?,
        }
    }
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut BufReader<S>, words: &str) -> Option<()>
where
    BufReader<S>: AsyncWrite,
{
    stream.write_all(format!("{words}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

/// User and password of `AUTH PLAIN`: base64 of three texts parted by zeros.
fn plain_log_in(encoded: &str) -> (String, String) {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0_u32, 0_u32, Vec::new());
    for letter in encoded.bytes().filter(|letter| *letter != b'=') {
        let value = ALPHABET.iter().position(|known| *known == letter).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut parts = text.split('\0').skip(1);
    (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned())
}
