//! A way to a server that can be blocked without anybody being told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Forwards connections until it is blocked; then it keeps them open and swallows what comes.
pub(crate) struct Way {
    port: u16,
    blocked: Arc<AtomicBool>,
}

impl Way {
    pub(crate) async fn to(host: &str, port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self { port: listener.local_addr().unwrap().port(), blocked: Arc::default() };
        let (host, blocked) = (host.to_owned(), Arc::clone(&way.blocked));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect((host.as_str(), port)).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(forward(near_in, far_out, Arc::clone(&blocked)));
                tokio::spawn(forward(far_in, near_out, Arc::clone(&blocked)));
            }
        });
        way
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn block(&self) {
        self.blocked.store(true, Ordering::Relaxed);
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    blocked: Arc<AtomicBool>,
) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        if !blocked.load(Ordering::Relaxed) {
            to.write_all(bytes.get(..count).unwrap_or_default()).await?;
        }
    }
}
