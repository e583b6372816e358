//! Which address does what.

use std::convert::Infallible;
use std::future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answers;
use crate::contract::{self, Record};
use crate::fault::{Fault, FaultKind, FaultSchedule};
use crate::store::{self, Attempt, Received, Store, Summary};
use crate::upload::{self, Upload};
use crate::wire::Breaker;

/// What every request sees.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) schedule: Mutex<FaultSchedule>,
    pub(crate) api_key: Option<String>,
    /// The institution's services; none where the dashboard does not tell.
    pub(crate) services: Vec<String>,
    pub(crate) body_limit: usize,
    /// How long each POST waits for its answer at the least.
    pub(crate) answer_after: Duration,
}

impl Shared {
    pub(crate) fn set_fault(&self, fault: Fault) {
        *self.schedule.lock().unwrap_or_else(PoisonError::into_inner) = FaultSchedule::new(fault);
    }

    pub(crate) fn fault(&self) -> Fault {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).fault().clone()
    }

    fn next_fault(&self) -> FaultKind {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// All addresses. What X-Road puts before the dashboard's own path is anyone's guess, so the dashboard's
/// addresses are known by their ends.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/_tablero/records", get(list_records).delete(forget_records))
        .route("/_tablero/summary", get(summarize))
        .route("/_tablero/fault", post(change_fault))
        .fallback(dashboard)
        .with_state(shared)
}

async fn dashboard(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let is_load = path.ends_with("/api/load") || path == "/services-data/requests";
    match method {
        Method::POST if is_load => load(&shared, &breaker, request).await,
        Method::GET if path.ends_with("/services") && !shared.services.is_empty() => {
            Json(services(&shared)).into_response()
        }
        Method::GET if path.ends_with('/') => "Hello World!".into_response(),
        _ => answers::not_found(method.as_str(), &path),
    }
}

/// What is to be done with one POST, decided before anything is done.
enum Outcome {
    Answer(Response),
    Store { records: Vec<Record>, body: Bytes },
    Break,
    Hang,
}

async fn load(shared: &Shared, breaker: &Breaker, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let upload = upload::read(body, shared.body_limit).await;
    let kind = shared.next_fault();
    let mut attempt = attempt(&parts, &upload);
    let outcome = decide(shared, &kind, &parts, upload);
    attempt.is_stored = matches!(outcome, Outcome::Store { .. });
    let answer = match outcome {
        Outcome::Answer(response) => Some(response),
        Outcome::Break => broken(&kind, breaker),
        Outcome::Hang => None,
        Outcome::Store { records, body } => {
            shared.store.add(&records, body);
            stored(&kind, breaker)
        }
    };
    let is_answered = answer.is_some() && !breaker.is_broken();
    attempt.status = answer.as_ref().filter(|_| is_answered).map(|response| response.status().as_u16());
    tracing::info!(path = %attempt.path, bytes = attempt.body_bytes, status = ?attempt.status,
        stored = attempt.is_stored, fault = %kind, "POST");
    shared.store.note(attempt);
    match answer {
        Some(response) => {
            tokio::time::sleep(shared.answer_after).await;
            response
        }
        None => future::pending().await,
    }
}

fn attempt(parts: &Parts, upload: &Upload) -> Attempt {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Attempt {
        at: store::now(),
        path: parts.uri.path().to_owned(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect(),
        body_bytes: upload.length,
        sha256: upload.sha256.clone(),
        is_stored: false,
        status: None,
    }
}

fn decide(shared: &Shared, kind: &FaultKind, parts: &Parts, upload: Upload) -> Outcome {
    if !kind.takes_the_batch() {
        return match (answers::fault(kind, parts.uri.path()), kind) {
            (Some(response), _) => Outcome::Answer(response),
            (None, FaultKind::Hang) => Outcome::Hang,
            (None, _) => Outcome::Break,
        };
    }
    match judge(shared, kind, parts, upload) {
        Ok((records, body)) => Outcome::Store { records, body },
        Err(refusal) => Outcome::Answer(*refusal),
    }
}

/// The contract's own judgement.
fn judge(
    shared: &Shared,
    kind: &FaultKind,
    parts: &Parts,
    upload: Upload,
) -> Result<(Vec<Record>, Bytes), Box<Response>> {
    if let Some(key) = &shared.api_key
        && parts.headers.get("api-key").is_none_or(|value| value.as_bytes() != key.as_bytes())
    {
        return Err(Box::new(answers::unauthorized()));
    }
    let refuse = |complaints: &[String]| Box::new(answers::bad_request(complaints));
    let Some(body) = upload.bytes else {
        return Err(if upload.is_broken {
            refuse(&["request aborted".to_owned()])
        } else {
            Box::new(answers::too_large())
        });
    };
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        // The body parser does not look at anything else, and the validation meets an empty body.
        return Err(refuse(&["requests must be an array".to_owned()]));
    }
    let records = contract::read(&body).map_err(|complaints| refuse(&complaints))?;
    let is_unknown = |record: &Record| !shared.services.contains(&record.service_id);
    if !shared.services.is_empty()
        && let Some(index) = records.iter().position(is_unknown)
    {
        return Err(refuse(&[format!("requests.{index}.service_id is not a service of this institution")]));
    }
    if let FaultKind::Poison(request_id) = kind
        && let Some(index) = records.iter().position(|record| record.request_id == *request_id)
    {
        return Err(refuse(&[format!("requests.{index}.request_id is not valid")]));
    }
    Ok((records, body))
}

/// The answer to a stored batch, or `None` when none ever comes.
fn stored(kind: &FaultKind, breaker: &Breaker) -> Option<Response> {
    match kind {
        FaultKind::ResetAfterStore => broken(kind, breaker),
        FaultKind::HangAfterStore => None,
        FaultKind::Slow => Some(answers::slow()),
        FaultKind::Truncated => Some(answers::truncated()),
        FaultKind::HugeAnswer => Some(answers::huge()),
        FaultKind::XRoadAfterStore(code) => Some(answers::x_road(code.as_str(), "played by the simulator")),
        _ => Some(answers::acknowledge()),
    }
}

/// Breaks the connection. The response that is returned never leaves: writing it is what breaks.
fn broken(kind: &FaultKind, breaker: &Breaker) -> Option<Response> {
    if *kind == FaultKind::Garbage {
        breaker.garble();
    } else {
        breaker.reset();
    }
    Some(StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The institution's services. The contract does not say what one looks like.
fn services(shared: &Shared) -> Value {
    shared.services.iter().map(|id| json!({ "service_id": id })).collect()
}

/// A stored record with the batch that brought it.
#[derive(Serialize)]
struct Line {
    batch: usize,
    #[serde(flatten)]
    record: Record,
}

/// All records as JSON lines, batch after batch, so that a million of them never stand in memory at once.
async fn list_records(State(shared): State<Arc<Shared>>) -> Response {
    let batches = stream::iter(shared.store.received()).map(|received| Ok::<_, Infallible>(lines(&received)));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(batches)).into_response()
}

fn lines(received: &Received) -> String {
    received
        .records()
        .into_iter()
        .filter_map(|record| serde_json::to_string(&Line { batch: received.batch, record }).ok())
        .map(|line| line + "\n")
        .collect()
}

async fn forget_records(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.store.clear();
    StatusCode::NO_CONTENT
}

#[derive(Serialize)]
struct Overview {
    #[serde(flatten)]
    summary: Summary,
    fault: String,
}

async fn summarize(State(shared): State<Arc<Shared>>) -> Json<Overview> {
    Json(Overview { summary: shared.store.summary(), fault: shared.fault().to_string() })
}

#[derive(Deserialize)]
struct NewFault {
    fault: String,
}

async fn change_fault(State(shared): State<Arc<Shared>>, Json(new): Json<NewFault>) -> Response {
    match new.fault.parse::<Fault>() {
        Ok(fault) => {
            tracing::info!(fault = %fault, "fault set");
            let answer = json!({ "fault": fault.to_string() });
            shared.set_fault(fault);
            Json(answer).into_response()
        }
        Err(error) => answers::bad_request(&[error.to_string()]),
    }
}
