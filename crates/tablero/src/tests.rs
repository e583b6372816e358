//! The simulator over a real socket, asked by a client that is nothing but a socket.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answers::ACKNOWLEDGEMENT;
use crate::{Fault, Tablero, TableroConfig};

/// Long enough for anything that ends at all.
const PATIENCE: Duration = Duration::from_secs(30);

async fn start(fault: &str) -> Tablero {
    let config = TableroConfig { fault: fault.parse().unwrap(), ..TableroConfig::default() };
    Tablero::start(config).await.unwrap()
}

fn batch(ids: &[&str]) -> String {
    let records: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({"service_id": "101", "request_id": id, "opening_date": "2025-06-13T08:00:00Z",
                   "status_id": 2, "last_modified_date": "2025-06-13T10:15:00Z"})
        })
        .collect();
    json!({ "requests": records }).to_string()
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: tablero\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends `request` and reads until the other side closes; what it broke off with is an error.
async fn exchange(addr: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn load(tablero: &Tablero, ids: &[&str]) -> String {
    exchange(tablero.addr(), &post("/api/load", &batch(ids))).await.unwrap()
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_batch_is_stored_in_order_and_acknowledged() {
    let tablero = start("none").await;
    let answer = load(&tablero, &["A", "B", "A"]).await;
    assert_eq!(status_of(&answer), 201);
    assert!(answer.ends_with(ACKNOWLEDGEMENT), "{answer}");
    let ids: Vec<String> = tablero.records().into_iter().map(|record| record.request_id).collect();
    assert_eq!(ids, ["A", "B", "A"]);
    let summary = tablero.summary();
    assert_eq!((summary.records, summary.repeats, summary.batches, summary.attempts), (3, 1, 1, 1));
    let attempts = tablero.requests();
    assert_eq!((attempts[0].status, attempts[0].is_stored), (Some(201), true));
    assert_eq!(attempts[0].header("host"), Some("tablero"));
    assert_eq!(attempts[0].sha256.len(), 64);
}

#[tokio::test]
async fn all_three_addresses_take_batches_and_no_other_does() {
    let tablero = start("none").await;
    for (path, expected) in [
        ("/api/load", 201),
        ("/services-data/requests", 201),
        ("/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/api/load", 201),
        ("/api/loads", 404),
    ] {
        let answer = exchange(tablero.addr(), &post(path, &batch(&["A"]))).await.unwrap();
        assert_eq!(status_of(&answer), expected, "{path}");
    }
    assert_eq!(tablero.summary().records, 3);
    assert_eq!(tablero.summary().attempts, 3);
}

#[tokio::test]
async fn a_fault_that_answers_answers_so_and_stores_nothing() {
    let cases = [
        ("500", 500, "Internal server error"),
        ("503", 503, "Service Unavailable"),
        ("429", 429, "retry-after: 1"),
        ("400", 400, "must be an integer number"),
        ("413", 413, "request entity too large"),
        ("401", 401, "Unauthorized"),
        ("404", 404, "Cannot POST /api/load"),
        ("html", 200, "<!DOCTYPE html>"),
        ("empty", 200, "content-length: 0"),
        ("success-false", 201, r#""success":false"#),
        ("redirect", 307, "location: /elsewhere/api/load"),
        ("x-road-access-denied", 500, "x-road-error: Server.ServerProxy.AccessDenied"),
        ("x-road-network-error", 500, "x-road-error: server.clientproxy.network_error"),
        ("x-road-timeout", 500, "x-road-error: server.serverproxy.io_error"),
        ("x-road=server.clientproxy.unknown_member", 500, "x-road-error: server.clientproxy.unknown_member"),
        ("x-road=Client.Odd", 400, "x-road-error: Client.Odd"),
        ("422", 422, r#""loc":["body","requests",0,"status_id"]"#),
        ("502", 502, "<title>502 Bad Gateway</title>"),
        ("no-certificate", 400, "<title>400 No required SSL certificate was sent</title>"),
        ("403", 403, "Forbidden resource"),
    ];
    for (fault, expected, part) in cases {
        let tablero = start(fault).await;
        let answer = load(&tablero, &["A"]).await;
        assert_eq!(status_of(&answer), expected, "{fault}");
        assert!(answer.contains(part), "{fault}: {answer}");
        assert_eq!(tablero.summary().records, 0, "{fault}");
        assert_eq!(tablero.requests()[0].status, Some(expected), "{fault}");
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_and_stores_only_where_it_says_so() {
    for (fault, stored) in [("reset", 0), ("reset-after-store", 1)] {
        let tablero = start(fault).await;
        let error = exchange(tablero.addr(), &post("/api/load", &batch(&["A"]))).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{fault}");
        assert_eq!(tablero.summary().records, stored, "{fault}");
        assert_eq!(tablero.requests()[0].status, None, "{fault}");
    }
}

#[tokio::test]
async fn garbage_is_not_http() {
    let tablero = start("garbage").await;
    let answer = load(&tablero, &["A"]).await;
    assert!(answer.contains("this is not HTTP") && !answer.starts_with("HTTP"), "{answer:?}");
    assert_eq!(tablero.summary().records, 0);
}

#[tokio::test]
async fn an_answer_may_be_cut_in_half_or_dribble_or_be_huge() {
    let tablero = start("truncated").await;
    let answer = load(&tablero, &["A"]).await;
    assert!(answer.contains(&format!("content-length: {}", ACKNOWLEDGEMENT.len())), "{answer}");
    assert!(answer.contains(r#"{"code":201,"success":true"#) && !answer.ends_with('}'), "{answer}");

    tablero.set_fault("slow".parse().unwrap());
    assert!(load(&tablero, &["A"]).await.ends_with(ACKNOWLEDGEMENT));

    tablero.set_fault("huge-answer".parse().unwrap());
    assert!(load(&tablero, &["A"]).await.len() > 100_000_000);
    assert_eq!(tablero.summary().records, 3);
}

#[tokio::test]
async fn an_answer_takes_as_long_as_it_is_told_to() {
    let answer_after = Duration::from_millis(150);
    let tablero = Tablero::start(TableroConfig { answer_after, ..TableroConfig::default() }).await.unwrap();
    let began = Instant::now();
    assert!(load(&tablero, &["A"]).await.ends_with(ACKNOWLEDGEMENT));
    assert!(began.elapsed() >= answer_after);
    assert_eq!(tablero.summary().records, 1);
}

#[tokio::test]
async fn a_hanging_request_ends_when_the_simulator_stops() {
    for (fault, stored) in [("hang", 0), ("hang-after-store", 1)] {
        let mut tablero = start(fault).await;
        let request = post("/api/load", &batch(&["A"]));
        let addr = tablero.addr();
        let client = tokio::spawn(async move { exchange(addr, &request).await });
        tablero.wait_for_requests(1).await;
        assert!(!client.is_finished(), "{fault}");
        timeout(PATIENCE, tablero.stop()).await.unwrap();
        assert_eq!(client.await.unwrap().unwrap_or_default(), "", "{fault}");
        assert_eq!(tablero.summary().records, stored, "{fault}");
        assert!(TcpStream::connect(addr).await.is_err(), "{fault}");
    }
}

#[tokio::test]
async fn poison_refuses_only_the_batch_that_holds_it() {
    let tablero = start("poison:B").await;
    assert_eq!(status_of(&load(&tablero, &["A", "B"]).await), 400);
    assert_eq!(status_of(&load(&tablero, &["A", "C"]).await), 201);
    assert_eq!(tablero.summary().records, 2);
}

#[tokio::test]
async fn a_key_a_limit_and_a_content_type_are_demanded() {
    let config = TableroConfig {
        api_key: Some("k-1".to_owned()),
        body_limit: batch(&["A"]).len(),
        ..TableroConfig::default()
    };
    let tablero = Tablero::start(config).await.unwrap();
    assert_eq!(status_of(&load(&tablero, &["A"]).await), 401);
    let with_key = |ids| post("/api/load", &batch(ids)).replace("Host:", "api-key: k-1\r\nHost:");
    assert_eq!(status_of(&exchange(tablero.addr(), &with_key(&["A"])).await.unwrap()), 201);
    let answer = exchange(tablero.addr(), &with_key(&["A", "B"])).await.unwrap();
    assert!(answer.ends_with(r#"{"message":"request entity too large","statusCode":413}"#), "{answer}");
    let plain = with_key(&["A"]).replace("application/json", "text/plain");
    assert_eq!(status_of(&exchange(tablero.addr(), &plain).await.unwrap()), 400);
    assert_eq!(tablero.summary().records, 1);
    let hashes: Vec<String> = tablero.requests().into_iter().map(|attempt| attempt.sha256).collect();
    assert_eq!((hashes[0] == hashes[1], hashes[1] == hashes[2], hashes.len()), (true, false, 4));
}

#[tokio::test]
async fn the_control_addresses_show_change_and_forget() {
    let tablero = start("none").await;
    load(&tablero, &["A", "B"]).await;
    load(&tablero, &["A"]).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    let records = exchange(tablero.addr(), &get("/_tablero/records")).await.unwrap();
    assert_eq!(records.matches(r#""request_id":"A""#).count(), 2, "{records}");
    assert!(records.contains(r#"{"batch":1,"service_id":"101","request_id":"A""#), "{records}");
    let summary = exchange(tablero.addr(), &get("/_tablero/summary")).await.unwrap();
    let expected = concat!(
        r#"{"records":3,"repeats":1,"batches":2,"attempts":2,"#,
        r#""services":{"101":3},"statuses":{"2":3},"fault":"none"}"#
    );
    assert!(summary.ends_with(expected), "{summary}");
    assert_eq!(status_of(&exchange(tablero.addr(), &get("/")).await.unwrap()), 200);
    assert_eq!(status_of(&exchange(tablero.addr(), &get("/services")).await.unwrap()), 404);

    let set = |fault: &str| post("/_tablero/fault", &json!({ "fault": fault }).to_string());
    assert_eq!(status_of(&exchange(tablero.addr(), &set("500:1")).await.unwrap()), 200);
    assert_eq!(tablero.fault(), "500:1".parse().unwrap());
    assert_eq!(status_of(&exchange(tablero.addr(), &set("nonsense")).await.unwrap()), 400);
    assert_eq!(status_of(&load(&tablero, &["A"]).await), 500);
    assert_eq!(status_of(&load(&tablero, &["A"]).await), 201);
    assert_eq!(tablero.fault(), Fault::default());

    let forget = get("/_tablero/records").replace("GET", "DELETE");
    assert_eq!(status_of(&exchange(tablero.addr(), &forget).await.unwrap()), 204);
    assert_eq!(tablero.summary().records, 0);
}

#[tokio::test]
async fn services_that_were_told_are_listed_and_no_others_are_taken() {
    let start = async |services: &[&str]| {
        let services = services.iter().map(|id| (*id).to_owned()).collect();
        Tablero::start(TableroConfig { services, ..TableroConfig::default() }).await.unwrap()
    };
    let tablero = start(&["101", "102"]).await;
    let get = "GET /r1/DO/services HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    let services = exchange(tablero.addr(), get).await.unwrap();
    assert!(services.ends_with(r#"[{"service_id":"101"},{"service_id":"102"}]"#), "{services}");
    assert_eq!(status_of(&load(&tablero, &["A"]).await), 201);
    let answer = load(&start(&["102"]).await, &["A"]).await;
    assert!(answer.contains("requests.0.service_id is not a service of this institution"), "{answer}");
}

#[tokio::test]
async fn an_error_of_x_road_may_come_after_the_batch_was_stored() {
    let tablero = start("x-road-after-store=Server.ServerProxy.IOError:1").await;
    let answer = load(&tablero, &["A"]).await;
    assert!(answer.contains("x-road-error: Server.ServerProxy.IOError"), "{answer}");
    assert_eq!(status_of(&load(&tablero, &["A"]).await), 201);
    assert_eq!(tablero.summary().repeats, 1);
}

#[tokio::test]
async fn waiting_ends_with_the_record_that_was_waited_for() {
    let tablero = start("none").await;
    let waiting = tablero.wait_for(3);
    tokio::pin!(waiting);
    load(&tablero, &["A", "B"]).await;
    assert!(timeout(Duration::ZERO, &mut waiting).await.is_err());
    load(&tablero, &["C"]).await;
    timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn serving_ends_with_the_shutdown() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(crate::serve(TableroConfig::default(), async {
        assert!(stopped.await.is_ok());
    }));
    stop.send(()).unwrap();
    timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let tablero = start("none").await;
    let config = TableroConfig { listen: tablero.addr(), ..TableroConfig::default() };
    let error = Tablero::start(config).await.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), format!("listen on {}", tablero.addr()));
}
