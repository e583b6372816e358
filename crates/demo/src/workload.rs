//! The institution's software at work on several connections at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use crate::clerk::{Clerk, Tally};
use crate::database::Server;
use crate::failure::Failure;
use crate::truth::Request;

/// How many connections change the table at once.
pub(crate) const CONNECTIONS: usize = 4;

/// The workload while it runs.
pub(crate) struct Workload {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clerks: Vec<JoinHandle<Result<Clerk, Failure>>>,
}

impl Workload {
    /// Shares `requests` out and sets everybody to work.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn start(
        server: &Server,
        requests: Vec<Request>,
        rng: &mut StdRng,
    ) -> Result<Workload, Failure> {
        let mut shares: Vec<Vec<Request>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
        for (index, request) in requests.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(index % CONNECTIONS) {
                share.push(request);
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let mut clerks = Vec::new();
        for (name, share) in shares.into_iter().enumerate() {
            let session = server.connect().await?;
            let clerk = Clerk::new(session, name, share, StdRng::seed_from_u64(rng.random()));
            clerks.push(tokio::spawn(work(clerk, Arc::clone(&stop), Arc::clone(&done))));
        }
        Ok(Workload { stop, done, clerks })
    }

    /// Transactions that have ended so far.
    pub(crate) fn transactions(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Lets everybody finish the transaction at hand; returns every request, and what was done.
    ///
    /// # Errors
    /// What the database had said to one of them.
    pub(crate) async fn stop(self) -> Result<(Vec<Request>, Tally), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut requests = Vec::new();
        let mut tally = Tally::default();
        for clerk in self.clerks {
            let clerk = clerk
                .await
                .map_err(|_| Failure::new("a connection of the live workload came to grief"))??;
            tally = tally.plus(clerk.tally);
            requests.extend(clerk.requests);
        }
        Ok((requests, tally))
    }
}

async fn work(mut clerk: Clerk, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Result<Clerk, Failure> {
    loop {
        match clerk.change_many_at_once().await {
            Err(failure) if failure.has_lost_a_lock() => clerk.give_up().await?,
            changed => break changed?,
        }
    }
    while !stop.load(Ordering::Relaxed) {
        match clerk.work().await {
            Err(failure) if failure.has_lost_a_lock() => clerk.give_up().await?,
            worked => worked?,
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(clerk)
}
