//! The running simulator, and its interface for tests.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::contract::Record;
use crate::fault::{Fault, FaultSchedule};
use crate::routes::{self, Shared};
use crate::store::{Attempt, Received, Store, Summary};
use crate::tls::TlsIdentity;
use crate::wire::{Breaker, Wires};

/// The limit that X-Road itself puts on a message.
const BODY_LIMIT: usize = 10 * 1024 * 1024;

/// How the simulator behaves.
#[derive(Debug, Clone)]
pub struct TableroConfig {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// How it fails.
    pub fault: Fault,
    /// The value that the header `api-key` must have, where one is wanted.
    pub api_key: Option<String>,
    /// The certificate that it shows, where it speaks TLS.
    pub tls: Option<TlsIdentity>,
    /// The institution's services. Where there are any they are listed, and records of others are refused.
    pub services: Vec<String>,
    /// The largest body that it takes, in bytes. A NestJS service without settings takes 102 400.
    pub body_limit: usize,
    /// How long each POST waits for its answer at the least: a dashboard far away, or one that works.
    pub answer_after: Duration,
}

impl Default for TableroConfig {
    /// Any free port of this machine, no fault, no key, no TLS, no list of services, 10 MiB, answers at once.
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen,
            fault: Fault::default(),
            api_key: None,
            tls: None,
            services: Vec::new(),
            body_limit: BODY_LIMIT,
            answer_after: Duration::ZERO,
        }
    }
}

/// The simulator cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("listen on {listen}")]
pub struct StartError {
    /// The address.
    pub listen: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A running simulator. It stops when it is dropped.
pub struct Tablero {
    addr: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl Tablero {
    /// Listens and serves on a task of its own. The address answers from the moment this returns.
    ///
    /// # Errors
    /// [`StartError`] when the address cannot be listened on, or the certificate cannot be used.
    pub async fn start(config: TableroConfig) -> Result<Self, StartError> {
        let failed = |source| StartError { listen: config.listen, source };
        let acceptor = config.tls.as_ref().map(TlsIdentity::acceptor).transpose().map_err(failed)?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            store: Store::new(),
            schedule: Mutex::new(FaultSchedule::new(config.fault)),
            api_key: config.api_key,
            services: config.services,
            body_limit: config.body_limit,
            answer_after: config.answer_after,
        });
        let stop = CancellationToken::new();
        let wires = Wires { listener, acceptor, stop: stop.clone() };
        let server = tokio::spawn(run(wires, Arc::clone(&shared), stop.clone()));
        tracing::info!(%addr, "tablero listens");
        Ok(Self { addr, scheme, shared, stop, server: Some(server) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address before any path: `http://127.0.0.1:9188`.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// The address that takes POSTs.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/api/load", self.base())
    }

    /// The stored batches, in order of arrival.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.store.received()
    }

    /// The stored records, in order of arrival, repeats included.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.received().iter().flat_map(Received::records).collect()
    }

    /// Every POST to the dashboard's addresses, the failed ones included.
    #[must_use]
    pub fn requests(&self) -> Vec<Attempt> {
        self.shared.store.attempts()
    }

    /// Numbers of what was received.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.shared.store.summary()
    }

    /// Fails in this way from the next POST on.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.set_fault(fault);
    }

    /// What is left of the fault: a counted one ends as none.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.shared.fault()
    }

    /// Forgets what was received.
    pub fn clear(&self) {
        self.shared.store.clear();
    }

    /// Waits until at least `records` records are stored, repeats included.
    pub async fn wait_for(&self, records: usize) {
        self.wait_until(|progress| progress.records >= records).await;
    }

    /// Waits until at least `attempts` POSTs have come, whatever became of them.
    pub async fn wait_for_requests(&self, attempts: usize) {
        self.wait_until(|progress| progress.attempts >= attempts).await;
    }

    async fn wait_until(&self, is_reached: impl Fn(&crate::store::Progress) -> bool) {
        // The sender lives in `self`, so waiting cannot fail.
        if self.shared.store.progress().wait_for(|progress| is_reached(progress)).await.is_err() {
            tracing::error!("the store is gone");
        }
    }

    /// Stops: the address refuses connections from then on, open ones are broken off. What was received stays
    /// readable.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::error!(error = %error, "tablero ended abnormally");
        }
    }
}

impl Drop for Tablero {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves until `shutdown` is ready.
///
/// # Errors
/// [`StartError`] when the address cannot be listened on.
pub async fn serve(config: TableroConfig, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    let mut tablero = Tablero::start(config).await?;
    shutdown.await;
    tablero.stop().await;
    Ok(())
}

async fn run(wires: Wires, shared: Arc<Shared>, stop: CancellationToken) {
    let service = routes::router(shared).into_make_service_with_connect_info::<Breaker>();
    let served = axum::serve(wires, service).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(error = %error, "tablero cannot serve");
    }
}
