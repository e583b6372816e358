//! One connection of the institution's software at work: what its transactions do, and what of that was
//! committed.

use chrono::{NaiveDateTime, TimeDelta};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};

use crate::database::{Session, literal, moment_text};
use crate::failure::Failure;
use crate::history::{self, Extras};
use crate::institution::{SERVICES, STATES, State, local_now};
use crate::truth::Request;

/// So many requests of each connection get most of the work, so that single requests change many times.
const BUSY: usize = 1_500;

/// How many rows an administrator's mass change touches.
const MASS: usize = 2_500;

/// What was done, counted when it was certain.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) committed: u64,
    pub(crate) rolled_back: u64,
    pub(crate) savepoints_rolled_back: u64,
    pub(crate) edits: u64,
    pub(crate) repeats: u64,
    pub(crate) inserted: u64,
    pub(crate) before_2020: u64,
}

impl Tally {
    /// Both together.
    pub(crate) fn plus(self, other: Tally) -> Tally {
        Tally {
            committed: self.committed + other.committed,
            rolled_back: self.rolled_back + other.rolled_back,
            savepoints_rolled_back: self.savepoints_rolled_back + other.savepoints_rolled_back,
            edits: self.edits + other.edits,
            repeats: self.repeats + other.repeats,
            inserted: self.inserted + other.inserted,
            before_2020: self.before_2020 + other.before_2020,
        }
    }
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    Rollback,
}

/// The row `index` now has this status and time.
#[derive(Clone, Copy)]
struct Move {
    index: usize,
    to: &'static State,
    at: NaiveDateTime,
}

/// One connection, and the requests that only it changes: so their order is beyond doubt.
pub(crate) struct Clerk {
    session: Session,
    rng: StdRng,
    clock: NaiveDateTime,
    name: usize,
    /// Its requests as they were last committed.
    pub(crate) requests: Vec<Request>,
    /// Where requests opened before 2020 stand among them.
    old: Vec<usize>,
    pub(crate) tally: Tally,
}

impl Clerk {
    /// Somebody who has these requests to work on.
    pub(crate) fn new(session: Session, name: usize, requests: Vec<Request>, rng: StdRng) -> Clerk {
        let old =
            (0..requests.len()).filter(|&index| requests.get(index).is_some_and(Request::is_before_floor));
        let old = old.collect();
        Clerk { session, rng, clock: local_now(), name, requests, old, tally: Tally::default() }
    }

    /// One transaction of the day's business.
    ///
    /// # Errors
    /// What the database says; then nothing of it counts.
    pub(crate) async fn work(&mut self) -> Result<(), Failure> {
        match self.rng.random_range(0..100) {
            0..42 => self.advance(1, End::Commit).await,
            42..52 => {
                let several = self.rng.random_range(2..6);
                self.advance(several, End::Commit).await
            }
            52..62 => {
                let some = self.rng.random_range(1..4);
                self.advance(some, End::Rollback).await
            }
            62..68 => self.change_with_a_savepoint().await,
            68..80 => self.edit_another_column().await,
            80..88 => self.set_the_same_status_again().await,
            88..98 => self.insert().await,
            _ => self.change_what_is_too_old().await,
        }
    }

    /// Ends a transaction that got into the way of another: nothing of it counts.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn give_up(&mut self) -> Result<(), Failure> {
        self.finish(End::Rollback).await
    }

    /// An administrator's one statement over thousands of rows, first without and then with a happy end.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn change_many_at_once(&mut self) -> Result<(), Failure> {
        for end in [End::Rollback, End::Commit] {
            let mut indexes: Vec<usize> = (0..self.requests.len()).choose_multiple(&mut self.rng, MASS);
            indexes.sort_unstable();
            let at = self.tick();
            let Some(to) = STATES.choose(&mut self.rng) else { return Ok(()) };
            let moves: Vec<Move> = indexes.into_iter().map(|index| Move { index, to, at }).collect();
            let numbers: Vec<String> = moves
                .iter()
                .filter_map(|made| Some(literal(&self.requests.get(made.index)?.number)))
                .collect();
            self.session.run("BEGIN").await?;
            self.set_state(to, at, &numbers.join(", ")).await?;
            self.finish(end).await?;
            self.note(end, &moves);
        }
        Ok(())
    }

    /// `count` changes of status in one transaction, now and then of one request.
    async fn advance(&mut self, count: usize, end: End) -> Result<(), Failure> {
        let mut moves: Vec<Move> = Vec::with_capacity(count);
        for _ in 0..count {
            let index = match moves.last() {
                Some(made) if self.rng.random_bool(0.3) => made.index,
                _ => self.choose(),
            };
            if let Some(next) = self.next_move(index, &moves) {
                moves.push(next);
            }
        }
        self.session.run("BEGIN").await?;
        for made in &moves {
            self.make(*made).await?;
        }
        self.finish(end).await?;
        self.note(end, &moves);
        Ok(())
    }

    /// A transaction that changes its mind half-way: what came after the savepoint never happened.
    async fn change_with_a_savepoint(&mut self) -> Result<(), Failure> {
        let index = self.choose();
        let other = if self.rng.random_bool(0.5) { index } else { self.choose() };
        let kept: Vec<Move> = self.next_move(index, &[]).into_iter().collect();
        let undone = self.next_move(other, &kept);
        self.session.run("BEGIN").await?;
        for made in &kept {
            self.make(*made).await?;
        }
        self.session.run("SAVEPOINT regret").await?;
        if let Some(made) = undone {
            self.make(made).await?;
        }
        self.session.run("ROLLBACK TO SAVEPOINT regret").await?;
        self.finish(End::Commit).await?;
        self.tally.savepoints_rolled_back += 1;
        self.note(End::Commit, &kept);
        Ok(())
    }

    /// A remark and an amount: of no interest to the dashboard, even though the modification time moves.
    async fn edit_another_column(&mut self) -> Result<(), Failure> {
        let index = self.choose();
        let at = self.tick();
        let remark = Extras::make(&mut self.rng).remark;
        let Some(request) = self.requests.get_mut(index) else { return Ok(()) };
        let sql = format!(
            "UPDATE solicitudes SET observaciones = {}, monto = monto + 100, fecha_modificacion = '{}' \
             WHERE numero = {}",
            literal(remark),
            moment_text(at),
            literal(&request.number)
        );
        self.session.run(&sql).await?;
        request.modified = at;
        self.tally.committed += 1;
        self.tally.edits += 1;
        Ok(())
    }

    /// Forms are saved twice: the status is written again as it was.
    async fn set_the_same_status_again(&mut self) -> Result<(), Failure> {
        let index = self.choose();
        let at = self.tick();
        let Some(request) = self.requests.get(index) else { return Ok(()) };
        let same = Move { index, to: request.state, at };
        self.make(same).await?;
        self.note(End::Commit, &[same]);
        self.tally.committed += 1;
        self.tally.repeats += 1;
        Ok(())
    }

    async fn insert(&mut self) -> Result<(), Failure> {
        let at = self.tick();
        let number = format!("SOL-{}-{}{:06}", at.format("%Y"), self.name, self.tally.inserted + 1);
        let service = SERVICES.choose(&mut self.rng).unwrap_or(&SERVICES[0]);
        let state = &STATES[0];
        let request = Request::new(number, service, at, (state, at));
        let row = history::row(&request, &Extras::make(&mut self.rng));
        self.session.run(&format!("{}{row}", history::INSERT)).await?;
        self.requests.push(request);
        self.tally.committed += 1;
        self.tally.inserted += 1;
        Ok(())
    }

    /// A request from before 2020 still moves, but the dashboard must not hear of it.
    async fn change_what_is_too_old(&mut self) -> Result<(), Failure> {
        let Some(&index) = self.old.choose(&mut self.rng) else { return Ok(()) };
        let Some(made) = self.next_move(index, &[]) else { return Ok(()) };
        self.session.run("BEGIN").await?;
        self.make(made).await?;
        self.finish(End::Commit).await?;
        self.tally.before_2020 += 1;
        self.note(End::Commit, &[made]);
        Ok(())
    }

    fn choose(&mut self) -> usize {
        let count = self.requests.len().max(1);
        // The newest are the busy ones, as everywhere.
        let from = if self.rng.random_bool(0.8) { count.saturating_sub(BUSY) } else { 0 };
        self.rng.random_range(from..count)
    }

    /// A permitted change of the request at `index`, as it stands after the moves of the open transaction.
    fn next_move(&mut self, index: usize, pending: &[Move]) -> Option<Move> {
        let made = pending.iter().rev().find(|made| made.index == index);
        let state = made.map(|made| made.to).or_else(|| Some(self.requests.get(index)?.state))?;
        let to = state.followers().choose(&mut self.rng)?;
        Some(Move { index, to, at: self.tick() })
    }

    /// Writes down what a transaction left behind.
    fn note(&mut self, end: End, moves: &[Move]) {
        if end == End::Rollback {
            return;
        }
        for made in moves {
            if let Some(request) = self.requests.get_mut(made.index) {
                request.set(made.to, made.at);
            }
        }
    }

    /// The time on the wall, never the same twice.
    fn tick(&mut self) -> NaiveDateTime {
        self.clock = local_now().max(self.clock + TimeDelta::microseconds(1));
        self.clock
    }

    /// Runs the statement of one move.
    async fn make(&mut self, made: Move) -> Result<(), Failure> {
        let Some(request) = self.requests.get(made.index) else { return Ok(()) };
        let number = literal(&request.number);
        self.set_state(made.to, made.at, &number).await
    }

    /// Sets the status of the requests with these numbers.
    async fn set_state(&mut self, to: &State, at: NaiveDateTime, numbers: &str) -> Result<(), Failure> {
        let (code, at) = (literal(to.code), moment_text(at));
        let sql = format!(
            "UPDATE solicitudes SET estado = {code}, fecha_modificacion = '{at}' WHERE numero IN ({numbers})"
        );
        self.session.run(&sql).await
    }

    async fn finish(&mut self, end: End) -> Result<(), Failure> {
        match end {
            End::Commit => {
                self.session.run("COMMIT").await?;
                self.tally.committed += 1;
            }
            End::Rollback => {
                self.session.run("ROLLBACK").await?;
                self.tally.rolled_back += 1;
            }
        }
        Ok(())
    }
}
