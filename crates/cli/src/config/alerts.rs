//! `[alerts]`: when somebody must be told, and how.

use std::time::Duration;

use alerts::Language;
use chrono_tz::Tz;
use pipeline::Schedule;
use reqwest::Url;

use super::certificate::{self, CertificateFile};
use super::item::Item;
use super::reader::{Secrets, Section};
use super::schedule::accepted;
use super::secret::Secret;

/// `[alerts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Consecutive failed flush attempts after which an alert is raised.
    pub after_failures: u32,
    /// How far behind the database the ledger may be.
    pub behind_after: Duration,
    /// The time of day by which a flush that was due must have been acknowledged.
    pub acknowledged_by: Option<Schedule>,
    /// After how long an alert that stands is told again.
    pub repeat_every: Duration,
    /// The language of messages.
    pub language: Language,
    /// An address that takes a JSON POST.
    pub webhook: Option<Secret>,
    /// A message by e-mail.
    pub email: Option<EmailConfig>,
}

/// `[alerts] email`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailConfig {
    /// The server that takes the message, with user and password where it wants them.
    pub smtp: Secret,
    /// Who sends.
    pub from: String,
    /// Who receives.
    pub to: Vec<String>,
    /// Authorities of the server's certificate, beside the system's own.
    pub tls_ca: Option<CertificateFile>,
}

const LANGUAGES: &[(&str, Language)] = &[("es", Language::Spanish), ("en", Language::English)];

/// Shorter than the first would be noise, longer than the second would be forgotten.
const REPEAT_LIMITS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(30 * 86_400));

const BEHIND_LIMITS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(7 * 86_400));

pub(super) fn read(section: &Section<'_, '_>, zone: Tz) -> Option<AlertsConfig> {
    let after_failures = section.or("after_failures", 3, |item| item.integer((1, 1000))?.try_into().ok());
    let behind_after =
        section.or("behind_after", Duration::from_secs(15 * 60), |item| item.duration(BEHIND_LIMITS));
    let acknowledged_by = section.maybe("acknowledged_by", |item| {
        let text = item.text()?;
        accepted(item, Schedule::parse_at([text.as_str()], zone))
    });
    let repeat_every =
        section.or("repeat_every", Duration::from_secs(12 * 3600), |item| item.duration(REPEAT_LIMITS));
    let language = section.or("language", Language::Spanish, |item| item.choice(LANGUAGES));
    let webhook = section.maybe("webhook", |item| address(item, &["http", "https"]));
    let email = section.maybe("email", email);
    Some(AlertsConfig {
        after_failures: after_failures?,
        behind_after: behind_after?,
        acknowledged_by: acknowledged_by?,
        repeat_every: repeat_every?,
        language: language?,
        webhook: webhook?,
        email: email?,
    })
}

/// An address that may hold a key, so that no message shows it.
fn address(item: &Item<'_, '_>, schemes: &[&str]) -> Option<Secret> {
    let secret = item.secret()?;
    if item.reader.secrets == Secrets::Spared {
        return Some(secret);
    }
    let valid = Url::parse(secret.expose()).is_ok_and(|url| {
        schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty())
    });
    if !valid {
        return item.problem(
            format!("expected the address of a server, beginning with {}://", schemes.join(":// or ")),
            None,
        );
    }
    Some(secret)
}

fn email(item: &Item<'_, '_>) -> Option<EmailConfig> {
    let section = item.section()?;
    let smtp = section.required("smtp").and_then(|item| address(&item, &["smtp", "smtps"]));
    let from = section.required("from").and_then(|item| mailbox(&item));
    let to = section.required("to").and_then(|item| recipients(&item));
    let tls_ca = section.maybe("tls_ca", certificate::read);
    Some(EmailConfig { smtp: smtp?, from: from?, to: to?, tls_ca: tls_ca? })
}

fn recipients(item: &Item<'_, '_>) -> Option<Vec<String>> {
    let members = item.list()?;
    if members.is_empty() {
        return item.problem("names nobody", Some("write [\"somebody@example.org\"]".into()));
    }
    let mailboxes: Vec<_> = members.iter().map(mailbox).collect();
    mailboxes.into_iter().collect()
}

fn mailbox(item: &Item<'_, '_>) -> Option<String> {
    let text = item.text()?;
    let plain = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !plain || text.contains(char::is_control) {
        return item.problem(
            format!("\"{text}\" is not an e-mail address"),
            Some("write \"somebody@example.org\"".into()),
        );
    }
    Some(text)
}
