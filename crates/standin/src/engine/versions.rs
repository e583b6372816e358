//! Versions of rows: who sees which, and who waits for whom.
//!
//! Every stored row names the transaction that made it and the one that ended it. A reader sees what had been
//! committed when its view was taken, and its own changes; that is the server's row versioning. Without
//! versioning (READ COMMITTED, the default) a reader waits for a row that another transaction has changed.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/sql-server-transaction-locking-and-row-versioning-guide>

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::sql::error::SqlError;

/// A transaction's number; 0 stands for everything from before the server started.
pub(crate) type TranId = i64;

/// How a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As of the view; nobody is waited for.
    Versioned = 0,
    /// What is committed now; rows that are being changed are waited for.
    Locking = 1,
    /// `NOLOCK`: whatever is there.
    Dirty = 2,
}

/// What one statement sees.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) own: TranId,
    /// The last commit that is seen.
    pub(crate) seen: u64,
    /// The transaction that a row made this statement wait for.
    pub(crate) blocked_by: Option<TranId>,
    /// Rows have been sent already, so that waiting would come too late: the last committed version is read.
    pub(crate) streaming: bool,
}

#[derive(Debug, Default)]
struct Outcomes {
    committed: HashMap<TranId, u64>,
    active: HashSet<TranId>,
}

#[derive(Debug, Default)]
struct State {
    next: TranId,
    commits: u64,
    /// Who waits for whom.
    waits: HashMap<TranId, TranId>,
    /// Transactions that have changed a table, and those that hold a shared lock on it.
    changing: HashMap<i64, HashSet<TranId>>,
    sharing: HashMap<i64, HashSet<TranId>>,
    /// Views that may still be read from, by their owner.
    views: BTreeMap<u64, u64>,
    next_view: u64,
}

/// The transactions of one database.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    outcomes: RwLock<Outcomes>,
    state: Mutex<State>,
    ended: Condvar,
}

/// Keeps the versions that a view needs for as long as it lives.
#[derive(Debug)]
pub(crate) struct Hold {
    versions: Arc<Versions>,
    number: u64,
    /// The last commit that the view sees.
    pub(crate) seen: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.versions.state().views.remove(&self.number);
    }
}

impl State {
    /// What a transaction that has ended held.
    fn release(&mut self, id: TranId) {
        for locks in [&mut self.changing, &mut self.sharing] {
            locks.retain(|_, holders| {
                holders.remove(&id);
                !holders.is_empty()
            });
        }
    }
}

impl Versions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a transaction and answers its number.
    pub(crate) fn begin(&self) -> TranId {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        self.outcomes.write().unwrap_or_else(PoisonError::into_inner).active.insert(id);
        id
    }

    /// Makes what `id` did visible to views taken from now on.
    pub(crate) fn commit(&self, id: TranId) -> u64 {
        let mut state = self.state();
        state.commits += 1;
        state.release(id);
        {
            let mut outcomes = self.outcomes.write().unwrap_or_else(PoisonError::into_inner);
            outcomes.active.remove(&id);
            outcomes.committed.insert(id, state.commits);
        }
        self.ended.notify_all();
        state.commits
    }

    /// Ends `id`, whose changes have been taken back.
    pub(crate) fn rolled_back(&self, id: TranId) {
        let mut state = self.state();
        state.release(id);
        self.outcomes.write().unwrap_or_else(PoisonError::into_inner).active.remove(&id);
        drop(state);
        self.ended.notify_all();
    }

    /// Takes a table for changes; answers who holds a shared lock on it.
    pub(crate) fn change_table(&self, id: TranId, table: i64) -> Option<TranId> {
        let mut state = self.state();
        let holder = state.sharing.get(&table).and_then(|all| all.iter().copied().find(|held| *held != id));
        if holder.is_none() {
            state.changing.entry(table).or_default().insert(id);
        }
        holder
    }

    /// Takes a shared lock on a table, to the end of the transaction; answers who is changing it.
    pub(crate) fn share_table(&self, id: TranId, table: i64) -> Option<TranId> {
        let mut state = self.state();
        let holder = state.changing.get(&table).and_then(|all| all.iter().copied().find(|held| *held != id));
        if holder.is_none() {
            state.sharing.entry(table).or_default().insert(id);
        }
        holder
    }

    /// A view of what is committed now.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        let mut state = self.state();
        state.next_view += 1;
        let (number, seen) = (state.next_view, state.commits);
        state.views.insert(number, seen);
        Hold { versions: Arc::clone(self), number, seen }
    }

    /// The oldest commit that a view may still have to look behind.
    pub(crate) fn oldest_view(&self) -> u64 {
        let state = self.state();
        state.views.values().copied().min().unwrap_or(state.commits)
    }

    /// Does `view` see a row that `made` made and `ended` ended (0: nobody)?
    ///
    /// # Errors
    /// When a row makes a locking reader wait; the view then names the transaction.
    pub(crate) fn sees(
        &self,
        view: &mut View,
        (made, ended): (TranId, TranId),
        how: Reading,
    ) -> Result<bool, SqlError> {
        let outcomes = self.outcomes.read().unwrap_or_else(PoisonError::into_inner);
        let active = |id: TranId| id != 0 && id != view.own && outcomes.active.contains(&id);
        let counts = |id: TranId| match how {
            _ if id == view.own => true,
            Reading::Dirty => outcomes.active.contains(&id) || outcomes.committed.contains_key(&id),
            _ => outcomes.committed.get(&id).is_some_and(|&at| at <= view.seen),
        };
        let made_seen = made == 0 || counts(made);
        if how == Reading::Locking {
            let blocker = if active(made) {
                Some(made)
            } else if made_seen && active(ended) {
                Some(ended)
            } else {
                None
            };
            if blocker.is_some() && !view.streaming {
                view.blocked_by = blocker;
                return Err(SqlError::new(1222, 16, 51, "blocked"));
            }
        }
        Ok(made_seen && (ended == 0 || !counts(ended)))
    }

    /// Is the transaction still open?
    pub(crate) fn is_active(&self, id: TranId) -> bool {
        self.outcomes.read().unwrap_or_else(PoisonError::into_inner).active.contains(&id)
    }

    /// Is what `id` did there for good?
    pub(crate) fn is_committed(&self, id: TranId) -> bool {
        id == 0 || self.outcomes.read().unwrap_or_else(PoisonError::into_inner).committed.contains_key(&id)
    }

    /// Waits until `holder` has ended.
    ///
    /// # Errors
    /// 1205 when `holder` waits for `waiter`, 1222 after `timeout`, and 3617 when `cancelled` says so.
    pub(crate) fn wait(
        &self,
        waiter: TranId,
        holder: TranId,
        timeout: Option<Duration>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), SqlError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.state();
        if waiter != 0 {
            let mut next = Some(holder);
            while let Some(id) = next {
                if id == waiter {
                    return Err(deadlock());
                }
                next = state.waits.get(&id).copied();
            }
            state.waits.insert(waiter, holder);
        }
        let outcome = loop {
            if !self.is_active(holder) {
                break Ok(());
            }
            if cancelled() {
                break Err(SqlError::new(3617, 11, 1, "The query was cancelled by its client."));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break Err(SqlError::new(1222, 16, 51, "Lock request time out period exceeded."));
            }
            let step = Duration::from_millis(20);
            state = self.ended.wait_timeout(state, step).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waits.remove(&waiter);
        outcome
    }
}

/// 1205
pub(crate) fn deadlock() -> SqlError {
    SqlError::new(
        1205,
        13,
        51,
        "Transaction (Process ID) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_sees_what_was_committed_before_it_and_its_own_changes() {
        let versions = Arc::new(Versions::default());
        let (one, two) = (versions.begin(), versions.begin());
        versions.commit(one);
        let hold = versions.hold();
        versions.commit(two);
        let mut view = View { own: 99, seen: hold.seen, ..View::default() };
        let mut sees = |made, ended| versions.sees(&mut view, (made, ended), Reading::Versioned).unwrap();
        assert!(sees(one, 0) && sees(one, two) && sees(0, two) && sees(99, 0));
        assert!(!sees(two, 0) && !sees(0, one) && !sees(0, 99) && !sees(1234, 0));
        assert_eq!(versions.oldest_view(), hold.seen);
    }

    #[test]
    fn a_table_is_shared_or_changed_by_one_transaction_only() {
        let versions = Versions::default();
        let (one, two) = (versions.begin(), versions.begin());
        assert_eq!(versions.change_table(one, 7), None);
        assert_eq!((versions.change_table(two, 7), versions.share_table(two, 8)), (None, None));
        assert_eq!((versions.share_table(two, 7), versions.share_table(one, 7)), (Some(one), Some(two)));
        versions.commit(one);
        assert_eq!(versions.share_table(two, 7), None);
        assert_eq!(versions.change_table(99, 7), Some(two));
        versions.rolled_back(two);
        assert_eq!(versions.change_table(99, 7), None);
    }

    #[test]
    fn two_that_wait_for_each_other_are_a_deadlock() {
        let versions = Arc::new(Versions::default());
        let (one, two) = (versions.begin(), versions.begin());
        let other = Arc::clone(&versions);
        let waiting = std::thread::spawn(move || other.wait(one, two, None, &|| false));
        // Whoever closes the circle is the victim.
        let verdict = loop {
            if waiting.is_finished() {
                break None;
            }
            match versions.wait(two, one, Some(Duration::from_millis(1)), &|| false) {
                Err(error) if error.number == 1222 => {}
                verdict => break Some(verdict),
            }
        };
        match verdict {
            Some(verdict) => {
                assert_eq!(verdict.unwrap_err().number, 1205);
                versions.rolled_back(two);
                waiting.join().unwrap().unwrap();
            }
            None => assert_eq!(waiting.join().unwrap().unwrap_err().number, 1205),
        }
    }
}
