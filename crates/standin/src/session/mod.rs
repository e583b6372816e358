//! One client's session: what it asks, in order, and what it is answered.

mod batch;
mod change;
mod definition;
mod dml;
mod grammar;
mod log;
mod parse;
mod procedures;
mod query;
mod rights;
mod rows;
mod settings;
mod signals;
mod statement;
mod transaction;
mod trigger;
mod variable_grammar;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use crate::bind::{Facts, Fired};
use crate::engine::database::Database;
use crate::engine::principals::Principal;
use crate::engine::versions::{Reading, View};
use crate::server::state::ServerState;
use crate::sql::calendar::now_utc;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;
use crate::tds::request::Request;
use crate::tds::token::{ATTENTION, Done, ERROR, Gone, MORE, TokenStream};
pub(crate) use signals::Signals;
use transaction::{Isolation, Tran};

/// Why a batch does not go on.
pub(crate) enum Stop {
    /// The client has gone, or was cut off.
    Gone,
    /// An error that ends the batch, which the client has been told.
    Batch,
    /// RETURN.
    Return,
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Stop {
        Stop::Gone
    }
}

/// A session.
pub(crate) struct Session {
    pub(crate) server: Arc<ServerState>,
    pub(crate) database: Arc<Database>,
    connection: Connection,
    view: Arc<Mutex<View>>,
    signals: Arc<Signals>,
    principal: Principal,
    login: String,
    sysadmin: bool,
    spid: i64,
    variables: HashMap<String, (SqlType, Value)>,
    tran: Option<Tran>,
    nesting: i64,
    isolation: Isolation,
    lock_timeout: i64,
    xact_abort: bool,
    count_rows: bool,
    row_count: i64,
    last_error: i64,
    identity: Option<i64>,
    out: TokenStream,
    /// The end of the last result, until it is known whether another follows.
    ending: Option<(u16, u64)>,
    in_procedure: bool,
    cut_after: Option<u64>,
    line: u32,
    first_error: Option<SqlError>,
    /// What `SET CONTEXT_INFO` left.
    context: Option<Vec<u8>>,
    /// The statements that the triggers at work fire for, the outermost first.
    fired: RefCell<Vec<Arc<Fired>>>,
    /// SQLite's statements for single rows, made once.
    texts: RefCell<HashMap<(RowStatement, i64, i64), Arc<str>>>,
    /// A trigger failed: its transaction is to be undone.
    doomed: Cell<bool>,
}

/// What is done with a single row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum RowStatement {
    Place,
    CheckKey,
    Log,
}

/// Who logs in, and where to.
pub(crate) struct Entry {
    pub(crate) login: String,
    pub(crate) sysadmin: bool,
    pub(crate) database: Arc<Database>,
}

/// The user that a login is in a database.
///
/// # Errors
/// 916 when it is none.
pub(crate) fn principal(database: &Database, login: &str, sysadmin: bool) -> Result<Principal, SqlError> {
    if sysadmin {
        return Ok(Principal { user: "dbo".to_owned(), sysadmin });
    }
    let catalog = database.catalog();
    let same = crate::engine::catalog::same;
    let user =
        catalog.users.iter().find(|user| user.login.as_deref().is_some_and(|known| same(known, login)));
    match user {
        Some(user) => Ok(Principal { user: user.name.clone(), sysadmin }),
        // `master` and `msdb` let every login in.
        None if matches!(database.id, 1 | 4) => Ok(Principal { user: "guest".to_owned(), sysadmin }),
        None => {
            let message = format!(
                "The server principal \"{login}\" is not able to access the database \"{}\" under the current security context.",
                database.name
            );
            Err(SqlError::new(916, 14, 1, message))
        }
    }
}

impl Session {
    /// # Errors
    /// 916, and what SQLite answers.
    pub(crate) fn new(
        server: &Arc<ServerState>,
        entry: Entry,
        signals: &Arc<Signals>,
        out: TokenStream,
    ) -> Result<Session, SqlError> {
        let view = Arc::new(Mutex::new(View::default()));
        let connection = entry.database.connect(&view)?;
        *signals.interrupt.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(connection.get_interrupt_handle());
        Ok(Session {
            principal: principal(&entry.database, &entry.login, entry.sysadmin)?,
            server: Arc::clone(server),
            connection,
            view,
            signals: Arc::clone(signals),
            login: entry.login,
            sysadmin: entry.sysadmin,
            database: entry.database,
            spid: server.new_spid(),
            variables: HashMap::new(),
            tran: None,
            nesting: 0,
            isolation: Isolation::ReadCommitted,
            lock_timeout: -1,
            xact_abort: false,
            count_rows: true,
            row_count: 0,
            last_error: 0,
            identity: None,
            out,
            ending: None,
            in_procedure: false,
            cut_after: None,
            line: 1,
            first_error: None,
            context: None,
            fired: RefCell::default(),
            texts: RefCell::default(),
            doomed: Cell::default(),
        })
    }

    /// Greets the client.
    ///
    /// # Errors
    /// When it has gone.
    pub(crate) fn greet(&mut self, packet_size: usize) -> Result<(), Gone> {
        self.out.logged_in(&self.database.name, packet_size);
        self.out.done(Done::Batch, 0, 0);
        self.out.finish()
    }

    /// Does what one request asks.
    ///
    /// # Errors
    /// When the client has gone or was cut off.
    pub(crate) fn request(&mut self, request: Request) -> Result<(), Gone> {
        if let Request::Attention = request {
            // An attention that came while a statement ran has been answered with it.
            if self.signals.attentions.load(Ordering::SeqCst) > 0 {
                self.signals.attentions.fetch_sub(1, Ordering::SeqCst);
                self.out.done(Done::Batch, ATTENTION, 0);
                return self.out.finish();
            }
            return Ok(());
        }
        self.ending = None;
        self.first_error = None;
        self.line = 1;
        let outcome = self.dispatch(request);
        if matches!(outcome, Err(Stop::Gone)) {
            return Err(Gone);
        }
        self.end_answer()
    }

    fn dispatch(&mut self, request: Request) -> Result<(), Stop> {
        match request {
            Request::Batch(text) => {
                self.in_procedure = false;
                self.variables.clear();
                let outcome = self.run_text(&text);
                // An answer ends with a token even when no statement had one.
                self.ending = self.ending.or(Some((0, 0)));
                outcome
            }
            Request::Call { procedure, parameters } => {
                self.in_procedure = true;
                self.variables.clear();
                let outcome = self.run_call(&procedure, parameters);
                self.in_procedure = false;
                if matches!(outcome, Err(Stop::Gone)) {
                    return outcome;
                }
                let failed = outcome.is_err() && self.last_error != 0;
                self.write_ending(MORE);
                self.out.return_status(if failed { 1 } else { 0 });
                self.out.done(Done::Procedure, if failed { ERROR } else { 0 }, 0);
                outcome
            }
            Request::Begin => self.statement(|session| session.begin()),
            Request::Commit { begin_next } => {
                self.statement(Session::commit)?;
                if begin_next { self.statement(|session| session.begin()) } else { Ok(()) }
            }
            Request::Rollback => self.statement(|session| session.rollback(None)),
            Request::Attention => Ok(()),
        }
    }

    /// A statement that answers no rows, outside any text.
    fn statement(&mut self, work: impl FnOnce(&mut Session) -> Result<(), SqlError>) -> Result<(), Stop> {
        match work(self) {
            Ok(()) => {
                self.end_result(0, 0);
                Ok(())
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Ends the message, with the answer to an attention when one came.
    fn end_answer(&mut self) -> Result<(), Gone> {
        if self.signals.attentions.load(Ordering::SeqCst) > 0 {
            self.write_ending(MORE);
            self.signals.attentions.store(0, Ordering::SeqCst);
            self.out.done(Done::Batch, ATTENTION, 0);
        } else {
            self.write_ending(0);
        }
        self.out.finish()
    }

    /// The last result has ended; the token waits until it is known whether another follows.
    fn end_result(&mut self, status: u16, rows: u64) {
        self.write_ending(MORE);
        self.ending = Some((status, rows));
    }

    /// Writes the token that waits, before anything of the next result.
    fn write_ending(&mut self, more: u16) {
        if let Some((status, rows)) = self.ending.take() {
            let token = if self.in_procedure { Done::InProcedure } else { Done::Batch };
            let more = if self.in_procedure { MORE } else { more };
            self.out.done(token, status | more, rows);
        }
    }

    /// Tells the client of an error; the batch ends unless the error is one that it survives.
    fn fail(&mut self, error: &SqlError) -> Result<(), Stop> {
        if self.signals.gone.load(Ordering::SeqCst) {
            return Err(Stop::Gone);
        }
        self.write_ending(MORE);
        let mut error = error.clone();
        error.line = if error.line == 0 { self.line } else { error.line };
        if error.number != 3617 {
            self.out.error(&error);
        }
        if error.class <= 10 {
            return Ok(());
        }
        self.last_error = i64::from(error.number);
        self.first_error.get_or_insert_with(|| error.clone());
        let doomed = self.doomed.take();
        if self.tran.is_some() && (error.undoes_the_transaction() || self.xact_abort || doomed) {
            self.nesting = 0;
            if self.roll_back_all().is_err() {
                return Err(Stop::Gone);
            }
        }
        self.end_result(ERROR, 0);
        if error.class >= 20 {
            // The last that the client hears.
            self.write_ending(0);
            self.out.finish()?;
            return Err(Stop::Gone);
        }
        if error.lets_the_batch_go_on() && !self.xact_abort && !doomed { Ok(()) } else { Err(Stop::Batch) }
    }

    /// The first error of the last request.
    pub(crate) fn first_error(&mut self) -> Option<SqlError> {
        self.first_error.take()
    }

    /// How tables are read under the session's isolation level.
    fn reading(&self) -> Reading {
        match self.isolation {
            Isolation::ReadUncommitted => Reading::Dirty,
            Isolation::Snapshot => Reading::Versioned,
            Isolation::ReadCommitted if self.database.catalog().read_committed_snapshot => Reading::Versioned,
            Isolation::ReadCommitted => Reading::Locking,
        }
    }

    fn facts(&self) -> Facts<'_> {
        let catalog = self.database.catalog();
        Facts {
            server: &self.server,
            database: &self.database,
            connection: &self.connection,
            principal: &self.principal,
            login: &self.login,
            variables: &self.variables,
            reading: self.reading(),
            spid: self.spid,
            tran_count: self.nesting,
            row_count: self.row_count,
            last_error: self.last_error,
            identity: self.identity,
            lock_timeout: self.lock_timeout,
            now: now_utc(),
            context: self.context.as_deref(),
            fired: self.fired.borrow().last().cloned(),
            snapshot_denied: self.isolation == Isolation::Snapshot
                && !catalog.snapshot_isolation
                && self.database.id != 1,
        }
    }

    /// Goes to another database.
    ///
    /// # Errors
    /// 911 when there is none, 916 when the login has no user there.
    fn enter(&mut self, name: &str) -> Result<(), SqlError> {
        if self.server.is_azure() && !crate::engine::catalog::same(name, &self.database.name) {
            let message = "USE statement is not supported to switch between databases. Use a new connection to connect to a different database.";
            return Err(SqlError::new(40_508, 16, 1, message));
        }
        let database = self.server.database(name).ok_or_else(|| {
            let message =
                format!("Database '{name}' does not exist. Make sure that the name is entered correctly.");
            SqlError::new(911, 16, 1, message)
        })?;
        if self.tran.is_some() && database.id != self.database.id {
            return Err(SqlError::not_modelled("USE inside a transaction"));
        }
        let principal = principal(&database, &self.login, self.sysadmin)?;
        let connection = database.connect(&self.view)?;
        *self.signals.interrupt.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(connection.get_interrupt_handle());
        let old = self.database.name.clone();
        self.connection = connection;
        self.texts.borrow_mut().clear();
        self.principal = principal;
        self.database = database;
        self.write_ending(MORE);
        self.out.database_changed(&self.database.name, &old);
        Ok(())
    }

    /// Takes back what is open: the client has gone.
    pub(crate) fn end(&mut self) {
        self.nesting = 0;
        // There is nobody to tell when it fails; opening the database again takes it back as well.
        drop(self.roll_back_all());
    }
}
