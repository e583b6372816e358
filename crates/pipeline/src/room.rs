//! Whether the ledger may grow: what the capture asks before it reads on.

use tokio::sync::watch;

/// Room for more of the log; its clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    is_free: watch::Sender<bool>,
    bytes_max: Option<u64>,
}

impl Room {
    /// Room in a ledger that may have `bytes_max` bytes.
    pub(crate) fn new(bytes_max: Option<u64>) -> Self {
        Self { is_free: watch::Sender::new(true), bytes_max }
    }

    /// The limit, when `bytes` are more.
    pub(crate) fn exceeded_by(&self, bytes: u64) -> Option<u64> {
        self.bytes_max.filter(|max| bytes > *max)
    }

    /// Notes the size after a commit. A flood of changes would outgrow the limit by much until it is measured again,
    /// so reading ends at once; whoever measures says when it goes on.
    pub(crate) fn grown_to(&self, bytes: u64) {
        if self.exceeded_by(bytes).is_some() {
            self.set(false);
        }
    }

    /// Says whether there is room, after having measured.
    pub(crate) fn set(&self, is_free: bool) {
        self.is_free.send_if_modified(|was| std::mem::replace(was, is_free) != is_free);
    }

    /// Whether there is room now.
    pub(crate) fn is_free(&self) -> bool {
        *self.is_free.borrow()
    }

    /// Tells of every turn.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.is_free.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_beyond_the_limit_ends_reading_until_someone_has_measured() {
        let room = Room::new(Some(100));
        room.grown_to(100);
        assert!(room.is_free());
        room.grown_to(101);
        room.grown_to(50);
        assert!(!room.is_free());
        room.set(true);
        assert!(*room.watch().borrow());
    }

    #[test]
    fn without_a_limit_there_is_room_whatever_the_size() {
        let room = Room::new(None);
        room.grown_to(u64::MAX);
        assert!(room.is_free());
    }
}
