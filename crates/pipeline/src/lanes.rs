//! Lanes that form batches side by side, and how they know that nothing is left.
//!
//! The ledger looks for a shard's records among the next ones only, so a lane may find none while there are some
//! further on. They come into reach as other lanes form batches. Nothing is left once every lane has looked in vain
//! since the last batch was formed.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a lane that found nothing learns of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// One of them has formed a batch: it is worth looking again.
    MovedOn,
    /// None of them found anything either.
    Finished,
    /// The work is to end.
    Interrupted,
}

/// What the lanes of one run know of each other.
pub(crate) struct Lanes {
    count: u32,
    state: watch::Sender<State>,
}

#[derive(Default)]
struct State {
    /// Batches formed by all lanes.
    formed: u64,
    /// Lanes that have looked in vain since.
    in_vain: u32,
}

impl Lanes {
    pub(crate) fn new(count: u32) -> Self {
        Self { count, state: watch::Sender::default() }
    }

    /// How many batches have been formed; to be asked for before a lane looks for its next one.
    pub(crate) fn formed(&self) -> u64 {
        self.state.borrow().formed
    }

    /// A lane has formed a batch.
    pub(crate) fn has_formed(&self) {
        self.state.send_modify(|state| *state = State { formed: state.formed + 1, in_vain: 0 });
    }

    /// A lane that looked in vain when `formed` batches had been formed waits for the others.
    pub(crate) async fn wait_for_others(&self, formed: u64, interrupt: &CancellationToken) -> Others {
        self.state.send_modify(|state| {
            if state.formed == formed {
                state.in_vain += 1;
            }
        });
        let mut watcher = self.state.subscribe();
        let is_news = |state: &State| state.formed != formed || state.in_vain >= self.count;
        tokio::select! {
            // Who is through is through, even where an interrupt comes at the same moment.
            biased;
            // The sender lives in `self`, so there is always a state.
            state = watcher.wait_for(is_news) => match state {
                Ok(state) if state.formed != formed => Others::MovedOn,
                _ => Others::Finished,
            },
            () = interrupt.cancelled() => Others::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_end_once_each_has_looked_in_vain_since_the_last_batch() {
        let lanes = Lanes::new(3);
        let never = CancellationToken::new();
        let seen = lanes.formed();
        let wait = || lanes.wait_for_others(seen, &never);
        let end = Others::Finished;
        assert_eq!(tokio::join!(wait(), wait(), wait()), (end, end, end));
    }

    #[tokio::test]
    async fn a_batch_sends_everybody_to_look_again() {
        let lanes = Lanes::new(2);
        let never = CancellationToken::new();
        let seen = lanes.formed();
        // The second lane forms a batch, and later looks in vain before the first one was told of it.
        let second = async {
            lanes.has_formed();
            lanes.wait_for_others(lanes.formed(), &never).await
        };
        let first = async {
            assert_eq!(lanes.wait_for_others(seen, &never).await, Others::MovedOn);
            lanes.wait_for_others(lanes.formed(), &never).await
        };
        assert_eq!(tokio::join!(first, second), (Others::Finished, Others::Finished));
    }

    #[tokio::test]
    async fn an_interrupt_ends_the_wait() {
        let lanes = Lanes::new(2);
        let interrupt = CancellationToken::new();
        let waiting = lanes.wait_for_others(lanes.formed(), &interrupt);
        let interrupting = async { interrupt.cancel() };
        assert_eq!(tokio::join!(waiting, interrupting).0, Others::Interrupted);
    }
}
