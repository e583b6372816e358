//! What others may see of a running daemon: the status page, its JSON, health and metrics.
//!
//! Everything here is read-only, and says nothing about single requests.

mod metrics;
mod page;

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pipeline::{Requests, SourceState};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;
use page::Language;

/// Listens on `listen`, before anything else is touched: an address that is taken must not leave a slot behind.
pub(crate) async fn listen(listen: SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("the status address {listen} cannot be used"))
            .caused_by(&error)
            .for_the_data("nothing was read and nothing was sent")
            .with_hint("stop the program that has it, or choose another address in `[status] listen`")
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    if !bound.ip().is_loopback() {
        tracing::warn!(address = %bound, "the status page can be read from other machines, without a password");
    }
    Ok(listener)
}

/// Serves on `listener` until `stop`.
pub(crate) fn start(listener: TcpListener, requests: Requests, stop: CancellationToken) {
    if let Ok(bound) = listener.local_addr() {
        tracing::info!(page = %format_args!("http://{bound}/"), "the status page is served");
    }
    let router = router(requests);
    tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!("the status page failed: {error}");
        }
    });
}

fn router(requests: Requests) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(map_response(secured))
        .with_state(requests)
}

async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn page(State(requests): State<Requests>, headers: HeaderMap) -> Response {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    match requests.status().await {
        Ok(status) => Html(page::render(&status, Language::preferred(asked))).into_response(),
        Err(error) => unavailable(&error.to_string()),
    }
}

async fn status(State(requests): State<Requests>) -> Response {
    match requests.status().await {
        Ok(status) => Json(status).into_response(),
        Err(error) => unavailable(&error.to_string()),
    }
}

/// Ready means that what commits now is captured now.
async fn ready(State(requests): State<Requests>) -> Response {
    let state = requests.health().view().state;
    match state {
        SourceState::Streaming => "streaming\n".into_response(),
        other => unavailable(&format!("{other:?}").to_lowercase()),
    }
}

async fn metrics(State(requests): State<Requests>) -> Response {
    match requests.status().await {
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
