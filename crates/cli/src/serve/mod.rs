//! What others may see of a running daemon: the status page, its JSON, health and metrics.
//!
//! Everything here is read-only. Single requests are shown on this machine, or to those who have the token.
//!
//! # Layout
//! - `page`, `html`: the page
//! - `overview`: what the page shows beyond the status
//! - `metrics`: the status for Prometheus
//! - `guard`: who may see what

mod guard;
mod html;
mod metrics;
mod overview;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;

use alerts::Language;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono_tz::Tz;
use pipeline::{PipelineError, Requests, SourceState, Status};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exit::Failure;
use guard::Guard;
use overview::Archive;
use page::View;

/// A longer id than any institution's; the dashboard takes no longer one either.
const REQUEST_ID_BYTES_MAX: usize = 200;

/// Listens on `listen`, before anything else is touched: an address that is taken must not leave a slot behind.
pub(crate) async fn listen(listen: SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("the status address {listen} cannot be used"))
            .caused_by(&error)
            .for_the_data("nothing was read and nothing was sent")
            .with_hint("stop the program that has it, or choose another address in `[status] listen`")
    };
    TcpListener::bind(listen).await.map_err(failed)
}

/// Serves on `listener` until `stop`.
pub(crate) fn start(listener: TcpListener, config: &Config, requests: Requests, stop: CancellationToken) {
    let bound = listener.local_addr();
    if let Ok(bound) = &bound {
        tracing::info!(page = %format_args!("http://{bound}/"), "the status page is served");
    }
    let site = Site {
        requests,
        archive: Archive::new(config.ledger.dir.clone()).into(),
        guard: Arc::new(Guard {
            is_loopback: bound.is_ok_and(|bound| bound.ip().is_loopback()),
            token: config.status.token.clone(),
        }),
        zone: config.schedule.zone,
        source: config.label().into(),
    };
    let router = router(site);
    tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!("the status page failed: {error}");
        }
    });
}

/// What all answers are made of.
#[derive(Clone)]
struct Site {
    requests: Requests,
    archive: Arc<Archive>,
    guard: Arc<Guard>,
    zone: Tz,
    /// Which connector this is.
    source: Arc<str>,
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/request", get(page))
        .route("/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(site.guard.clone(), guard::protect))
        .with_state(site)
}

/// What a page is asked for with.
#[derive(Debug, Deserialize)]
struct Asked {
    lang: Option<String>,
    /// The request to be looked up.
    id: Option<String>,
}

async fn page(State(site): State<Site>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let language = match asked.lang.as_deref() {
        Some("es") => Language::Spanish,
        Some("en") => Language::English,
        _ => page::preferred(headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok())),
    };
    let id =
        asked.id.as_deref().map(str::trim).filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX);
    if id.is_some() && !site.guard.trusts(&headers) {
        return guard::unauthorized();
    }
    let status = match site.status(&headers).await {
        Ok(status) => status,
        Err(error) => return unavailable(&error.to_string()),
    };
    let life = match id {
        Some(id) => Some((id, site.archive.life(id.to_owned()).await)),
        None => None,
    };
    let overview = site.archive.overview().await;
    let view = View { status: &status, overview: &overview, zone: site.zone, source: &site.source, life };
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    let mut response = Html(page::render(&view, language, &nonce)).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

impl Site {
    /// The state, without what may quote a record where the visitor may not see one.
    async fn status(&self, headers: &HeaderMap) -> Result<Status, PipelineError> {
        let status = self.requests.status().await?;
        Ok(if self.guard.trusts(headers) { status } else { guard::without_records(status) })
    }
}

async fn status(State(site): State<Site>, headers: HeaderMap) -> Response {
    match site.status(&headers).await {
        Ok(status) => Json(status).into_response(),
        Err(error) => unavailable(&error.to_string()),
    }
}

/// Ready means that what commits now is captured now.
async fn ready(State(site): State<Site>) -> Response {
    let state = site.requests.health().view().state;
    match state {
        SourceState::Streaming => "streaming\n".into_response(),
        other => unavailable(&format!("{other:?}").to_lowercase()),
    }
}

async fn metrics(State(site): State<Site>) -> Response {
    match site.requests.status().await {
        Ok(status) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], metrics::render(&status)).into_response()
        }
        Err(error) => unavailable(&error.to_string()),
    }
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}
