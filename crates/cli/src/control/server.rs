//! The daemon's side.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use change::Position;
use chrono::Utc;
use futures_util::stream;
use ledger::RepairAt;
use normalizer::Mapping;
use pipeline::{BackfillRange, FlushReport, PipelineError, Requests};
use rand::distr::{Alphanumeric, SampleString};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Address, BackfillAsked, DiscardAsked, Discarded, Line, Refusal, RepairAsked, Repaired};
use crate::exit::Failure;

/// Reads the mapping of the configuration as it is now.
pub(crate) type Reload = Arc<dyn Fn() -> Result<Mapping, Failure> + Send + Sync>;

/// Progress lines that may wait for a slow reader; more are dropped.
const LINES_WAITING_MAX: usize = 32;

#[derive(Clone)]
struct Shared {
    requests: Requests,
    reload: Reload,
    token: Arc<str>,
}

/// The listening daemon; its address file goes away with it.
pub(crate) struct Server {
    file: PathBuf,
}

impl Server {
    /// Listens, and tells where in the ledger's folder, until `stop`.
    pub(crate) async fn start(
        dir: &Path,
        requests: Requests,
        reload: Reload,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(format!("open the control port for {}", dir.display())).caused_by(&error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let token = Alphanumeric.sample_string(&mut rand::rng(), 40);
        let address = listener.local_addr().map_err(failed)?;
        let told = Address { address, token: token.clone(), pid: std::process::id() };
        told.write(dir).map_err(failed)?;
        let shared = Shared { requests, reload, token: token.into() };
        tokio::spawn(async move {
            let serving =
                axum::serve(listener, router(shared)).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!("the control port failed: {error}");
            }
        });
        Ok(Self { file: Address::path(dir) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A file that is already gone is what was wanted.
        drop(std::fs::remove_file(&self.file));
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/flush", post(flush))
        .route("/backfill", post(backfill))
        .route("/audit/repair", post(repair))
        .route("/quarantine/retry", post(retry))
        .route("/quarantine/discard", post(discard))
        .layer(from_fn_with_state(shared.clone(), authorize))
        .with_state(shared)
}

async fn authorize(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let expected = format!("Bearer {}", shared.token);
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given == Some(expected.as_str()) {
        return next.run(request).await;
    }
    StatusCode::UNAUTHORIZED.into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    answer(shared.requests.status().await)
}

async fn retry(State(shared): State<Shared>) -> Response {
    let mended = match (shared.reload)() {
        Ok(mapping) => mapping,
        Err(failure) => return refuse(Refusal { message: failure.to_string(), hint: None }),
    };
    answer(shared.requests.retry_quarantine(mended).await)
}

async fn discard(State(shared): State<Shared>, Json(asked): Json<DiscardAsked>) -> Response {
    let discarded = shared.requests.discard_quarantine(asked.ids).await;
    answer(discarded.map(|discarded| Discarded { discarded }))
}

async fn repair(State(shared): State<Shared>, Json(asked): Json<RepairAsked>) -> Response {
    let repairs = asked.repairs.into_iter().map(Into::into).collect();
    let (position, now) = (asked.position.map(Position::new), Utc::now().timestamp_micros());
    let at = RepairAt { position, read_at: asked.read_at, now };
    let repaired = shared.requests.repair(repairs, at).await;
    answer(repaired.map(|repaired| Repaired { repaired }))
}

async fn flush(State(shared): State<Shared>) -> Response {
    let (told, progress) = mpsc::channel(LINES_WAITING_MAX);
    let requests = shared.requests.clone();
    follow(progress, async move { requests.flush(told).await })
}

async fn backfill(State(shared): State<Shared>, Json(asked): Json<BackfillAsked>) -> Response {
    let (told, progress) = mpsc::channel(LINES_WAITING_MAX);
    let range = BackfillRange { from_at: asked.from_at, to_at: asked.to_at, restart: asked.restart };
    let requests = shared.requests.clone();
    follow(progress, async move { requests.backfill(range, told).await })
}

/// Answers with lines of progress and a last one with the report. The work goes on when the reader leaves.
fn follow(
    mut progress: mpsc::Receiver<pipeline::DeliveryProgress>,
    work: impl Future<Output = Result<FlushReport, PipelineError>> + Send + 'static,
) -> Response {
    let (lines, reader) = mpsc::channel::<Line>(LINES_WAITING_MAX);
    tokio::spawn(async move {
        let worker = tokio::spawn(work);
        while let Some(step) = progress.recv().await {
            drop(lines.try_send(Line::Progress(step)));
        }
        let last = match worker.await {
            Ok(Ok(report)) => Line::Report(report),
            Ok(Err(error)) => Line::Error(refusal(&error)),
            Err(error) => Line::Error(Refusal { message: error.to_string(), hint: None }),
        };
        // The reader may have left; what was done is on record in the ledger.
        drop(lines.send(last).await);
    });
    let body = stream::unfold(reader, |mut reader| async move {
        let line = reader.recv().await?;
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Some((Ok::<_, Infallible>(text), reader))
    });
    Body::from_stream(body).into_response()
}

fn answer<T: serde::Serialize>(result: Result<T, PipelineError>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => refuse(refusal(&error)),
    }
}

fn refuse(refusal: Refusal) -> Response {
    (StatusCode::CONFLICT, Json(refusal)).into_response()
}

fn refusal(error: &PipelineError) -> Refusal {
    Refusal { message: error.to_string(), hint: error.hint() }
}
