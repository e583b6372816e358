//! A live workload from several sessions: openings, transitions, edits of other columns, repeats of a status,
//! savepoints and whole transactions that are rolled back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use super::backend::{Backend, Session};
use super::wait::{SOON, eventually};

const STATUSES: [&str; 5] = ["RECIBIDA", "REVISION", "APROBADA", "RECHAZADA", "ENTREGADA"];
const SESSIONS: u64 = 3;

/// A seed for a test's random choices; it is printed, and `BITACORA_TEST_SEED` repeats a run.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("BITACORA_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| rand::rng().random());
    println!("seed: BITACORA_TEST_SEED={seed}");
    seed
}

/// A running workload.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the workload; it works on the requests `0` to `requests`, as `L-0`, `L-1`, … and opens those that
    /// do not exist. A session whose connection breaks opens another one.
    pub(crate) fn start<B: Backend>(backend: &Arc<B>, seed: u64, requests: u64) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let workers = (0..SESSIONS).map(|number| {
            let worker = Worker {
                backend: Arc::clone(backend),
                random: StdRng::seed_from_u64(seed.wrapping_add(number)),
                requests,
                stop: Arc::clone(&stop),
                committed: Arc::clone(&committed),
            };
            tokio::spawn(worker.work())
        });
        let workers = workers.collect();
        Self { stop, committed, workers }
    }

    /// Transactions committed so far.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Waits until `count` more transactions have committed.
    pub(crate) async fn commits(&self, count: u64) {
        let wanted = self.committed() + count;
        let what = format!("the workload commits {count} transactions");
        eventually(&what, SOON, async || (self.committed() >= wanted).then_some(())).await;
    }

    /// Ends the workload.
    pub(crate) async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

struct Worker<B: Backend> {
    backend: Arc<B>,
    random: StdRng,
    requests: u64,
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
}

impl<B: Backend> Worker<B> {
    async fn work(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(session) = self.backend.session().await else {
                // The server is down or starting.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            while !self.stop.load(Ordering::Relaxed) && self.transaction(&session).await.is_ok() {
                self.committed.fetch_add(1, Ordering::Relaxed);
                // An institution's table is written now and then, not without a pause.
                let pause = Duration::from_micros(self.random.random_range(0..4000));
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn transaction(&mut self, session: &B::Session) -> Result<(), String> {
        session.try_run(B::Session::BEGIN).await?;
        // In ascending order, so that two sessions cannot wait for each other.
        let mut numbers: Vec<u64> =
            (0..self.random.random_range(1..5)).map(|_| self.random.random_range(0..self.requests)).collect();
        numbers.sort_unstable();
        for number in numbers {
            if self.random.random_ratio(1, 10) {
                let (undone, kept) = (self.statement(number), self.statement(number));
                session.try_run(B::Session::SAVEPOINT).await?;
                session.try_run(&undone).await?;
                session.try_run(B::Session::ROLLBACK_TO_SAVEPOINT).await?;
                session.try_run(&kept).await?;
            } else {
                let statement = self.statement(number);
                session.try_run(&statement).await?;
            }
        }
        let is_undone = self.random.random_ratio(1, 8);
        session.try_run(if is_undone { B::Session::ROLLBACK } else { B::Session::COMMIT }).await
    }

    fn statement(&mut self, number: u64) -> String {
        let numero = format!("L-{number}");
        let estado = STATUSES[self.random.random_range(0..STATUSES.len())];
        let moment = (Utc::now() - TimeDelta::hours(4)).format("%Y-%m-%d %H:%M:%S%.6f");
        match self.random.random_range(0..10) {
            0 => format!("UPDATE solicitudes SET nota = '{moment}' WHERE numero = '{numero}'"),
            1 => format!("UPDATE solicitudes SET estado = estado, nota = 'x' WHERE numero = '{numero}'"),
            2..=4 => {
                let servicio = if number.is_multiple_of(3) { "PER" } else { "LIC" };
                format!(
                    "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion) \
                     SELECT '{numero}', '{servicio}', '{estado}', '{moment}', '{moment}' \
                     WHERE NOT EXISTS (SELECT 1 FROM solicitudes WHERE numero = '{numero}')"
                )
            }
            // One in five of these repeats the status that the request already has. The time comes first: where
            // assignments take effect one after the other, it must still see the former status.
            _ => format!(
                "UPDATE solicitudes SET \
                 fecha_modificacion = CASE WHEN estado = '{estado}' THEN fecha_modificacion ELSE '{moment}' END, \
                 estado = '{estado}' WHERE numero = '{numero}'"
            ),
        }
    }
}
