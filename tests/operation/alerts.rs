//! Who is told of what: a webhook hears of a test and of quarantine, once, also after a restart.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::Scene;
use crate::support::wait::{LATER, eventually};

/// Takes what a webhook is sent.
struct Receiver {
    address: String,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = taken.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let (mut length, mut line) = (0, String::new());
                while stream.read_line(&mut line).await.unwrap() > 2 {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                let answer = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, taken }
    }

    /// What was sent, each as `KIND CODE`.
    fn heard(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        taken.iter().map(|one| format!("{} {}", text(&one["kind"]), text(&one["code"]))).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_hears_of_quarantine_once_and_of_a_test() {
    let receiver = Receiver::start().await;
    let webhook = format!("webhook = \"http://{}/key-17\"\n", receiver.address);
    let scene = Scene::with(|config| config.alerts = webhook).await;
    let told = scene.product.must(&["check", "--alerts"]).await;
    assert!(told.contains("a test message was taken by [alerts] webhook"), "{told}");
    assert_eq!(receiver.heard(), ["test -"]);

    let daemon = scene.product.run().await;
    scene.open("S-1", "NADA").await;
    daemon.captured(1).await;
    let heard = eventually("the webhook hears of quarantine", LATER, async || {
        let heard = receiver.heard();
        (heard.len() > 1).then_some(heard)
    })
    .await;
    assert_eq!(heard, ["test -", "raised quarantine"]);
    let sent = receiver.taken.lock().unwrap()[1].to_string();
    assert!(!sent.contains("S-1") && !sent.contains("NADA"), "a value of a row left: {sent}");
    daemon.stop().await;

    // The ledger remembers: the next process stays quiet about what was told.
    let daemon = scene.product.run().await;
    let quarantine = |status: &Value| {
        status["alerts"].as_array().unwrap().iter().any(|alert| alert["code"] == "quarantine")
    };
    daemon.until("the alert stands again", LATER, quarantine).await;
    scene.open("S-2", "RECIBIDA").await;
    daemon.captured(2).await;
    assert_eq!(receiver.heard().len(), 2);
    assert!(!daemon.log().contains("key-17"));
    daemon.stop().await;
}
