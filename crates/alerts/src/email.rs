//! Alerts by e-mail.
//!
//! Nothing is sent in the clear to another machine unless the address says so: `smtps://` speaks TLS from the first
//! byte, `smtp://` demands STARTTLS, and `smtp://…?tls=none` does without. On this machine `smtp://` needs no TLS.

use std::net::IpAddr;
use std::time::Duration;

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters, TlsParametersBuilder};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use reqwest::Url;

use crate::herald::{AlertError, ChannelFault};
use crate::language::Language;
use crate::message::Message;

/// Where e-mail goes, and from whom.
#[derive(Clone)]
pub struct Mail {
    /// The server, with user and password where it wants them.
    pub smtp: String,
    /// Who sends.
    pub from: String,
    /// Who receives.
    pub to: Vec<String>,
    /// Authorities, in PEM, beside the system's own.
    pub tls_ca: Option<Vec<u8>>,
}

/// The way to one mail server.
pub(crate) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Mailboxes,
    language: Language,
}

impl Email {
    pub(crate) fn new(mail: &Mail, language: Language, timeout: Duration) -> Result<Self, AlertError> {
        let url = Url::parse(&mail.smtp).map_err(|error| AlertError::Smtp(error.into()))?;
        let host = url.host_str().ok_or_else(|| AlertError::Smtp("the address names no server".into()))?;
        let (tls, port) = encryption(&url, host, mail.tls_ca.as_deref())?;
        // The library reads user and password; what it makes of the encryption is replaced.
        let mut bare = url.clone();
        bare.set_query(None);
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(bare.as_str())
            .map_err(|error| AlertError::Smtp(error.into()))?
            .port(url.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(timeout))
            .build();
        let mailbox = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|error| AlertError::Mailbox { written: text.to_owned(), source: error })
        };
        let to = mail.to.iter().map(|to| mailbox(to)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { transport, from: mailbox(&mail.from)?, to: to.into(), language })
    }

    /// Sends `message`; the server that says 250 to it has taken it.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), ChannelFault> {
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .mailbox(lettre::message::header::To::from(self.to.clone()))
            .subject(message.subject.clone())
            // Nobody's out-of-office assistant answers a machine.
            .header(AutoSubmitted)
            .header(ContentLanguage(self.language))
            .header(ContentType::TEXT_PLAIN)
            .body(message.text.clone())
            .map_err(|error| ChannelFault::from_error(&error))?;
        self.transport.send(mail).await.map_err(|error| ChannelFault::from_error(&error))?;
        Ok(())
    }
}

/// How the connection is encrypted, and the port that goes with it.
fn encryption(url: &Url, host: &str, authorities: Option<&[u8]>) -> Result<(Tls, u16), AlertError> {
    let parameters = || parameters(host, authorities);
    let asked = url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value.into_owned());
    match (url.scheme(), asked.as_deref()) {
        ("smtps", None) => Ok((Tls::Wrapper(parameters()?), 465)),
        ("smtp", Some("none")) => Ok((Tls::None, 25)),
        ("smtp", None) if is_this_machine(host) => Ok((Tls::Opportunistic(parameters()?), 25)),
        ("smtp", None | Some("required")) => Ok((Tls::Required(parameters()?), 587)),
        (_, asked) => Err(AlertError::Smtp(
            format!(
                "expected smtp:// or smtps://, with ?tls=required or ?tls=none at most; found tls={}",
                asked.unwrap_or("")
            )
            .into(),
        )),
    }
}

fn parameters(host: &str, authorities: Option<&[u8]>) -> Result<TlsParameters, AlertError> {
    let refused = |error: lettre::transport::smtp::Error| AlertError::Smtp(error.into());
    let mut builder = TlsParametersBuilder::new(host.trim_matches(['[', ']']).to_owned());
    if let Some(pem) = authorities {
        builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(refused)?);
    }
    builder.build_rustls().map_err(refused)
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// <https://www.rfc-editor.org/rfc/rfc3834#section-5>
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

#[derive(Debug, Clone)]
struct ContentLanguage(Language);

impl Header for ContentLanguage {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Content-Language")
    }

    fn parse(written: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(if written == "en" { Language::English } else { Language::Spanish }))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.code().into())
    }
}
