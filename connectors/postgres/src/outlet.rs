//! The way from the thread that reads the log to the stream's owner, and back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use change::{Batch, SourceError};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::decode::DecodeError;
use crate::position::Lsn;
use crate::wire::Closer;

/// How often a thread that has nothing left to say but an error looks whether someone still listens.
const LAST_WORD_POLL: Duration = Duration::from_secs(1);

/// Why the thread ends.
pub(crate) enum End {
    /// The stream is not wanted any more.
    Stopped,
    /// It cannot go on.
    Failed(SourceError),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        Self::Failed(error.into())
    }
}

/// What the thread and the stream's owner tell each other, beside the batches.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The position up to which the product holds everything.
    acknowledged: AtomicU64,
    /// Whether the stream is not wanted any more.
    stopped: AtomicBool,
    /// Wakes the thread when it waits for the server; gone when the connection shall end with the thread.
    closer: Mutex<Option<Closer>>,
}

impl Shared {
    /// Everything up to `at` is held by the product.
    pub(crate) fn new(at: Lsn, closer: Closer) -> Self {
        Self {
            acknowledged: AtomicU64::new(at.0),
            stopped: AtomicBool::new(false),
            closer: Mutex::new(Some(closer)),
        }
    }

    /// The product holds everything up to `position`.
    pub(crate) fn acknowledge(&self, position: Lsn) {
        self.acknowledged.fetch_max(position.0, Ordering::Release);
    }

    /// The stream is not wanted any more; the thread must be unparked after this.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(closer) = &*self.closer.lock().unwrap_or_else(PoisonError::into_inner) {
            closer.stop_reading();
        }
    }
}

/// The thread's side.
pub(crate) struct Outlet {
    batches: mpsc::Sender<Result<Batch, SourceError>>,
    shared: Arc<Shared>,
}

impl Outlet {
    pub(crate) fn new(batches: mpsc::Sender<Result<Batch, SourceError>>, shared: Arc<Shared>) -> Self {
        Self { batches, shared }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }

    /// The position up to which the product holds everything.
    pub(crate) fn acknowledged(&self) -> Lsn {
        Lsn(self.shared.acknowledged.load(Ordering::Acquire))
    }

    /// Hands a batch over if there is room, else gives it back. The receiver unparks the thread when it has taken one.
    ///
    /// # Errors
    /// When the stream is not wanted any more.
    pub(crate) fn offer(&self, batch: Batch) -> Result<Option<Batch>, End> {
        match self.batches.try_send(Ok(batch)) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(Ok(_))) if self.is_stopped() => Err(End::Stopped),
            Err(TrySendError::Full(Ok(back))) => Ok(Some(back)),
            Err(_) => Err(End::Stopped),
        }
    }

    /// From now on the thread waits for another connection.
    ///
    /// # Errors
    /// When the stream is not wanted any more, which might have been said to the former connection.
    pub(crate) fn wake_by(&self, closer: Closer) -> Result<(), End> {
        *self.shared.closer.lock().unwrap_or_else(PoisonError::into_inner) = Some(closer);
        if self.is_stopped() { Err(End::Stopped) } else { Ok(()) }
    }

    /// Lets the connection end where the thread drops it, although the stream's owner may not listen for long.
    pub(crate) fn let_go_of_connection(&self) {
        self.shared.closer.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Says why the stream ends, as soon as there is room.
    pub(crate) fn fail(&self, error: SourceError) {
        let mut last = Err(error);
        while let Err(TrySendError::Full(back)) = self.batches.try_send(last) {
            if self.is_stopped() {
                return;
            }
            last = back;
            thread::park_timeout(LAST_WORD_POLL);
        }
    }
}
