//! The largest body that the endpoint takes, learned from its refusals.
//!
//! A body that is too large is halved, which costs a refused POST each time. So once a part of it has been taken, what
//! was learned is kept, beyond the process's end: it holds for the address and the setting that it was learned with.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Never less is learned: an endpoint that takes fewer than some fifty records is broken for another reason.
const LEARNED_BYTES_MIN: usize = 8 * 1024;

/// What is kept in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lesson {
    /// Bytes that a body may have.
    bytes: usize,
    /// The setting that it was learned with: who changes it wants to try anew.
    configured: usize,
    /// The address that it was learned from.
    address: String,
}

/// The limit for the bodies of new batches.
pub(crate) struct BodyLimit {
    configured: usize,
    address: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    learned: Option<usize>,
    /// The smallest body that was too large, until an acknowledgement shows that a smaller one is not: an endpoint
    /// that refuses everything has taught nothing.
    refused: Option<usize>,
}

impl BodyLimit {
    /// The name of the note in the ledger.
    pub(crate) const NOTE: &'static str = "body_limit";

    /// A limit of `configured` bytes for bodies sent to `address`.
    pub(crate) fn new(configured: usize, address: &str) -> Self {
        Self { configured, address: address.to_owned(), state: Mutex::default() }
    }

    /// Takes up what an earlier process noted, where it still holds.
    pub(crate) fn recall(&self, note: &str) {
        // A note that cannot be read is one that an older version wrote: it is learned again.
        let Ok(lesson) = serde_json::from_str::<Lesson>(note) else { return };
        if lesson.configured == self.configured && lesson.address == self.address {
            self.lock().learned = Some(lesson.bytes);
        }
    }

    /// Bytes that a new body may have.
    pub(crate) fn bytes_max(&self) -> usize {
        self.lock().learned.map_or(self.configured, |learned| learned.min(self.configured))
    }

    /// A body of so many bytes was too large.
    pub(crate) fn was_too_large(&self, bytes: usize) {
        let mut state = self.lock();
        state.refused = Some(state.refused.map_or(bytes, |refused| refused.min(bytes)));
    }

    /// A body of so many bytes was acknowledged; returns what is to be noted, where that taught something.
    pub(crate) fn was_taken(&self, bytes: usize) -> Option<String> {
        let mut state = self.lock();
        let refused = state.refused.take()?;
        let half = (refused / 2).max(LEARNED_BYTES_MIN);
        let is_news = half < state.learned.unwrap_or(self.configured);
        if bytes >= refused || !is_news {
            return None;
        }
        state.learned = Some(half);
        tracing::info!(
            bytes = half,
            refused,
            "bodies are kept smaller from now on: a larger one was refused"
        );
        let lesson = Lesson { bytes: half, configured: self.configured, address: self.address.clone() };
        serde_json::to_string(&lesson).ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> BodyLimit {
        BodyLimit::new(1_000_000, "https://d/api/load")
    }

    #[test]
    fn a_limit_is_learned_once_a_smaller_body_was_taken_and_kept() {
        let learning = limit();
        learning.was_too_large(1_000_000);
        learning.was_too_large(500_000);
        assert_eq!(learning.bytes_max(), 1_000_000, "an endpoint that refuses everything teaches nothing");
        let note = learning.was_taken(250_000).unwrap();
        assert_eq!(learning.bytes_max(), 250_000);
        assert_eq!(learning.was_taken(250_000), None, "it is noted once");

        let later = limit();
        later.recall(&note);
        assert_eq!(later.bytes_max(), 250_000);
        for (configured, address) in [(900_000, "https://d/api/load"), (1_000_000, "https://other/api/load")]
        {
            let changed = BodyLimit::new(configured, address);
            changed.recall(&note);
            assert_eq!(changed.bytes_max(), configured, "{address}");
        }
        later.recall("no note of ours");
        assert_eq!(later.bytes_max(), 250_000);
    }

    #[test]
    fn a_refusal_that_a_larger_body_contradicts_teaches_nothing() {
        let limit = limit();
        limit.was_too_large(100_000);
        assert_eq!(limit.was_taken(100_000), None);
        assert_eq!(limit.was_taken(10), None);
        assert_eq!(limit.bytes_max(), 1_000_000);
    }

    #[test]
    fn nothing_absurd_is_learned() {
        let limit = limit();
        limit.was_too_large(300);
        assert!(limit.was_taken(150).is_some());
        assert_eq!(limit.bytes_max(), LEARNED_BYTES_MIN);
    }
}
