//! `[status]`: where the page, health and metrics are served.

use std::net::{Ipv4Addr, SocketAddr};

use super::item::Item;
use super::reader::Section;

/// `[status]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusConfig {
    /// The address of the status page; `None` where it is switched off.
    pub listen: Option<SocketAddr>,
}

pub(super) fn read(section: &Section<'_, '_>) -> Option<StatusConfig> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9187));
    let listen = section.or("listen", Some(default), listen);
    Some(StatusConfig { listen: listen? })
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
