//! Who may see what: the Host header, the token, and what browsers are told.
//!
//! Nothing can be changed through the status address, so a foreign page has nothing to forge. What it could do is to
//! read: with a name of its own that leads to this machine. Therefore a page that is served on loopback answers only
//! to names of loopback.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pipeline::Status;

use crate::config::Secret;

/// Of responses that are no page.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// What protects the status address.
#[derive(Debug)]
pub(super) struct Guard {
    /// Whether only this machine can reach it.
    pub(super) is_loopback: bool,
    /// What shows that a visitor may see single requests; without one everybody may who reaches the address.
    pub(super) token: Option<Secret>,
}

impl Guard {
    /// Whether the visitor may see single requests.
    pub(super) fn trusts(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        shown.and_then(credential).is_some_and(|shown| same(shown.as_bytes(), token.expose().as_bytes()))
    }
}

/// The token of a header: `Bearer TOKEN`, or `Basic` with the token as the password, which browsers ask for.
fn credential(header: &str) -> Option<String> {
    let (scheme, value) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    Some(decoded.split_once(':')?.1.to_owned())
}

/// Compares in a time that tells nothing about where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other));
    one.len() == other.len() && difference == 0
}

/// Asks the browser for the token.
pub(super) fn unauthorized() -> Response {
    let ask = HeaderValue::from_static("Basic realm=\"bitacora: token as password\", charset=\"UTF-8\"");
    let told = "the token of [status] is needed, as the password or as `Authorization: Bearer TOKEN`\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, ask)], told).into_response()
}

/// Takes out of a status what may quote a record.
pub(super) fn without_records(mut status: Status) -> Status {
    if let Some(last) = &mut status.flush.last {
        last.error = None;
    }
    for alert in status.alerts.iter_mut().filter(|alert| !alerts::tells_detail(&alert.code)) {
        alert.what = alerts::words(&alert.code, alerts::Language::English).what.to_owned();
    }
    status
}

/// Lets only those through who came by a name of this machine, and tells browsers what they may do with the answer.
pub(super) async fn protect(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = if guard.is_loopback && !is_local(request.headers()) {
        let told = "this address answers to localhost and 127.0.0.1 only\n";
        (StatusCode::MISDIRECTED_REQUEST, told).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

/// Whether the Host header names this machine. Browsers always send one.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().ok().and_then(|host| host.parse::<Uri>().ok());
    let Some(name) = host.as_ref().and_then(Uri::host) else { return false };
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn only_names_of_this_machine_are_answered_on_loopback() {
        for (host, local) in [
            ("127.0.0.1:9187", true),
            ("localhost:9187", true),
            ("LOCALHOST", true),
            ("[::1]:9187", true),
            ("127.0.0.1.evil.example:9187", false),
            ("evil.example", false),
            ("192.168.1.7:9187", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_local(&with(header::HOST, host)), local, "{host}");
        }
    }

    #[test]
    fn the_token_is_taken_as_bearer_or_as_a_password() {
        let guard = Guard { is_loopback: false, token: Some(Secret::new("0123456789abcdef")) };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (shown, trusted) in [
            ("Bearer 0123456789abcdef".to_owned(), true),
            (basic("anyone:0123456789abcdef"), true),
            (basic(":0123456789abcdef"), true),
            ("Bearer 0123456789abcdeF".to_owned(), false),
            ("Bearer 0123456789abcde".to_owned(), false),
            ("Bearer ".to_owned(), false),
            (basic("0123456789abcdef"), false),
            ("Basic %%%".to_owned(), false),
            ("0123456789abcdef".to_owned(), false),
        ] {
            assert_eq!(guard.trusts(&with(header::AUTHORIZATION, &shown)), trusted, "{shown}");
        }
        assert!(!guard.trusts(&HeaderMap::new()));
        assert!(Guard { is_loopback: true, token: None }.trusts(&HeaderMap::new()));
    }
}
