//! The bitacora binary: configuration, wiring, commands, status page, metrics.
//!
//! # Layout
//! - [`args`]: the command line
//! - [`config`]: the configuration file
//! - [`exit`]: exit statuses and errors for people
//! - `commands`: one file per command
//! - `terminal`, `progress`: tables, numbers and progress as people read them
//! - `daemon`: the product put together from a configuration
//! - `engine`: whichever engine the configuration names
//! - `control`: how commands reach a running daemon
//! - `alerting`: from what stands to the channels of `[alerts]`
//! - `serve`: status page, health and metrics
//! - `service_manager`: what systemd is told
//! - `windows_service`: the same on Windows, where the manager starts and stops the daemon
//! - `logging`, `stop`: log lines and signals

mod alerting;
pub mod args;
mod commands;
pub mod config;
mod control;
mod daemon;
mod engine;
pub mod exit;
mod logging;
mod progress;
mod serve;
mod service_manager;
mod stop;
mod terminal;
#[cfg(windows)]
mod windows_service;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use args::Cli;
use exit::{Exit, Failure};

/// Row by row, cells are made on one thread and dropped on another, which is what the system's allocator is slowest
/// at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Two workers: one loop reads the log while another waits for the dashboard; the ledger has a thread of
/// its own.
const WORKERS: usize = 2;

/// Runs the command that `args` names, the program's name first, and prints why it failed, if it does.
pub fn main_with<I: IntoIterator<Item = OsString>>(args: I) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when even this cannot be printed.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match start(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            terminal::complain(&failure.to_string());
            failure.exit().into()
        }
    }
}

fn start(cli: Cli) -> Result<Exit, Failure> {
    #[cfg(windows)]
    if let Some(service) = cli.command.windows_service().map(str::to_owned) {
        let files = windows_service::log_files(&service, &cli.global.config)?;
        logging::start(logging::Sink::files(files), cli.global.log_format, cli.global.verbose, false);
        return windows_service::run(&service, cli);
    }
    logging::start(
        logging::Sink::stderr(),
        cli.global.log_format,
        cli.global.verbose,
        cli.command.is_brief(),
    );
    execute(cli, None)
}

/// Runs the command until its end; where no other `stop` is given, a signal stops it.
fn execute(cli: Cli, stop: Option<CancellationToken>) -> Result<Exit, Failure> {
    // One provider of cryptography for every library in the process; a second call finds the first one's.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("start the threads of the program").caused_by(&error))?;
    let ended = runtime.block_on(async {
        let stop = stop.map_or_else(stop::on_signal, Ok)?;
        commands::dispatch(cli, stop).await
    });
    // A thread that waits for a disk or a name server must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(500));
    ended
}
