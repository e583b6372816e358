//! SIGTERM and Ctrl-C.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure};

/// Within this time a command that was told to stop has stopped: less than the 10 s that are promised, so
/// that the process can still end.
const GRACE: Duration = Duration::from_secs(9);

/// A token that SIGTERM or Ctrl-C cancels; must be called inside the runtime.
pub(crate) fn on_signal() -> Result<CancellationToken, Failure> {
    let token = CancellationToken::new();
    let signalled = token.clone();
    let waiting = signals().map_err(|error| Failure::new("watch for signals").caused_by(&error))?;
    tokio::spawn(async move {
        waiting.await;
        tracing::info!("told to stop");
        signalled.cancel();
    });
    Ok(token)
}

#[cfg(unix)]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the system itself ends the process, which loses nothing either.
            std::future::pending::<()>().await;
        }
    })
}

/// Waits for `command`; once `stop` is cancelled, only for as long as a stop may take.
pub(crate) async fn within_grace(
    command: impl Future<Output = Result<Exit, Failure>>,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let mut command = std::pin::pin!(command);
    tokio::select! {
        ended = &mut command => return ended,
        () = stop.cancelled() => {}
    }
    tokio::time::timeout(GRACE, command).await.unwrap_or_else(|_| {
        Err(Failure::new("the command did not come to an end in time after it was told to stop")
            .for_the_data("nothing is lost: what was not committed yet will be read or sent again"))
    })
}

/// Runs a command that changes nothing: it simply ends when `stop` is cancelled.
pub(crate) async fn or_stopped(
    command: impl Future<Output = Result<Exit, Failure>>,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    tokio::select! {
        ended = command => ended,
        () = stop.cancelled() => Err(Failure::new("stopped before the work was done")),
    }
}
