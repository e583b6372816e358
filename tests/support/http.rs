//! As much of HTTP as it takes to read a page of this machine.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a page answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The lines before the body.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Reads `http://HOST:PORT/PATH`; `None` when nobody answers.
pub(crate) async fn get(url: &str) -> Option<Answer> {
    get_with(url, "accept: */*").await
}

/// The same with one more header, or with another `host`.
pub(crate) async fn get_with(url: &str, header: &str) -> Option<Answer> {
    let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = TcpStream::connect(host).await.ok()?;
    // Without an answer in pieces, which only the newer version of the protocol has.
    let named = if header.starts_with("host:") { String::new() } else { format!("host: {host}\r\n") };
    let request = format!("GET /{path} HTTP/1.0\r\n{named}{header}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
