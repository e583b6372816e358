//! `[status]`: where the page, health and metrics are served.

use std::net::{Ipv4Addr, SocketAddr};

use super::item::Item;
use super::reader::{Secrets, Section};
use super::secret::Secret;

/// `[status]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusConfig {
    /// The address of the status page; `None` where it is switched off.
    pub listen: Option<SocketAddr>,
    /// What must be shown to see single requests, and to be served from another machine at all.
    pub token: Option<Secret>,
}

/// A token that can be guessed protects nothing.
const TOKEN_CHARACTERS_MIN: usize = 16;

pub(super) fn read(section: &Section<'_, '_>) -> Option<StatusConfig> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9187));
    let listen = section.or("listen", Some(default), listen);
    let token = section.maybe("token", token);
    if let (Some(Some(address)), Some(None)) = (listen, &token)
        && !address.ip().is_loopback()
    {
        return section.problem(
            "listen",
            format!("{address} can be reached from other machines, and there is no token"),
            "add `token = \"${BITACORA_STATUS_TOKEN}\"` to [status], or listen on 127.0.0.1:9187",
        );
    }
    Some(StatusConfig { listen: listen?, token: token? })
}

fn token(item: &Item<'_, '_>) -> Option<Secret> {
    let secret = item.secret()?;
    let written = secret.expose();
    let fits = written.len() >= TOKEN_CHARACTERS_MIN && written.bytes().all(|byte| byte.is_ascii_graphic());
    if item.reader.secrets == Secrets::Needed && !fits {
        return item.problem(
            format!("expected at least {TOKEN_CHARACTERS_MIN} letters and digits without spaces"),
            Some("make one with `openssl rand -hex 24`".into()),
        );
    }
    Some(secret)
}

fn listen(item: &Item<'_, '_>) -> Option<Option<SocketAddr>> {
    let text = item.text()?;
    if text == "off" {
        return Some(None);
    }
    match text.parse() {
        Ok(address) => Some(Some(address)),
        Err(_) => item.problem(
            format!("\"{text}\" is not an address and a port"),
            Some("write \"127.0.0.1:9187\", \"[::1]:9187\", or \"off\"".into()),
        ),
    }
}
