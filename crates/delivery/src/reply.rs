//! An answer, as far as it is read.

use bytes::BytesMut;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

/// How much of an answer is read. An acknowledgement has 90 bytes; a page of HTML has more, and an endpoint gone
/// astray may send without end.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How the body of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last byte.
    Whole,
    /// At the limit; the rest was not read.
    Cut,
    /// With a broken connection.
    Broken,
    /// With the time-out of the exchange.
    TimedOut,
}

/// An answer, as far as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Reply {
    /// Reads the answer, at most until `deadline` and at most 64 KiB of it.
    ///
    /// An answer whose body fails is still an answer: its status is known.
    pub(crate) async fn read(mut response: Response, deadline: Instant) -> Self {
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        let end = loop {
            match timeout_at(deadline, response.chunk()).await {
                Err(_) => break End::TimedOut,
                Ok(Err(_)) => break End::Broken,
                Ok(Ok(None)) => break End::Whole,
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            }
            if body.len() > BODY_BYTES_MAX {
                body.truncate(BODY_BYTES_MAX);
                break End::Cut;
            }
        };
        Self { status, headers, body: body.into(), end }
    }

    /// The value of a header, where it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the body is a web page.
    pub(crate) fn is_html(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
            || self.body.trim_ascii_start().starts_with(b"<")
    }
}

#[cfg(test)]
impl Reply {
    /// A whole answer, for tests of what answers mean.
    pub(crate) fn of(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    reqwest::header::HeaderName::from_static(name),
                    reqwest::header::HeaderValue::from_static(value),
                )
            })
            .collect();
        let status = StatusCode::from_u16(status).unwrap();
        Self { status, headers, body: body.as_bytes().to_vec(), end: End::Whole }
    }
}
