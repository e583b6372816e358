//! One exchange with the endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url, redirect, retry};
use tokio::time::{Instant, timeout_at};

use crate::body::Body;
use crate::config::{DeliveryConfig, DeliveryError, shown};
use crate::failure;
use crate::fault::Fault;
use crate::presented::Presented;
use crate::probe::{self, ProbeReport};
use crate::reply::Reply;
use crate::services;
use crate::timestamp::Precision;
use crate::tls::{self, Trust};
use crate::verdict::{self, Verdict};

const USER_AGENT: &str = concat!("bitacora/", env!("CARGO_PKG_VERSION"));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A server that has not taken a connection by then will not; the exchange's own time-out is for X-Road's sake.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(15);
/// Shorter than the 5 s after which a Node server closes an idle connection
/// (<https://nodejs.org/api/http.html#serverkeepalivetimeout>): a batch sent into the closing ends unknown.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(4);

/// What came of one POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it means for the batch.
    pub verdict: Verdict,
    /// The HTTP status, where an answer came at all.
    pub status: Option<u16>,
    /// How long the exchange took.
    pub elapsed: Duration,
}

/// The way to the dashboard. One instance keeps its connections; share it, do not make one per POST.
#[derive(Debug)]
pub struct Delivery {
    http: reqwest::Client,
    url: Url,
    /// The address without anything that may be secret, for messages.
    target: String,
    /// The certificates that were shown last and not trusted.
    presented: Arc<Presented>,
    timeout: Duration,
    timestamps: Precision,
}

/// How an exchange ended.
pub(crate) enum Exchange {
    Answered(Reply),
    Failed(Verdict),
}

impl Delivery {
    /// Prepares deliveries; nothing is sent.
    ///
    /// # Errors
    /// A [`DeliveryError`] names the setting that cannot be used.
    pub fn new(config: DeliveryConfig) -> Result<Self, DeliveryError> {
        let url = config.parsed_url()?;
        let headers = headers(&config)?;
        if config.timeout.is_zero() {
            return Err(DeliveryError::Timeout);
        }
        let trust = match (url.scheme(), config.tls_insecure) {
            ("http", _) => Trust::Nobody,
            (_, true) => Trust::Anyone,
            (_, false) => Trust::Verified { also: config.tls_ca_pem.as_deref() },
        };
        let presented = Arc::new(Presented::default());
        let tls = tls::client_config(trust, config.tls_client.as_ref(), &presented)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .connect_timeout(config.timeout.min(CONNECT_TIMEOUT_MAX))
            .pool_idle_timeout(IDLE_CONNECTION_MAX)
            .build()
            .map_err(|error| DeliveryError::Client(Box::new(error)))?;
        let target = shown(&url);
        Ok(Self { http, url, target, presented, timeout: config.timeout, timestamps: config.timestamps })
    }

    /// The address that takes the records, without anything that may be secret.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// An empty body for at most `records_max` records and `bytes_max` bytes, with times as configured.
    #[must_use]
    pub fn body(&self, records_max: usize, bytes_max: usize) -> Body {
        Body::new(self.timestamps, records_max, bytes_max)
    }

    /// Sends one batch and judges the answer. Never tries again by itself.
    ///
    /// The exchange ends within the configured time-out, and reads a bounded part of the answer. When the
    /// returned future is dropped, the exchange is cut off and its outcome is unknown.
    pub async fn post(&self, body: Bytes) -> Answer {
        let started = Instant::now();
        let exchange = self.exchange(Method::POST, self.url.clone(), Some(body)).await;
        let (verdict, status) = match exchange {
            Exchange::Answered(reply) => (verdict::judge(&reply, Utc::now()), Some(reply.status.as_u16())),
            Exchange::Failed(verdict) => (verdict, None),
        };
        Answer { verdict, status, elapsed: started.elapsed() }
    }

    /// Asks the dashboard's liveness address; sends no record.
    ///
    /// # Errors
    /// A [`Fault`] when no delivery could pass: nothing answers, or its certificate is not trusted, or X-Road does
    /// not know the way.
    pub async fn probe(&self) -> Result<ProbeReport, Fault> {
        let started = Instant::now();
        let url = probe::liveness_address(&self.url);
        let address = shown(&url);
        match self.exchange(Method::GET, url, None).await {
            Exchange::Answered(reply) => probe::report(&reply, address, started.elapsed()),
            Exchange::Failed(verdict) => Err(probe::unreachable(&verdict)),
        }
    }

    /// Asks which services the dashboard knows the institution by; sends no record. `None` where it does not tell: not
    /// every dashboard has such a list, and X-Road may not grant it.
    pub async fn services(&self) -> Option<BTreeSet<String>> {
        match self.exchange(Method::GET, services::address(&self.url)?, None).await {
            Exchange::Answered(reply) => services::ids(&reply),
            Exchange::Failed(_) => None,
        }
    }

    async fn exchange(&self, method: Method, url: Url, body: Option<Bytes>) -> Exchange {
        let deadline = Instant::now() + self.timeout;
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, JSON).body(body);
        }
        match timeout_at(deadline, request.send()).await {
            Err(_) => Exchange::Failed(failure::timed_out(self.timeout, &self.target)),
            Ok(Err(error)) => {
                let verdict = failure::judge(&error, &self.target);
                Exchange::Failed(failure::with_certificates(verdict, self.presented.describe(), &self.url))
            }
            Ok(Ok(response)) => Exchange::Answered(Reply::read(response, deadline).await),
        }
    }
}

/// The headers of every exchange.
fn headers(config: &DeliveryConfig) -> Result<HeaderMap, DeliveryError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, JSON);
    if let Some(client) = &config.x_road_client {
        let refusal = || DeliveryError::XRoadClient { actual: client.clone() };
        let parts = client.split('/').filter(|part| !part.trim().is_empty()).count();
        // A member may call without a subsystem, by the protocol: three parts.
        if !(3..=4).contains(&parts) || parts != client.split('/').count() {
            return Err(refusal());
        }
        let value = HeaderValue::from_str(client).map_err(|_| refusal())?;
        headers.insert(HeaderName::from_static("x-road-client"), value);
    }
    for (name, value) in &config.headers {
        let refusal = |reason| DeliveryError::Header { name: name.clone(), reason };
        let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refusal("is no name of a header"))?;
        if is_own(&known) {
            return Err(refusal("is set by the connector itself"));
        }
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| refusal("has a value with characters that no header may have"))?;
        value.set_sensitive(true);
        headers.append(known, value);
    }
    Ok(headers)
}

fn is_own(name: &HeaderName) -> bool {
    const OWN: [&str; 7] = [
        "accept",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "x-road-client",
    ];
    OWN.contains(&name.as_str())
}
