//! What the dashboard says, and what stands between says in its stead.

use std::convert::Infallible;
use std::future;
use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::fault::FaultKind;

/// The contract's acknowledgement; the two full stops are the dashboard's own.
pub(crate) const ACKNOWLEDGEMENT: &str =
    r#"{"code":201,"success":true,"message":"Todos los registros se han creado exitosamente.."}"#;
/// The pause between two bytes of a slow answer.
const DRIBBLE: Duration = Duration::from_millis(25);
const HUGE_CHUNK: usize = 64 * 1024;
const HUGE_CHUNKS: usize = 1600;

/// The answer to a batch that was stored.
pub(crate) fn acknowledge() -> Response {
    json_text(StatusCode::CREATED, ACKNOWLEDGEMENT)
}

/// The refusal of a body that breaks the contract.
pub(crate) fn bad_request(complaints: &[String]) -> Response {
    let body = json!({"message": complaints, "error": "Bad Request", "statusCode": 400});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// The refusal of a body over the limit, as Node's body parser words it.
pub(crate) fn too_large() -> Response {
    nest(StatusCode::PAYLOAD_TOO_LARGE, json!({"statusCode": 413, "message": "request entity too large"}))
}

/// The refusal of a caller without the key.
pub(crate) fn unauthorized() -> Response {
    nest(StatusCode::UNAUTHORIZED, json!({"message": "Unauthorized", "statusCode": 401}))
}

/// The answer where there is no route.
pub(crate) fn not_found(method: &str, path: &str) -> Response {
    let message = format!("Cannot {method} {path}");
    nest(StatusCode::NOT_FOUND, json!({"message": message, "error": "Not Found", "statusCode": 404}))
}

/// The answer of a fault that stores nothing and has an answer; `None` for the other kinds.
pub(crate) fn fault(kind: &FaultKind, path: &str) -> Option<Response> {
    let response = match kind {
        FaultKind::ServerError => nest(
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({"statusCode": 500, "message": "Internal server error"}),
        ),
        FaultKind::Unavailable => nest(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({"statusCode": 503, "message": "Service Unavailable"}),
        ),
        FaultKind::TooManyRequests => too_many_requests(),
        FaultKind::BadRequest => bad_request(&["requests.0.status_id must be an integer number".to_owned()]),
        FaultKind::TooLarge => too_large(),
        FaultKind::Unprocessable => unprocessable(),
        FaultKind::BadGateway => page(StatusCode::BAD_GATEWAY, "502 Bad Gateway"),
        FaultKind::NoCertificate => page(StatusCode::BAD_REQUEST, "400 No required SSL certificate was sent"),
        FaultKind::Unauthorized => unauthorized(),
        FaultKind::Forbidden => nest(
            StatusCode::FORBIDDEN,
            json!({"message": "Forbidden resource", "error": "Forbidden", "statusCode": 403}),
        ),
        FaultKind::NotFound => not_found("POST", path),
        FaultKind::Html => Html("<!DOCTYPE html><title>Portal</title><p>Inicie sesión</p>").into_response(),
        FaultKind::Empty => StatusCode::OK.into_response(),
        FaultKind::SuccessFalse => json_text(
            StatusCode::CREATED,
            r#"{"code":201,"success":false,"message":"No se pudieron crear los registros"}"#,
        ),
        FaultKind::Redirect => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere/api/load")]).into_response()
        }
        FaultKind::XRoadAccessDenied => x_road(
            "Server.ServerProxy.AccessDenied",
            "Request is not allowed: SERVICE:DO/GOB/CNC/MONITOREO/INTEGRACION",
        ),
        FaultKind::XRoadNetworkError => {
            x_road("server.clientproxy.network_error", "Could not connect to any target host (monitoreo)")
        }
        FaultKind::XRoadTimeout => x_road("server.serverproxy.io_error", "Read timed out"),
        FaultKind::XRoad(code) => x_road(code.as_str(), "played by the simulator"),
        _ => return None,
    };
    Some(response)
}

/// The acknowledgement, byte by byte.
pub(crate) fn slow() -> Response {
    let bytes = stream::iter(ACKNOWLEDGEMENT.bytes()).then(|byte| async move {
        tokio::time::sleep(DRIBBLE).await;
        Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte]))
    });
    announced(ACKNOWLEDGEMENT.len(), Body::from_stream(bytes))
}

/// The first half of the acknowledgement; the second half is announced and never comes.
pub(crate) fn truncated() -> Response {
    let half = ACKNOWLEDGEMENT.len() / 2;
    let first = Bytes::from(ACKNOWLEDGEMENT.bytes().take(half).collect::<Vec<u8>>());
    let broken = stream::once(async {
        // The half must have left before the connection breaks.
        tokio::time::sleep(DRIBBLE).await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    let body = stream::once(future::ready(Ok(first))).chain(broken);
    announced(ACKNOWLEDGEMENT.len(), Body::from_stream(body))
}

/// An acknowledgement with a message of 100 MB.
pub(crate) fn huge() -> Response {
    let filling = Bytes::from(vec![b'.'; HUGE_CHUNK]);
    let message = stream::iter(std::iter::repeat_n(filling, HUGE_CHUNKS));
    let begin = stream::once(future::ready(Bytes::from_static(br#"{"code":201,"success":true,"message":""#)));
    let end = stream::once(future::ready(Bytes::from_static(br#""}"#)));
    let body = begin.chain(message).chain(end).map(Ok::<_, Infallible>);
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], Body::from_stream(body))
        .into_response()
}

fn announced(length: usize, body: Body) -> Response {
    let mut response =
        (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body)
            .into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn too_many_requests() -> Response {
    let body = json!({"statusCode": 429, "message": "ThrottlerException: Too Many Requests"});
    let mut response = nest(StatusCode::TOO_MANY_REQUESTS, body);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The refusal of a record by FastAPI, which quotes what it refuses.
fn unprocessable() -> Response {
    let complaint = json!({"type": "less_than_equal", "loc": ["body", "requests", 0, "status_id"],
                           "msg": "Input should be less than or equal to 21", "input": 22});
    nest(StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": [complaint] }))
}

/// The page of a proxy in front of the dashboard.
fn page(status: StatusCode, title: &str) -> Response {
    (status, Html(format!("<html><head><title>{title}</title></head><body>nginx</body></html>")))
        .into_response()
}

/// An error of X-Road itself: the header tells it from an error of the dashboard, the status does not.
pub(crate) fn x_road(code: &str, message: &str) -> Response {
    let status = if code.to_ascii_lowercase().starts_with("server.") {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::BAD_REQUEST
    };
    let body = json!({"type": code, "message": message, "detail": "6d0f5d5c-0000-4000-8000-000000000000"});
    let mut response = nest(status, body);
    // A code consists of letters, dots and underscores, which a header takes.
    if let Ok(code) = HeaderValue::from_str(code) {
        response.headers_mut().insert(HeaderName::from_static("x-road-error"), code);
    }
    response
}

fn nest(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

fn json_text(status: StatusCode, body: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}
