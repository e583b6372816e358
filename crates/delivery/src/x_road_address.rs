//! The address of a service behind X-Road, made of its parts.
//!
//! A REST call goes to the caller's own security server, which finds the provider by the path:
//! `/r1/INSTANCE/CLASS/MEMBER/SUBSYSTEM/SERVICE/PATH`
//! (<https://docs.x-road.global/Protocols/pr-rest_x-road_message_protocol_for_rest.html>).

use reqwest::Url;

/// A service behind X-Road, and the security server through which it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XRoadService {
    /// The institution's own security server: a host, with a port where it needs one, or a whole `http` or `https`
    /// address without a path.
    pub security_server: String,
    /// The X-Road instance, such as `DO`.
    pub instance: String,
    /// The class of the provider's membership, such as `GOB`.
    pub member_class: String,
    /// The provider.
    pub member: String,
    /// The provider's subsystem.
    pub subsystem: String,
    /// The service.
    pub service: String,
    /// The path at the service, such as `api/load`.
    pub path: String,
}

impl XRoadService {
    /// The address that takes the POST.
    ///
    /// # Errors
    /// Which part cannot be used, by its name in the configuration, and why.
    pub fn url(&self) -> Result<Url, (&'static str, String)> {
        let server = self.security_server.trim_end_matches('/');
        let server = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
        let refusal = |reason: String| ("security_server", reason);
        let mut url = Url::parse(&server).map_err(|error| refusal(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.path() != "/" || url.query().is_some() {
            return Err(refusal("expected a host, or an http or https address without a path".into()));
        }
        for (name, part) in self.identifiers() {
            if !is_identifier(part) {
                return Err((name, format!("{part:?} is no part of an X-Road identifier")));
            }
        }
        let identifiers = self.identifiers().map(|(_, part)| part);
        let path = self.path.split('/').filter(|part| !part.is_empty());
        // Percent-encodes what needs to be. An `http` address can always carry a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("r1").extend(identifiers).extend(path);
        }
        Ok(url)
    }

    fn identifiers(&self) -> [(&'static str, &str); 5] {
        [
            ("instance", &self.instance),
            ("member_class", &self.member_class),
            ("member", &self.member),
            ("subsystem", &self.subsystem),
            ("service", &self.service),
        ]
    }
}

/// Whether X-Road takes the text as one part of an identifier: it may hold neither control characters nor `%:;/\`.
fn is_identifier(part: &str) -> bool {
    !part.trim().is_empty()
        && !matches!(part, "." | "..")
        && !part.chars().any(|character| character.is_control() || "%:;/\\".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> XRoadService {
        XRoadService {
            security_server: "10.0.0.5".into(),
            instance: "DO".into(),
            member_class: "GOB".into(),
            member: "CNC".into(),
            subsystem: "MONITOREO".into(),
            service: "INTEGRACION".into(),
            path: "/api/load".into(),
        }
    }

    #[test]
    fn the_parts_make_the_address() {
        let cases = [
            ("10.0.0.5", "https://10.0.0.5/"),
            ("ss.institucion.gob.do:8443", "https://ss.institucion.gob.do:8443/"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
            ("[::1]:8443", "https://[::1]:8443/"),
        ];
        for (security_server, base) in cases {
            let service = XRoadService { security_server: security_server.into(), ..service() };
            let expected = format!("{base}r1/DO/GOB/CNC/MONITOREO/INTEGRACION/api/load");
            assert_eq!(service.url().unwrap().as_str(), expected);
        }
        let odd = XRoadService { member: "Año 1".into(), path: "a b".into(), ..service() };
        assert_eq!(
            odd.url().unwrap().as_str(),
            "https://10.0.0.5/r1/DO/GOB/A%C3%B1o%201/MONITOREO/INTEGRACION/a%20b"
        );
    }

    #[test]
    fn a_part_that_cannot_be_used_is_named() {
        let server = |text: &str| XRoadService { security_server: text.into(), ..service() };
        let cases = [
            (server(""), "security_server"),
            (server("ftp://10.0.0.5"), "security_server"),
            (server("10.0.0.5/r1"), "security_server"),
            (server("10.0.0.5?x=1"), "security_server"),
            (XRoadService { instance: String::new(), ..service() }, "instance"),
            (XRoadService { member_class: "GOB/CNC".into(), ..service() }, "member_class"),
            (XRoadService { member: "..".into(), ..service() }, "member"),
            (XRoadService { subsystem: "A%2F".into(), ..service() }, "subsystem"),
            (XRoadService { service: "CNC:MONITOREO".into(), ..service() }, "service"),
        ];
        for (service, expected) in cases {
            assert_eq!(service.url().unwrap_err().0, expected, "{service:?}");
        }
    }
}
