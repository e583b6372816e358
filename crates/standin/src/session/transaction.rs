//! Transactions: begun, committed, taken back, and the statements that write in them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Session;
use crate::engine::database::Commit;
use crate::engine::versions::{Hold, TranId, View};
use crate::sql::calendar::now_utc;
use crate::sql::error::SqlError;

/// <https://learn.microsoft.com/en-us/sql/t-sql/statements/set-transaction-isolation-level-transact-sql>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    Snapshot,
}

/// A transaction that is open.
#[derive(Debug)]
pub(super) struct Tran {
    pub(super) id: TranId,
    /// What a SNAPSHOT transaction sees, from its first read on.
    snapshot: Option<Hold>,
    /// Rows that it ended and made: table and row.
    pub(super) ended: Vec<(i64, i64)>,
    pub(super) made: Vec<(i64, i64)>,
    /// It changed a table whose changes are captured.
    pub(super) tracked: bool,
    pub(super) commands: i64,
    begun_record: i64,
    begun_at: i64,
    savepoints: Vec<(String, Mark)>,
}

/// How far a transaction had come.
#[derive(Debug, Clone, Copy)]
struct Mark {
    ended: usize,
    made: usize,
    record: i64,
}

impl Session {
    fn new_tran(&self) -> Tran {
        Tran {
            id: self.database.versions.begin(),
            snapshot: None,
            ended: Vec::new(),
            made: Vec::new(),
            tracked: false,
            commands: 0,
            begun_record: self.database.next_record(),
            begun_at: self.server.local_now(),
            savepoints: Vec::new(),
        }
    }

    /// `BEGIN TRANSACTION`
    pub(super) fn begin(&mut self) -> Result<(), SqlError> {
        self.check_open()?;
        self.nesting += 1;
        if self.tran.is_none() {
            let tran = self.new_tran();
            self.write_ending(crate::tds::token::MORE);
            self.out.transaction_begun(tran.id.unsigned_abs());
            self.tran = Some(tran);
        }
        Ok(())
    }

    /// `COMMIT TRANSACTION`
    pub(super) fn commit(&mut self) -> Result<(), SqlError> {
        if self.nesting == 0 {
            let message = "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.";
            return Err(SqlError::new(3902, 16, 1, message));
        }
        self.nesting -= 1;
        if self.nesting > 0 {
            return Ok(());
        }
        let Some(tran) = self.tran.take() else { return Ok(()) };
        let database = self.database.clone();
        let lock = database.lock();
        if database.closed.load(Ordering::SeqCst) {
            return Err(severed());
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.database.record_commit(&self.connection, &self.commit_of(&tran))?;
        self.connection.execute_batch("COMMIT")?;
        self.committed(&tran);
        drop(lock);
        self.write_ending(crate::tds::token::MORE);
        self.out.transaction_ended(tran.id.unsigned_abs(), true);
        Ok(())
    }

    fn commit_of(&self, tran: &Tran) -> Commit {
        Commit {
            tran: tran.id,
            begun_record: tran.begun_record,
            begun_at: tran.begun_at,
            ended_at: self.server.local_now(),
            ended_utc: now_utc(),
            tracked: tran.tracked,
        }
    }

    fn committed(&self, tran: &Tran) {
        let at = self.database.versions.commit(tran.id);
        if tran.tracked {
            self.database.waiting.store(true, Ordering::SeqCst);
        }
        self.database.discard(at, tran.ended.clone());
    }

    /// `ROLLBACK TRANSACTION`, of everything or to a savepoint.
    pub(super) fn rollback(&mut self, savepoint: Option<&str>) -> Result<(), SqlError> {
        if self.nesting == 0 {
            let message = "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.";
            return Err(SqlError::new(3903, 16, 1, message));
        }
        let found = savepoint.and_then(|name| {
            let savepoints = &self.tran.as_ref()?.savepoints;
            savepoints
                .iter()
                .rev()
                .find(|(known, _)| crate::engine::catalog::same(known, name))
                .map(|(_, mark)| *mark)
        });
        if let Some(mark) = found {
            let Some(mut tran) = self.tran.take() else { return Ok(()) };
            let outcome = self.undo(&mut tran, mark);
            self.tran = Some(tran);
            return outcome;
        }
        if let Some(name) = savepoint {
            let message =
                format!("Cannot roll back {name}. No transaction or savepoint of that name was found.");
            return Err(SqlError::new(6401, 16, 1, message));
        }
        self.nesting = 0;
        self.roll_back_all()
    }

    /// Takes back everything that is open.
    pub(super) fn roll_back_all(&mut self) -> Result<(), SqlError> {
        let Some(mut tran) = self.tran.take() else { return Ok(()) };
        let start = Mark { ended: 0, made: 0, record: 0 };
        let outcome =
            if self.database.closed.load(Ordering::SeqCst) { Ok(()) } else { self.undo(&mut tran, start) };
        self.database.versions.rolled_back(tran.id);
        self.write_ending(crate::tds::token::MORE);
        self.out.transaction_ended(tran.id.unsigned_abs(), false);
        outcome
    }

    /// `SAVE TRANSACTION`
    pub(super) fn save(&mut self, name: &str) -> Result<(), SqlError> {
        let record = self.database.next_record();
        let Some(tran) = &mut self.tran else {
            return Err(SqlError::new(
                628,
                16,
                0,
                "Cannot issue SAVE TRANSACTION when there is no active transaction.",
            ));
        };
        tran.savepoints
            .push((name.to_owned(), Mark { ended: tran.ended.len(), made: tran.made.len(), record }));
        Ok(())
    }

    /// Takes back what `tran` did after `mark`.
    fn undo(&self, tran: &mut Tran, mark: Mark) -> Result<(), SqlError> {
        let _lock = self.database.lock();
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        for (table, row) in tran.made.drain(mark.made..) {
            self.connection
                .prepare_cached(&format!("DELETE FROM t{table} WHERE _rid = ?1"))?
                .execute([row])?;
        }
        for (table, row) in tran.ended.drain(mark.ended..) {
            let sql = format!("UPDATE t{table} SET _xmax = 0 WHERE _rid = ?1 AND _xmax = ?2");
            self.connection.prepare_cached(&sql)?.execute([row, tran.id])?;
        }
        if tran.tracked {
            for instance in &self.database.catalog().instances {
                let sql = format!("DELETE FROM log{} WHERE tran = ?1 AND n > ?2", instance.change_table);
                self.connection.prepare_cached(&sql)?.execute([tran.id, mark.record])?;
            }
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(())
    }

    /// Fails when another database has been put in this one's place.
    pub(super) fn check_open(&self) -> Result<(), SqlError> {
        if self.database.closed.load(Ordering::SeqCst) || self.server.stopping.load(Ordering::SeqCst) {
            return Err(severed());
        }
        Ok(())
    }

    pub(super) fn view(&self) -> std::sync::MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the view for a statement; a SNAPSHOT transaction keeps the one of its first.
    pub(super) fn take_view(&mut self) -> Hold {
        let hold = self.database.versions.hold();
        let mut seen = hold.seen;
        let own = self.tran.as_ref().map_or(0, |tran| tran.id);
        if self.isolation == Isolation::Snapshot
            && let Some(tran) = &mut self.tran
        {
            seen = tran.snapshot.get_or_insert_with(|| self.database.versions.hold()).seen;
        }
        *self.view() = View { own, seen, ..View::default() };
        hold
    }

    /// Waits for the transaction that the last statement met, if it met one; says whether to try again.
    pub(super) fn wait_if_blocked(&self) -> Result<bool, SqlError> {
        let (own, holder) = {
            let mut view = self.view();
            (view.own, view.blocked_by.take())
        };
        let Some(holder) = holder else { return Ok(false) };
        let timeout = u64::try_from(self.lock_timeout).ok().map(Duration::from_millis);
        let signals = self.signals.clone();
        self.database.versions.wait(own, holder, timeout, &move || signals.cancelled())?;
        Ok(true)
    }

    /// Runs a statement that writes: in the open transaction, or in one of its own. It happens whole or not at all.
    pub(super) fn write<T>(
        &mut self,
        work: impl Fn(&Session, &mut Tran) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.check_open()?;
        let explicit = self.tran.is_some();
        loop {
            if self.tran.is_none() {
                self.tran = Some(self.new_tran());
            }
            let database = self.database.clone();
            let lock = database.lock();
            let hold = self.take_view();
            let Some(mut tran) = self.tran.take() else { return Err(severed()) };
            let outcome = self.attempt(&mut tran, explicit, &work);
            drop(hold);
            drop(lock);
            let retry = match &outcome {
                Ok(_) => false,
                Err(_) => match self.wait_if_blocked() {
                    Ok(retry) => retry,
                    Err(error) => {
                        self.keep(tran, explicit, false);
                        return Err(error);
                    }
                },
            };
            self.keep(tran, explicit, outcome.is_ok() || retry);
            if !retry {
                return outcome;
            }
        }
    }

    /// Puts an open transaction back; one of a single statement has ended, or is used by the next try.
    fn keep(&mut self, tran: Tran, explicit: bool, done: bool) {
        if explicit {
            self.tran = Some(tran);
        } else if !done || self.database.versions.is_active(tran.id) {
            self.database.versions.rolled_back(tran.id);
        }
    }

    fn attempt<T>(
        &self,
        tran: &mut Tran,
        explicit: bool,
        work: &impl Fn(&Session, &mut Tran) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let (ended, made, tracked) = (tran.ended.len(), tran.made.len(), tran.tracked);
        let catalog = self.database.catalog();
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let outcome = work(self, tran).and_then(|answer| {
            if !explicit {
                self.database.record_commit(&self.connection, &self.commit_of(tran))?;
                self.database.sweep(&self.connection)?;
            }
            self.connection.execute_batch("COMMIT")?;
            if !Arc::ptr_eq(&catalog, &self.database.catalog()) {
                // There may be an instance that has no low end yet.
                self.database.waiting.store(true, Ordering::SeqCst);
            }
            Ok(answer)
        });
        match &outcome {
            Ok(_) if !explicit => self.committed(tran),
            Ok(_) => {}
            Err(_) => {
                tran.ended.truncate(ended);
                tran.made.truncate(made);
                tran.tracked = tracked;
                self.database.reset_catalog(catalog);
                self.connection.execute_batch("ROLLBACK")?;
            }
        }
        outcome
    }

    /// Runs a statement that changes what there is; it commits by itself.
    pub(super) fn define<T>(
        &mut self,
        work: impl Fn(&Session, &mut Tran) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        if self.tran.is_some() {
            let message =
                "This statement is not allowed within a multi-statement transaction (in this server).";
            return Err(SqlError::new(226, 16, 6, message));
        }
        self.write(work)
    }
}

/// The session was in a database that is gone.
fn severed() -> SqlError {
    SqlError::new(596, 21, 1, "Cannot continue the execution because the session is in the kill state.")
}
