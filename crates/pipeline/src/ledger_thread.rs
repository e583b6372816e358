//! The one thread that writes the ledger.
//!
//! SQLite blocks, and one writer in one order is what makes the ledger's promises easy to believe: so
//! every write is a job in one bounded queue. Captured batches that wait in the queue side by side are
//! committed together, which is what lets a thousand small transactions share one fsync.

use std::thread;

use ledger::{Ingest, Ledger, LedgerError};
use tokio::sync::{mpsc, oneshot};

use crate::error::PipelineError;

/// Jobs that may wait. Each captured batch holds up to some thousand changes, so this bounds memory.
const QUEUE_JOBS: usize = 8;

/// Captured changes that one commit may hold at most.
const COMMIT_CHANGES_MAX: usize = 16_384;

/// The size of the ledger after a commit, in bytes, or why there was none.
pub(crate) type Stored = Result<u64, LedgerError>;

type Call = Box<dyn FnOnce(&mut Ledger) + Send>;

enum Job {
    Append(Ingest, oneshot::Sender<Stored>),
    Call(Call),
}

/// A handle to the ledger's thread; cheap to clone. The thread ends, and the ledger closes, when the last
/// handle is dropped.
#[derive(Clone)]
pub struct LedgerThread {
    jobs: mpsc::Sender<Job>,
}

impl LedgerThread {
    /// Moves `ledger` to a thread of its own.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(ledger: Ledger) -> Result<Self, PipelineError> {
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS);
        thread::Builder::new()
            .name("ledger".into())
            .spawn(move || work(ledger, queue))
            .map_err(|error| PipelineError::internal(format!("start the ledger's thread: {error}")))?;
        Ok(Self { jobs })
    }

    /// Queues captured changes. The receiver resolves once they are durable.
    ///
    /// # Errors
    /// When the thread is gone.
    pub(crate) async fn append(&self, ingest: Ingest) -> Result<oneshot::Receiver<Stored>, PipelineError> {
        let (done, durable) = oneshot::channel();
        self.jobs.send(Job::Append(ingest, done)).await.map_err(|_| PipelineError::ledger_gone())?;
        Ok(durable)
    }

    /// Runs `work` on the ledger, after everything that was queued before.
    ///
    /// # Errors
    /// What `work` returns, or that the thread is gone.
    pub async fn call<R, F>(&self, work: F) -> Result<R, PipelineError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Ledger) -> Result<R, LedgerError> + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let call: Call = Box::new(move |ledger| {
            // The caller may have been cancelled; the work is done all the same.
            drop(done.send(work(ledger)));
        });
        self.jobs.send(Job::Call(call)).await.map_err(|_| PipelineError::ledger_gone())?;
        Ok(result.await.map_err(|_| PipelineError::ledger_gone())??)
    }
}

fn work(mut ledger: Ledger, mut queue: mpsc::Receiver<Job>) {
    let mut waiting = None;
    while let Some(job) = waiting.take().or_else(|| queue.blocking_recv()) {
        match job {
            Job::Call(call) => call(&mut ledger),
            Job::Append(ingest, done) => {
                let mut ingests = vec![ingest];
                let mut answers = vec![done];
                waiting = gather(&mut queue, &mut ingests, &mut answers);
                commit(&mut ledger, &ingests, answers);
            }
        }
    }
}

/// Takes further captured batches that already wait, up to the commit's limit; returns the job that ended
/// the gathering, which keeps the queue's order.
fn gather(
    queue: &mut mpsc::Receiver<Job>,
    ingests: &mut Vec<Ingest>,
    answers: &mut Vec<oneshot::Sender<Stored>>,
) -> Option<Job> {
    let mut changes: usize = ingests.iter().map(|ingest| ingest.captured.len()).sum();
    while changes < COMMIT_CHANGES_MAX {
        match queue.try_recv().ok()? {
            Job::Append(ingest, done) => {
                changes += ingest.captured.len();
                ingests.push(ingest);
                answers.push(done);
            }
            call @ Job::Call(_) => return Some(call),
        }
    }
    None
}

fn commit(ledger: &mut Ledger, ingests: &[Ingest], answers: Vec<oneshot::Sender<Stored>>) {
    let result = ledger.append(ingests).and_then(|()| ledger.size_when_settled());
    let bytes = *result.as_ref().unwrap_or(&0);
    let failure = result.as_ref().err().map(LedgerError::to_shared);
    for answer in answers {
        let outcome = match &failure {
            None => Ok(bytes),
            Some(error) => Err(error.to_shared()),
        };
        drop(answer.send(outcome));
    }
}
