//! `[delivery.x_road]`: the dashboard behind X-Road, by the parts of its address.

use delivery::XRoadService;
use reqwest::Url;

use super::item::Item;
use super::reader::Section;

/// How the dashboard is called through X-Road.
pub(super) struct XRoad {
    /// The address that takes the records.
    pub(super) url: Url,
    /// Who calls.
    pub(super) client: String,
}

/// The dashboard's own identifiers, as its owner published them.
const INSTANCE: &str = "DO";
const MEMBER_CLASS: &str = "GOB";
const MEMBER: &str = "CNC";
const SUBSYSTEM: &str = "MONITOREO";
const SERVICE: &str = "INTEGRACION";
const PATH: &str = "/api/load";

pub(super) fn read(section: &Section<'_, '_>) -> Option<XRoad> {
    let text = |name: &'static str, default: &str| section.or(name, default.to_owned(), Item::text);
    let security_server = section.required("security_server").and_then(|item| item.text());
    let client = section.required("client").and_then(|item| client(&item));
    let instance = text("instance", INSTANCE);
    let member_class = text("member_class", MEMBER_CLASS);
    let member = text("member", MEMBER);
    let subsystem = text("subsystem", SUBSYSTEM);
    let service = text("service", SERVICE);
    let path = text("path", PATH);
    let service = XRoadService {
        security_server: security_server?,
        instance: instance?,
        member_class: member_class?,
        member: member?,
        subsystem: subsystem?,
        service: service?,
        path: path?,
    };
    let client = client?;
    match service.url() {
        Ok(url) => Some(XRoad { url, client }),
        Err((part, reason)) => section.problem(part, reason, example(part)),
    }
}

fn example(part: &str) -> String {
    if part == "security_server" {
        return "write the institution's own security server, such as \"10.0.0.5\" or \"https://10.0.0.5:8443\"".into();
    }
    format!("write one part alone, without / and :, such as {part} = \"INTEGRACION-DEV\"")
}

/// The identifier of an X-Road client.
pub(super) fn client(item: &Item<'_, '_>) -> Option<String> {
    let client = item.text()?;
    let parts: Vec<_> = client.split('/').collect();
    let plain = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    if !(3..=4).contains(&parts.len()) || !parts.iter().all(plain) {
        return item.problem(
            format!("\"{client}\" is not the identifier of an X-Road client"),
            Some("write instance/class/member/subsystem, such as \"DO/GOB/OGTIC/VALIDADOR\"".into()),
        );
    }
    Some(client)
}
