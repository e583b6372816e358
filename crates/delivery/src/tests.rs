//! Exchanges over real sockets with a server that does only what a test tells it to.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Answer, Delivery, DeliveryConfig, Precision, Secret, Verdict};

mod certificates;
mod rehearsal;

const ACKNOWLEDGED: &str = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n\
                            {\"code\":201,\"success\":true}";
/// Long enough for anything that ends at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// For exchanges that are meant to run out of time.
const SHORT: Duration = Duration::from_millis(300);

fn config(url: String) -> DeliveryConfig {
    DeliveryConfig {
        url,
        headers: Vec::new(),
        x_road_client: None,
        timeout: PATIENCE,
        tls_ca_pem: None,
        tls_client: None,
        tls_insecure: false,
        timestamps: Precision::Micros,
    }
}

/// `retry timeout`: class and fault code of a verdict.
fn summary(answer: &Answer) -> String {
    let class = match &answer.verdict {
        Verdict::Acknowledged => return "acknowledged".to_owned(),
        Verdict::Retry { .. } => "retry",
        Verdict::TooLarge { .. } => "too-large",
        Verdict::Refused { .. } => "refused",
        Verdict::Halt { .. } => "halt",
    };
    format!("{class} {}", answer.verdict.fault().unwrap().code)
}

async fn post(config: DeliveryConfig) -> Answer {
    Delivery::new(config).unwrap().post(Bytes::from_static(br#"{"requests":[]}"#)).await
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/load", listener.local_addr().unwrap());
    (listener, url)
}

/// Reads one request, head and body.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request);
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse::<usize>().unwrap());
        let is_whole = text.find("\r\n\r\n").is_some_and(|head| text.len() >= head + 4 + length);
        if is_whole || read == 0 {
            return text.into_owned();
        }
    }
}

/// A server that takes one connection and one request, sends `answer`, and closes. Yields the request.
async fn answering(answer: impl Into<String>) -> (String, JoinHandle<String>) {
    let (listener, url) = listen().await;
    let answer = answer.into();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        request
    });
    (url, server)
}

/// A server that takes one request, sends `beginning`, and then nothing until the other side has gone.
async fn falling_silent(beginning: &'static str) -> (String, JoinHandle<()>) {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        // The client's own end, once it has lost patience, is the event that ends this server.
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    });
    (url, server)
}

#[tokio::test]
async fn a_post_carries_the_body_and_the_headers_and_nothing_odd() {
    let (url, server) = answering(ACKNOWLEDGED).await;
    let answer = post(DeliveryConfig {
        headers: vec![("Api-Key".to_owned(), Secret::new("k-1"))],
        x_road_client: Some("DO/GOB/INSTITUCION/SUBSISTEMA".to_owned()),
        ..config(url)
    })
    .await;
    assert_eq!((summary(&answer).as_str(), answer.status), ("acknowledged", Some(201)));
    let request = server.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, r#"{"requests":[]}"#);
    let mut lines: Vec<&str> = head.lines().filter(|line| !line.starts_with("host: ")).collect();
    lines.sort_unstable();
    let agent = concat!("user-agent: bitacora/", env!("CARGO_PKG_VERSION"));
    let expected = [
        "POST /api/load HTTP/1.1",
        "accept: application/json",
        "api-key: k-1",
        "content-length: 15",
        "content-type: application/json",
        agent,
        "x-road-client: DO/GOB/INSTITUCION/SUBSISTEMA",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn answers_are_judged_as_they_come_over_the_wire() {
    let cases = [
        ("HTTP/1.1 201 Created\r\n\r\n{\"success\":true}", "acknowledged"),
        (
            "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"success\":true}\r\n0\r\n\r\n",
            "acknowledged",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "retry empty_answer"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>hello", "retry html_answer"),
        (
            "HTTP/1.1 413 Too Large\r\n\r\n{\"statusCode\":413,\"message\":\"request entity too large\"}",
            "too-large too_large",
        ),
        (
            "HTTP/1.1 500 Oops\r\nX-Road-Error: server.serverproxy.access_denied\r\n\r\n{}",
            "halt x_road_access_denied",
        ),
        // Half an acknowledgement, announced and chunked.
        ("HTTP/1.1 201 Created\r\nContent-Length: 90\r\n\r\n{\"success\":true}", "retry connection_lost"),
        (
            "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"success\":true}\r\n",
            "retry connection_lost",
        ),
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 90\r\n\r\n{\"mess", "refused refused"),
        ("HTTP/1.1 201 Cre", "retry connection_lost"),
        ("\x15\x03\x01 not HTTP\r\n\r\n", "retry connection_lost"),
        ("", "retry connection_lost"),
    ];
    for (sent, expected) in cases {
        let (url, server) = answering(sent).await;
        let answer = post(config(url)).await;
        assert_eq!(summary(&answer), expected, "{sent:?}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let (elsewhere, elsewhere_url) = listen().await;
    let (url, server) =
        answering(format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere_url}\r\n\r\n")).await;
    let answer = post(config(url)).await;
    assert_eq!(summary(&answer), "halt redirect");
    assert!(answer.verdict.fault().unwrap().message.ends_with(&elsewhere_url));
    server.await.unwrap();
    assert!(timeout(Duration::ZERO, elsewhere.accept()).await.is_err(), "nobody came");
}

#[tokio::test]
async fn a_refused_connection_is_tried_again() {
    let (listener, url) = listen().await;
    drop(listener);
    let answer = post(config(url)).await;
    assert_eq!((summary(&answer).as_str(), answer.status), ("retry connection_refused", None));
}

#[tokio::test]
async fn a_reset_leaves_the_outcome_unknown() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    });
    let answer = post(config(url)).await;
    assert_eq!(summary(&answer), "retry connection_lost");
    let message = &answer.verdict.fault().unwrap().message;
    assert!(message.ends_with("whether the batch was stored is unknown"), "{message}");
    server.await.unwrap();
}

#[tokio::test]
async fn the_time_out_covers_the_whole_exchange() {
    let cases = [
        ("", "retry timeout", None),
        ("HTTP/1.1 201 Created\r\nContent-Le", "retry timeout", None),
        ("HTTP/1.1 201 Created\r\nContent-Length: 90\r\n\r\n{\"success\":true}", "retry timeout", Some(201)),
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 90\r\n\r\n", "refused refused", Some(400)),
    ];
    for (sent, expected, status) in cases {
        let (url, server) = falling_silent(sent).await;
        let answer = post(DeliveryConfig { timeout: SHORT, ..config(url) }).await;
        assert_eq!((summary(&answer).as_str(), answer.status), (expected, status), "{sent:?}");
        assert!(answer.elapsed >= SHORT && answer.elapsed < PATIENCE, "{:?}", answer.elapsed);
        timeout(PATIENCE, server).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_answer_of_a_hundred_megabytes_is_cut() {
    const ANNOUNCED: usize = 100_000_000;
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        let head =
            format!("HTTP/1.1 201 Created\r\nContent-Length: {ANNOUNCED}\r\n\r\n{{\"success\":true,\"x\":\"");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut written = 0;
        while written < ANNOUNCED && stream.write_all(&[b'.'; 65_536]).await.is_ok() {
            written += 65_536;
        }
        written
    });
    let answer = post(config(url)).await;
    assert_eq!((summary(&answer).as_str(), answer.status), ("retry unreadable_answer", Some(201)));
    let written = timeout(PATIENCE, server).await.unwrap().unwrap();
    // What the server got rid of is what the buffers of two sockets hold, and no more.
    assert!(written < ANNOUNCED / 4, "{written} bytes were taken");
}

#[tokio::test]
async fn a_second_post_uses_the_connection_of_the_first() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            read_request(&mut stream).await;
            stream.write_all(ACKNOWLEDGED.as_bytes()).await.unwrap();
        }
    });
    let delivery = Delivery::new(config(url)).unwrap();
    for _ in 0..2 {
        let answer = timeout(PATIENCE, delivery.post(Bytes::new())).await.unwrap();
        assert_eq!(summary(&answer), "acknowledged");
    }
    server.await.unwrap();
}

#[tokio::test]
async fn a_probe_asks_the_base_and_sends_no_record() {
    let (url, server) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let report = Delivery::new(config(format!("{url}?key=secret"))).unwrap().probe().await.unwrap();
    assert_eq!((report.status, report.doubt), (200, None));
    assert!(!report.address.contains("secret"), "{}", report.address);
    let request = server.await.unwrap();
    assert!(
        request.starts_with("GET /?key=secret HTTP/1.1\r\n") && request.ends_with("\r\n\r\n"),
        "{request}"
    );

    let (listener, url) = listen().await;
    drop(listener);
    let fault = Delivery::new(config(url)).unwrap().probe().await.unwrap_err();
    assert_eq!(fault.code, "connection_refused");

    let (url, server) = falling_silent("").await;
    let fault =
        Delivery::new(DeliveryConfig { timeout: SHORT, ..config(url) }).unwrap().probe().await.unwrap_err();
    assert!(fault.message.ends_with("within 300ms"), "{}", fault.message);
    server.await.unwrap();
}

#[test]
fn what_cannot_be_used_is_named_without_showing_it() {
    let good = || config("http://127.0.0.1/api/load".to_owned());
    let header = |name: &str, value: &str| DeliveryConfig {
        headers: vec![(name.to_owned(), Secret::new(value))],
        ..good()
    };
    let client = |client: &str| DeliveryConfig { x_road_client: Some(client.to_owned()), ..good() };
    let url = |url: &str| config(url.to_owned());
    let cases = [
        (
            url("tablero/api/load"),
            "delivery url is not an absolute http or https address: relative URL without a base",
        ),
        (
            url("ftp://user:hush@d/api/load?token=hush"),
            "delivery url is not an absolute http or https address: the scheme is ftp",
        ),
        (url("http://"), "delivery url is not an absolute http or https address: empty host"),
        (header("api key", "hush"), r#"delivery header "api key" is no name of a header"#),
        (
            header("api-key", "hu\nsh-hush"),
            r#"delivery header "api-key" has a value with characters that no header may have"#,
        ),
        (header("Host", "hush"), r#"delivery header "Host" is set by the connector itself"#),
        (
            header("X-Road-Client", "hush"),
            r#"delivery header "X-Road-Client" is set by the connector itself"#,
        ),
        (client("DO/GOB"), r#"x_road_client is "DO/GOB", expected instance/class/member/subsystem"#),
        (client("DO/GOB//S"), r#"x_road_client is "DO/GOB//S", expected instance/class/member/subsystem"#),
        (
            client("/DO/GOB/I/S"),
            r#"x_road_client is "/DO/GOB/I/S", expected instance/class/member/subsystem"#,
        ),
        (
            DeliveryConfig { timeout: Duration::ZERO, ..good() },
            "delivery timeout is zero, expected a duration such as 90s",
        ),
    ];
    for (config, expected) in cases {
        let shown = format!("{config:?}");
        assert!(!shown.contains("hush"), "{shown}");
        assert_eq!(Delivery::new(config).map(|_| ()).unwrap_err().to_string(), expected);
    }
    for fine in ["DO/GOB/OGTIC/VALIDADOR", "DO/GOB/OGTIC"] {
        assert!(Delivery::new(client(fine)).is_ok(), "{fine}");
    }
}

#[tokio::test]
async fn a_password_in_the_address_shows_in_no_message() {
    let (listener, url) = listen().await;
    drop(listener);
    let url = url.replace("http://", "http://user:secret@");
    let answer = post(config(url + "?token=secret")).await;
    let shown = format!("{answer:?}");
    assert!(shown.contains("127.0.0.1") && !shown.contains("secret"), "{shown}");
}
