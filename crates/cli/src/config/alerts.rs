//! `[alerts]`: when somebody must be told, and how.

use reqwest::Url;

use super::item::Item;
use super::reader::{Secrets, Section};
use super::secret::Secret;

/// `[alerts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Consecutive failed flush attempts after which an alert is raised.
    pub after_failures: u32,
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
}

pub(super) fn read(section: &Section<'_, '_>) -> Option<AlertsConfig> {
    let after_failures = section.or("after_failures", 3, |item| item.integer((1, 1000))?.try_into().ok());
    let webhook = section.maybe("webhook", |item| address(item, &["http", "https"]));
    let email = section.maybe("email", email);
    Some(AlertsConfig { after_failures: after_failures?, webhook: webhook?, email: email? })
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
    Some(EmailConfig { smtp: smtp?, from: from?, to: to? })
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
