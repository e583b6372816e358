//! One file per command.

mod audit;
mod backfill;
mod check;
mod completions;
mod explain;
mod flush;
mod init;
mod man;
mod quarantine;
mod run;
mod setup;
mod status;
mod tablero;
mod uninstall;

pub(crate) use flush::status_name;
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Command, Global};
use crate::config::{Config, Secrets};
use crate::exit::{Exit, Failure};
use crate::stop::{or_stopped, within_grace};

/// What every command is given.
pub(crate) struct Context {
    /// The options of every command.
    pub(crate) global: Global,
    /// Cancelled when the process is told to stop.
    pub(crate) stop: CancellationToken,
}

impl Context {
    /// Reads the configuration.
    pub(crate) fn config(&self, secrets: Secrets) -> Result<Config, Failure> {
        Ok(Config::load(&self.global.config, secrets)?)
    }
}

/// Runs the command that was asked for.
pub(crate) async fn dispatch(cli: Cli, stop: CancellationToken) -> Result<Exit, Failure> {
    let context = Context { global: cli.global, stop: stop.clone() };
    // Boxed: each command is a large future, and the largest would weigh on all of them.
    match cli.command {
        Command::Init(args) => init::init(&context, &args),
        Command::Setup(args) => or_stopped(Box::pin(setup::setup(&context, &args)), &stop).await,
        Command::Check(args) => or_stopped(Box::pin(check::check(&context, &args)), &stop).await,
        Command::Backfill(args) => within_grace(Box::pin(backfill::backfill(&context, args)), &stop).await,
        Command::Run(args) => within_grace(Box::pin(run::run(&context, args)), &stop).await,
        Command::Flush(args) => within_grace(Box::pin(flush::flush(&context, args)), &stop).await,
        Command::Status(args) => or_stopped(Box::pin(status::status(&context, args)), &stop).await,
        Command::Explain(args) => or_stopped(Box::pin(explain::explain(&context, args)), &stop).await,
        Command::Audit(args) => within_grace(Box::pin(audit::audit(&context, args)), &stop).await,
        Command::Quarantine(args) => {
            within_grace(Box::pin(quarantine::quarantine(&context, args)), &stop).await
        }
        Command::Uninstall(args) => or_stopped(Box::pin(uninstall::uninstall(&context, &args)), &stop).await,
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => man::man(&args),
        Command::Tablero(args) => within_grace(Box::pin(tablero::tablero(&context, args)), &stop).await,
    }
}
