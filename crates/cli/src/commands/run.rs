//! `bitacora run`.

use change::Position;
use pipeline::Deliveries;

use super::Context;
use crate::alerting;
use crate::args::RunArgs;
use crate::config::Secrets;
use crate::daemon::{Daemon, Mode, hold};
use crate::exit::{Exit, Failure};
use crate::serve;
use crate::service_manager::ServiceManager;

/// The daemon, until it is told to stop.
pub(crate) async fn run(context: &Context, args: RunArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Needed)?;
    let ledger = hold(&config, "bitacora run").await?;
    let mode =
        Mode { deliveries: Deliveries::OnSchedule, fail_fast: false, from: args.from.map(Position::new) };
    let listener = match config.status.listen {
        Some(address) => Some(serve::listen(address).await?),
        None => None,
    };
    let herald = alerting::herald(&config, alerting::memory(&ledger)?.as_deref())?;
    let mut daemon = Daemon::start(&config, ledger, mode, &context.stop).await?;
    if let Some(listener) = listener {
        serve::start(listener, &config, daemon.pipeline.requests(), context.stop.clone());
    }
    if let Some(herald) = herald {
        alerting::start(herald, daemon.pipeline.requests(), context.stop.clone());
    }
    tracing::info!("bitacora {} runs", env!("CARGO_PKG_VERSION"));
    let manager = ServiceManager::of_environment();
    manager.ready();
    let requests = daemon.pipeline.requests();
    let failure = tokio::select! {
        () = context.stop.cancelled() => None,
        failed = daemon.pipeline.failed() => failed.err(),
        () = manager.keep_alive(&requests) => None,
    };
    // Once nobody holds them, the ledger can close.
    drop(requests);
    manager.stopping();
    daemon.pipeline.shut_down().await;
    match failure {
        None => Ok(Exit::Done),
        Some(error) => Err(Failure::from(error).for_the_data(
            "nothing is lost: what was captured is in the ledger, and the database keeps its log from there on",
        )),
    }
}
