//! What a test does to the server: as calls in the same process, or as lines of JSON over a port of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::faults::Fault;
use super::state::ServerState;
use crate::cdc::capture;
use crate::cdc::cleanup::Cleanup;
use crate::engine::database::Database;
use crate::session::{Entry, Session, Signals};
use crate::sql::error::SqlError;
use crate::tds::request::Request;
use crate::tds::token::TokenStream;

/// One thing to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Starts or stops the agent, and with it the capture jobs.
    Agent(bool),
    /// How long the capture lags behind commits.
    CaptureLatency(Duration),
    /// Runs the capture job of a database now, agent or not, and captures all that is committed.
    CaptureNow {
        /// The database.
        database: String,
    },
    /// The first half of a clean-up: the low ends move; answers whether there was anything to keep.
    CleanupLowWater {
        /// The database.
        database: String,
        /// How much is kept, counted back from the last captured commit.
        retention_minutes: i64,
    },
    /// The second half of a clean-up: rows below the low ends are deleted.
    CleanupDelete {
        /// The database.
        database: String,
    },
    /// Arms a fault.
    Fault(Fault),
    /// Disarms every fault.
    ClearFaults,
    /// An error that the capture job tells in `sys.dm_cdc_errors`.
    CaptureError {
        /// The database.
        database: String,
        /// The text.
        message: String,
    },
    /// Copies a database into a file.
    Backup {
        /// The database.
        database: String,
        /// The file, which must not exist.
        to: PathBuf,
    },
    /// Puts a copy in a database's place: another recovery fork.
    Restore {
        /// The database.
        database: String,
        /// The file that [`Command::Backup`] wrote.
        from: PathBuf,
    },
    /// T-SQL as the system administrator; what it answers is dropped, and an error is answered.
    Sql {
        /// The database.
        database: String,
        /// The batch.
        text: String,
    },
}

/// Does what `command` says.
///
/// # Errors
/// When there is no such database, and what the server answers.
pub(crate) fn run(server: &Arc<ServerState>, command: Command) -> Result<(), SqlError> {
    let known = |name: &str| {
        let missing = || SqlError::new(911, 16, 1, format!("Database '{name}' does not exist."));
        server.database(name).ok_or_else(missing)
    };
    match command {
        Command::Agent(on) => server.set_agent(on),
        Command::CaptureLatency(latency) => server.set_latency(latency),
        Command::CaptureNow { database } => {
            let database = known(&database)?;
            loop {
                let scan = capture::scan(server, &database, 0)?;
                let more = scan.transactions > 0;
                server.record_scan(&database, scan);
                if !more {
                    break;
                }
            }
        }
        Command::CleanupLowWater { database, retention_minutes } => {
            let cleanup = Cleanup::new(&known(&database)?)?;
            if let Some(low) = cleanup.low_water(retention_minutes)? {
                cleanup.move_low_end(None, &low)?;
            }
        }
        Command::CleanupDelete { database } => Cleanup::new(&known(&database)?)?.delete(5000)?,
        Command::Fault(fault) => server.faults().push(fault),
        Command::ClearFaults => server.faults().clear(),
        Command::CaptureError { database, message } => server.record_error(&*known(&database)?, &message),
        Command::Backup { database, to } => server.backup(&database, &to)?,
        Command::Restore { database, from } => server.restore(&database, &from)?,
        Command::Sql { database, text } => run_as_administrator(server, &known(&database)?, &text)?,
    }
    Ok(())
}

/// Runs a batch as the system administrator; faults are not met.
///
/// # Errors
/// The first error of the batch.
pub(crate) fn run_as_administrator(
    server: &Arc<ServerState>,
    database: &Arc<Database>,
    text: &str,
) -> Result<(), SqlError> {
    // A thread of its own, because the caller may be one that drives asynchronous tasks.
    std::thread::scope(|scope| {
        let batch = scope.spawn(|| run_here(server, database, text));
        batch.join().unwrap_or_else(|_| Err(SqlError::new(596, 21, 1, "the batch's thread failed")))
    })
}

fn run_here(server: &Arc<ServerState>, database: &Arc<Database>, text: &str) -> Result<(), SqlError> {
    let (outbox, mut answers) = tokio::sync::mpsc::channel(64);
    let entry = Entry { login: "sa".to_owned(), sysadmin: true, database: Arc::clone(database) };
    let out = TokenStream::new(outbox, crate::tds::packet::SIZE_MAX, &server.name);
    let signals = Arc::new(Signals::default());
    let mut session = Session::new(server, entry, &signals, out)?;
    let waiting = std::mem::take(&mut *server.faults());
    let drain = std::thread::spawn(move || while answers.blocking_recv().is_some() {});
    let done = session.request(Request::Batch(text.to_owned()));
    let error = session.first_error();
    session.end();
    drop(session);
    server.faults().extend(waiting);
    drop(drain.join());
    match (done, error) {
        (_, Some(error)) => Err(error),
        (Err(_), None) => Err(SqlError::new(596, 21, 1, "the batch ended its session")),
        (Ok(()), None) => Ok(()),
    }
}

/// The thread that runs the capture jobs while the agent is on.
pub(crate) fn run_agent(server: &Arc<ServerState>) {
    while !server.stopping.load(Ordering::SeqCst) {
        if server.agent_is_on() {
            for database in server.databases() {
                let catalog = database.catalog();
                if catalog.cdc_enabled && catalog.jobs.capture.is_some() {
                    let latency = i64::try_from(server.latency().as_nanos() / 100).unwrap_or(i64::MAX);
                    match capture::scan(server, &database, latency) {
                        Ok(scan) => server.record_scan(&database, scan),
                        Err(error) => server.record_error(&database, &error.message),
                    }
                }
            }
        }
        std::thread::sleep(server.options.scan_interval);
    }
}

/// Takes lines of JSON, one command each; answers `ok`, or `error` and a text.
pub(crate) fn listen(listener: &TcpListener, server: &Arc<ServerState>) {
    while let Ok((stream, _)) = listener.accept() {
        let server = Arc::clone(server);
        std::thread::spawn(move || drop(obey(stream, &server)));
    }
}

fn obey(stream: TcpStream, server: &Arc<ServerState>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(command) => match run(server, command) {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("error {}", error.to_string().replace('\n', " ")),
            },
            Err(error) => format!("error {error}"),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
