//! What reaches a session from outside while it is at work.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::InterruptHandle;

/// What the task that reads the socket tells the session that is at work.
#[derive(Default)]
pub(crate) struct Signals {
    /// Attentions that have not been answered.
    pub(crate) attentions: AtomicU32,
    /// The client has gone.
    pub(crate) gone: AtomicBool,
    pub(super) interrupt: Mutex<Option<InterruptHandle>>,
}

impl Signals {
    /// Stops the statement that runs.
    pub(crate) fn interrupt(&self) {
        if let Some(handle) = &*self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }

    pub(super) fn cancelled(&self) -> bool {
        self.attentions.load(Ordering::SeqCst) > 0 || self.gone.load(Ordering::SeqCst)
    }
}
