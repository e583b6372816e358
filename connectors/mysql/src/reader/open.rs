//! The transaction that is being read.

use std::sync::Arc;

use change::{Position, Transaction};

use crate::binlog::group::Begin;
use crate::gtid::Gtid;
use crate::place::Tracker;
use crate::position::Place;

/// A transaction whose commit is still to come.
#[derive(Debug)]
pub(super) struct Open {
    /// Where it begins.
    pub(super) place: Place,
    pub(super) committed_at: i64,
    pub(super) gtid: Option<Gtid>,
    /// Whether a commit must follow; else the next statement is all.
    pub(super) begun: bool,
    /// Whether it may be prepared instead of being committed.
    pub(super) xa: bool,
    /// Whether it was handed over by an earlier stream: it is read for what it prepared only.
    pub(super) old: bool,
    /// Made when the first change of ours needs it.
    shared: Option<Arc<Transaction>>,
}

impl Open {
    /// The transaction as its changes name it.
    pub(super) fn transaction(&mut self) -> Arc<Transaction> {
        let made = self.shared.get_or_insert_with(|| {
            let position = Position::new(self.place.to_string());
            Arc::new(Transaction { position, committed_at: self.committed_at })
        });
        Arc::clone(made)
    }

    /// One that a GTID event announced; it begins with the present event.
    pub(super) fn announced(tracker: &Tracker, begin: Begin) -> Self {
        Self {
            committed_at: begin.committed_at.unwrap_or(tracker.event_at()),
            gtid: begin.gtid,
            begun: begin.ends_with_commit,
            xa: begin.prepares,
            ..Self::unannounced(tracker)
        }
    }

    /// One that no GTID event announced.
    pub(super) fn unannounced(tracker: &Tracker) -> Self {
        let place = tracker.event_start();
        Self {
            old: tracker.is_old(&place),
            place,
            committed_at: tracker.event_at(),
            gtid: None,
            begun: false,
            xa: false,
            shared: None,
        }
    }
}
